"""Where do two aligned pictures differ, and does that make them two pictures of one template rather than copies?

Two forms of one blank, two tickets, two cartons of one brand agree nearly everywhere; the few places where both show
something of their own tell them apart. A pixel counts as unlike where it lies outside of the range that the other
picture has in its neighbourhood, so that blur, compression and a misplacement of a pixel do not count. Unlike pixels
are gathered into regions, and each region is judged:

- *replaced*: both pictures have structure there. Replaced text, codes, figures or objects make a variant.
- *added*: one picture is flat there and the other is not: a caption, a stamp, a watermark, a bar of a chart. Additions
  in one of the pictures are an edit; additions in both make a variant.

On photographs an edit may lay anything over a texture, so only a region that is natural in both pictures and large
makes a variant there. How the limits were derived: benchmarks/quality/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.features import Features
from shazimd.types import Box, Differences

Affine = NDArray[np.float64]
Plane = NDArray[np.uint8]
"""[h, w]: luma of one of the pictures on the common grid"""
Mask = NDArray[np.bool_]

_SMOOTHING = 0.8
"""Pixels, sigma: the finest detail is JPEG's."""
_UNLIKE_MIN = 16
"""Grey levels outside of the other picture's range."""
_UNLIKE_SHARE = 0.3
"""The same, as a share of the contrast within 9 x 9 pixels: a blurred stroke is paler than a sharp one."""
_UNLIKE_CHROMA = 24.0
_TILE, _SHIFT, _TILES_MAX = 16, 3, 48
"""Pixels: tiles with unlike pixels are compared once more where they fit best, at most this far away, for a map may be
a little off in places; at most so many tiles, those with most unlike pixels."""
_TILE_UNLIKE_MIN = 3
_EDGE = 9
"""Pixels: the border of the overlap is not compared; resampling mixes it with its surroundings."""
_FLAT_SPAN = 6
"""Grey levels within 3 x 3 pixels: flat ground."""

_SPREAD_RATIO, _SPREAD_QUIET = 0.5, 14.0
"""A side has nothing of its own with less than this share of the other's standard deviation, and few grey levels or
less than half of that share."""
_GROUND_MIN, _GROUND_RATIO = 0.65, 0.55
"""A side is ground where this share of a region is flat and the other side has less than this part of it."""
DRAWN_PIXELS = 25
"""Pages and drawings: unlike pixels, on a grid of 384, from which on content is replaced. 5 % of two forms have fewer
than 60, edited copies none."""
RECOLOURED_SHARE, RECOLOURED_PIXELS = 0.004, 24
"""Pages and drawings: the share of the overlap, and pixels, that have another colour at the same brightness."""
NATURAL_SHARE, NATURAL_FLAT_MAX = 0.025, 0.36
"""Photographs: one region with this share of the overlap, natural in both, is another object. Stickers are flatter."""
WORDS_REGIONS, WORDS_PIXELS = 4, 40
"""Photographs: so many small regions of strokes, with so many unlike pixels, are other words over the same picture."""
_STROKES_BALANCE, _STROKES_FILL, _STROKES_SPREAD, _STROKES_SHARE = 0.4, 0.65, 20.0, 0.015
"""Strokes: both sides have some (words laid over a texture leave that side ten times fewer), they do not fill the
region, they are strong in both, and the region is small."""
_TONES_MIN = 14
"""Pictures with so many tones have the tones of photographs, even on flat ground."""
_LIT_FLAT = 0.9
_BALANCE_DRAWN = 0.35
"""Pages and drawings: replaced strokes leave unlike pixels on both sides; under a watermark one side has few."""
_BAR_UNLIKE, _BAR_MIN, _BAR_SHARE_MAX = 0.7, 3, 0.4
"""A bar at the edge: lines of which this share is unlike, at least so many lines, at most this share of the overlap."""
_PASTED_FILL, _PASTED_SHARES = 0.75, (0.06, 0.4)
"""A picture pasted over another: a region that fills its box, with this share of the overlap. More is a frame around
another picture."""
_REGIONS_MAX = 12
"""Regions that are reported, largest first."""


class Aligned(NamedTuple):
    """Two pictures on one grid, that of the coarser one."""

    query: NDArray[np.uint8]
    match: NDArray[np.uint8]
    """[h, w, 3]: Y, Cr, Cb"""
    inside: Mask
    """where both are known"""
    to_query: Affine
    """pixels of the grid -> fractions of the query's size"""


