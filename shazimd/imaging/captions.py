"""Other words laid over a photograph: a short caption, a plate, the date burned in by a camera.

Letters of a few pixels differ by little, but the rest of the photograph does not differ at all. In some place brighter
and darker pixels lie side by side, thin and with the photograph between them. Both pictures have about as much
structure there, and as much of it as they differ by: each has words lacking in the other. Words, a logo or a sticker
over either picture leave the other with less; a caption blurred, sharpened or moved by a fraction of a pixel differs by
less than its own strokes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Affine, Mask, Plane, align_fine, as_plane
from shazimd.imaging.features import Features
from shazimd.imaging.objects import unexplained
from shazimd.imaging.regions import places
from shazimd.imaging.tones import gained
from shazimd.types import Differences

_LEVELS, _NOISE, _NOISE_QUANTILE = 8, 4, 0.75
"""Grey levels of a difference, and as a multiple of the most of this share of the pixels."""
_NEAR, _CLOSED = np.ones((7, 7), np.uint8), np.ones((3, 11), np.uint8)
"""Pixels: brighter ones lie as near to darker ones, and letters to each other."""
_SHARE_MAX, _PIXELS = 0.2, 3
"""The share of the overlap differing at most, and pixels of each sign at least."""
_MOST = 0.4
"""Of all differences, in grey levels, as much lies in the place."""
_SIGNS_MIN, _LONG_MIN = 0.3, 1.25
"""The pixels of one sign as a share of those of the other, and the longer side of the place as a multiple of the
shorter: words laid over words leave less of these, and a disc or a box is as wide as high."""
_FILL = 0.11, 0.66
"""The share of the place differing: letters leave the photograph between them."""
_CONTRAST, _APART = 12.0, 2.0
"""Grey levels between ink and ground, means of the pixels of each sign, and how far apart those of both pictures may
lie, as a share of the contrast."""
_BALANCE, _DIFFER = 0.77, (0.8, 1.65)
"""The structure of either picture as a share of the other's, and their difference as a share of the lesser: root mean
squares. Independent words differ by 1.41 of it; those of a stretched caption by .48. How all of these limits were
derived: benchmarks/quality/README.md."""
_DETAIL = 7, 7
"""Pixels: finer detail is structure."""
_COARSER, _COLOUR_STEP = 0.6, 2
"""The share of the sides that large letters are looked for in, and by how much colours are coarser: JPEG keeps them at
half."""
_STEPS = 4
"""Steps of a grey level in which the noise is measured."""
_BLOCKS, _SIGNS_MIN_SCREENED = 12, 0.2
"""Blocks along the longer side of a picture, and the pixels of one sign as a share of those of the other in the fullest
of them. All of 184 pairs of words told have more; of 768 edited copies an eighth has."""


class _Blocks(NamedTuple):
    most: int
    """of the fullest"""
    share: float
    """of the differing pixels that lie in these"""


_SHORT, _LONG = _Blocks(4, 0.5), _Blocks(36, 0.75)
"""Of short words, and of lines of large letters along two sides of a picture."""


_Box = tuple[int, int, int, int]
"""left, top, width, height"""
_Tones = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""pixels of the query and of the match"""


class _Planes(NamedTuple):
    """A plane of each picture on one grid, in the tones of the match."""

    query: Plane
    match: Plane
    inside: Mask


class _Words(NamedTuple):
    box: _Box
    share: float
    """of the overlap that differs"""


class _Zone(NamedTuple):
    """A place with brighter and darker pixels side by side."""

    box: _Box
    there: Mask
    brighter: Mask
    darker: Mask
    share: float
    """of all differences, in grey levels"""


def other_words(query: Features, match: Features, affine: Affine) -> Differences | None:
    """The place of words lacking in the other picture, on both sides; None without such a place.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the match's. Luma and colours are looked at by
    themselves, and luma in fewer pixels, too, for large letters."""
    fine = align_fine(query, match, affine)
    ours, theirs, inside = fine.colours(fine.inside, _COLOUR_STEP)
    luma, *colours = (
        _Planes(gained(*each), *each[1:])
        for each in ((fine.query, fine.match, fine.inside), (ours[0], theirs[0], inside), (ours[1], theirs[1], inside))
    )
    for planes, blocks in (
        *((each, [_SHORT]) for each in (luma, *colours)),
        (_coarser(luma, _COARSER), [_SHORT, _LONG]),
    ):
        words = _words(planes, blocks)
        if words is not None:
            steps = np.divide(fine.match.shape[::-1], planes.match.shape[::-1])
            return Differences(words.share, places(fine, np.array([words.box]) * np.tile(steps, 2)))
    return None


