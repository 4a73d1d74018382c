from __future__ import annotations

import io

import imagehash
import numpy as np
import pytest
from drawn import encoded, photograph
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from shazimd.imaging.hashes import COMPUTED, ORIENTATIONS, Thumbnails, oriented_hashes
from shazimd.text import HASHES

SIZES = st.integers(1, 200)


def _drawn(width: int, height: int, seed: int, smooth: bool) -> Image.Image:
    """Noise, or noise enlarged from 4 x 4, as photos are: neighbours alike."""
    random = np.random.default_rng(seed)
    shape = (4, 4, 3) if smooth else (height, width, 3)
    image = Image.fromarray(random.integers(0, 256, shape, np.uint8))
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _upright(image: Image.Image) -> tuple[int, ...]:
    return oriented_hashes(image.convert("L"))[0]


def _reference(image: Image.Image) -> tuple[int, int]:
    return int(str(imagehash.average_hash(image)), 16), int(str(imagehash.dhash(image)), 16)


@given(SIZES, SIZES, st.integers(0, 1000), st.booleans())
@settings(max_examples=150, deadline=None)
def test_hashes_equal_those_of_imagehash(width: int, height: int, seed: int, smooth: bool) -> None:
    """Bit for bit, on pictures of any size."""
    image = _drawn(width, height, seed, smooth)
    assert _upright(image) == _reference(image)


@given(st.integers(64, 700), st.floats(0.1, 1.8), st.integers(0, 1000), st.booleans())
@example(width=64, height_share=1.8, seed=0, smooth=False)
@settings(max_examples=60, deadline=None)
def test_thumbnails_are_pillows_own(width: int, height_share: float, seed: int, smooth: bool) -> None:
    """Level for level, though they are made by matrix products. (Higher pictures have rows reduced first.)"""
    luma = _drawn(width, max(64, int(height_share * width)), seed, smooth).convert("L")
    sizes = (8, 8), (9, 8), (8, 9)
    expected = [np.asarray(luma.resize(size, Image.Resampling.LANCZOS)) for size in sizes]
    assert all(np.array_equal(*pair) for pair in zip(expected, Thumbnails.of(luma), strict=True))


@pytest.mark.parametrize("size", [(400, 300), (301, 517), (1600, 900)])
def test_hashes_of_photos_equal_those_of_imagehash(size: tuple[int, int]) -> None:
    """Bit for bit, on photographs as decoders give them."""
    for seed in range(3):
        image = Image.open(io.BytesIO(encoded(photograph(seed=seed).resize(size), "JPEG", quality=85)))
        assert _upright(image) == _reference(image)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (50, 40), 7), (0, 0)),
        (Image.linear_gradient("L"), (0x00000000FFFFFFFF, 0)),
        (Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90), (0x0F0F0F0F0F0F0F0F, 2**64 - 1)),
    ],
    ids=["flat", "darker at the top", "darker at the left"],
)
def test_the_first_bit_is_top_left_and_most_significant(image: Image.Image, expected: tuple[int, int]) -> None:
    """Known pictures have known hashes."""
    assert _upright(image) == expected


@given(st.integers(32, 200), st.integers(32, 200), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_oriented_hashes_are_those_of_the_turned_picture(width: int, height: int, seed: int) -> None:
    """Each of the 8 pairs is that of the picture turned so, but for bits that rounding decides."""
    image = _drawn(width, height, seed, smooth=True).convert("L")
    for hashes, turn in zip(oriented_hashes(image), ORIENTATIONS, strict=True):
        expected = _reference(image if turn is None else image.transpose(turn))
        assert all((a ^ b).bit_count() <= 8 for a, b in zip(hashes[:2], expected, strict=True))


def test_every_hash_is_computed() -> None:
    """The table of names and the table of functions have the same hashes."""
    assert list(COMPUTED) == [each.name for each in HASHES]


def test_the_orientations_are_eight_different_views() -> None:
    """Turned and mirrored in every way, upright first."""
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert ORIENTATIONS[0] is None
    views = [image, *(image.transpose(turn) for turn in ORIENTATIONS if turn is not None)]
    assert len({(view.size, view.tobytes()) for view in views}) == 8
    assert [view.size for view in views] == [(3, 2)] * 4 + [(2, 3)] * 4
