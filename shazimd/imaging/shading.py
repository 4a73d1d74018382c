"""Darkened edges: a filter that many programs have, seen in the ratio of two pictures laid on each other."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.laying import Grey, Laid

BLOCKS = 24
"""Blocks a side, whose means are compared."""
FALL_MIN = 0.1
"""Fall of the logarithm of the ratio from the middle to the middle of a side; twice as much to a corner."""
EXPLAINED_MIN = 0.5
"""Part of what a curve of tones leaves unexplained, by which distance from the middle must explain the ratio."""
DARK = 4.0
"""Grey levels added to each mean, so that black has a ratio."""


def with_darkened_edges(laid: Laid) -> int:
    """1 if the asked picture falls off in brightness from the middle to the edges and the known one does not, -1 for
    the other way round, else 0."""
    if laid.valid.mean() < 0.9:
        return 0
    a, b = (np.log(_means(each) + DARK) for each in (laid.a, laid.b))
    position = (np.arange(BLOCKS) + 0.5) / BLOCKS * 2 - 1
    distance = (position[:, None] ** 2 + position[None] ** 2).ravel()
    falls = [_fall(a - b, tones, distance) for tones in (a, b)]
    fall = min(falls, key=abs)
    return 0 if abs(fall) < FALL_MIN else (1 if fall < 0 else -1)


def _means(picture: Grey) -> NDArray[np.float64]:
    return cv2.resize(picture, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()


def _fall(ratio: NDArray[np.float64], tones: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    """The slope of the ratio with the distance, beside a curve of tones; 0 where the distance explains little."""
    curve = np.column_stack([np.ones_like(tones), tones, tones**2])
    both = np.column_stack([ratio, distance])
    left, beside = (both - curve @ np.linalg.lstsq(curve, both, rcond=None)[0]).T
    spread = float(beside @ beside)
    if spread < 1e-9:
        return 0.0
    slope = float(beside @ left) / spread
    explained = slope * float(beside @ left) / max(float(left @ left), 1e-9)
    return slope if explained >= EXPLAINED_MIN else 0.0