@dataclass(frozen=True, slots=True, eq=False)
class _Regions:
    """Connected places where the pictures are unlike; one entry each, in the order of their labels."""

    boxes: NDArray[np.generic]
    """[n, 4]: left, top, width, height"""
    pixels: NDArray[np.int64]
    """unlike pixels, of either side"""
    common: NDArray[np.int64]
    """unlike pixels of the side that has fewer of them"""
    most: NDArray[np.int64]
    """unlike pixels of the side that has more of them"""
    area: NDArray[np.int64]
    flat: NDArray[np.float64]
    """[2, n]: share of flat ground in the query and in the match"""
    spread: NDArray[np.float64]
    """[2, n]: standard deviation of the luma in the query and in the match"""


def differences(query: Features, match: Features, affine: Affine) -> Differences | None:
    """The regions that make two pictures variants of one template, None where they are copies.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the match's."""
    both = align(query, match, affine)
    if both.inside.sum() < _TILE * _TILE:
        return None
    return differences_of(both, drawn=query.drawn and match.drawn)


def differences_of(
    both: Aligned, *, drawn: bool, least: int = _UNLIKE_MIN, pixels: int = DRAWN_PIXELS, coarser: int = 1
) -> Differences | None:
    """``differences`` of aligned pictures; ``least`` grey levels make a pixel unlike, so many ``pixels`` a variant.
    ``coarser`` tells by how much the pictures were enlarged: JPEG keeps colours at half of the picture's own pixels."""
    toned = not drawn or min(_tones(side[..., 0][both.inside]) for side in (both.query, both.match)) >= _TONES_MIN
    unlike = unlike_pixels(both, toned=toned, least=least)
    both = both._replace(inside=_without_bars(both.inside, unlike[0] | unlike[1]))
    found = _regions(both, *(side & both.inside for side in unlike))
    chosen = (
        _replaced_drawn(found, int(both.inside.sum()), pixels, toned)
        if drawn
        else _replaced_natural(found, int(both.inside.sum()))
    )
    recoloured = _recoloured(both, 2 * coarser) if drawn and not toned else np.zeros_like(both.inside)
    boxes = [found.boxes[number] for number in chosen] + _boxes(recoloured)
    if not boxes:
        return None
    share = float(found.pixels[chosen].sum() + recoloured.sum()) / float(both.inside.sum())
    return Differences(min(1.0, share), tuple(_places(both, box) for box in boxes[:_REGIONS_MAX]))


def align(query: Features, match: Features, affine: Affine, least: int = 0) -> Aligned:
    """Lay the query's small picture on the match's, at the coarser one's resolution, or enlarged until the longer side
    has ``least`` pixels."""
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    scale *= query.width / query.picture.shape[1] * match.picture.shape[1] / match.width
    larger = max(1.0, least / (max(match.picture.shape) * min(1.0, 1 / scale)))
    laid = _resized(query.picture, min(1.0, scale) * larger)
    ground = _resized(match.picture, min(1.0, 1 / scale) * larger)
    between = (np.linalg.inv(_to_frame(ground, match)) @ np.vstack([affine, [0, 0, 1]]) @ _to_frame(laid, query))[:2]
    size = ground.shape[1], ground.shape[0]
    covered = cv2.warpAffine(np.full(laid.shape[:2], 255, np.uint8), between, size)
    inside = cv2.erode((covered > 250).astype(np.uint8), np.ones((_EDGE, _EDGE), np.uint8), borderValue=1) > 0
    moved = cv2.warpAffine(cv2.GaussianBlur(laid, (0, 0), _SMOOTHING), between, size, borderMode=cv2.BORDER_REPLICATE)
    back = np.diag([1 / laid.shape[1], 1 / laid.shape[0]]) @ cv2.invertAffineTransform(between)
    return Aligned(_bytes(moved), _bytes(cv2.GaussianBlur(ground, (0, 0), _SMOOTHING)), inside, back)


