"""Lays a verified pair on one grid: the map between their pixels, and one picture on the other's grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.types import Mapping

TURN_MIN = 1.5
"""Degrees from a quarter turn."""
WHOLE, WHOLE_OF_SAME_SIZE = 0.007, 0.02
"""Share of a side by which the map of a whole picture may miss its border; for pictures of any or of the same size."""
REFINED_SIDE = 400
"""Pixels of the longer side of the pictures that a map is refined on."""

Grey = NDArray[np.float32]
Affine = NDArray[np.float64]
"""[2, 3]: pixels of the asked picture to pixels of the known one"""


class Laid(NamedTuple):
    """Two pictures on one grid, the finer of both."""

    a: Grey
    b: Grey
    valid: NDArray[np.bool_]
    scale: float
    """of the asked picture's pixels on the known one's grid"""


def affine_of(mapping: Mapping, a: Grey, b: Grey) -> Affine:
    """The map between all pixels. A map that is nearly a quarter turn of a whole picture is taken as that:
    verification measures on small pictures. Other maps are refined on the pixels."""
    (height_a, width_a), (height_b, width_b) = a.shape, b.shape
    left, top, right, bottom = mapping.region
    quarter = round(mapping.rotation_deg / 90)
    is_quarter = abs(mapping.rotation_deg - 90 * quarter) < TURN_MIN
    turn = math.radians(90 * quarter if is_quarter else mapping.rotation_deg)
    scale = mapping.scale * width_b / width_a
    linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    mirror = np.diag([-1.0 if mapping.mirrored else 1.0, 1.0])
    centre = np.array([(left + right) / 2 * width_b, (top + bottom) / 2 * height_b])
    sides = (height_a, width_a) if quarter % 2 else (width_a, height_a)
    tolerance = WHOLE_OF_SAME_SIZE if sides == (width_b, height_b) else WHOLE
    if is_quarter and max(abs(left), abs(top), abs(right - 1), abs(bottom - 1)) < tolerance:
        stretch = np.diag([width_b / sides[0], height_b / sides[1]])
        linear, centre = stretch @ linear @ mirror, np.array([width_b / 2, height_b / 2])
        is_exact = True
    else:
        linear, is_exact = scale * linear @ mirror, False
    # Pixel centres lie at halves: the middle of a picture of n pixels is n / 2 - 0.5 in its coordinates.
    shift = centre - 0.5 - linear @ np.array([width_a / 2 - 0.5, height_a / 2 - 0.5])
    affine = np.column_stack([linear, shift])
    return affine if is_exact else _refined(a, b, affine)


def _refined(a: Grey, b: Grey, affine: Affine) -> Affine:
    """The map that correlates the pictures best, near the given one; the given one where that search leads nowhere."""
    scale_a, scale_b = (min(1.0, REFINED_SIDE / max(each.shape)) for each in (a, b))
    small_a, small_b = (
        cv2.resize(each, None, fx=f, fy=f, interpolation=cv2.INTER_AREA) for each, f in ((a, scale_a), (b, scale_b))
    )
    back = inverted_affine(affine)  # ECC wants the map from its template, here the known picture
    start = np.column_stack([back[:, :2] * scale_a / scale_b, back[:, 2] * scale_a]).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    size = small_b.shape[1], small_b.shape[0]
    inside = cv2.warpAffine(np.full_like(small_a, 255), start, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    try:
        _, found = cv2.findTransformECC(small_b, small_a, start, cv2.MOTION_AFFINE, stop, inside.astype(np.uint8), 5)
    except cv2.error:  # it did not converge
        return affine
    refined = np.column_stack([found[:, :2] * scale_b / scale_a, found[:, 2] / scale_a]).astype(np.float64)
    if abs(np.linalg.det(refined[:, :2])) < 0.5 * abs(np.linalg.det(back[:, :2])):
        return affine
    return inverted_affine(refined)


def laid_on_each_other(a: Grey, b: Grey, affine: Affine) -> Laid:
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if scale >= 1:
        size = b.shape[1], b.shape[0]
        there, valid = warped(a, affine, size)
        return Laid(there, b, valid, scale)
    back = inverted_affine(affine)
    there, valid = warped(b, back, (a.shape[1], a.shape[0]))
    return Laid(a, there, valid, scale)


def inverted_affine(affine: Affine) -> Affine:
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def warped(picture: Grey, affine: Affine, size: tuple[int, int]) -> tuple[Grey, NDArray[np.bool_]]:
    there = cv2.warpAffine(picture, affine, size, flags=cv2.INTER_CUBIC)
    valid = cv2.warpAffine(np.ones_like(picture), affine, size, flags=cv2.INTER_LINEAR) > 0.999
    return np.asarray(there, np.float32), cv2.erode(valid.astype(np.uint8), np.ones((5, 5))).astype(bool)
