"""Compare pictures that have too few local features for a map: sprites, icons, flags, logos, skies, snow.

Module ``placement`` lays them on each other. If the pictures agree there, every pixel is compared: such pictures are
alike so often that agreement alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.agreement import structured_blocks
from shazimd.imaging.alignment import Aligned, Mask
from shazimd.imaging.differences import differences_of, is_toned, laid_over, other_strokes
from shazimd.imaging.displaced import has_displaced_parts
from shazimd.imaging.features import Features
from shazimd.imaging.mapping import CONTAINED_MIN, mapping, shared_parts
from shazimd.imaging.objects import other_shapes
from shazimd.imaging.placement import SIDE_MIN, SIZE_WEIGHT, SPREAD_MIN, Whole, placements
from shazimd.imaging.placing import correlated, correlation, laid, refined, slid
from shazimd.imaging.small import SmallPicture
from shazimd.imaging.tones import gained, gained_match, gained_query
from shazimd.imaging.watermarks import without_words
from shazimd.types import Verdict, Verification

Affine = NDArray[np.float64]

_OWN_SIDE = 192
"""Pixels, longer side: the pictures as they are compared, at most."""
CANDIDATE_MIN = 0.8
"""Correlation from which on a placement is looked at more closely."""
CORRELATION_MIN = 0.93
"""Of the aligned luma, and of what a plane leaves of it: two skies with light from one side correlate at .99."""
DRAWN_CORRELATION_MIN, SURE_CORRELATION_MIN, _TINY_CORRELATION_MIN = 0.972, 0.992, 0.98
"""Of copies without the tones of photographs whose blocks agree, whatever their blocks do, and of copies with fewer
pixels than ``_TINY_SIDE``. Two faces of one emoji reach .987, two sprites in one white frame .973."""
_BLOCKS, _BLOCKS_MIN, _BLOCKS_WRONG = 12, 0.86, 2
"""Blocks with structure, from so many on, but for so many of them, in copies without the tones of photographs: of two
faces of one emoji with a correlation up to .983 the third worst block has .83 at most, of edits .87."""
_EVERYWHERE_MIN, _EVERYWHERE_BLOCKS_MIN = 0.9, 0.9
"""The correlation from which on pictures agree of which the blocks have the second: stars that a smaller JPEG made
paler correlate at .92, each block at .97."""
_PART_MAX, _PART_BLOCKS = 0.35, 32
"""A picture without the tones of photographs that fills less than this share of the other needs so many blocks with
structure: two stripes of a flag are found in any other stripes."""
_TINY_SIDE = 64
"""Pixels, longer side: such a picture, blurred, has many tones of few colours, and a stamp hides too much of it."""
_CAPTIONED_SIDE_MAX, _CAPTIONED_MAX, _HIDDEN_SHARE = 64, 1.4, 0.25
"""Pixels, up to which a caption's words may reach into a picture, the height with the caption, as a multiple, and the
share of the picture that words hide."""
_LAID_OVER_MIN, _BARE_SHARE_MIN = 0.75, 0.5
"""Correlation from which on something that an edit laid over one of the pictures is left out, and the share of the
overlap that must be left."""
_WHOLE_SHARE = 0.6
"""Of the smaller picture, but for its borders, that a map must lay on the other."""
RELIEF_MIN = 1.0
"""Grey levels, standard deviation of what a plane leaves: below this there is nothing to compare."""
_CONTRAST_MAX = 3.0
"""The ratio of the standard deviations of copies: a white cross on black is none of an orange one on blue."""
_UNLIKE_SHARE, _UNLIKE_RANGE = 0.35, (4, 16)
"""Grey levels that make a pixel unlike, as a share of the spread, and their limits."""
_ALL = 0.97
"""Parts of both pictures that lie on the other one, from which on they are compared to fractions of a pixel."""
_UNLIKE_PIXELS_SHARE = 0.0006
_VARIANT_SHARE_MAX = 0.12
"""Pictures that differ in more than this share are not of one template: a white border alone correlates."""


class WholeView(NamedTuple):
    """A query, upright or mirrored, ready to be laid on others."""

    features: Features
    whole: Whole


def whole_views(features: Features) -> list[WholeView]:
    """The picture upright and mirrored."""
    small = reduced(features)
    return [WholeView(each, Whole(each)) for each in (small, small.mirrored())]


def compared_whole(
    views: Sequence[WholeView],
    candidate: Features,
    mapped: tuple[Affine, bool] | None = None,
    *,
    copies_only: bool = False,
) -> Verification | None:
    """COPY or VARIANT for the query's views (upright, mirrored) and a candidate, None where they are not related.

    ``mapped``: a map that too few features found to be trusted, and whether it is the mirrored view's. It is another
    placement to compare by, which finds what a screenshot or a caption has displaced. ``copies_only``: None may also
    stand for VARIANT, which takes longer to tell."""
    if min(min(side.picture.shape[:2]) for side in (views[0].features, candidate)) < SIDE_MIN:
        return None
    candidate = reduced(candidate)
    found = None
    for placed, mirrored in placements([view.whole for view in views], Whole(candidate)):
        if placed.correlation >= CANDIDATE_MIN:
            only = copies_only or found is not None
            again = _compared(views[mirrored].features, candidate, placed.affine, bool(mirrored), copies_only=only)
            if _has_a_part_elsewhere(again):
                return again
            found = again if again is not None and (found is None or again.verdict is Verdict.COPY) else found
        if found is not None and found.verdict is Verdict.COPY:
            return found  # parts are looked for only when they are asked for
    if mapped is not None:
        affine, is_mirrored = mapped
        view = views[is_mirrored].features
        if _is_whole(view, candidate, affine):
            only = copies_only or found is not None
            again = _compared(view, candidate, affine, is_mirrored, copies_only=only)
            found = again if again is not None and (found is None or again.verdict is Verdict.COPY) else found
    if found is None or found.verdict is not Verdict.COPY:
        return _beside_a_caption(views[0].features, candidate) or found
    return found


def laid_best(
    views: Sequence[WholeView], candidate: Features, mapped: Sequence[tuple[Affine, bool]] = ()
) -> tuple[Aligned, bool] | None:
    """A view (upright, mirrored) laid on a candidate by the best-correlating map, or without maps by a placement of the
    whole rather than of a part, and whether the view is mirrored; None without any."""
    if min(min(side.picture.shape[:2]) for side in (views[0].features, candidate)) < SIDE_MIN:
        return None
    candidate = reduced(candidate)
    if not mapped:
        placed = placements([view.whole for view in views], Whole(candidate))
        mapped = [(each.affine, bool(mirrored)) for each, mirrored in placed]
    found = [(refined(laid(views[mirrored].features, candidate, affine)), mirrored) for affine, mirrored in mapped]
    return max(found, key=lambda each: correlation(each[0]) + SIZE_WEIGHT * each[0].inside.mean(), default=None)


def _beside_a_caption(view: Features, candidate: Features) -> Verification | None:
    """COPY for a sprite, and the same beside a bar with words that reach into the sprite, if its other rows agree."""
    heights = view.picture.shape[0], candidate.picture.shape[0]
    higher, lower = max(heights), min(heights)
    if max(view.picture.shape[1], candidate.picture.shape[1], lower) > _CAPTIONED_SIDE_MAX:
        return None
    if view.picture.shape[1] != candidate.picture.shape[1] or not lower < higher <= _CAPTIONED_MAX * lower:
        return None
    hidden = round(_HIDDEN_SHARE * lower)
    for above in (True, False):
        rows = [height - lower + hidden if above else 0 for height in heights]
        ours, theirs = _rows(view, rows[0], lower - hidden), _rows(candidate, rows[1], lower - hidden)
        found = _compared(ours, theirs, np.eye(2, 3), mirrored=False, copies_only=True)
        if found is not None and found.verdict is Verdict.COPY:
            affine = np.array([[1.0, 0, 0], [0, 1, rows[1] - rows[0]]])
            return replace(found, mapping=mapping(affine, view, candidate, mirrored=False))
    return None


def _rows(features: Features, first: int, count: int) -> Features:
    """Some rows of a picture that is kept at its own size."""
    part = SmallPicture.of(np.ascontiguousarray(features.picture[first : first + count]))
    return replace(features, height=count, small=part, is_mirrored=False)


def _is_whole(view: Features, candidate: Features, affine: Affine) -> bool:
    """Whether a map lays most of one picture on the other, where they correlate."""
    both = laid(view, candidate, affine)
    mapped = abs(np.linalg.det(both.between[:, :2])) * both.sizes[0][0] * both.sizes[0][1]
    return (
        np.count_nonzero(both.inside) >= _WHOLE_SHARE * min(mapped, both.inside.size)
        and correlation(both) >= CANDIDATE_MIN
    )


def _compared(
    view: Features, candidate: Features, affine: Affine, mirrored: bool, *, copies_only: bool
) -> Verification | None:
    """The verdict on pictures that are laid on each other by a map, words laid across one of them left out; None where
    they do not agree."""
    given = laid(view, candidate, affine)
    both = refined(given)
    found = _judged(view, candidate, affine, both, mirrored, copies_only=copies_only)
    if found is None or found.verdict is not Verdict.COPY:
        nearer = slid(given, both)
        if nearer is not None:
            again = _judged(view, candidate, affine, nearer, mirrored, copies_only=copies_only or found is not None)
            both, found = (nearer, again) if again is not None else (both, found)
    if found is None or found.verdict is not Verdict.COPY:
        plain = without_words(both)
        again = None
        if plain is not None:
            again = _judged(view, candidate, affine, plain, mirrored, copies_only=copies_only or found is not None)
        found = again if again is not None and (found is None or again.verdict is Verdict.COPY) else found
    return found


def _has_a_part_elsewhere(found: Verification | None) -> bool:
    """Whether the pictures agree but for a displaced part, which another placement need not explain."""
    if found is None or found.verdict is not Verdict.VARIANT or found.differs is not None:
        return False
    return found.agreement is not None and found.agreement >= SURE_CORRELATION_MIN


def _judged(
    view: Features, candidate: Features, affine: Affine, both: Aligned, mirrored: bool, *, copies_only: bool
) -> Verification | None:
    spread = float(both.match[both.inside].std())
    least = int(np.clip(_UNLIKE_SHARE * spread, *_UNLIKE_RANGE))
    tiny = min(max(side.picture.shape) for side in (view, candidate)) < _TINY_SIDE
    blocks = structured_blocks(both.query, both.match, both.inside)
    everywhere = _agree(blocks, _EVERYWHERE_BLOCKS_MIN) and len(blocks) >= _BLOCKS
    least_agreed = _EVERYWHERE_MIN if everywhere else CORRELATION_MIN
    agreed = _agreement(both, both.inside, least_agreed)
    is_bare = False
    if not tiny and not everywhere and correlation(both) >= _LAID_OVER_MIN:
        bare = both.inside & ~laid_over(both, least)
        if _BARE_SHARE_MIN * np.count_nonzero(both.inside) <= np.count_nonzero(bare) < np.count_nonzero(both.inside):
            again = _agreement(both, bare, least_agreed)
            agreed = max((each for each in (agreed, again) if each is not None), default=None)
            is_bare = agreed is again
            blocks = structured_blocks(both.query, both.match, bare)
    parts = shared_parts(affine, view, candidate)
    is_part = min(parts) < _PART_MAX and not is_toned(both)
    if agreed is None or (is_part and not tiny and len(blocks) < _PART_BLOCKS):
        return None
    if tiny:
        is_copy = agreed >= _TINY_CORRELATION_MIN
    elif everywhere or is_toned(both):
        is_copy = True
    else:
        is_copy = agreed >= SURE_CORRELATION_MIN or (agreed >= DRAWN_CORRELATION_MIN and _agree(blocks, _BLOCKS_MIN))
    is_copy = is_copy and max(parts) >= CONTAINED_MIN
    is_copy = is_copy and _CONTRAST_MAX * spread >= float(both.query[both.inside].std()) >= spread / _CONTRAST_MAX
    if copies_only and not is_copy and agreed < SURE_CORRELATION_MIN:
        return None
    enlarged = max(1, round(max(both.match.shape) / min(max(side.picture.shape) for side in (view, candidate))))
    pixels = max(6, enlarged**2, int(_UNLIKE_PIXELS_SHARE * np.count_nonzero(both.inside)))
    differs = other_strokes(both, drawn=True)
    differs = differs or differences_of(both, drawn=True, least=least, pixels=pixels, coarser=enlarged, plain=True)
    if differs is not None and differs.share > _VARIANT_SHARE_MAX:
        return None
    is_copy = is_copy and differs is None
    if is_copy and not (tiny or is_bare) and min(parts) >= _ALL:  # what lies on a part is placed less exactly
        differs = other_shapes(both)
        is_copy = differs is None and not has_displaced_parts(both)
    verdict = Verdict.COPY if is_copy else Verdict.VARIANT
    differs = differs.mirrored() if differs and mirrored else differs
    return Verification(verdict, 0, agreed, mapping(affine, view, candidate, mirrored), differs)


def _agree(blocks: NDArray[np.floating], least: float) -> bool:
    """Whether blocks, worst first, reach a correlation, but for a few; too few of them say nothing against it."""
    return len(blocks) < _BLOCKS or float(blocks[_BLOCKS_WRONG]) >= least


def reduced(features: Features) -> Features:
    """The same with a picture of ``_OWN_SIDE`` at most, for pictures without detail."""
    height, width = features.picture.shape[:2]
    scale = _OWN_SIDE / max(height, width)
    if scale >= 1:
        return features
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = cv2.resize(np.ascontiguousarray(features.picture), size, interpolation=cv2.INTER_AREA)
    return replace(features, small=SmallPicture.of(picture.astype(np.uint8, copy=False)), is_mirrored=False)


def _agreement(both: Aligned, inside: Mask, least: float) -> float | None:
    """The correlation of the aligned luma where it, and what a plane leaves of it, agree; None where not, or where
    there is nothing to compare. The tones of one are adapted to the other's: brightness that is clipped counts little.
    """
    query, match = both.query, both.match
    sides = [side[inside].astype(np.float64) for side in (query, match)]
    found = correlated(*sides)
    if found < DRAWN_CORRELATION_MIN:
        whole = inside is both.inside
        adapted = (
            (gained_query(both) if whole else gained(query, match, inside), match),
            (query, gained_match(both) if whole else gained(match, query, inside)),
        )
        pairs = [sides, *([side[inside].astype(np.float64) for side in pair] for pair in adapted)]
        found, sides = max(((correlated(*pair), pair) for pair in pairs), key=lambda each: each[0])
    if found < least:
        return None
    reliefs = _without_plane(inside, sides)
    quiet = min(side.std() for side in sides) < SPREAD_MIN or min(relief.std() for relief in reliefs) < RELIEF_MIN
    return None if quiet or correlated(*reliefs) < least else found


def _without_plane(inside: Mask, sides: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Each side without the best plane through its values at these pixels, by the normal equations."""
    y, x = (place - place.mean() for place in np.nonzero(inside))
    scatter = np.array([[x @ x, x @ y], [x @ y, y @ y]]) + 1e-9 * np.eye(2)  # all pixels may lie on one line
    slopes = [np.linalg.solve(scatter, [x @ side, y @ side]) for side in sides]
    return [side - side.mean() - right * x - down * y for side, (right, down) in zip(sides, slopes, strict=True)]
