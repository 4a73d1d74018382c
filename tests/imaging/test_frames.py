"""Animations: how they go on after a first frame that they share."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from fingerprints import query_of
from PIL import ExifTags, Image, ImageDraw, ImageFont, TiffImagePlugin

from benchmarks.quality.families import TUNED, picture
from shazimd.fingerprint import Query
from shazimd.imaging import frames as module
from shazimd.imaging.decode import decode
from shazimd.imaging.extract import Extractor
from shazimd.imaging.frames import later_frames
from shazimd.imaging.verify import verify
from shazimd.types import Verdict


@cache
def frames(*numbers: int) -> list[Image.Image]:
    """A title, then as many other pictures, three times each."""
    shown = [picture("memes", TUNED, 0), *(picture("cartons", TUNED + number, number) for number in numbers)]
    return [image.convert("RGB").resize((240, 240)) for image in shown for _ in range(3)]


def saved(images: Sequence[Image.Image], kind: str = "GIF", **options: object) -> bytes:
    data = io.BytesIO()
    images[0].save(data, kind, save_all=True, append_images=images[1:], duration=80, **options)
    return data.getvalue()


def query(images: Sequence[Image.Image], kind: str = "GIF") -> Query:
    return query_of(saved(images, kind))


@pytest.fixture(scope="module")
def known() -> bytes:
    """The features kept of the animation that others are edits of."""
    return query(frames(1, 2)).fingerprint.features


def test_animations_that_go_on_otherwise_are_variants() -> None:
    """Both begin with one title, and the answer is one whichever is asked."""
    one, other = query(frames(1, 2)), query(frames(3, 4))
    assert verify(one.features, other.fingerprint.features).verdict is Verdict.VARIANT
    assert verify(other.features, one.fingerprint.features).verdict is Verdict.VARIANT


@pytest.mark.parametrize("edit", ["webp", "halved", "cropped", "mirrored", "turned", "every second frame"])
def test_an_edited_animation_is_a_copy(edit: str, known: bytes) -> None:
    """All of its frames are edited, or some are left out."""
    images = frames(1, 2)
    made = {
        "halved": [image.reduce(2) for image in images],
        "cropped": [image.crop((20, 20, 240, 240)) for image in images],
        "mirrored": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images],
        "turned": [image.transpose(Image.Transpose.ROTATE_90) for image in images],
        "every second frame": images[::2],
    }
    asked = query(made.get(edit, images), "WEBP" if edit == "webp" else "GIF")
    assert verify(asked.features, known).verdict is Verdict.COPY


def test_documents_with_one_cover_are_variants() -> None:
    """TIFFs of three pages, of which the first is the same; either is asked."""
    one, other = (query(frames(*numbers)[::3], "TIFF") for numbers in ((1, 2), (3, 4)))
    assert verify(one.features, other.fingerprint.features).verdict is Verdict.VARIANT
    assert verify(other.features, one.fingerprint.features).verdict is Verdict.VARIANT


@cache
def text(seed: int) -> Image.Image:
    """A page of paragraphs in one column, as all other seeds have it."""
    rng, page, font = np.random.default_rng(seed), Image.new("RGB", (620, 877), "white"), ImageFont.load_default(14)
    draw, top = ImageDraw.Draw(page), 70
    while top < 790:
        for _ in range(rng.integers(3, 9)):
            words = rng.choice(["of", "the", "payment", "lessee", "within", "premises", "shall", "notice"], 9)
            draw.text((70, top), " ".join(words), "black", font)
            top += 18
        top += 18
    return page


def test_documents_of_text_with_one_cover_are_variants() -> None:
    """Their pages are the same grey column from afar; the same pages in black and white, and halved, are a copy."""
    cover = frames()[0].resize((620, 877))
    one, other = ([cover, *(text(seed) for seed in seeds)] for seeds in ((1, 2), (3, 4)))
    known = query(one, "TIFF").fingerprint.features
    assert verify(query(other, "TIFF").features, known).verdict is Verdict.VARIANT
    assert verify(query([image.reduce(2) for image in one], "TIFF").features, known).verdict is Verdict.COPY
    assert (
        verify(query([cover, *(page.convert("1") for page in one[1:])], "TIFF").features, known).verdict is Verdict.COPY
    )


@pytest.mark.parametrize("edit", ["compressed", "grey", "turned by its orientation", "halved", "with reduced pages"])
def test_the_same_pages_are_a_copy(edit: str) -> None:
    """Saved anew in another way. A reduced picture of a page, and a mask, are no pages."""
    pages = frames(1, 2)[::3]
    known = query(pages, "TIFF").fingerprint.features
    images, options = pages, dict[str, object]()
    match edit:
        case "compressed":
            options = {"compression": "jpeg", "quality": 60}
        case "grey":
            images = [image.convert("L") for image in pages]
        case "turned by its orientation":
            images = [image.transpose(Image.Transpose.ROTATE_90) for image in pages]
            options = {"tiffinfo": {274: 6}}
        case "halved":
            images = [image.reduce(2) for image in pages]
    data = saved(images, "TIFF", **options)
    if edit == "with reduced pages":
        data = _with_subfiles(pages)
    assert verify(query_of(data).features, known).verdict is Verdict.COPY


def _with_subfiles(pages: Sequence[Image.Image]) -> bytes:
    """With a picture in fewer pixels behind each page, and a mask behind that."""
    file = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(file) as writer:
        for page in pages:
            for subfile, image in ((2, page), (1, page.reduce(4)), (4, Image.new("1", page.size))):
                image.save(writer, "TIFF", tiffinfo={254: subfile})
                writer.newFrame()
    return file.getvalue()


def test_a_tiff_with_one_page_and_with_a_broken_one_has_no_later_pages() -> None:
    """The first page is all that is known of them."""
    data = saved(frames(1)[::3], "TIFF")
    first = struct.unpack_from("<I", data, 4)[0]
    behind = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, behind)[0]
    alone, broken = data[:behind] + bytes(4) + data[behind + 4 :], data[:second] + bytes(99) + data[second + 99 :]
    assert later_frames(data, "TIFF") is not None
    for each in (alone, broken, _with_subfiles(frames()[:1])):
        assert later_frames(each, "TIFF") is None


def test_no_page_of_too_many_pixels_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pages have together as many as all frames of an animation."""
    data = saved(frames(1)[::3], "TIFF")
    monkeypatch.setattr(module, "_PIXELS_MAX", 2 * 240 * 240)
    assert later_frames(data, "TIFF") is not None
    monkeypatch.setattr(module, "_PIXELS_MAX", 2 * 240 * 240 - 1)
    assert later_frames(data, "TIFF") is None


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_all_frames_are_turned_upright_by_exif(kind: str, known: bytes) -> None:
    """As the first one is."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = [image.transpose(Image.Transpose.ROTATE_90) for image in frames(1, 2)]
    asked = query_of(saved(turned, kind, exif=exif.tobytes()))
    assert verify(asked.features, known).verdict is Verdict.COPY


def test_a_moving_sticker_on_another_ground_is_a_copy() -> None:
    """Later frames are kept on white alone, so those of two grounds are not compared."""
    sticker, flat = [], []
    for number, image in enumerate(frames(1, 2)[::3]):
        mask = Image.new("L", image.size)
        draw = ImageDraw.Draw(mask)
        draw.rectangle((40, 40, 200, 200), 255) if number == 0 else draw.ellipse((60, 20 * number, 140, 140), 255)
        sticker.append(image.convert("RGBA"))
        sticker[-1].putalpha(mask)
        flat.append(Image.composite(image, Image.new("RGB", image.size, (20, 24, 60)), mask))
    clear, dark = query(sticker, "PNG"), query(flat, "PNG")
    assert verify(clear.features, dark.fingerprint.features).verdict is Verdict.COPY
    assert verify(dark.features, clear.fingerprint.features).verdict is Verdict.COPY


def test_a_still_of_the_first_frame_is_a_copy(known: bytes) -> None:
    """A still does not go on."""
    still = query(frames(1, 2)[:1], "PNG")
    assert verify(still.features, known).verdict is Verdict.COPY


def test_of_a_long_animation_no_more_than_its_beginning_is_decoded() -> None:
    """Its frames after the first 48 change nothing."""
    dots = [Image.new("L", (32, 32), 3 * number) for number in range(60)]
    one, other = saved(dots), saved([*dots[:48], *reversed(dots[:12])])
    found, again = later_frames(one, "GIF"), later_frames(other, "GIF")
    assert found is not None
    assert again is not None
    assert (found == again).all()


def test_a_still_and_a_damaged_animation_have_no_later_frames() -> None:
    """The first frame is all that is known of them."""
    assert later_frames(saved(frames()[:1], "PNG"), "PNG") is None
    assert later_frames(saved(frames(1))[:200], "GIF") is None


@pytest.mark.parametrize("number", [2, 3])
def test_an_animation_cut_within_a_frames_header_is_known_by_its_first_frame(number: int) -> None:
    """Wherever the cut is: in the frame's extensions, its place or its palette."""
    images = [picture("cartons", TUNED + each, each).convert("RGB").resize((40, 40)) for each in range(4)]
    data, at = saved(images), 0
    for _ in range(number):
        at = data.index(b"\x21\xf9\x04", at + 1)
    whole = decode(data, side_min=64, max_pixels=1_000_000)
    for end in range(at, at + 800):  # 8 bytes of extension, 10 of the place, 768 of the palette
        found = decode(data[:end], side_min=64, max_pixels=1_000_000)
        assert found.image.tobytes() == whole.image.tobytes()
        assert found.pixels is None or (number == 2 and end <= at + 8)  # nothing shows that there was a second one
        later_frames(data[:end], "GIF")  # raises nothing


def test_an_animation_with_a_frame_of_too_many_pixels_has_no_later_frames() -> None:
    """Its first frame is what is known of it."""
    data = bytearray(saved(frames(1)))
    control = data.index(
        b"\x21\xf9\x04", data.index(b"\x21\xf9\x04") + 1
    )  # of the second frame, 8 bytes before its place
    assert data[control + 8] == ord(",")
    data[control + 13 : control + 17] = b"\xff" * 4  # width and height
    assert later_frames(bytes(data), "GIF") is None
    assert Extractor(None, 1_000_000).query(bytes(data)).fingerprint.width == 240
