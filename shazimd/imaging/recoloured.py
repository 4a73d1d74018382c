"""Places of two aligned drawings that have another colour at the same brightness."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask
from shazimd.imaging.regions import is_near_edge

_UNLIKE_CHROMA, _VIVID_CHROMA, _GREY = 24.0, 42.0, 6
"""Levels of Cr and Cb, as a distance: of other colours, and of colours that no sepia (36 at most) and no faded copy
has; pictures with so few as the last in each differ by less, also where an enlargement by cubic interpolation
overshoots."""
RECOLOURED_SHARE, RECOLOURED_PIXELS = 0.004, 24
"""Pages and drawings: the share of the overlap, and pixels, that have another colour at the same brightness."""


def recoloured(both: Aligned, counted: Mask, step: int) -> Mask:
    """The places of different colours, up to a factor of saturation; those of the paler one if a picture is grey."""
    least = RECOLOURED_PIXELS / step**2
    if both.are_both_grey(_GREY):
        return np.zeros_like(counted)
    ours, theirs, inside = both.colours(counted, step)
    red, blue = (cv2.absdiff(one, other) for one, other in zip(ours, theirs, strict=True))
    far = cv2.add(cv2.multiply(red, red, dtype=cv2.CV_16U), cv2.multiply(blue, blue, dtype=cv2.CV_16U))
    if np.count_nonzero((far > _UNLIKE_CHROMA**2) & inside) < least:
        return np.zeros_like(counted)
    a, b = (np.array(side, np.float32) - 128 for side in (ours, theirs))
    distance = far.astype(np.float32, copy=False)
    strength = [sum(cv2.mean(np.abs(plane), inside.astype(np.uint8))[0] for plane in side) / 2 for side in (a, b)]
    paler = _square_sums((a, b)[strength[1] < strength[0]])
    is_vivid = _is_place(paler > _VIVID_CHROMA**2, inside, least)
    if min(strength) < 0.25 * max(strength) and not is_vivid:  # a faded copy has no colour that the other has not
        inside &= (paler > _UNLIKE_CHROMA**2) & ((a * b).sum(axis=0) <= 0)
    saturated = _saturation(a, b, inside) * a
    miss = np.minimum(_square_sums(saturated - b), distance)
    unlike = cv2.morphologyEx(
        ((miss > _UNLIKE_CHROMA**2) & inside).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    if not _is_place(unlike > 0, inside, least):
        return np.zeros_like(counted)
    found, (whole, _) = np.zeros_like(counted), both.coarser(step)
    height, width = found[whole].shape
    found[whole] = cv2.resize(unlike, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return found


def without_discs(colours: Mask, stamps: Mask, disc_max: float, overlap: int) -> Mask:
    """The places of other colours but for stamps near the edge, of ``disc_max`` pixels at most: a disc may be as bright
    as its ground, and then its letter alone is unlike. No places if too little of the overlap is left."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((colours | stamps).view(np.uint8), ltype=cv2.CV_16U)
    holds = np.bincount(labels[stamps], minlength=len(stats)) > 0
    small = stats[:, 2:4].astype(np.int64).prod(axis=1) <= disc_max
    left = colours & ~(holds & small & is_near_edge(stats[:, :4], colours.shape))[labels]
    return left if np.count_nonzero(left) >= RECOLOURED_SHARE * overlap else np.zeros_like(left)


def _is_place(pixels: Mask, inside: Mask, least: float) -> bool:
    """Whether the pixels are so many, and so much of the overlap, that their colour counts."""
    return bool(np.count_nonzero(pixels & inside) >= max(least, RECOLOURED_SHARE * np.count_nonzero(inside)))


def _saturation(a: NDArray[np.float32], b: NDArray[np.float32], inside: Mask) -> float:
    """By how much the colours of b are stronger than those of a, from the vivid ones."""
    strength = _square_sums(a)
    vivid = (strength > 128) & inside
    if not vivid.any():
        return 1.0
    common = a[0] * b[0] + a[1] * b[1]
    factors = np.sort(common[vivid] / strength[vivid])
    return float(min(1.7, max(0.6, factors[len(factors) // 2])))


def _square_sums(chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(chroma[0] * chroma[0] + chroma[1] * chroma[1])