def unlike_pixels(both: Aligned, *, toned: bool, least: int = _UNLIKE_MIN) -> tuple[Mask, Mask]:
    """(pixels of the query that the match lacks, pixels of the match that the query lacks), after the tones of each
    have been adapted to the other's: an edit that clips tones is undone in one direction alone."""
    a, b = (np.ascontiguousarray(picture[..., 0]) for picture in (both.query, both.match))
    sides = a, b, _gained(a, b, both.inside), _gained(b, a, both.inside)
    ours, theirs = (side & both.inside for side in _unlike(*sides, least))
    if toned and (ours | theirs).sum() >= WORDS_PIXELS // 2:
        sides = a, b, _lit(_curved(a, b, both.inside), b, both.inside), _lit(_curved(b, a, both.inside), a, both.inside)
        ours, theirs = (side & both.inside for side in _unlike(*sides, least))
    for tile, moved in _misplaced_tiles(sides, ours | theirs):
        again = _unlike(sides[0][moved], sides[1][tile], sides[2][moved], sides[3][tile], least)
        if (again[0] | again[1]).sum() < (ours[tile] | theirs[tile]).sum():
            ours[tile], theirs[tile] = (mask & both.inside[tile] for mask in again)
    return ours, theirs


def _tones(luma: Plane) -> int:
    """How many of 32 ranges of grey hold at least a hundredth of the pixels."""
    return int((np.bincount(luma.ravel() // 8, minlength=32) >= 0.01 * luma.size).sum())


def _unlike(a: Plane, b: Plane, a_in_b: Plane, b_in_a: Plane, least: int) -> tuple[Mask, Mask]:
    one, other = _beyond_each_other(a_in_b, b, least), _beyond_each_other(a, b_in_a, least)
    return one[0] & other[0], one[1] & other[1]


def _beyond_each_other(a: Plane, b: Plane, least: int) -> tuple[Mask, Mask]:
    contrast = cv2.convertScaleAbs(cv2.max(_span(a, 9), _span(b, 9)), alpha=_UNLIKE_SHARE)
    limit = np.maximum(_bytes(contrast), np.uint8(least))
    return _beyond(a, b) > limit, _beyond(b, a) > limit


def _beyond(a: Plane, b: Plane) -> Plane:
    """How far each pixel of a lies outside of the range of b's 3 x 3 pixels around it."""
    kernel = np.ones((3, 3), np.uint8)
    return _bytes(cv2.max(cv2.subtract(a, cv2.dilate(b, kernel)), cv2.subtract(cv2.erode(b, kernel), a)))


def _span(luma: Plane, side: int) -> Plane:
    kernel = np.ones((side, side), np.uint8)
    return _bytes(cv2.subtract(cv2.dilate(luma, kernel), cv2.erode(luma, kernel)))


_Tile = tuple[slice, slice]


def _misplaced_tiles(sides: tuple[Plane, ...], unlike: Mask) -> list[tuple[_Tile, _Tile]]:
    """(tile of the match, where the query fits it best) for the tiles with most unlike pixels that fit better there."""
    height, width = unlike.shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    padded = np.zeros((rows * _TILE, columns * _TILE), np.uint8)
    padded[:height, :width] = unlike
    counts = padded.reshape(rows, _TILE, columns, _TILE).sum(axis=(1, 3))
    flagged = np.argwhere(counts >= _TILE_UNLIKE_MIN)
    most = flagged[np.argsort(-counts[counts >= _TILE_UNLIKE_MIN], kind="stable")[:_TILES_MAX]]
    found = ((_tile(y, x, height, width), _best_place(sides[2], sides[1], y, x)) for y, x in most * _TILE)
    return [(tile, moved) for tile, moved in found if moved != tile]


def _tile(y: int, x: int, height: int, width: int) -> _Tile:
    return slice(int(y), min(height, int(y) + _TILE)), slice(int(x), min(width, int(x) + _TILE))


def _best_place(query: Plane, match: Plane, y: int, x: int) -> _Tile:
    height, width = match.shape
    tile = _tile(y, x, height, width)
    top, left = max(0, int(y) - _SHIFT), max(0, int(x) - _SHIFT)
    around = query[top : tile[0].stop + _SHIFT, left : tile[1].stop + _SHIFT]
    misfit = cv2.matchTemplate(around, match[tile], cv2.TM_SQDIFF)
    row, column = divmod(int(misfit.argmin()), misfit.shape[1])
    h, w = tile[0].stop - tile[0].start, tile[1].stop - tile[1].start
    return slice(top + row, top + row + h), slice(left + column, left + column + w)


def _regions(both: Aligned, ours: Mask, theirs: Mask) -> _Regions:
    closed = cv2.morphologyEx((ours | theirs).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    # Two pixels more all around: a filled bar has its edges there, and its ground.
    wide = cv2.dilate(labels.astype(np.uint16), np.ones((5, 5), np.uint8)).ravel()
    place = np.flatnonzero(wide)
    label = wide[place].astype(np.intp)
    sizes = np.maximum(1, np.bincount(label, minlength=count))

    def mean(values: NDArray[np.generic]) -> NDArray[np.float64]:
        return np.bincount(label, values.ravel()[place].astype(np.float64), count) / sizes

    flat, spread = [], []
    for picture in (both.query, both.match):
        luma = np.ascontiguousarray(picture[..., 0])
        flat.append(mean(_span(luma, 3) <= _FLAT_SPAN))
        spread.append(np.sqrt(np.maximum(0, mean(luma.astype(np.float64) ** 2) - mean(luma) ** 2)))
    sides = np.array([np.bincount(labels[side], minlength=count) for side in (ours, theirs)])
    either = np.bincount(labels[ours | theirs], minlength=count)
    return _Regions(
        boxes=stats[1:, :4],
        pixels=either[1:],
        common=sides.min(axis=0)[1:],
        most=sides.max(axis=0)[1:],
        area=stats[1:, 4].astype(np.int64),
        flat=np.array(flat)[:, 1:],
        spread=np.array(spread)[:, 1:],
    )


def _without_bars(inside: Mask, unlike: Mask) -> Mask:
    """The overlap without the rows and columns at its edges that agree nearly nowhere: a caption's bar, or a screen
    around a picture of which a part was cut off."""
    kept = inside.copy()
    for axis in (0, 1):
        closed = cv2.morphologyEx(unlike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0
        known = np.maximum(1, inside.sum(axis=1 - axis))
        shares = (closed & inside).sum(axis=1 - axis) / known
        lines = np.flatnonzero(inside.any(axis=1 - axis))
        if not len(lines):
            continue
        length = len(lines)
        for ordered in (lines, lines[::-1]):
            bar = _bar_length(shares[ordered])
            if _BAR_MIN <= bar <= _BAR_SHARE_MAX * length:
                index = ordered[: bar + 3]
                kept[(index, slice(None)) if axis == 0 else (slice(None), index)] = False
    return kept


def _bar_length(shares: NDArray[np.float64]) -> int:
    """How many lines from the first on are mostly unlike, on average and at the end."""
    means = np.cumsum(shares) / np.arange(1, len(shares) + 1)
    ends = np.flatnonzero((means > _BAR_UNLIKE) & (shares > _BAR_UNLIKE))
    return int(ends[-1]) + 1 if len(ends) else 0


def _laid_over(found: _Regions, inside: int) -> Mask:
    """Regions that fill a large upright box: another picture was pasted there."""
    boxes = found.boxes[:, 2:].astype(np.int64).prod(axis=1)
    share = boxes / inside
    return np.asarray((found.area > _PASTED_FILL * boxes) & (share > _PASTED_SHARES[0]) & (share < _PASTED_SHARES[1]))


def _added(found: _Regions, quiet_max: float) -> NDArray[np.int8]:
    """Which side alone shows something in each region: 0 the query, 1 the match, -1 both do."""
    other = found.spread[::-1]
    quiet_spread = (found.spread < _SPREAD_RATIO * other) & (
        (found.spread < quiet_max) | (found.spread < _SPREAD_RATIO / 2 * other)
    )
    ground = (found.flat > _GROUND_MIN) & (found.flat[::-1] < _GROUND_RATIO * found.flat)
    quiet = quiet_spread | ground
    return np.where(quiet[0] == quiet[1], -1, np.where(quiet[0], 1, 0)).astype(np.int8)


def _replaced_drawn(found: _Regions, inside: int, pixels: int, toned: bool) -> list[int]:
    """The regions of pages and drawings in which content is replaced: those that both sides fill, and additions where
    there are some in each."""
    added = _added(found, np.inf if toned else _SPREAD_QUIET)
    balanced = found.common >= _BALANCE_DRAWN * found.most
    lit = toned & (found.flat > _LIT_FLAT).all(axis=0)  # what a vignette leaves on flat ground
    both = np.where((added == -1) & balanced & ~_laid_over(found, inside) & ~lit, found.common, 0)
    each = [np.where(added == side, found.pixels, 0) for side in (0, 1)]
    mutual = min(int(each[0].sum()), int(each[1].sum()))
    if int(both.sum()) + mutual < pixels:
        return []
    counted = both + each[0] + each[1] if mutual else both
    return [int(number) for number in np.argsort(-counted, kind="stable") if counted[number]]


def _replaced_natural(found: _Regions, inside: int) -> list[int]:
    """The regions of photographs in which both sides have a natural texture and not the same, or other words."""
    both = (_added(found, np.inf) == -1) & ~_laid_over(found, inside)
    natural = both & (found.flat < NATURAL_FLAT_MAX).all(axis=0) & (found.common >= NATURAL_SHARE * inside)
    strokes = (
        both
        & (found.common >= _STROKES_BALANCE * found.most)
        & (found.most < _STROKES_FILL * found.area)
        & (found.most <= _STROKES_SHARE * inside)
        & (found.spread >= _STROKES_SPREAD).all(axis=0)
    )
    words = strokes & (found.common >= 6)
    if words.sum() < WORDS_REGIONS or found.common[strokes].sum() < WORDS_PIXELS:
        words[:] = False
    return [int(number) for number in np.flatnonzero(natural | words)]


def _recoloured(both: Aligned, step: int) -> Mask:
    """The places of different colours, up to a single factor of saturation; none if a picture is grey."""
    height, width = both.inside.shape
    size = max(1, width // step), max(1, height // step)
    inside = cv2.resize(both.inside.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    small = (
        cv2.resize(cv2.blur(side, (3, 3)), size, interpolation=cv2.INTER_AREA) for side in (both.query, both.match)
    )
    a, b = (side[..., 1:].astype(np.float32) - 128 for side in small)
    strength = [float(np.abs(side[inside]).mean()) if inside.any() else 0.0 for side in (a, b)]
    if min(strength) < 0.25 * max(strength) or max(strength) < 1:
        return np.zeros_like(both.inside)
    miss = np.minimum(_distances(_saturation(a[inside], b[inside]) * a - b), _distances(a - b))
    unlike = cv2.morphologyEx(
        ((miss > _UNLIKE_CHROMA) & inside).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    if unlike.sum() < max(RECOLOURED_PIXELS / step**2, RECOLOURED_SHARE * inside.sum()):
        return np.zeros_like(both.inside)
    return cv2.resize(unlike, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _saturation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """By how much the colours of b are stronger than those of a, from the vivid ones."""
    strength = (a * a).sum(axis=1)
    vivid = strength > 128
    if not vivid.any():
        return 1.0
    return float(np.clip(np.median((a * b).sum(axis=1)[vivid] / strength[vivid]), 0.6, 1.7))


def _distances(chroma: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.hypot(chroma[..., 0], chroma[..., 1]).astype(np.float32, copy=False)


def _boxes(mask: Mask) -> list[NDArray[np.generic]]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [stats[number, :4] for number in range(1, count)]


def _places(both: Aligned, box: NDArray[np.generic]) -> tuple[Box, Box]:
    """A box of the grid as fractions of the query's and of the match's size."""
    left, top, width, height = (int(value) for value in box)
    corners = np.array([[left, top], [left + width, top], [left, top + height], [left + width, top + height]], float)
    rows, columns = both.inside.shape
    return _bounds(corners @ both.to_query[:, :2].T + both.to_query[:, 2]), _bounds(corners / (columns, rows))


def _bounds(corners: NDArray[np.float64]) -> Box:
    left, top, right, bottom = (
        min(1.0, max(0.0, round(float(value), 4))) for value in (*corners.min(axis=0), *corners.max(axis=0))
    )
    return left, top, right, bottom


def _gained(a: Plane, b: Plane, inside: Mask) -> Plane:
    """The luma of a in the tones of b by one gain and one offset, from the pixels that neither picture clips, and then
    from those that fit. A page has few tones: a curve fitted to them would explain any of them away."""
    step = max(1, int(np.sqrt(a.size / 5000)))
    known = inside[::step, ::step]
    x, y = (side[::step, ::step][known].astype(np.float32) for side in (a, b))
    open_ = (x > 4) & (x < 251) & (y > 4) & (y < 251)
    if open_.mean() > 0.15:
        x, y = x[open_], y[open_]
    gain, offset, kept = 1.0, 0.0, np.ones(len(x), bool)
    for _ in range(4 if len(x) else 0):
        mean_x, mean_y = float(x[kept].mean()), float(y[kept].mean())
        variance = float(((x[kept] - mean_x) ** 2).mean())
        if variance < 16:
            gain, offset = 1.0, mean_y - mean_x
            break
        gain = float(((x[kept] - mean_x) * (y[kept] - mean_y)).mean()) / variance
        offset = mean_y - gain * mean_x
        miss = np.abs(gain * x + offset - y)
        kept = miss <= max(6.0, _most(miss))
    if not 0.4 < gain < 2.5:
        gain, offset = 1.0, 0.0
    return _clipped(gain * a.astype(np.float32) + offset)


def _most(misses: NDArray[np.floating]) -> float:
    """Upper bound of 70 % of the misses."""
    place = 7 * len(misses) // 10
    return float(np.partition(misses, place)[place])


def _curved(a: Plane, b: Plane, inside: Mask) -> NDArray[np.float32]:
    """The luma of a in the tones of b by a curve that never falls: for every eighth tone of a, the tone around which
    most of b lies."""
    tones = a[inside].astype(np.intp) // 8
    joint = np.bincount(tones * 32 + b[inside] // 8, minlength=1024).reshape(32, 32)
    counts = joint.sum(axis=1)
    middle = (np.cumsum(joint, axis=1) >= counts[:, np.newaxis] / 2).argmax(axis=1)
    near = joint * (np.abs(np.arange(32) - middle[:, np.newaxis]) <= 2)
    level = (near * (np.arange(32) * 8 + 3.5)).sum(axis=1) / np.maximum(1, near.sum(axis=1))
    seen = counts >= max(8, 0.002 * len(tones))
    if seen.sum() < 2:
        return a.astype(np.float32)
    curve = np.interp(np.arange(256), np.flatnonzero(seen) * 8 + 3.5, np.maximum.accumulate(level[seen]))
    return curve[a].astype(np.float32)


def _lit(a: NDArray[np.float32], b: Plane, inside: Mask) -> Plane:
    """The luma of a in the light of b: a gain that changes linearly and with the distance from the middle, as a
    vignette does, by least squares on the pixels that fit."""
    step = max(1, int(np.sqrt(a.size / 2500)))
    terms = _light_terms(a)
    known = inside[::step, ::step]
    sample, wanted = terms[::step, ::step][known], b[::step, ::step][known].astype(np.float32) / 255
    kept, identity = np.ones(len(wanted), bool), np.array([1, 0, 0, 0, 0], np.float64)
    solution: NDArray[np.floating] = identity
    for _ in range(3):
        some, weight = sample[kept], 1e-3 * int(kept.sum())
        solution = np.linalg.solve(some.T @ some + weight * np.eye(5), some.T @ wanted[kept] + weight * identity)
        miss = np.abs(sample @ solution - wanted)
        kept = miss <= max(6 / 255, _most(miss))
    return _clipped(255 * (terms @ solution))


def _light_terms(a: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = a.shape
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis], np.linspace(-1, 1, width, dtype=np.float32)
    part = a / 255
    return np.stack([part, np.ones_like(part), part * (x * x + y * y), part * x, part * y], axis=-1)


def _clipped(luma: NDArray[np.floating]) -> Plane:
    return _bytes(np.clip(luma, 0, 255))


def _resized(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size == (width, height):
        return np.ascontiguousarray(picture)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return _bytes(cv2.resize(np.ascontiguousarray(picture), size, interpolation=method))


def _to_frame(picture: NDArray[np.uint8], features: Features) -> NDArray[np.float64]:
    """[3, 3]: pixels of a small picture -> pixels of the frame; the middle of a pixel lies at a whole number."""
    x, y = features.width / picture.shape[1], features.height / picture.shape[0]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def _bytes(picture: NDArray[np.generic]) -> NDArray[np.uint8]:
    return picture.astype(np.uint8, copy=False)
