"""Do two aligned pictures differ such that they are two pictures of one template rather than copies?

Two forms of one blank, two tickets, two cartons of one brand agree nearly everywhere; the few places in which both show
something of their own tell them apart. Two things are looked for:

- *other strokes* (module ``strokes``): places in which both have structure that does not correlate: words, codes,
  figures, lines. On photographs an edit may lay anything over a texture; there both must have strong strokes.
- *unlike pixels* (module ``unlike``), for filled areas and objects, gathered into regions. A region is *replaced* where
  both pictures have structure, *added* where one is flat: a caption, a stamp, a watermark, a bar of a chart. Additions
  in one of the pictures are an edit; additions in both make a variant. On photographs only a region that is natural in
  both pictures and large makes a variant.

Pages and drawings are looked at in half of the size first: most that differ differ plainly. How the limits were
derived: benchmarks/quality/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.agreement import structured_blocks
from shazimd.imaging.alignment import Affine, Aligned, Mask, Plane, align, align_print
from shazimd.imaging.captions import other_words
from shazimd.imaging.features import Features
from shazimd.imaging.framed import other_picture
from shazimd.imaging.objects import (
    DENSE_FIGURES,
    DRAWN_FIGURES,
    PHOTO_FIGURES,
    TONED_FIGURES,
    other_figures,
    other_marks,
    other_objects,
)
from shazimd.imaging.recoloured import recoloured, without_discs
from shazimd.imaging.regions import REGIONS_MAX, Regions, boxes_around, is_near_edge, places, regions, without_bars
from shazimd.imaging.repeated import repeated_things
from shazimd.imaging.stamps import may_be_stamp, without_stamp
from shazimd.imaging.stickers import without_stickers
from shazimd.imaging.strokes import REACH, unlike_strokes
from shazimd.imaging.tones import brightened
from shazimd.imaging.unlike import UNLIKE_MIN, unlike_pixels
from shazimd.imaging.watermarks import has_other_strokes, may_have_words, without_words
from shazimd.types import Differences

STROKES_PIXELS, STROKES_PIXELS_EXACT = 70, 30
"""Pages and drawings: pixels around which both have strokes that do not correlate, from which on content is replaced.
On the tuned seed 95 % of the pairs of 20 families have more than 90, and edited copies none but under stamps.
Where the map is exact a single digit is enough, which has 40 to 60; a map of few features leaves up to 66."""
_STROKES_SIDE = 384
"""Pixels, longer side of the grid that these are for; on a coarser one, as under a screenshot, a word has fewer."""
WORDS_SHARE, WORDS_SHARE_SURE, _WORDS_CORRELATION, _WORDS_CONTRAST, _WORDS_BALANCE = 0.028, 0.04, 0.5, 100, 0.35
"""Photographs: the share of the overlap in which both have strokes of much contrast (grey levels), and not the same.
Below the second share, both must have unlike pixels there, in this ratio at least. On the tuned seed stickers reached
.020, and words laid over a photograph .031 at a ratio of .34, since they cover what was there; memes have .033.
With the tones of photographs, also on flat ground, the ratio is .27 at most under words, and .41 at least in all but
two of 110 pairs of one template."""
_OVERLAP_MIN = 256
"""Pixels."""
_GLANCE_SIDE = 192
"""Pixels, longer side: pages and drawings are compared at this size first, at a quarter of the cost."""
_SPREAD_RATIO, _SPREAD_QUIET = 0.5, 14.0
"""A side has nothing of its own with less than this share of the other's standard deviation, and few grey levels or
less than half of that share."""
_GROUND_MIN, _GROUND_RATIO = 0.65, 0.55
"""A side is ground where this share of a region is flat and the other side has less than this part of it."""
DRAWN_PIXELS = 100
"""Pages and drawings: other unlike pixels from which on content is replaced, on a grid of 384: filled areas."""
NATURAL_SHARE, NATURAL_TONE_MAX = 0.025, 0.36
"""Photographs: one region with this share of the overlap, natural in both, is another object. A sticker has one tone on
more of it: on 24 tuned photos .38 at least, objects in a hand .30 at most."""
_STICKER_SHARES, _STICKER_FILL, _STICKER_TONE = (0.008, 0.07), 0.5, 0.45
"""A compact region in which one of the pictures alone has mostly one tone: a sticker over a photograph. If both
have, one label was replaced by another."""
WORDS_REGIONS, WORDS_PIXELS = 4, 40
"""Photographs: so many small regions of strokes, with so many unlike pixels, are other words over the same picture."""
_STAMP_SHARE_MAX, _STAMP_SPREAD, _STAMP_SPREAD_AT_EDGE = 0.035, 25.0, 13.0
"""Share of the overlap and grey levels: a stamp on flat ground that is not looked at for its colour. A disc on a flag
has .056, the rest of a wedge of a pie chart 12 levels. A letter on a disc as bright as the ground has 13.8 at least."""
_WATERMARK_REGIONS = 8
"""Regions that the words of a watermark make at least."""
_STROKES_BALANCE, _STROKES_FILL, _STROKES_SPREAD, _STROKES_SHARE = 0.4, 0.65, 20.0, 0.015
"""Strokes: both sides have some (words laid over a texture leave that side ten times fewer), they do not fill the
region, they are strong in both, and the region is small."""
_TONES_MIN, _CALM_TONES_MIN, _CALM_RANGE = 14, 6, 32
"""Pictures with so many tones have the tones of photographs, even on flat ground, if so many of them lie on calm pixels
whose neighbours differ by so many grey levels at most. On the edges of small print every tone occurs: on the tuned seed
text, chats and bar codes have 5 on calm pixels at most, objects on flat ground 6 at least."""
_LEVEL_FLAT, _CLIPPED_SPREAD, _CLIPPED_SHARE = 0.9, 4.0, 0.02
_BALANCE_DRAWN = 0.35
"""Pages and drawings: replaced strokes leave unlike pixels on both sides; under a watermark one side has few."""
_PASTED_FILL, _PASTED_SHARES = 0.75, (0.06, 0.4)
"""A picture pasted over another: a region that fills its box, with this share of the overlap. More is a frame around
another picture."""
_MOVED_PIXELS, _MOVED_SIDE, _MOVED_SPREAD, _MOVED_SHARE = 16, 4, 30.0, 0.01
"""Pages and drawings without the tones of photographs: unlike pixels of a thing in either picture that has both sides
so long and stands out by so many grey levels, where no more than the share of the overlap is unlike in all: a pin that
was moved on a map. Of 2,600 tuned edits, each asked both ways, none has more than 4 such pixels on both sides, moved
pins have 19 at least."""
_BARELESS_MIN = 0.5, 0.7
"""Pages and drawings, plain pictures: the share of the overlap that bars at its edges leave. A flag's stripes are none.
"""
_LOGO_SIDE_MAX = 0.2
"""Photographs: the share of a side in which figures are not looked at; under logos on tuned photos they have .16."""
_UNDER_WORDS_MIN = 0.9
"""Median correlation of the blocks of copies once the words are taken away: on the tuned seeds .99."""


def differences(query: Features, match: Features, affine: Affine, *, exact: bool, agreed: float) -> Differences | None:
    """The regions that make two pictures variants of one template, None where they are copies.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the match's; ``exact``: many features agree;
    ``agreed``: how well the pictures do, see ``agreement``."""
    drawn = query.drawn and match.drawn
    coarsely = None
    if drawn and max(match.picture.shape) > _GLANCE_SIDE:
        glance = align(query, match, affine, most=_GLANCE_SIDE)
        coarsely = other_strokes(glance, drawn=True) if np.count_nonzero(glance.inside) >= _OVERLAP_MIN else None
        if coarsely is not None and not _may_be_laid_over(glance, coarsely):
            return coarsely
    both = align(query, match, affine)
    if np.count_nonzero(both.inside) < _OVERLAP_MIN:
        return None
    toned = not drawn or is_toned(both)
    coarse = min(1.0, max(both.match.shape) / _STROKES_SIDE) ** 2
    least = STROKES_PIXELS_EXACT if exact and not toned else max(STROKES_PIXELS_EXACT, round(coarse * STROKES_PIXELS))
    found = coarsely or other_strokes(both, drawn=drawn, pixels=least) or differences_of(both, drawn=drawn)
    if not drawn:
        by_size = other_objects(both) or other_picture(both) or other_marks(both)
        return found or by_size or _figures_on_a_photo(both) or other_words(query, match, affine, agreed)
    borders = TONED_FIGURES if toned else DRAWN_FIGURES
    if found is None:
        print_ = align_print(query, match, affine)
        figures = other_figures(both, borders) if print_ is None else other_figures(print_, DENSE_FIGURES)
        return figures or (
            other_picture(both) or other_words(query, match, affine, agreed) if toned else repeated_things(both)
        )
    if differ_by_words_alone(both):
        return None
    for without in _without_edits(both, found, toned=toned):
        left = other_strokes(without, drawn=True, pixels=least) or differences_of(without, drawn=True)
        if not left and not other_figures(without, borders):
            return None
    return found


def _without_edits(both: Aligned, found: Differences, *, toned: bool) -> Iterator[Aligned]:
    """The pictures without a stamp, brightened, and those with tones without stickers, made when asked for."""
    if (plain := without_stamp(both, found)) is not None:
        yield plain
    if (plain := brightened(both)) is not None:
        yield plain
    if toned and (plain := without_stickers(both)) is not None:
        yield plain


def _may_be_laid_over(both: Aligned, found: Differences) -> bool:
    """Whether an edit may have laid words, a stamp or stickers over one of the pictures."""
    return may_have_words(both) or may_be_stamp(found) or without_stickers(both) is not None


def _figures_on_a_photo(both: Aligned) -> Differences | None:
    """Other figures in more than one small place, in which an edit may have laid a logo over print."""
    found = other_figures(both, PHOTO_FIGURES)
    return None if found is None or may_be_stamp(found, _LOGO_SIDE_MAX) else found


def differ_by_words_alone(both: Aligned) -> bool:
    """Whether two drawings agree but for half-transparent words that an edit laid across one of them."""
    plain = without_words(both)
    if plain is None or has_other_strokes(plain):
        return False
    blocks = structured_blocks(plain.query, plain.match, plain.inside)
    if not len(blocks) or np.median(blocks) < _UNDER_WORDS_MIN:
        return False
    strokes = other_strokes(plain, drawn=True, pixels=STROKES_PIXELS_EXACT)
    return strokes is None and differences_of(plain, drawn=True) is None


def other_strokes(both: Aligned, *, drawn: bool, pixels: int = STROKES_PIXELS) -> Differences | None:
    """Regions in which both pictures have strokes, and not the same; on drawings from so many ``pixels`` on."""
    least = pixels if drawn else int(np.ceil(WORDS_SHARE * np.count_nonzero(both.inside)))
    unlike = (
        unlike_strokes(both, least)
        if drawn
        else unlike_strokes(both, least, correlation_max=_WORDS_CORRELATION, contrast_min=_WORDS_CONTRAST)
    )
    if np.count_nonzero(unlike) < least:
        return None
    toned = not drawn or is_toned(both)
    if toned:
        pixels_of = unlike_pixels(both, toned=True)
        unlike &= _not_laid_over(both, unlike, pixels_of)
        sure = not drawn and np.count_nonzero(unlike) >= WORDS_SHARE_SURE * np.count_nonzero(both.inside)
        if np.count_nonzero(unlike) < least or not (sure or _is_mutual(pixels_of, unlike)):
            return None
    gathered = boxes_around(cv2.morphologyEx(unlike.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0)
    boxes = np.array(sorted(gathered, key=lambda box: -int(box[2]) * int(box[3]))[:REGIONS_MAX], float)
    boxes += (REACH, REACH, -2 * REACH, -2 * REACH)  # strokes are felt this far around them
    boxes[:, 2:] = np.maximum(1, boxes[:, 2:])
    return Differences(min(1.0, float(np.count_nonzero(unlike) / np.count_nonzero(both.inside))), places(both, boxes))


def _is_mutual(unlike: tuple[Mask, Mask], strokes: Mask) -> bool:
    """Whether both pictures have pixels there that the other lacks: words over a photograph are in one alone."""
    near = cv2.dilate(strokes.astype(np.uint8), np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)) > 0
    counts = [int(np.count_nonzero(side & near)) for side in unlike]
    return min(counts) >= _WORDS_BALANCE * max(counts)


def _not_laid_over(both: Aligned, strokes: Mask, pixels: tuple[Mask, Mask]) -> Mask:
    """The overlap without bars at its edges and without pictures that were pasted over one of the two."""
    ours, theirs = pixels
    unlike = ours | theirs | strokes
    inside = without_bars(both.inside, unlike)
    closed = cv2.morphologyEx((unlike & inside).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    found = regions(both, ours & inside, theirs & inside)
    inside &= ~found.around(_stickers(found, int(np.count_nonzero(inside))))
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed, ltype=cv2.CV_16U)
    for left, top, width, height in stats[1:, :4][_is_pasted(stats[1:], int(np.count_nonzero(inside)))].tolist():
        inside[top : top + height, left : left + width] = False
    reach = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    return cv2.erode(inside.astype(np.uint8), reach, borderValue=1) > 0


@lru_cache(maxsize=1)
def is_toned(both: Aligned) -> bool:
    """Whether the pictures have the tones of photographs, even if on flat ground."""
    return all(_has_tones(side, both.inside) for side in (both.query, both.match))


def differences_of(
    both: Aligned,
    *,
    drawn: bool,
    least: int = UNLIKE_MIN,
    pixels: int = DRAWN_PIXELS,
    coarser: int = 1,
    plain: bool = False,
) -> Differences | None:
    """``differences`` of aligned pictures; ``least`` grey levels make a pixel unlike, so many ``pixels`` a variant.
    ``coarser`` tells by how much the pictures were enlarged: JPEG keeps colours at half of the picture's own pixels.
    ``plain``: pictures with few features, on which an emblem is content and no sticker."""
    toned = not drawn or is_toned(both)
    unlike = unlike_pixels(both, toned=toned, least=least)
    inside = without_bars(both.inside, unlike[0] | unlike[1])
    if drawn and np.count_nonzero(inside) < _BARELESS_MIN[plain] * np.count_nonzero(both.inside):
        inside = both.inside
    overlap = int(np.count_nonzero(inside))
    found = regions(both, *(side & inside for side in unlike))
    chosen: list[int] = []
    if len(found.area) and drawn:
        chosen = _replaced_drawn(found, overlap, pixels, toned, plain=plain)
    elif len(found.area):
        chosen = _replaced_natural(found, overlap)
    other_colours = np.zeros_like(inside)
    if drawn and not toned and not chosen:
        stamps = _stamps(found, overlap)
        other_colours = recoloured(both, inside & ~stamps, 2 * coarser)
        if stamps.any() and other_colours.any():
            other_colours = without_discs(other_colours, stamps, _STAMP_SHARE_MAX * overlap, overlap)
    boxes = [found.boxes[number] for number in chosen] + boxes_around(other_colours)
    if not boxes:
        return None
    share = float(found.pixels[chosen].sum() + np.count_nonzero(other_colours)) / overlap
    return Differences(min(1.0, share), places(both, np.array(boxes[:REGIONS_MAX], float)))


def _stamps(found: Regions, overlap: int) -> Mask:
    """The pixels around stamps on flat ground, which have colours of their own."""
    if not len(found.area):
        return np.zeros(found.labels.shape, bool)
    stamps = (_added(found, _SPREAD_QUIET) != -1) & (found.area <= _STAMP_SHARE_MAX * overlap)
    spread = np.where(is_near_edge(found.boxes, found.labels.shape), _STAMP_SPREAD_AT_EDGE, _STAMP_SPREAD)
    return found.around(stamps & (found.spread.max(axis=0) >= spread))


def laid_over(both: Aligned, least: int) -> Mask:
    """The places where one of the pictures has a stamp near its edge, or words all over, on what is flat ground in the
    other. A single thing in the middle is content: the mouth of a face."""
    inside = np.count_nonzero(both.inside)
    found = regions(both, *(side & both.inside for side in unlike_pixels(both, toned=False, least=least)))
    small = (_added(found, _SPREAD_QUIET) != -1) & (found.area <= _STAMP_SHARE_MAX * inside)
    if small.sum() < _WATERMARK_REGIONS:
        small &= is_near_edge(found.boxes, both.inside.shape)
    return found.around(small)


def _has_tones(luma: Plane, inside: Mask) -> bool:
    """Whether enough of 32 ranges of grey hold at least a hundredth of the pixels, and not on edges alone."""
    counted, least = inside.view(np.uint8), 0.01 * cv2.countNonZero(inside.view(np.uint8))
    if _tones(luma, counted, least) < _TONES_MIN:
        return False
    calm = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) <= _CALM_RANGE
    return _tones(luma, counted & calm, least) >= _CALM_TONES_MIN


def _tones(luma: Plane, counted: NDArray[np.uint8], least: float) -> int:
    return int(np.count_nonzero(cv2.calcHist([luma], [0], counted, [32], [0, 256]) >= least))


def _is_pasted(stats: NDArray[np.generic], inside: int) -> Mask:
    """Whether regions [n, 5] (left, top, width, height, area) fill a large upright box: another picture was pasted
    there."""
    boxes = stats[:, 2:4].astype(np.int64).prod(axis=1)
    share = boxes / inside
    filled = stats[:, 4].astype(np.int64) > _PASTED_FILL * boxes
    return np.asarray(filled & (share > _PASTED_SHARES[0]) & (share < _PASTED_SHARES[1]))


def _is_laid_over(found: Regions, inside: int) -> Mask:
    return _is_pasted(np.column_stack([found.boxes, found.area]), inside)


def _stickers(found: Regions, inside: int) -> Mask:
    share = found.area / inside
    filled = found.area >= _STICKER_FILL * found.boxes[:, 2:].astype(np.int64).prod(axis=1)
    compact = (share > _STICKER_SHARES[0]) & (share < _STICKER_SHARES[1]) & filled
    one_sided = (found.tone.max(axis=0) >= _STICKER_TONE) & (found.tone.min(axis=0) < NATURAL_TONE_MAX)
    return np.asarray(compact & one_sided)


def _added(found: Regions, quiet_max: float) -> NDArray[np.int8]:
    """Which side alone shows something in each region: 0 the query, 1 the match, -1 both do."""
    other = found.spread[::-1]
    quiet_spread = (found.spread < _SPREAD_RATIO * other) & (
        (found.spread < quiet_max) | (found.spread < _SPREAD_RATIO / 2 * other)
    )
    ground = (found.flat > _GROUND_MIN) & (found.flat[::-1] < _GROUND_RATIO * found.flat)
    quiet = quiet_spread | ground
    return np.where(quiet[0] == quiet[1], -1, np.where(quiet[0], 1, 0)).astype(np.int8)


def _replaced_drawn(found: Regions, inside: int, pixels: int, toned: bool, *, plain: bool) -> list[int]:
    """The regions of pages and drawings in which content is replaced: those that both sides fill, and additions where
    there are some in each."""
    added = _added(found, np.inf if toned else _SPREAD_QUIET)
    balanced = found.common >= _BALANCE_DRAWN * found.most
    level = (found.flat > _LEVEL_FLAT).all(axis=0)  # filled with one tone in both
    # A vignette leaves a rest on level ground, and brightness that is clipped turns two grounds into one.
    clipped = (found.spread < _CLIPPED_SPREAD).all(axis=0) & (found.area < _CLIPPED_SHARE * inside)
    lit = level & (toned | clipped)
    pasted = (_is_laid_over(found, inside) | ((toned and not plain) & _stickers(found, inside))) & ~level
    both = np.where((added == -1) & balanced & ~pasted & ~lit, found.common, 0)
    one_sided = np.where((added == -1) & ~balanced, found.larger, added)
    each = [np.where(one_sided == side, found.pixels, 0) for side in (0, 1)]
    mutual = min(int(each[0].sum()), int(each[1].sum()))
    if int(both.sum()) + mutual < pixels and (toned or not _are_moved(found, each, inside)):
        return []
    counted = both + each[0] + each[1] if mutual else both
    return [int(number) for number in np.argsort(-counted, kind="stable") if counted[number]]


def _are_moved(found: Regions, sides: list[NDArray[np.int64]], inside: int) -> bool:
    """Whether all that differs is small, and each picture has a thing there; ``sides``: unlike pixels of each [n]."""
    thing = (found.boxes[:, 2:].min(axis=1) >= _MOVED_SIDE) & (found.spread.max(axis=0) >= _MOVED_SPREAD)
    is_small = found.pixels.sum() <= _MOVED_SHARE * inside
    return bool(is_small and min(side[thing].max(initial=0) for side in sides) >= _MOVED_PIXELS)


def _replaced_natural(found: Regions, inside: int) -> list[int]:
    """The regions of photographs in which both sides have a natural texture and not the same, or other words."""
    both = (_added(found, np.inf) == -1) & ~_is_laid_over(found, inside)
    natural = both & (found.tone < NATURAL_TONE_MAX).all(axis=0) & (found.common >= NATURAL_SHARE * inside)
    strokes = (
        both
        & ~_stickers(found, inside)
        & (found.common >= _STROKES_BALANCE * found.most)
        & (found.most < _STROKES_FILL * found.area)
        & (found.most <= _STROKES_SHARE * inside)
        & (found.spread >= _STROKES_SPREAD).all(axis=0)
    )
    words = strokes & (found.common >= 6)
    if words.sum() < WORDS_REGIONS or found.common[strokes].sum() < WORDS_PIXELS:
        words[:] = False
    return [int(number) for number in np.flatnonzero(natural | words)]
