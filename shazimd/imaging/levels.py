"""Levels lost at the ends of the scale: a picture made brighter, or richer in contrast or colour, is clipped in places
with shades in the original."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.laying import PixelMap, inverted_map, warped

LOST_MIN = 0.004
"""Share of a channel that is clipped in one picture and has shades in the other."""
SHADES_MIN = 10.0
"""Levels from the 10th to the 90th percentile; JPEG leaves fewer on a flat place."""
SMOOTHED = 5
"""Pixels over which a shade is averaged."""

Rgb = NDArray[np.uint8]
"""[h, w, 3]"""


def with_lost_levels(a: Rgb, b: Rgb, there: PixelMap) -> int:
    """1 if the asked picture has lost levels of the known picture, -1 for the reverse; 0 for neither or both. ``there``
    leads from the asked picture to the known picture."""
    return _has_lost(a, b, inverted_map(there)) - _has_lost(b, a, there)


def _has_lost(picture: Rgb, other: Rgb, here: PixelMap) -> bool:
    height, width = picture.shape[:2]
    # Noise is no shade.
    smooth = np.asarray(cv2.blur(other.astype(np.float32), (SMOOTHED, SMOOTHED)), np.float32)
    laid, valid = warped(smooth, here, (width, height))
    lost = 0
    for channel in range(3):
        own = picture[..., channel]
        for end in (0, 255):
            clipped = cv2.erode(((own == end) & valid).astype(np.uint8), np.ones((3, 3))).astype(bool)
            number = int(clipped.sum())
            shades = laid[..., channel][clipped]
            if number > LOST_MIN * own.size / 3 and np.ptp(np.percentile(shades, (10, 90))) >= SHADES_MIN:
                lost += number
    return bool(lost > LOST_MIN * height * width)
