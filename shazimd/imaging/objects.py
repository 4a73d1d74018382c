"""Another object in the same place of two aligned photographs: in a frame, before a fixed camera, in one hand.

Both pictures have a texture of their own there, and the textures do not correlate, whatever the light. An edit lays
over a photograph things that have one tone on much of them, or are small: stickers, words.
"""

from __future__ import annotations

import cv2
import numpy as np

from shazimd.imaging.alignment import Aligned, Mask, Plane
from shazimd.imaging.regions import REGIONS_MAX, places
from shazimd.imaging.strokes import unlike_strokes
from shazimd.imaging.tones import gained_match, gained_query
from shazimd.types import Differences

_SPREADS, _CORRELATION_MAX = (5.0, 0.0), 0.3
"""As in ``strokes``: any texture."""
_CLOSED, _OPENED = np.ones((5, 5), np.uint8), np.ones((7, 7), np.uint8)
_SHARE_MIN, _TONE_MAX = 0.04, 0.28
"""Share of the overlap, and of the commonest tone in either picture. Stickers on tuned photos reached .031 with .35 of
one tone, a repost .051 with .34; two objects before one camera have .057 at least with .15."""
_SAME_LEVELS, _SAME_MAX = 4, 0.25
"""Grey levels by which pixels differ that show the same, and their share: between the letters of large words it is .32
at least, where objects differ .07 at most."""


def other_objects(both: Aligned) -> Differences | None:
    """The regions in which both have a texture, and not the same; None where there are none."""
    overlap = np.count_nonzero(both.inside)
    least = int(np.ceil(_SHARE_MIN * overlap))
    unlike = unlike_strokes(both, least, correlation_max=_CORRELATION_MAX, spreads=_SPREADS).astype(np.uint8)
    if np.count_nonzero(unlike) < least:
        return None
    whole = cv2.morphologyEx(cv2.morphologyEx(unlike, cv2.MORPH_CLOSE, _CLOSED), cv2.MORPH_OPEN, _OPENED)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole)
    by_area = np.argsort(-stats[1:, cv2.CC_STAT_AREA].astype(np.int64), kind="stable") + 1
    large = [number for number in by_area[:REGIONS_MAX].tolist() if stats[number, cv2.CC_STAT_AREA] >= least]
    chosen = [number for number in large if _is_natural(both, np.asarray(labels == number))]
    same = _same(both) if chosen else both.inside
    chosen = [number for number in chosen if same[labels == number].mean() <= _SAME_MAX]
    if not chosen:
        return None
    share = float(stats[chosen, cv2.CC_STAT_AREA].sum() / overlap)
    return Differences(min(1.0, share), places(both, stats[chosen, :4].astype(np.float64)))


def _same(both: Aligned) -> Mask:
    """The pixels of one tone in both, once the tones of one are adapted to the other's."""
    miss = cv2.absdiff(gained_query(both), both.match), cv2.absdiff(gained_match(both), both.query)
    return np.asarray(cv2.min(*miss) <= _SAME_LEVELS)


def _is_natural(both: Aligned, there: Mask) -> bool:
    return max(_commonest(side, there) for side in (both.query, both.match)) < _TONE_MAX


def _commonest(luma: Plane, there: Mask) -> float:
    """The share of the commonest tone, eight grey levels."""
    tones = np.bincount(luma[there] // 4, minlength=64)
    return float((tones[:-1] + tones[1:]).max() / tones.sum())
