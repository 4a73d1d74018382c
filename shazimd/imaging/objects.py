"""Other content in one place of two aligned pictures, large or small.

A large *object* (in a frame, before a fixed camera, in one hand): both pictures have a texture of their own there, and
the textures do not correlate, whatever the light. An edit lays over a photograph things that have one tone on much of
them, or are small: stickers, words.

Small *marks* (the digits of a clock, a mouth, a few words): all else agrees, and in one place the pictures have
exchanged two tones. Here one has the ink and the other the ground, there the other way round. An edit that lays words
or a sticker over a picture has no cause to use the very tones that it covers.

Small *figures* (two cells of a spreadsheet, the total of an invoice) are print of a few pixels, which a small picture
keeps badly: in one place it has lost more than other figures change in another. Two things part them. A fine blur or a
displacement changes all print alike, and is taken away by least squares. And what is left is measured by the pair's own
rest: other figures stand far above that of nearly all other places with print, or of half of them where nothing else
differs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Aligned, Mask, Plane
from shazimd.imaging.regions import REGIONS_MAX, places
from shazimd.imaging.strokes import are_structured, unlike_strokes
from shazimd.imaging.tones import gained_query, same_tones
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

_MARK_LEVELS, _MARK_NOISE, _NOISE_MAX = 16, 4, 4
"""Marks differ by so many grey levels, and by so many times the level that three quarters of the pixels differ by at
most. With more of that noise than the last one, parts of a copy may be displaced, which looks like exchanged tones."""
_MARKS_SHARE_MAX = 0.03
"""Share of the pixels that differ so much in all: marks are small."""
_MARK_PIXELS, _MARK_RATIO = 8, 0.25
"""Pixels that are brighter in the one, and in the other, at least, and the ratio of the two."""
_MARK_CONTRAST, _TONES_APART, _INK_SPREAD, _GROUND_SPREAD = 35, 0.25, 0.45, 0.7
"""Grey levels between ink and ground, and, as shares of that contrast: how far apart the tones of both pictures may
lie, and how much the ink and the ground may vary. On 46 edits of 20 tuned photos nothing passes; logos that come near
have a ratio of .02, where clocks and mouths have .25 at least, a contrast of 38, and tones .17 apart at most."""

_FIGURE_REACH, _FIGURE_SPREADS, _FIGURE_SLOPE = 3, (10.0, 0.45), 5.0
"""Pixels around a pixel in which both signs of the rest are looked for; structure, as in ``strokes``; grey levels a
pixel by which print slopes in all directions (the smaller eigenvalue of Shi and Tomasi, 1994). A line does in one."""
_FIGURE_PLACE, _FIGURE_PLACES_MIN = 8, 40
"""Pixels, the side of a place; so many places with print tell how much a pair differs."""
_FIGURE_LEVELS, _FIGURE_QUANTILE, _FIGURE_PIXELS, _MEDIAN_MIN, _SURE_LEVELS = 16, 0.95, 16, 4, 28
"""Grey levels from which on figures may be other ones, the quantile of the places that ``Borders.rests`` counts from,
pixels, the least median of the places, and grey levels that ``Borders.medians`` needs."""

_SHAPE_SPREADS, _SHAPE_LEVELS, _SHAPE_RESTS, _SHAPE_QUANTILE = (10.0, 0.0), 20, 4.4, 0.9
"""Plain pictures: structure as above, in both; grey levels from which on shapes may be other ones; by so many times
they must exceed the rest of this share of the places. Of 265 tuned edits that are compared whole, a letter of a stamp
has 3.5 times at most, other digits of 9 pixels in a badge 5.2 at least."""


class Borders(NamedTuple):
    """From which rest on figures are other ones. Half of the print of a map may be temperatures, so the second border
    counts from the median; it needs a picture that differs little otherwise."""

    rests: float
    """times the rest of 95 % of the places"""
    medians: float
    """times the median rest of the places"""
    unlike: float
    """the share of the overlap that differs, beyond which the second border grows with it"""


DRAWN_FIGURES, TONED_FIGURES = Borders(2.4, 8.0, 0.03), Borders(2.4, 6.0, 0.03)
DENSE_FIGURES, PHOTO_FIGURES = Borders(2.6, 7.0, 0.03), Borders(math.inf, 6.5, 0.009)
"""Of drawings, of those with the tones of photographs, of the print of dense pages, and of photographs. On tuned seeds
2,300 edits of 40 families, each asked both ways, have less than 2.1 times the rest of 95 % of the places, but for a
chess diagram in a screenshot, or under words, and two charts with a corner cut off. Other figures on an invoice or
statement have 2.6 at least, two cells of a full spreadsheet 1.2 to 4. In the print of dense pages 456 edits have less
than 2.5, one cell of 126 to 400 and one word of 60 lines 2.8 to 9. Of 2,600 edits those that differ by so many levels
have 7.2, 5.2, 4.4 and 6.2 times the median at most, but for one pie chart made brighter, and for logos and shots from
one side, which change more of a photograph; areas on a floor plan have 9 at least, temperatures on a map 5.9 to 12,
lines and columns of numbers in a terminal 8.4, temperatures on a photograph 7."""
_BLURS, _FIT_PIXELS = (3, 5), 4000
"""Pixels, sides of the squares whose average the details lack that a blur changes; so many pixels are fitted."""


def other_objects(both: Aligned) -> Differences | None:
    """The regions in which both have a texture, and not the same; None where there are none."""
    overlap = np.count_nonzero(both.inside)
    least = int(np.ceil(_SHARE_MIN * overlap))
    unlike = unlike_strokes(both, least, correlation_max=_CORRELATION_MAX, spreads=_SPREADS).astype(np.uint8)
    if np.count_nonzero(unlike) < least:
        return None
    whole = cv2.morphologyEx(cv2.morphologyEx(unlike, cv2.MORPH_CLOSE, _CLOSED), cv2.MORPH_OPEN, _OPENED)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole, ltype=cv2.CV_16U)
    by_area = np.argsort(-stats[1:, cv2.CC_STAT_AREA].astype(np.int64), kind="stable") + 1
    large = [number for number in by_area[:REGIONS_MAX].tolist() if stats[number, cv2.CC_STAT_AREA] >= least]
    chosen = [number for number in large if _is_natural(both, np.asarray(labels == number))]
    same = same_tones(both, _SAME_LEVELS) if chosen else both.inside
    chosen = [number for number in chosen if same[labels == number].mean() <= _SAME_MAX]
    if not chosen:
        return None
    share = float(stats[chosen, cv2.CC_STAT_AREA].sum() / overlap)
    return Differences(min(1.0, share), places(both, stats[chosen, :4].astype(np.float64)))


def other_marks(both: Aligned) -> Differences | None:
    """The small regions in which both have drawn marks on one ground, and not the same; None where there are none."""
    query, match = gained_query(both), both.match
    differs = cv2.absdiff(query, match)
    levels = cv2.calcHist([differs], [0], both.inside.view(np.uint8), [256], [0, 256]).ravel()
    overlap = int(levels.sum())
    noise = int(np.searchsorted(np.cumsum(levels), 3 * overlap // 4, side="right"))
    least = max(_MARK_LEVELS, _MARK_NOISE * noise)
    count = int(levels[least + 1 :].sum())
    if noise > _NOISE_MAX or not 2 * _MARK_PIXELS <= count <= _MARKS_SHARE_MAX * overlap:
        return None
    seeds = (cv2.max(beyond(query, match), beyond(match, query)) > least) & both.inside
    closed = cv2.morphologyEx(seeds.astype(np.uint8), cv2.MORPH_CLOSE, _OPENED)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(closed, _CLOSED), ltype=cv2.CV_16U)
    boxes = []
    for number, (left, top, width, height, _area) in enumerate(stats[1:].tolist(), 1):
        place = slice(top, top + height), slice(left, left + width)
        there = (labels[place] == number) & both.inside[place]
        if _are_exchanged(query[place][there], match[place][there], least):
            boxes.append(stats[number, :4])
    if not boxes:
        return None
    boxes = boxes[:REGIONS_MAX]
    return Differences(count / overlap, places(both, np.array(boxes, np.float64)))


def other_figures(both: Aligned, borders: Borders) -> Differences | None:
    """The few small regions of two pictures that agree in which each has print that the other lacks; None where there
    are none."""
    query, match = gained_query(both), both.match
    overlap = np.count_nonzero(both.inside)
    unlike = np.count_nonzero((cv2.absdiff(query, match) >= _SURE_LEVELS) & both.inside)
    differs_little = _FIGURE_PIXELS <= unlike <= _MARKS_SHARE_MAX * overlap
    if borders.rests == math.inf and not differs_little:
        return None
    may_be = cv2.min(*_near(cv2.subtract(query, match), cv2.subtract(match, query)))
    if cv2.minMaxLoc(may_be, both.inside.view(np.uint8))[1] < _FIGURE_LEVELS:
        return None
    lacking = _lacking(unexplained(gained_query(both), both.match, both.inside))
    if np.count_nonzero((lacking >= _FIGURE_LEVELS) & both.inside) < _FIGURE_PIXELS:
        return None
    slope = cv2.cornerMinEigenVal(cv2.addWeighted(query, 0.25, match, 0.25, 0, dtype=cv2.CV_32F), 9, ksize=3)
    printed = are_structured(query, match, _FIGURE_SPREADS) & (slope >= _FIGURE_SLOPE**2) & both.inside
    exchanged = np.where(printed, lacking, 0).astype(np.uint8, copy=False)
    known = _by_place(exchanged)[_by_place(printed.view(np.uint8)) > 0]
    if len(known) < _FIGURE_PLACES_MIN:
        return None
    rests = np.sort(known)
    least = borders.rests * int(rests[int(_FIGURE_QUANTILE * len(rests))])
    if differs_little:
        medians = borders.medians * max(1, unlike / overlap / borders.unlike)
        least = min(least, max(_SURE_LEVELS, medians * max(_MEDIAN_MIN, int(rests[len(rests) // 2]))))
    least = max(_FIGURE_LEVELS, least)
    found = exchanged >= least
    if np.count_nonzero(found) < _FIGURE_PIXELS:
        return None
    _, _, stats, _ = cv2.connectedComponentsWithStats(found.view(np.uint8))
    share = float(np.count_nonzero(found) / overlap)
    return Differences(share, places(both, stats[1 : 1 + REGIONS_MAX, :4].astype(np.float64)))


def other_shapes(both: Aligned) -> Differences | None:
    """The small regions, such as a digit in a badge, in which each of two plain pictures has something that the other
    lacks, far above the rest of nearly all their other places; None where there are none, or too few places to tell."""
    query, match = gained_query(both), both.match
    may_be = cv2.min(*_near(cv2.subtract(query, match), cv2.subtract(match, query)))
    if cv2.minMaxLoc(may_be, both.inside.view(np.uint8))[1] < _SHAPE_LEVELS:
        return None
    rest = unexplained(gained_query(both), both.match, both.inside)
    structured = are_structured(query, match, _SHAPE_SPREADS) & both.inside
    rests = np.where(structured, cv2.convertScaleAbs(rest), 0).astype(np.uint8, copy=False)
    known = _by_place(rests)[_by_place(structured.view(np.uint8)) > 0]
    if len(known) < _FIGURE_PLACES_MIN:
        return None
    least = max(_SHAPE_LEVELS, _SHAPE_RESTS * int(np.sort(known)[int(_SHAPE_QUANTILE * len(known))]))
    found = (_lacking(rest) >= least) & both.inside
    if np.count_nonzero(found) < _FIGURE_PIXELS:
        return None
    _, _, stats, _ = cv2.connectedComponentsWithStats(found.view(np.uint8))
    share = float(np.count_nonzero(found) / np.count_nonzero(both.inside))
    return Differences(share, places(both, stats[1 : 1 + REGIONS_MAX, :4].astype(np.float64)))


def _lacking(rest: NDArray[np.float32]) -> Plane:
    """The level by which each picture, near each pixel, has something that the other lacks."""
    sides = _near(*(cv2.addWeighted(rest, sign, rest, 0, 0, dtype=cv2.CV_8U) for sign in (1, -1)))
    return cv2.min(*sides).astype(np.uint8, copy=False)


def _near(*levels: cv2.typing.MatLike) -> list[Plane]:
    """The greatest level near each pixel, of each."""
    around = np.ones((2 * _FIGURE_REACH + 1, 2 * _FIGURE_REACH + 1), np.uint8)
    return [cv2.dilate(each, around).astype(np.uint8, copy=False) for each in levels]


def unexplained(query: Plane, match: Plane, inside: Mask) -> NDArray[np.float32]:
    """The difference of two planes of one tone, without the part that a blur, or a map that is a little off, explains
    in all of the picture."""
    difference = cv2.subtract(query, match, dtype=cv2.CV_32F).astype(np.float32, copy=False)
    middle = cv2.addWeighted(query, 0.5, match, 0.5, 0, dtype=cv2.CV_32F)
    details = [middle - cv2.blur(middle, (side, side)) for side in _BLURS]
    across, down = (cv2.Sobel(middle, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    pixels = np.flatnonzero(inside)
    pixels = pixels[:: max(1, len(pixels) // _FIT_PIXELS)]
    height, width = match.shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis], np.linspace(-1, 1, width, dtype=np.float32)
    where = np.stack([np.ones(len(pixels), np.float32), x[pixels % width], y[pixels // width, 0]])
    slopes = [slope.ravel()[pixels] * where for slope in (across, down)]
    terms = np.concatenate([[each.ravel()[pixels] for each in details], *slopes]).astype(np.float64)
    solution = np.linalg.solve(terms @ terms.T + np.eye(len(terms)), terms @ difference.ravel()[pixels])
    factors = solution.astype(np.float32).tolist()
    for detail, factor in zip(details, factors, strict=False):
        difference -= (detail * np.float32(factor)).astype(np.float32, copy=False)
    for slope, (same, right, below) in ((across, factors[2:5]), (down, factors[5:8])):
        moved = np.float32(same) + np.float32(right) * x + np.float32(below) * y
        difference -= (slope * moved).astype(np.float32, copy=False)
    return difference


def _by_place(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The greatest value of each place."""
    height, width = (side // _FIGURE_PLACE for side in values.shape)
    whole = values[: height * _FIGURE_PLACE, : width * _FIGURE_PLACE]
    rows = whole.reshape(height, _FIGURE_PLACE, width * _FIGURE_PLACE).max(axis=1)
    return np.asarray(rows.reshape(height, width, _FIGURE_PLACE).max(axis=2))


def _are_exchanged(query: NDArray[np.uint8], match: NDArray[np.uint8], least: int) -> bool:
    """Whether the one picture has two tones where the other has them the other way round."""
    difference = query.astype(np.int16) - match
    sharp = max(least, float(np.quantile(np.abs(difference), 0.95)) / 2)  # the edges of a stroke have mixed tones
    brighter, darker = difference > sharp, difference < -sharp
    counts = np.count_nonzero(brighter), np.count_nonzero(darker)
    if min(counts) < max(_MARK_PIXELS, _MARK_RATIO * max(counts)):
        return False
    light, dark = (query[brighter], match[darker]), (match[brighter], query[darker])
    contrast = min(float(light[0].mean() - dark[0].mean()), float(light[1].mean() - dark[1].mean()))
    apart = max(abs(float(ours.mean() - theirs.mean())) for ours, theirs in (light, dark))
    ink, ground = sorted(float(ours.std() + theirs.std()) / 2 for ours, theirs in (light, dark))
    miss = max(apart / _TONES_APART, ink / _INK_SPREAD, ground / _GROUND_SPREAD)
    return contrast >= _MARK_CONTRAST and miss <= contrast


def beyond(one: Plane, other: Plane) -> Plane:
    """How far each pixel of one lies outside of the range that the other has around it."""
    near = np.ones((3, 3), np.uint8)
    above, below = cv2.subtract(one, cv2.dilate(other, near)), cv2.subtract(cv2.erode(other, near), one)
    return cv2.max(above, below).astype(np.uint8, copy=False)


def _is_natural(both: Aligned, there: Mask) -> bool:
    return max(_commonest(side, there) for side in (both.query, both.match)) < _TONE_MAX


def _commonest(luma: Plane, there: Mask) -> float:
    """The share of the commonest tone, eight grey levels."""
    tones = np.bincount(luma[there] // 4, minlength=64)
    return float((tones[:-1] + tones[1:]).max() / tones.sum())
