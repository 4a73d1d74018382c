"""An affine map between two frames, as answers describe it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import scale_of
from shazimd.imaging.features import Features
from shazimd.types import Mapping

CONTAINED_MIN = 0.8
"""Pages, drawings and plain pictures: the part of a picture on the other picture. Two months of a calendar agree in all
days but for a week; a crop in a window of a screen lies whole on its original."""


def mapping(affine: NDArray[np.float64], query: Features, candidate: Features, mirrored: bool) -> Mapping:
    """Describe ``affine`` [2, 3]: pixels of the query's frame (mirrored where said) -> pixels of the candidate's."""
    (a, b, c), (d, e, f) = affine.tolist()
    corners = [(a * x + b * y + c, d * x + e * y + f) for x, y in _corners(query)]
    across, down = [x / candidate.width for x, _ in corners], [y / candidate.height for _, y in corners]
    return Mapping(
        scale=scale_of(affine) * query.width / candidate.width,
        rotation_deg=math.degrees(math.atan2(d - b, a + e)),
        mirrored=mirrored,
        region=(min(across), min(down), max(across), max(down)),
    )


def upright(laid: Mapping, query: Features, candidate: Features) -> NDArray[np.float64]:
    """The affine map [2, 3] described by ``mapping``; the map neither turns nor mirrors."""
    left, top, right, bottom = laid.region
    across, down = candidate.width / query.width, candidate.height / query.height
    return np.array(
        [
            [(right - left) * across, 0, left * candidate.width],
            [0, (bottom - top) * down, top * candidate.height],
        ]
    )


def shared_parts(affine: NDArray[np.float64], query: Features, match: Features) -> tuple[float, float]:
    """The parts of the query and of the match, [0, 1], on the other picture."""
    (a, b, c), (d, e, f) = affine.tolist()
    corners = [[a * x + b * y + c, d * x + e * y + f] for x, y in _corners(query)]
    shared = _area(_within(corners, (match.width, match.height)))
    laid = abs(a * e - b * d) * query.width * query.height
    return shared / laid, shared / (match.width * match.height)


def _corners(features: Features) -> list[tuple[int, int]]:
    return [(0, 0), (features.width, 0), (features.width, features.height), (0, features.height)]


def _within(corners: list[list[float]], size: tuple[int, int]) -> list[list[float]]:
    """The part of a convex polygon within a frame (Sutherland and Hodgman, CACM 1974).

    OpenCV's intersectConvexConvex gives half of the area for a twelfth of maps near to the identity, with edges of both
    on a common line up to rounding."""
    for axis, border, sign in ((0, 0, 1), (0, size[0], -1), (1, 0, 1), (1, size[1], -1)):
        kept: list[list[float]] = []
        for before, here in zip([corners[-1], *corners], corners, strict=False):
            a, b = sign * (before[axis] - border), sign * (here[axis] - border)
            if min(a, b) < 0 < max(a, b):
                kept.append([p + a / (a - b) * (q - p) for p, q in zip(before, here, strict=True)])
            if b >= 0:
                kept.append(here)
        if not kept:
            return []
        corners = kept
    return corners


def _area(corners: list[list[float]]) -> float:
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in pairwise([*corners[-1:], *corners]))) / 2
