"""Other words laid over a photograph: a short caption, a plate, the date burned in by a camera.

Letters of a few pixels differ by little, but the rest of the photograph does not differ at all. In some place brighter
and darker pixels lie side by side, thin and with the photograph between them. Both pictures have about as much
structure there, and as much of it as they differ by: each has words lacking in the other. Words, a logo or a sticker
over either picture leave the other with less; a caption blurred, sharpened or moved by a fraction of a pixel differs by
less than its own strokes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import Affine, Aligned, Mask, Plane, align_fine, as_plane
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
_AGREED_MIN = 0.98
"""Median correlation of the blocks: of tuned photos with other words .985 at least, also if resized and saved again; of
those seen from the side down to .954."""
_MOST, _SIGNS_MIN, _CONTRAST_MIN = 0.35, 0.1, 8.0
"""Of ``Measures``: least share, signs and contrast."""
_LONG_MIN = 1.2
"""The longer side of the place as a multiple of the shorter: a disc or a box is as wide as high."""
_FILL = 0.08, 0.75
"""The share of the place differing: letters leave the photograph between them."""
_DIFFER = 0.6, 1.8
"""Of ``Measures``: independent words differ by 1.41 times their structure, those of a stretched caption by .48."""
_DETAIL = 7, 7
"""Pixels: finer detail is structure."""
_COARSER, _COLOUR_STEP = 0.6, 2
"""The share of the sides that large letters are looked for in, and by how much colours are coarser: JPEG keeps them at
half."""
_STEPS = 4
"""Steps of a grey level in which the noise is measured."""
_BLOCKS, _SIGNS_MIN_SCREENED = 12, 0.1
"""Blocks along the longer side of a picture, and the pixels of one sign as a share of those of the other in the fullest
of them."""


class Measures(NamedTuple):
    """Measures of the place in which two pictures differ most: they tell words from all else."""

    share: float
    """of all differences, in grey levels"""
    signs: float
    """the rarer sign's pixels, as a share of the other's: words laid over words leave less"""
    apart: float
    """how far ink and ground of one picture lie from those of the other, as a share of the contrast"""
    balance: float
    """the lesser structure of both, as a share of the other's"""
    differ: float
    """the difference, as a share of the lesser structure: root mean squares"""
    overall: float
    """the share of the overlap differing, here and elsewhere"""
    pixels: float
    """differing here"""
    noise: float
    """grey levels from which on pixels differ"""

    def logarithms(self) -> list[float]:
        return [math.log(max(each, _LEAST)) for each in self]


_WEIGHTS = Measures(1.63, 1.64, -1.00, 12.24, 3.66, -2.02, 1.00, -2.09)
"""Of the logarithm of each measure: logistic regression, see benchmarks/quality/train_captions.py."""


class Letters(NamedTuple):
    """Letters of a size in a plane: the fullest blocks have so large a share of the differing pixels; the bias is added
    to the evidence."""

    name: str
    blocks: int
    share: float
    bias: float


KINDS = _LUMA, _RED, _BLUE, _LARGE, _LINES = (
    Letters("luma", 4, 0.4, -7.38),
    Letters("red", 4, 0.4, -9.64),
    Letters("blue", 4, 0.4, -10.56),
    Letters("large", 4, 0.4, -10.96),
    Letters("lines", 36, 0.75, -5.58),
)
"""Words in luma, Cr and Cb, large letters, and lines of these along two sides of a picture."""
_LEAST = 1e-3
"""Measures are this at least."""


