"""A few pixels of other content on photographs that agree everywhere else."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import photograph
from fingerprints import judged
from PIL import Image, ImageDraw, ImageFont

from benchmarks.quality.edits import recompressed, scaled, stamped
from shazimd.types import Verdict


def clock(time: str | None) -> Image.Image:
    """A photograph with the time of day over it."""
    image = photograph(seed=3)
    if time is not None:
        font = ImageFont.load_default(image.width // 10)
        ImageDraw.Draw(image).text((image.width // 3, image.height // 3), time, "white", font)
    return image


@pytest.mark.parametrize("time", ["21:39", "06:14", "00:00"])
def test_another_time_over_one_photograph_is_a_variant(time: str) -> None:
    """Whichever is asked; the region is that of the digits."""
    pair = clock("07:33"), clock(time)
    found = [judged(*pair), judged(*reversed(pair))]
    assert [each.verdict for each in found] == [Verdict.VARIANT] * 2
    for each in found:
        assert each.differs is not None
        for (left, top, right, bottom), _ in each.differs.regions:
            assert 0.25 < left < right < 0.75
            assert 0.25 < top < bottom < 0.6


def test_a_time_that_one_photograph_lacks_is_an_addition() -> None:
    """Nothing is replaced."""
    pair = clock("07:33"), clock(None)
    assert [judged(*pair).verdict, judged(*reversed(pair)).verdict] == [Verdict.COPY] * 2


def test_an_edited_clock_is_a_copy_of_itself_alone() -> None:
    """Halved, recompressed, or with a logo in a corner."""
    edits = [recompressed(clock("07:33"), 60), recompressed(scaled(clock("07:33"), 0.5), 80)]
    edits.append(stamped(clock("07:33"), 0.15, np.random.default_rng(1)))
    for edited in edits:
        assert judged(edited, clock("07:33")).verdict is Verdict.COPY
        assert judged(edited, clock("21:39")).verdict is not Verdict.COPY
