"""The features of two pictures that match under their map: to be drawn, as evidence that a person can check."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from shazimd.imaging.features import unpack_features
from shazimd.imaging.maps import Map, best_map, view
from shazimd.imaging.verify import INLIERS_MIN

TOLERANCE = 4.0
"""Pixels of the candidate's frame (256), as ``verify`` counts inliers."""
BITS_MAX = 40
"""Differing bits of 128 at most; the map alone lets a tenth of all pairs pass that are no match."""
POINTS_MAX = 40
"""More lines hide the pictures."""

PointPair: TypeAlias = tuple[float, float, float, float]
"""x, y in the candidate, x, y in the query, as fractions of the pictures' sizes."""


def matched_points(query: bytes, candidate: bytes) -> list[PointPair]:
    """Matched points of two pictures by their packed features, the most alike first; empty without a map."""
    if not query or not candidate:
        return []
    asked, known = unpack_features(query), unpack_features(candidate)
    best: Map | None = None
    mirrored, side = False, asked
    for turned, features in ((False, asked), (True, asked.mirrored())):
        found = best_map(view(features), view(known))
        if found is not None and (best is None or found.inliers > best.inliers):
            best, mirrored, side = found, turned, features
    if best is None or best.inliers < INLIERS_MIN:
        return []
    placed = side.points @ best.affine[:, :2].T + best.affine[:, 2]
    far = np.linalg.norm(placed[:, None] - known.points[None], axis=2) > TOLERANCE
    bits = np.where(far, BITS_MAX + 1, (side.bits[:, None] != known.bits[None]).sum(axis=2))
    nearest = bits.argmin(axis=1)
    order = np.argsort(bits.min(axis=1), kind="stable")[:POINTS_MAX]
    pairs: list[PointPair] = []
    for n in order:
        if bits[n, nearest[n]] > BITS_MAX:
            break
        x, y = side.points[n] / (side.width, side.height)
        there = known.points[nearest[n]] / (known.width, known.height)
        pairs.append((float(there[0]), float(there[1]), float(1 - x if mirrored else x), float(y)))
    return pairs
