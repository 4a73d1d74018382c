"""Two photographs in one frame are two pictures, though the frame has all the features."""

from __future__ import annotations

import numpy as np
from drawn import encoded, photograph
from fingerprints import judged, query_of
from PIL import Image, ImageDraw

from shazimd.imaging.verify import verify
from shazimd.types import Verdict

PALE = 0.25
"""Contrast of the inner pictures: strokes of much contrast are told by another test."""


def framed(seed: int) -> Image.Image:
    inner = np.asarray(photograph(200, 160, seed)) * PALE + 110
    picture = photograph(400, 320, 99)
    picture.paste(Image.fromarray(inner.astype(np.uint8)), (100, 80))
    return picture


def test_another_picture_in_one_frame_is_a_variant_both_ways() -> None:
    """The difference is where the inner pictures are."""
    one, other = framed(1), framed(2)
    assert [judged(one, other).verdict, judged(other, one).verdict] == [Verdict.VARIANT] * 2
    differs = judged(one, other).differs
    assert differs is not None
    assert np.allclose(differs.regions[0][1], (0.25, 0.25, 0.75, 0.75), atol=0.05)


def test_a_framed_picture_saved_again_is_a_copy() -> None:
    saved, known = query_of(encoded(framed(1), "JPEG", quality=40)), query_of(encoded(framed(1), "PNG"))
    assert verify(saved.features, known.fingerprint.features).verdict is Verdict.COPY


def test_a_bar_across_a_photograph_leaves_a_copy() -> None:
    """Other tones from edge to edge are a bar laid over one of them."""
    barred = photograph(400, 320, 5)
    ImageDraw.Draw(barred).rectangle((0, 200, 400, 290), fill=(40, 40, 40))
    assert judged(barred, photograph(400, 320, 5)).verdict is Verdict.COPY
