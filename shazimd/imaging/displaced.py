"""Parts of a plain picture that lie elsewhere in the other one, by less than a pixel: a mouth, the hand of a clock.

An edit moves all of a picture, and the map follows; other content moves a part. The difference of two aligned pictures
is, at a displaced part, the gradient times the displacement (Lucas and Kanade, 1981), which is found for each place
along the direction in which the picture changes most.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned
from shazimd.imaging.tones import gained_query

_PLACE = 12
"""Pixels, both sides of a place; they lie half of it apart."""
_STRUCTURE_MIN = 20.0
"""Mean square of the gradient along that direction, in grey levels a pixel."""
_DISTANCES, _TIMES, _PLACES_MIN = (0.2, 0.5), 10, 3
"""Pixels: a part is displaced from the second distance on; from the first on if it is so many times that of half of all
places, which compression and resampling displace, too; and so many places. On the tuned seed JPEG, WebP, blur and half
of the size move a part by .16 at most, half of all places by .02 to .04; by .37 in pictures that are kept coarser."""
_EXPLAINED_MIN = 0.6
"""The part of the squared difference that the displacement explains: of what an edit adds, it explains little."""
_EXPLAINED_LEVELS = 3.5
"""Grey levels, root mean square, that the displacement explains: coding moves the faint edge of two dark stripes by .3
pixels, which makes 2 levels; mouths and eyes make 6.4 at least."""
_LEVELS_MAX = 3.0
"""Grey levels by which half of the pixels may differ: clipped tones move edges, too."""


def has_displaced_parts(both: Aligned) -> bool:
    """Whether some parts of two pictures with equal tones are displaced against the rest."""
    query, match = gained_query(both), both.match
    far = (cv2.absdiff(both.query, match) > _LEVELS_MAX) & both.inside
    if 2 * np.count_nonzero(far) > np.count_nonzero(both.inside):
        return False
    middle = cv2.addWeighted(query, 0.5, match, 0.5, 0, dtype=cv2.CV_32F)
    across, down = (cv2.Sobel(middle, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    difference = cv2.subtract(match, query, dtype=cv2.CV_32F) * both.inside
    xx, xy, yy = _means(across * across), _means(across * down), _means(down * down)
    x, y, all_ = _means(across * difference), _means(down * difference), _means(difference * difference)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    cosine, sine = np.cos(angle), np.sin(angle)
    structure = np.maximum(1e-6, cosine * cosine * xx + 2 * cosine * sine * xy + sine * sine * yy)
    along = cosine * x + sine * y
    structured = structure >= _STRUCTURE_MIN
    if np.count_nonzero(structured) < _PLACES_MIN:
        return False
    structure, along, all_ = structure[structured], np.abs(along[structured]), all_[structured]
    distances = along / structure
    least = np.clip(_TIMES * np.median(distances), *_DISTANCES)
    is_explained = along * along >= structure * np.maximum(_EXPLAINED_MIN * all_, _EXPLAINED_LEVELS**2)
    is_displaced = (distances >= least) & is_explained
    return int(np.count_nonzero(is_displaced)) >= _PLACES_MIN


def _means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    half = _PLACE // 2
    return np.asarray(cv2.boxFilter(values, cv2.CV_32F, (_PLACE, _PLACE))[half::half, half::half], np.float64)