_Box = tuple[int, int, int, int]
"""left, top, width, height"""
_Tones = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""pixels of the query and of the match"""


class Planes(NamedTuple):
    """A plane of each picture on one grid, in the tones of the match."""

    query: Plane
    match: Plane
    inside: Mask


class _Place(NamedTuple):
    kind: Letters
    box: _Box
    measures: Measures


class _Zone(NamedTuple):
    """A place with brighter and darker pixels side by side."""

    box: _Box
    there: Mask
    brighter: Mask
    darker: Mask
    share: float
    """of all differences, in grey levels"""


def other_words(query: Features, match: Features, affine: Affine, agreed: float) -> Differences | None:
    """The place of words lacking in the other picture, on both sides; None without such a place, or where the pictures
    have not ``agreed`` so well that little else differs.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the match's. Luma and colours are looked at by
    themselves, and luma in fewer pixels, too, for large letters."""
    if agreed < _AGREED_MIN:
        return None
    fine = align_fine(query, match, affine)
    for planes, kinds in planes_of(fine):
        place = differing_most(planes, kinds)
        if place is not None and _evidence(place) >= 0:
            steps = np.divide(fine.match.shape[::-1], planes.match.shape[::-1])
            boxes = np.array([place.box]) * np.tile(steps, 2)
            return Differences(place.measures.overall, places(fine, boxes))
    return None


def _evidence(place: _Place) -> float:
    """How much speaks for other words: the logarithm of the odds."""
    pairs = zip(_WEIGHTS, place.measures.logarithms(), strict=True)
    return place.kind.bias + sum(weight * logarithm for weight, logarithm in pairs)


def planes_of(fine: Aligned) -> Iterator[tuple[Planes, Sequence[Letters]]]:
    """Luma, Cr, Cb, and luma in fewer pixels, made when asked for, and the kinds of words to look for in each."""
    luma = Planes(gained(fine.query, fine.match, fine.inside), fine.match, fine.inside)
    yield luma, [_LUMA]
    ours, theirs, inside = fine.colours(fine.inside, _COLOUR_STEP)
    for one, other, kind in zip(ours, theirs, (_RED, _BLUE), strict=True):
        yield Planes(gained(one, other, inside), other, inside), [kind]
    yield _coarser(luma, _COARSER), [_LARGE, _LINES]


def _coarser(planes: Planes, scale: float) -> Planes:
    height, width = planes.match.shape
    size = max(1, round(scale * width)), max(1, round(scale * height))
    query, match = (as_plane(cv2.resize(each, size, interpolation=cv2.INTER_LINEAR)) for each in planes[:2])
    inside = cv2.resize(planes.inside.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return Planes(query, match, inside.view(np.bool_))


def differing_most(planes: Planes, kinds: Sequence[Letters]) -> _Place | None:
    """The place in which two planes differ most; None unless it may be a place of words, of the first kind possible."""
    kind = _possible(planes, kinds)
    if kind is None:
        return None
    overlap, rest = np.count_nonzero(planes.inside), unexplained(*planes)
    noise = max(_LEVELS, _NOISE * _most(cv2.convertScaleAbs(rest, alpha=_STEPS), planes.inside.view(np.uint8)) / _STEPS)
    brighter, darker = (rest >= noise) & planes.inside, (rest <= -noise) & planes.inside
    differing = np.count_nonzero(brighter) + np.count_nonzero(darker)
    if not 2 * _PIXELS <= differing <= _SHARE_MAX * overlap:
        return None
    zone = _fullest(rest, brighter, darker)
    if zone is None or zone.share < _MOST:
        return None
    measures = _measured(planes, zone, rest, float(differing / overlap), noise)
    return None if measures is None else _Place(kind, zone.box, measures)


def _possible(planes: Planes, kinds: Sequence[Letters]) -> Letters | None:
    """The first kind of words of which enough differing pixels lie in few blocks; a quick look."""
    query, match, inside = planes.query, planes.match, planes.inside.view(np.uint8)
    difference = cv2.absdiff(query, match)
    least = max(_LEVELS, _NOISE * _most(difference, inside))
    unlike = cv2.bitwise_and(cv2.threshold(difference, least - 1, 255, cv2.THRESH_BINARY)[1], inside * 255)
    brighter = cv2.threshold(cv2.min(unlike, cv2.subtract(query, match)), 0, 255, cv2.THRESH_BINARY)[1]
    count = cv2.countNonZero(brighter)
    if min(count, cv2.countNonZero(unlike) - count) < _PIXELS:
        return None
    scale = _BLOCKS / max(unlike.shape)
    size = max(1, round(unlike.shape[1] * scale)), max(1, round(unlike.shape[0] * scale))
    both, one = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA).ravel().astype(np.intp) for each in (unlike, brighter)
    )
    order, whole = np.argsort(both), int(both.sum())
    for kind in kinds:
        fullest = order[-kind.blocks :]
        if _are_full(both[fullest], one[fullest], kind.share * whole):
            return kind
    return None


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


def _measured(planes: Planes, zone: _Zone, rest: NDArray[np.float32], overall: float, noise: float) -> Measures | None:
    query, match, inside = planes
    counts = [int(np.count_nonzero(side)) for side in (zone.brighter, zone.darker)]
    if min(counts) < max(_PIXELS, _SIGNS_MIN * max(counts)) or max(zone.box[2:]) < _LONG_MIN * min(zone.box[2:]):
        return None
    if not _FILL[0] <= sum(counts) / np.count_nonzero(zone.there) <= _FILL[1]:
        return None
    left, top, width, height = zone.box
    place = slice(top, top + height), slice(left, left + width)
    light, dark = (
        (query[place][zone.brighter], match[place][zone.darker]),
        (match[place][zone.brighter], query[place][zone.darker]),
    )
    apart = _apart(light, dark)
    if apart is None:
        return None
    details = [cv2.subtract(side, cv2.blur(side, _DETAIL), dtype=cv2.CV_32F) for side in (query, match)]
    ours, theirs = (float(each[place][zone.there].std()) for each in details)
    in_all = [float(cv2.meanStdDev(each, mask=inside.view(np.uint8))[1][0, 0]) for each in details]
    ours *= in_all[1] / max(1.0, in_all[0])
    lesser, most = min(ours, theirs), max(ours, theirs)
    differs = math.sqrt(float(np.square(rest[place][zone.there]).mean()))
    if not _DIFFER[0] * lesser <= differs <= _DIFFER[1] * lesser:
        return None
    signs, balance, differ = min(counts) / max(counts), lesser / most, differs / lesser
    return Measures(zone.share, signs, apart, balance, differ, overall, sum(counts), noise)


def _apart(light: _Tones, dark: _Tones) -> float | None:
    """How far ink and ground of the query lie from those of the match, as a share of the contrast; None without it."""
    (ours, theirs), (our_dark, their_dark) = ([float(side.mean()) for side in tones] for tones in (light, dark))
    contrast = min(ours - our_dark, theirs - their_dark)
    return max(abs(ours - theirs), abs(our_dark - their_dark)) / contrast if contrast >= _CONTRAST_MIN else None
