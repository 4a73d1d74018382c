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
_SAME = 1e-9
"""Difference of maps that are the same but for rounding."""
REFINED_SIDE = 400
"""Pixels of the longer side of the pictures that a map is refined on."""
TILTED_FROM = 0.25
"""Part of what an affine map leaves uncorrelated, by which a map in perspective must explain more."""
TILTED_MIN = 0.002
"""Part that an affine map leaves uncorrelated, from which on a map in perspective is looked for: of 24 tuned photos
whose corners were moved by up to 3 or 4 % of the sides the least was .0035. Five of six crops leave less."""


Grey = NDArray[np.float32]
PixelMap = NDArray[np.float64]
"""[3, 3]: a homography from the pixels of the asked picture to those of the known one; its last number is 1"""


class Laid(NamedTuple):
    """Two pictures on one grid, the finer of both."""

    a: Grey
    b: Grey
    valid: NDArray[np.bool_]
    scale: float
    """of the asked picture's pixels on the known one's grid"""


def map_of(mapping: Mapping, a: Grey, b: Grey) -> PixelMap:
    """The map between all pixels. A map that is nearly a quarter turn of a whole picture is taken as that:
    verification measures on small pictures. Other maps are refined on the pixels, in perspective where that explains
    more."""
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
    found = np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])
    return found if is_exact else _refined(a, b, found)


def inverted_map(there: PixelMap) -> PixelMap:
    back = np.linalg.inv(there)
    return np.asarray(back / back[2, 2], np.float64)


def placed(points: NDArray[np.float64], there: PixelMap) -> NDArray[np.float64]:
    """[n, 2]: the places of points [n, 2] in the other picture."""
    moved = points @ there[:, :2].T + there[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])


def corners_of(picture: Grey) -> NDArray[np.float64]:
    """[4, 2]: the corners of a picture's outermost pixels, clockwise from the upper left."""
    height, width = picture.shape
    return np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5


def laid_on_each_other(a: Grey, b: Grey, there: PixelMap) -> Laid:
    scale = _area_of(placed(corners_of(a), there)) / a.size
    if scale >= 1:
        moved, valid = warped(a, there, (b.shape[1], b.shape[0]))
        return Laid(moved, b, valid, math.sqrt(scale))
    moved, valid = warped(b, inverted_map(there), (a.shape[1], a.shape[0]))
    return Laid(a, moved, valid, math.sqrt(scale))


def warped(
    picture: NDArray[np.float32], there: PixelMap, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(a picture [h, w] or [h, w, 3] laid on another grid, the pixels [h, w] that it shows there)."""
    turned = _turned(picture, there, size)
    if turned is not None:
        return turned, np.ones(turned.shape[:2], np.bool_)
    moved = cv2.warpPerspective(picture, there, size, flags=cv2.INTER_CUBIC)
    whole = np.ones(picture.shape[:2], np.float32)
    valid = cv2.warpPerspective(whole, there, size, flags=cv2.INTER_LINEAR) > 0.999
    return np.asarray(moved, np.float32), cv2.erode(valid.astype(np.uint8), np.ones((5, 5))).astype(bool)


def _turned(picture: NDArray[np.float32], there: PixelMap, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """The picture turned by quarters or mirrored, where the map does no more than that."""
    linear = np.rint(there[:2, :2])
    is_across = not linear[0, 0]
    turned = picture.swapaxes(0, 1) if is_across else picture
    right, down = linear.sum(axis=1).tolist()
    if turned.shape[1::-1] != size or sorted(np.abs(linear).ravel().tolist()) != [0, 0, 1, 1] or abs(right * down) != 1:
        return None
    moved = np.array([[0 if right > 0 else size[0] - 1], [0 if down > 0 else size[1] - 1]])
    if np.abs(there - np.vstack([np.hstack([linear, moved]), [0, 0, 1]])).max() > _SAME:
        return None
    return np.ascontiguousarray(turned[:: int(down), :: int(right)])


def _area_of(corners: NDArray[np.float64]) -> float:
    return abs(float(cv2.contourArea(corners.astype(np.float32))))


def _refined(a: Grey, b: Grey, there: PixelMap) -> PixelMap:
    """The best-correlating map near the given map; the given map if the search fails."""
    scale_a, scale_b = (min(1.0, REFINED_SIDE / max(each.shape)) for each in (a, b))
    small_a, small_b = (
        np.asarray(cv2.resize(each, None, fx=f, fy=f, interpolation=cv2.INTER_AREA), np.float32)
        for each, f in ((a, scale_a), (b, scale_b))
    )
    # ECC wants the map from its template, here the known picture.
    back = np.diag([scale_a, scale_a, 1]) @ inverted_map(there) @ np.diag([1 / scale_b, 1 / scale_b, 1])
    found = _best(small_a, small_b, back, cv2.MOTION_AFFINE)
    if found is None:
        return there
    may_be_tilted = 1 - found[1] >= TILTED_MIN
    tilted = _best(small_a, small_b, found[0], cv2.MOTION_HOMOGRAPHY) if may_be_tilted else None
    if tilted is not None and 1 - tilted[1] < (1 - TILTED_FROM) * (1 - found[1]):
        found = tilted
    return inverted_map(np.diag([1 / scale_a, 1 / scale_a, 1]) @ found[0] @ np.diag([scale_b, scale_b, 1]))


def _best(moved: Grey, still: Grey, start: PixelMap, motion: int) -> tuple[PixelMap, float] | None:
    """(the map of one kind that correlates best, the correlation); None if the search did not converge, or went far."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    given = start if motion == cv2.MOTION_HOMOGRAPHY else start[:2]
    try:
        everything = np.full(moved.shape, 255, np.uint8)
        correlation, warp = cv2.findTransformECC(still, moved, given.astype(np.float32), motion, stop, everything, 5)
    except cv2.error:
        return None
    found = np.eye(3)
    found[: len(warp)] = warp
    corners = corners_of(still)
    before, after = (_area_of(placed(corners, each)) for each in (start, found))
    depth = corners @ found[2, :2] + 1
    if after < 0.5 * before or depth.min() < 0.3:
        return None
    return found / found[2, 2], correlation