def _coarser(planes: _Planes, scale: float) -> _Planes:
    height, width = planes.match.shape
    size = max(1, round(scale * width)), max(1, round(scale * height))
    query, match = (as_plane(cv2.resize(each, size, interpolation=cv2.INTER_LINEAR)) for each in planes[:2])
    inside = cv2.resize(planes.inside.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return _Planes(query, match, inside.view(np.bool_))


def _words(planes: _Planes, blocks: Sequence[_Blocks]) -> _Words | None:
    if not _may_have_words(planes, blocks):
        return None
    overlap, rest = np.count_nonzero(planes.inside), unexplained(*planes)
    least = max(_LEVELS, _NOISE * _most(cv2.convertScaleAbs(rest, alpha=_STEPS), planes.inside.view(np.uint8)) / _STEPS)
    brighter, darker = (rest >= least) & planes.inside, (rest <= -least) & planes.inside
    differing = np.count_nonzero(brighter) + np.count_nonzero(darker)
    if not 2 * _PIXELS <= differing <= _SHARE_MAX * overlap:
        return None
    zone = _fullest(rest, brighter, darker)
    if zone is None or zone.share < _MOST or not _are_words(planes, zone, rest):
        return None
    return _Words(zone.box, float(differing / overlap))


def _may_have_words(planes: _Planes, blocks: Sequence[_Blocks]) -> bool:
    """Whether most differing pixels lie in few blocks of the picture; a quick look."""
    query, match, inside = planes.query, planes.match, planes.inside.view(np.uint8)
    difference = cv2.absdiff(query, match)
    least = max(_LEVELS, _NOISE * _most(difference, inside))
    unlike = cv2.bitwise_and(cv2.threshold(difference, least - 1, 255, cv2.THRESH_BINARY)[1], inside * 255)
    brighter = cv2.threshold(cv2.min(unlike, cv2.subtract(query, match)), 0, 255, cv2.THRESH_BINARY)[1]
    count = cv2.countNonZero(brighter)
    if min(count, cv2.countNonZero(unlike) - count) < _PIXELS:
        return False
    scale = _BLOCKS / max(unlike.shape)
    size = max(1, round(unlike.shape[1] * scale)), max(1, round(unlike.shape[0] * scale))
    both, one = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA).ravel().astype(np.intp) for each in (unlike, brighter)
    )
    order, whole = np.argsort(both), int(both.sum())
    return any(_are_full(both[order[-each.most :]], one[order[-each.most :]], each.share * whole) for each in blocks)


def _are_full(both: NDArray[np.intp], one: NDArray[np.intp], least: float) -> bool:
    """Whether blocks have so many differing pixels, of both signs; of ``both`` those of one sign are given, too."""
    among, of_one = int(both.sum()), int(one.sum())
    is_balanced = min(of_one, among - of_one) >= _SIGNS_MIN_SCREENED * max(of_one, among - of_one)
    return is_balanced and among >= least


def _most(levels: cv2.typing.MatLike, inside: Plane) -> int:
    """The highest level of most of the pixels."""
    counts = cv2.calcHist([levels], [0], inside, [256], [0, 256]).ravel().cumsum()
    return int(np.searchsorted(counts, _NOISE_QUANTILE * counts[-1]))


def _fullest(rest: NDArray[np.float32], brighter: Mask, darker: Mask) -> _Zone | None:
    """The place with most differences."""
    near = cv2.min(*(cv2.dilate(side.view(np.uint8), _NEAR) for side in (brighter, darker)))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(near, cv2.MORPH_CLOSE, _CLOSED))
    pixels = np.nonzero(brighter | darker)
    sums = np.bincount(labels[pixels], weights=np.abs(rest[pixels]), minlength=count)
    if count == 1:
        return None
    number = int(sums[1:].argmax()) + 1
    left, top, width, height = stats[number, :4].tolist()
    place = slice(top, top + height), slice(left, left + width)
    there = np.asarray(labels[place] == number)
    inner = brighter[place] & there, darker[place] & there
    return _Zone((left, top, width, height), there, *inner, float(sums[number] / sums.sum()))


def _are_words(planes: _Planes, zone: _Zone, rest: NDArray[np.float32]) -> bool:
    query, match, inside = planes
    counts = [np.count_nonzero(side) for side in (zone.brighter, zone.darker)]
    if min(counts) < max(_PIXELS, _SIGNS_MIN * max(counts)) or max(zone.box[2:]) < _LONG_MIN * min(zone.box[2:]):
        return False
    if not _FILL[0] <= sum(counts) / np.count_nonzero(zone.there) <= _FILL[1]:
        return False
    left, top, width, height = zone.box
    place = slice(top, top + height), slice(left, left + width)
    light, dark = (
        (query[place][zone.brighter], match[place][zone.darker]),
        (match[place][zone.brighter], query[place][zone.darker]),
    )
    if not _have_like_tones(light, dark):
        return False
    details = [cv2.subtract(side, cv2.blur(side, _DETAIL), dtype=cv2.CV_32F) for side in (query, match)]
    ours, theirs = (float(each[place][zone.there].std()) for each in details)
    in_all = [float(cv2.meanStdDev(each, mask=inside.view(np.uint8))[1][0, 0]) for each in details]
    ours *= in_all[1] / max(1.0, in_all[0])
    lesser, most = min(ours, theirs), max(ours, theirs)
    differs = math.sqrt(float(np.square(rest[place][zone.there]).mean()))
    return lesser >= _BALANCE * most and _DIFFER[0] * lesser <= differs <= _DIFFER[1] * lesser


def _have_like_tones(light: _Tones, dark: _Tones) -> bool:
    """Whether ink and ground stand out from each other, and those of the query are near to those of the match."""
    (ours, theirs), (our_dark, their_dark) = ([float(side.mean()) for side in tones] for tones in (light, dark))
    contrast = min(ours - our_dark, theirs - their_dark)
    return contrast >= _CONTRAST and max(abs(ours - theirs), abs(our_dark - their_dark)) <= _APART * contrast
