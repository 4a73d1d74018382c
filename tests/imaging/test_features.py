from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn import encoded, photograph
from fingerprints import query_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.quality.families import TUNED, picture
from shazimd.imaging.extract import Extractor
from shazimd.imaging.features import Shown, extract_both, extract_features, unpack_features
from shazimd.imaging.kept import ASKED, STORED, Detail
from shazimd.imaging.small import BLACK, WHITE
from shazimd.words.packing import (
    ASKED_BYTES_MAX,
    FEATURE,
    HEADER,
    PRINT_LENGTH,
    STORED_BYTES_MAX,
    WINDOW_SIZE_MAX,
    check_packed,
    split,
    unpack_words,
)

LUMA_SIDE = 128


def _noise(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def _photo() -> NDArray[np.uint8]:
    return np.asarray(photograph().convert("L"))


@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_features_of_any_size_fit_their_budget_and_come_back(height: int, width: int, seed: int) -> None:
    """Whatever the picture's size, at most 19.1 KB are kept and unpack to points inside the picture."""
    packed = extract_features(Shown(_noise(height, width, seed)))
    features = unpack_features(packed)
    assert len(packed) <= 19_100
    assert len(features.points) == len(features.bits) == len(features.words) <= STORED.features
    assert np.all((features.points >= 0) & (features.points <= (features.width, features.height)))


@pytest.mark.parametrize("size", [(1, 1), (10, 20000), (20000, 10), (300, 300)])
def test_a_picture_without_structure_has_no_features(size: tuple[int, int]) -> None:
    """Nothing is made up where there is nothing, whatever the shape."""
    features = unpack_features(extract_features(Shown(np.full(size, 128, np.uint8))))
    assert len(features.points) == len(features.words) == 0
    assert max(features.luma.shape) <= 3 * LUMA_SIDE


def test_a_photo_has_many_features_and_a_small_picture() -> None:
    """A photo fills what is kept of it, and the small luma picture keeps its proportions."""
    luma = _photo()
    features = unpack_features(extract_features(Shown(luma)))
    assert len(features.points) == STORED.features
    assert max(features.luma.shape) == LUMA_SIDE
    assert max(features.picture.shape) == STORED.compared_side
    assert max(features.fine.shape) == STORED.photo_side
    assert features.luma.shape[0] / features.luma.shape[1] == pytest.approx(luma.shape[0] / luma.shape[1], abs=0.02)


@pytest.mark.parametrize("has_points", [True, False])
def test_a_photo_is_compared_in_fewer_pixels_than_are_kept(has_points: bool) -> None:
    """But for letters; of a query without features as of others, since it has more pixels than what is stored."""
    for packed, detail in zip(extract_both(Shown(_photo()), has_points=has_points), (STORED, ASKED), strict=True):
        features = unpack_features(packed)
        assert max(features.picture.shape) == detail.compared_side
        assert max(features.fine.shape) == min(detail.photo_side, max(_photo().shape))
        assert np.array_equal(features.mirrored().fine, features.fine[:, ::-1])
        assert np.array_equal(features.negated().fine, 255 - features.fine)
        assert np.array_equal(features.negated().picture, 255 - features.picture)


def test_both_details_come_from_one_look() -> None:
    """Stored and asked detail together are what each would be alone, and what is stored begins what is asked."""
    luma = _photo()
    stored, asked = extract_both(Shown(luma))
    assert (stored, asked) == (extract_features(Shown(luma), STORED), extract_features(Shown(luma), ASKED))
    count = len(unpack_words(stored))
    assert unpack_words(stored).tolist() == unpack_words(asked)[:count].tolist()


def test_a_mirrored_picture_has_the_mirrored_words() -> None:
    """Most words of a picture, mirrored by swapping bytes, are words of the mirror image; fewer are unmirrored."""
    luma = _photo()
    features = unpack_features(extract_features(Shown(luma), ASKED))
    seen = unpack_words(extract_features(Shown(np.ascontiguousarray(luma[:, ::-1])), ASKED))
    shared_mirrored, shared_upright = (np.isin(f.words, seen).mean() for f in (features.mirrored(), features))
    assert shared_mirrored > 0.6 > shared_upright + 0.1


def test_mirroring_twice_gives_the_same_features() -> None:
    """A mirror image's mirror image is the picture."""
    features = unpack_features(extract_features(Shown(_photo())))
    twice = features.mirrored().mirrored()
    assert np.allclose(twice.points, features.points, atol=1e-3)
    assert np.array_equal(twice.bits, features.bits)
    assert np.array_equal(twice.words, features.words)
    assert np.array_equal(twice.luma, features.luma)


def test_words_need_no_unpacking() -> None:
    """The words read by themselves are those that unpacking gives; no bytes have none."""
    packed = extract_features(Shown(_photo()))
    assert np.array_equal(unpack_words(packed), unpack_features(packed).words)
    assert len(unpack_words(b"")) == 0


@pytest.mark.parametrize("data", [b"\x00" * 10, b"\x02" + b"\x00" * 9, b"\x04" + b"\x03" * 9, b"\x04" + b"\x00" * 8])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    """What extract_features did not make is not unpacked."""
    with pytest.raises(ValueError, match="packed features"):
        unpack_features(data)


def test_a_page_is_kept_in_more_pixels_within_its_budget() -> None:
    """Slides, cards and charts are compared in more pixels than a photo, with their colours, in at most 12 KB."""
    for family in ("slides", "id cards", "contours", "bar charts"):
        packed = extract_features(Shown(np.asarray(picture(family, TUNED, 0).reduce(2))))
        features = unpack_features(packed)
        assert len(packed) <= 12_000
        assert features.print is None
        assert features.drawn
        assert max(features.picture.shape) > STORED.compared_side


def test_the_print_of_a_dense_page_is_kept_in_still_more_pixels() -> None:
    """Spreadsheets and pages have print of 512 pixels, and features in a frame of as many, in at most 30 KB, those of a
    query in at most 128 KiB."""
    for family in ("spreadsheets", "timetables", "text pages"):
        luma = np.asarray(picture(family, TUNED, 0).convert("L"))
        stored, asked = extract_both(Shown(luma))
        check_packed(stored)
        check_packed(asked, asked=True)
        assert len(stored) <= 30_000
        for features in (unpack_features(stored), unpack_features(asked)):
            assert features.print is not None
            assert max(features.print.shape) == max(features.width, features.height) == 512
            mirrored, negated = features.mirrored().print, features.negated().print
            assert mirrored is not None
            assert negated is not None
            assert np.array_equal(mirrored, features.print[:, ::-1])
            assert np.array_equal(negated, 255 - features.print)
            small = cv2.resize(luma, features.print.shape[::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(small.astype(int) - features.print).mean() <= 12


@pytest.mark.parametrize("side", [700, 2000])
def test_the_worst_page_is_within_the_bounds(side: int) -> None:
    """Single dark pixels on white over and over: too large a print is left out."""
    luma = np.where(np.random.default_rng(1).random((side, side)) < 0.06, 0, 255).astype(np.uint8)
    luma[: side // 3] = 255
    stored, asked = extract_both(Shown(luma.repeat(2, axis=0).repeat(2, axis=1)))
    check_packed(stored)
    check_packed(asked, asked=True)
    assert unpack_features(stored).drawn


def test_colours_are_kept() -> None:
    """A red picture and a blue one of the same brightness come back as such."""
    red, blue = (np.full((100, 100, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 60, 220)))
    kept = [unpack_features(extract_features(Shown(pixels))).picture for pixels in (red, blue)]
    chroma = [pixels[50, 50, 1:].astype(int) for pixels in kept]
    assert np.abs(chroma[0] - chroma[1]).min() > 50


def test_a_sprite_is_kept_as_it_is() -> None:
    """Pictures of up to 64 pixels keep every pixel."""
    pixels = np.asarray(picture("sprites", TUNED, 0))
    kept = cv2.cvtColor(unpack_features(extract_features(Shown(pixels))).picture, cv2.COLOR_YCrCb2RGB)
    assert np.abs(kept.astype(int) - pixels).max() <= 3


def test_a_negative_has_the_negated_features() -> None:
    """The features of a negative are those of the picture turned by half a circle; many words are found as well."""
    luma = _photo()
    asked = unpack_features(extract_features(Shown(luma), ASKED))
    features = asked.negated()
    seen = unpack_features(extract_features(Shown(255 - luma), ASKED))
    near = np.linalg.norm(features.points[:, None] - seen.points[None], axis=2) < 0.5
    turn = np.abs((features.angles[:, None] - seen.angles[None] + np.pi) % (2 * np.pi) - np.pi) < 0.1
    unlike = (features.bits[:, None] != seen.bits[None]).sum(axis=2)
    same = (near & turn & (unlike <= 4)).any(axis=1)
    assert same.mean() > 0.9
    by_chance, shared = (np.isin(words, seen.words).mean() for words in (asked.words, features.words))
    assert shared > max(0.1, 2 * by_chance)
    assert np.abs(features.luma.astype(int) - seen.luma).mean() < 3


def test_transparency_is_kept_within_the_budget() -> None:
    """A picture with transparent pixels can be laid on another ground, and takes at most 12 KB."""
    pixels = np.asarray(photograph())
    clear = np.zeros(pixels.shape[:2], np.uint8)
    clear[:, :200] = 255
    packed = extract_features(Shown(np.where(clear[..., None] > 0, 255, pixels).astype(np.uint8), clear))
    check_packed(packed)
    features = unpack_features(packed)
    assert len(packed) <= 12_000
    assert features.small.ground == WHITE
    left, right = np.hsplit(features.on(BLACK).picture[..., 0].astype(int), 2)
    assert np.median(left) == 0
    assert np.abs(right - np.hsplit(features.picture[..., 0], 2)[1]).mean() < 3


@pytest.mark.parametrize(("detail", "bytes_max"), [(STORED, STORED_BYTES_MAX), (ASKED, ASKED_BYTES_MAX)])
def test_the_parts_of_features_fit_into_the_bytes_that_a_worker_may_send(detail: Detail, bytes_max: int) -> None:
    """A dense page has a picture and its print, each up to its own limit, and all of its points."""
    points = detail.features * FEATURE.itemsize
    parts = HEADER.size + points + PRINT_LENGTH.size + detail.print_bytes_max + detail.drawn_bytes_max
    assert parts <= bytes_max


def test_only_a_question_has_the_features_of_a_window() -> None:
    """A chart on a larger ground has features in twice the size; what is stored is that of its frame alone."""
    chart = picture("bar charts", TUNED, 0)
    screen = Image.new("RGB", (2 * chart.width, 2 * chart.height), (60, 70, 90))
    screen.paste(chart, (100, 100))
    data = encoded(screen, "PNG")
    asked, extractor = query_of(data), Extractor(None, 10**8)
    rows = split(asked.features).rows
    assert (rows["size"] <= WINDOW_SIZE_MAX).any()
    assert rows.tobytes() == extractor.points(data)
    assert (split(asked.fingerprint.features).rows["size"] > WINDOW_SIZE_MAX).all()
    assert asked.fingerprint.features == extractor.fingerprint(data).features


def test_a_long_strip_is_kept_and_asked_within_the_sides_that_a_worker_may_send() -> None:
    """A scrolled page of boxes, fifteen times as long as it is wide."""
    strip = Image.new("RGB", (400, 6000), "white")
    draw = ImageDraw.Draw(strip)
    for top in range(0, 6000, 60):
        draw.rectangle((20 + top % 90, top, 200 + top % 70, top + 30), (40, 90, 160))
    asked = query_of(encoded(strip, "PNG"))
    check_packed(asked.features, asked=True)
    check_packed(asked.fingerprint.features)
