from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, picture
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shazimd.errors import NotAnImage
from shazimd.fingerprint import FloatVector, Signals
from shazimd.imaging.extract import Extractor, is_low_in_information
from shazimd.imaging.features import unpack_features
from shazimd.imaging.hashes import oriented_hashes


@dataclass(frozen=True)
class Info:
    id: str = "means"
    input_height: int = 8
    input_width: int = 8


class Means:
    """A tiny model: the pixels of the picture, at unit length. Counts its calls."""

    def __init__(self, info: Info | None = None) -> None:
        self.info = info or Info()
        self.batches: list[int] = []

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert images.shape[1:] == (self.info.input_height, self.info.input_width, 3)
        self.batches.append(len(images))
        flat = images.reshape(len(images), -1).astype(np.float32) + 1
        vectors: NDArray[np.float32] = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        return vectors


def _vector(signals: Signals) -> FloatVector:
    assert signals.fv is not None
    return signals.fv


def _bits_apart(a: Signals, b: Signals) -> int:
    return sum(((own or 0) ^ (other or 0)).bit_count() for own, other in zip(a.hashes[:2], b.hashes[:2], strict=True))


def test_a_fingerprint_tells_all_that_is_kept() -> None:
    """Hashes, vector, size, format, name of the pixels and local features."""
    image = picture(400, 300)
    found = Extractor(Means(), 1_000_000).fingerprint(encoded(image, "PNG"))
    assert found.signals.hashes[:2] == oriented_hashes(image.convert("L"))[0]
    assert (_vector(found.signals).shape, _vector(found.signals).dtype.name) == ((192,), "float32")
    assert float(np.linalg.norm(_vector(found.signals))) == pytest.approx(1, abs=1e-4)  # kept as float16
    assert (found.model, found.width, found.height, found.format) == ("means", 400, 300, "PNG")
    assert found.pixels is not None
    assert not found.low_information
    assert unpack_features(found.features).luma.size > 0


def test_without_a_model_there_is_no_vector() -> None:
    """Hashes alone, and no model is named."""
    found = Extractor(None, 1_000_000).fingerprint(encoded(picture(), "PNG"))
    assert (found.signals.fv, found.model) == (None, None)
    assert found.signals.hashes[0] is not None


def test_a_query_is_asked_in_eight_orientations_with_one_vector() -> None:
    """Upright first, equal to what is kept; its local features are more detailed."""
    model = Means()
    data = encoded(picture(400, 300), "PNG")
    query = Extractor(model, 1_000_000).query(data)
    assert model.batches == [1]
    assert len({s.hashes for s in query.orientations}) == 8
    kept = Extractor(model, 1_000_000).fingerprint(data)
    first = query.orientations[0]
    assert first.hashes == kept.signals.hashes
    assert np.array_equal(_vector(first), _vector(kept.signals))
    assert query.fingerprint.features == kept.features
    assert len(query.features) > len(kept.features)


def test_each_orientation_is_what_the_turned_picture_would_give() -> None:
    """Every turned or mirrored picture has the hashes of one orientation, within a few bits."""
    image = picture(200, 150)
    extractor = Extractor(None, 1_000_000)
    query = extractor.query(encoded(image, "PNG"))
    for turn in Image.Transpose:
        turned = extractor.fingerprint(encoded(image.transpose(turn), "PNG")).signals
        assert min(_bits_apart(orientation, turned) for orientation in query.orientations) <= 3


def test_orientations_that_look_the_same_are_asked_once() -> None:
    """A flat picture has one orientation, with a model or without."""
    extractor = Extractor(None, 1_000_000)
    flat = Image.new("RGB", (90, 90), (9, 9, 9))
    assert len(extractor.query(encoded(flat, "PNG")).orientations) == 1
    assert len(Extractor(Means(), 1_000_000).query(encoded(flat, "PNG")).orientations) == 1
    assert len(extractor.query(encoded(picture(), "PNG")).orientations) == 8


def test_what_is_no_picture_has_no_fingerprint() -> None:
    """The decoder's errors go through."""
    with pytest.raises(NotAnImage):
        Extractor(None, 1_000_000).fingerprint(b"no picture")


def _noisy(image: Image.Image, deviation: float) -> Image.Image:
    noise = np.random.default_rng(1).normal(0, deviation, (image.height, image.width))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _page(*texts: str) -> Image.Image:
    page = Image.new("L", (600, 800), 250)
    for line, text in enumerate(texts):
        ImageDraw.Draw(page).text((40, 60 + 15 * line), text, fill=10)
    return page


def _two_tone() -> Image.Image:
    image = Image.new("L", (600, 400), 255)
    image.paste(0, (0, 200, 600, 400))
    return image


LOW = {
    "black": Image.new("L", (640, 480)),
    "white": Image.new("L", (640, 480), 255),
    "scan of a blank page": _noisy(Image.new("L", (640, 480), 245), 8),
    "dark noise": _noisy(Image.new("L", (640, 480), 4), 6),
    "gradient": Image.linear_gradient("L").resize((640, 480)),
    "noisy gradient": _noisy(Image.linear_gradient("L").resize((640, 480)), 5),
    "two tones": _two_tone(),
    "page with a number": _page("page 3"),
}


@pytest.mark.parametrize("name", LOW)
def test_pictures_of_nothing_are_low_in_information(name: str) -> None:
    """Flat, near-empty, two-tone pictures and gradients, also after JPEG."""
    for format_ in ("PNG", "JPEG"):
        assert Extractor(None, 1_000_000).fingerprint(encoded(LOW[name], format_)).low_information


@pytest.mark.parametrize(("side", "low"), [(31, True), (32, False)])
def test_icons_are_low_in_information(side: int, low: bool) -> None:
    """A picture under 32 pixels is too small to tell apart."""
    assert Extractor(None, 1_000_000).fingerprint(encoded(picture(200, side), "PNG")).low_information == low


def test_a_page_of_text_is_a_picture() -> None:
    """Text is worth comparing."""
    assert not is_low_in_information(_page(*["The quick brown fox jumps over the lazy dog " * 2] * 45))


def test_no_photo_is_low_in_information(shared: Path) -> None:
    """The gate lets every real photo through."""
    gated = []
    for photo in sorted((shared / "data/photos").glob("*/*.jpg")):
        with Image.open(photo) as image:
            image.draft("L", (64, 64))
            if is_low_in_information(image.convert("L")):
                gated.append(photo.name)
    assert gated == []


def test_local_features_are_left_out_where_they_are_not_wanted() -> None:
    """The signals are the same without them."""
    data = encoded(picture(400, 300), "PNG")
    plain, whole = (Extractor(None, 1_000_000, features=wanted).query(data) for wanted in (False, True))
    assert (plain.features, plain.fingerprint.features) == (b"", b"")
    assert whole.features
    assert plain.fingerprint.signals.hashes[0] == whole.fingerprint.signals.hashes[0]
