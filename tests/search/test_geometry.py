"""A verification from its other side is the one that the other picture would have got."""

from __future__ import annotations

import math

import pytest

from shazimd.search.geometry import inverted
from shazimd.types import Differences, Mapping, Verdict, Verification

HALF = (0.25, 0.25, 0.75, 0.75)
BOX = (0.0, 0.0, 0.5, 0.5)


def found(mapping: Mapping) -> Verification:
    return Verification(Verdict.COPY, 20, 0.9, mapping)


def test_a_crop_of_the_middle() -> None:
    """The crop lies in the middle of the whole; the whole reaches around the crop by half of its size."""
    crop = found(Mapping(0.5, 0.0, False, HALF))
    whole = inverted(crop, (200, 100), (400, 200)).mapping
    assert whole is not None
    assert (whole.scale, whole.rotation_deg, whole.mirrored) == (2.0, -0.0, False)
    assert whole.region == pytest.approx((-0.5, -0.5, 1.5, 1.5))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, -135.0])
@pytest.mark.parametrize("region", [HALF, (-0.1, 0.2, 0.3, 0.9)])
def test_twice_inverted_is_the_same(mirrored: bool, degrees: float, region: tuple[float, ...]) -> None:
    """For a map that is a similarity: its region is the box around the turned picture."""
    query, match = (300, 200), (500, 400)
    scale, turn = 0.4, math.radians(degrees)
    width = scale * (abs(math.cos(turn)) + abs(math.sin(turn)) * query[1] / query[0])
    height = scale * (abs(math.sin(turn)) + abs(math.cos(turn)) * query[1] / query[0]) * match[0] / match[1]
    x, y = region[0], region[1]
    original = found(Mapping(scale, degrees, mirrored, (x, y, x + width, y + height)))
    again = inverted(inverted(original, query, match), match, query).mapping
    assert again is not None
    assert again.region == pytest.approx((x, y, x + width, y + height))
    assert again.scale == pytest.approx(scale)
    assert (again.rotation_deg, again.mirrored) == (degrees, mirrored)


def test_the_regions_change_sides() -> None:
    other = Verification(Verdict.VARIANT, 9, None, None, Differences(0.1, ((HALF, BOX),)))
    assert inverted(other, (1, 1), (1, 1)).differs == Differences(0.1, ((BOX, HALF),))
