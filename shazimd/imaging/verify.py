"""Is there a geometric map between two pictures? Pure; runs where the features were made, in a worker process.

Module ``maps`` finds it, of the query as it is and mirrored; module ``agreement`` compares the aligned pictures. If
these are no copies, and one looks like the negative of the other, its negative is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from shazimd.imaging.agreement import agreement
from shazimd.imaging.alignment import Aligned, align
from shazimd.imaging.differences import differ_by_words_alone, differences, is_toned
from shazimd.imaging.features import Features, unpack_features
from shazimd.imaging.frames import go_on_alike
from shazimd.imaging.grounds import on_one_ground
from shazimd.imaging.mapping import CONTAINED_MIN, mapping, shared_parts, upright
from shazimd.imaging.maps import Map, View, best_map, inverted, view
from shazimd.imaging.negative import Words, are_opposite, negated_words, shares_negated_words
from shazimd.imaging.objects import DRAWN_FIGURES, other_figures
from shazimd.imaging.rivals import outdone, outdone_in_pixels
from shazimd.imaging.whole import WholeView, compared_whole, whole_views
from shazimd.types import Differences, Verdict, Verification

FEW_FEATURES = 64
"""Below this many features in one of the pictures they can't be expected to find a map, and are compared whole."""
INLIERS_MIN = 8
"""See benchmarks/quality/README.md for the false-match rate."""
FEW_INLIERS = 16
"""Drawings of which fewer features agree are copies only if the whole pictures agree, too: two faces of one emoji have
nine."""
COPY_EVIDENCE_MIN = 1.12
DRAWN_AGREEMENT_MIN = 0.6
"""Pages and drawings that agree this well are judged by their differences alone: a watermark across a page lowers the
agreement of most blocks."""
_DRAWN_REFINED_MIN = 0.3
"""Agreement of drawings from which on a finer map is looked for: on the tuned seed it lifts none with less over the
border."""
INLIERS_WEIGHT = 0.06
MISS_WEIGHT = 0.1

_BACKWARDS_MIN = 6
"""Inliers from which on the map from the other side is looked for, too: chance gives one pair of 300 so many."""
_SURE = 30
"""Inliers from which on a map is exact all over the picture, and the one from the other side would be the same."""
_ONE_SIDED = 60
"""Inliers from which on the other view is not tried: a nearly symmetric picture has fewer one way."""
_NEAR = 1.0
"""Pixels of the candidate's frame."""
_PRINT_FEATURES_MIN = 24
"""Features of a picture with print: a business card has 35 at least, flags 19 at most, of which a crop agrees with the
whole and differs in more pixels."""
_REDUCED_SIDE = 192
"""Pixels, longer side: a garment on flat ground may have the tones of photographs at this size alone, and stickers."""
_AGREED_MIN = 0.995
"""Agreement of drawings that are laid on each other exactly. Of edited copies of tuned families that were called
variants by features and copies by the whole pictures, .994 is the most but for a road sign under words; other business
cards and circuits have .999."""
_NEAR_ALL, _ALIKE_MIN = 4.0, 0.9
"""Pixels of the candidate's frame, within which a map of few inliers lays all of one picture on all of the other (2.6
in halved pages, hundreds by chance), and the agreement from which on they are alike."""


class _Question:
    """A query upright and mirrored, prepared once for all candidates."""

    def __init__(self, features: Features) -> None:
        self.views = view(features), view(features.mirrored())

    @property
    def features(self) -> Features:
        return self.views[0].features

    @cached_property
    def whole(self) -> list[WholeView]:
        return whole_views(self.features)

    @cached_property
    def negative(self) -> _Question:
        return _Question(self.features.negated())

    @cached_property
    def negated_words(self) -> Words:
        return negated_words(self.features)

    def may_be_negative_of(self, candidate: Features) -> bool:
        if shares_negated_words(self.negated_words, candidate):
            return True
        return _are_few(self.features, candidate) and are_opposite(self.whole, candidate)


class _JudgedMap(NamedTuple):
    verification: Verification
    best: Map | None
    mirrored: bool


def verify_all(query: bytes, candidates: Sequence[bytes]) -> list[Verification]:
    """Compare a query with each candidate by geometry and by the aligned pictures; all are packed features.

    Of copies that are variants of each other, those that agree plainly worse with the query in the places in which they
    differ are variants of it. Empty bytes, a picture without features, are related to nothing, and so is a candidate
    whose bytes are broken: a worker that a hostile picture took over may have made them, and they must not cost the
    other candidates their answer. Raises ValueError for a query that is no packed features."""
    if not query:
        return [Verification(None) for _ in candidates]
    asked = _question(query)
    found = [_verify_packed(asked, candidate) for candidate in candidates]
    copies = [number for number, each in enumerate(found) if each.verdict is Verdict.COPY]
    return _settled(asked, candidates, found, copies) if len(copies) > 1 else found


def _settled(
    asked: _Question, candidates: Sequence[bytes], found: Sequence[Verification], copies: Sequence[int]
) -> list[Verification]:
    """The verifications, with those copies made variants that another outdoes. Each is compared with the best before
    it, and, where another is the best in the end, with that."""
    settled, known = list(found), {number: unpack_features(candidates[number]) for number in copies}
    best, question = copies[0], _Question(known[copies[0]])
    compared = set()
    for other in (*copies[1:], *copies):
        if other == best or {best, other} in compared or settled[other].verdict is not Verdict.COPY:
            continue
        compared.add(frozenset([best, other]))
        between = _verify(question, known[other])
        if between.verdict is Verdict.COPY:
            continue
        pair = best, other
        worse = _outdone(asked, [known[each] for each in pair], [found[each] for each in pair], between.differs)
        if not worse:
            continue
        number, differs = pair[worse[0]], worse[1]
        settled[number] = replace(found[number], verdict=Verdict.VARIANT, differs=differs)
        if number == best:
            best, question = other, _Question(known[other])
    return settled


def _outdone(
    asked: _Question, pair: Sequence[Features], found: Sequence[Verification], between: Differences | None
) -> tuple[int, Differences] | None:
    """Of two copies that are no copies of each other, and of which some places in which they differ may be known: the
    number of the plainly worse copy, and the differences."""
    mirrored = [bool(each.mapping and each.mapping.mirrored) for each in found]
    if between is not None and min(each.inliers for each in found) >= INLIERS_MIN:
        laid = _laid(asked, pair, mirrored)
        worse = outdone(laid[0], laid[1], between) if len(laid) == len(pair) else None
        if worse is not None:
            return worse[0], worse[1].mirrored() if mirrored[worse[0]] else worse[1]
    if all((asked.features.drawn and each.drawn) or _are_few(asked.features, each) for each in pair):
        by_features = [each.inliers >= INLIERS_MIN for each in found]
        return outdone_in_pixels(asked.features, list(zip(pair, by_features, strict=True)))
    return None


def _laid(asked: _Question, pair: Sequence[Features], mirrored: Sequence[bool]) -> list[Aligned]:
    """The query laid on each of a pair by features, if these find a map of each."""
    laid = []
    for candidate, is_mirrored in zip(pair, mirrored, strict=True):
        best = best_map(asked.views[is_mirrored], view(candidate))
        if best is not None and best.inliers >= INLIERS_MIN:
            laid.append(align(asked.views[is_mirrored].features, candidate, best.affine))
    return laid


@lru_cache(maxsize=1)
def _question(query: bytes) -> _Question:
    """The last query: its candidates come in several jobs, and its picture takes a millisecond to decode."""
    return _Question(unpack_features(query))


def verify(query: bytes, candidate: bytes) -> Verification:
    """``verify_all`` of one pair."""
    return verify_all(query, [candidate])[0]


def copy_evidence(agreed: float, inliers: int, miss: float) -> float:
    """How much speaks for a copy rather than another shot: the pictures agree, many features do, and they lie where
    the map says, for a flat picture has no parallax. Weights and border: benchmarks/quality/README.md."""
    return agreed + INLIERS_WEIGHT * math.log(inliers) - MISS_WEIGHT * miss


def _verify_packed(asked: _Question, candidate: bytes) -> Verification:
    if not candidate:
        return Verification(None)
    try:
        return _verify(asked, unpack_features(candidate))
    except (ValueError, cv2.error):  # the small picture is decoded when it is first looked at
        return Verification(None)


def _verify(asked: _Question, candidate: Features) -> Verification:
    """Judge the pictures on one ground; unrelated ones with the negative of one, of which only a copy counts."""
    laid = on_one_ground(asked.features, candidate)
    if laid is None:
        return Verification(None)
    query, candidate = laid
    asked = asked if query is asked.features else _Question(query)
    found = _verify_moving(asked, candidate)
    if found.verdict is None and asked.may_be_negative_of(candidate):
        again = _verify_moving(asked.negative, candidate)
        return again if again.verdict is Verdict.COPY else found
    return found


def _verify_moving(asked: _Question, candidate: Features) -> Verification:
    """Judge the pictures; animations that go on otherwise are variants."""
    found = _verify_pictures(asked, candidate)
    ours, theirs = asked.features.frames, candidate.frames
    if found.verdict is not Verdict.COPY or ours is None or theirs is None or found.mapping is None:
        return found
    return found if go_on_alike(ours, theirs, found.mapping) else replace(found, verdict=Verdict.VARIANT)


def _verify_pictures(asked: _Question, candidate: Features) -> Verification:
    """Judge the best map; without a copy, also the map that is found from the candidate's side, so that a pair has one
    answer whichever picture is asked, and the whole pictures where features are few."""
    known, views = view(candidate), asked.views
    judged = _best_judged(views, candidate, lambda each, more: best_map(each, known, more))
    found = judged.verification
    sure = found.differs is not None and found.inliers >= _SURE
    if found.verdict is not Verdict.COPY and found.inliers >= _BACKWARDS_MIN and not sure:
        backwards = [inverted(best_map(known, each)) for each in views]
        if not (found.verdict is Verdict.VARIANT and _is_near(judged, backwards[judged.mirrored], asked.features)):
            again = _best_judged(views, candidate, lambda each, _more: backwards[each is views[1]]).verification
            found = again if again.verdict is Verdict.COPY or found.verdict is None else found
    few = _are_few(asked.features, candidate)
    if found.verdict is None and not few:
        return _judged_all_on_all(judged, views[judged.mirrored].features, candidate) or found
    drawn = asked.features.drawn and candidate.drawn
    if few and (found.verdict is not Verdict.COPY or (drawn and found.inliers < FEW_INLIERS)):
        only = found.verdict is not None and found.verdict is not Verdict.COPY
        mapped = judged.best and (judged.best.affine, judged.mirrored)
        whole = compared_whole(asked.whole, candidate, mapped, copies_only=only)
        if whole is not None and (found.verdict is None or Verdict.COPY in (found.verdict, whole.verdict)):
            return _seen_finer(found, whole, asked.features, candidate)
    return found


def _seen_finer(found: Verification, whole: Verification, query: Features, candidate: Features) -> Verification:
    """The answer by the whole pictures, which are reduced for that; of drawings that have more pixels a copy must not
    differ there: not in the places that a map of features has shown, laid on each other in the same way, not in
    figures, and nowhere where all of one lies on all of the other."""
    mapped = whole.mapping
    if whole.verdict is not Verdict.COPY or not (query.drawn and candidate.drawn) or mapped is None:
        return whole
    if mapped.mirrored or round(mapped.rotation_deg) != 0:
        return whole
    affine = upright(mapped, query, candidate)
    both = align(query, candidate, affine)
    if is_toned(both) or is_toned(align(query, candidate, affine, most=_REDUCED_SIDE)):
        return whole
    if found.differs is not None and found.mapping is not None and (found.agreement or 0) >= _AGREED_MIN:
        edges = np.array([found.mapping.region, mapped.region]) * np.tile([candidate.width, candidate.height], 2)
        if not found.mapping.mirrored and np.abs(edges[0] - edges[1]).max() < _NEAR:
            return found
    if min(query.count, candidate.count) < _PRINT_FEATURES_MIN:
        return whole
    is_all = np.abs(np.subtract(mapped.region, (0, 0, 1, 1))).max() * max(both.match.shape) < _NEAR
    differs = (
        differences(query, candidate, affine, exact=False, agreed=1.0) if is_all else other_figures(both, DRAWN_FIGURES)
    )
    return whole if differs is None else replace(whole, verdict=Verdict.VARIANT, differs=differs)


def _are_few(query: Features, candidate: Features) -> bool:
    return min(side.count for side in (query, candidate)) < FEW_FEATURES


def _best_judged(views: tuple[View, View], candidate: Features, find: Callable[[View, int], Map | None]) -> _JudgedMap:
    """The better of upright and mirrored: a nearly symmetric picture, such as a coat on its hanger, has a poor map one
    way and the true one the other. ``find`` gives the map of a view, None if it has not more than so many inliers."""
    found = _JudgedMap(Verification(None), None, False)
    for mirrored, each in enumerate(views):
        best = find(each, found.verification.inliers)
        if best is None or best.inliers <= found.verification.inliers:
            continue
        if best.inliers < INLIERS_MIN:
            found = _JudgedMap(Verification(None, best.inliers), best, bool(mirrored))
        else:
            verification = _judged(views[mirrored].features, candidate, best, bool(mirrored))
            found = _JudgedMap(verification, best, bool(mirrored))
        if found.verification.verdict is Verdict.COPY or found.verification.inliers >= _ONE_SIDED:
            break
    return found


def _judged_all_on_all(judged: _JudgedMap, view: Features, candidate: Features) -> Verification | None:
    """The verdict on pictures of one shape where a map of few inliers lays all of one on all of the other; None unless
    they agree. Repeated words have features that match at many places, so few support the map of a reduced page."""
    scales = candidate.width / view.width, candidate.height / view.height
    all_on_all = Map(INLIERS_MIN, np.diag([*scales, 1.0])[:2], 0.0)
    if not _is_near(judged, all_on_all, view, most=_NEAR_ALL):
        return None
    found = _judged(view, candidate, all_on_all, judged.mirrored)
    if found.verdict is Verdict.SCENE or (found.agreement or 0) < _ALIKE_MIN:
        return None
    return replace(found, inliers=judged.verification.inliers)


def _is_near(judged: _JudgedMap, other: Map | None, query: Features, most: float = _NEAR) -> bool:
    """Whether two maps put the corners of the query to the same places: the verdict would be the same."""
    if judged.best is None or other is None:
        return False
    corners = np.array([[0, 0, 1], [query.width, 0, 1], [0, query.height, 1], [query.width, query.height, 1]])
    return bool(np.abs(corners @ (judged.best.affine - other.affine).T).max() < most)


def _judged(view: Features, candidate: Features, best: Map, mirrored: bool) -> Verification:
    needed = COPY_EVIDENCE_MIN - copy_evidence(0, best.inliers, best.miss)
    drawn = view.drawn and candidate.drawn
    if drawn:
        needed = min(needed, DRAWN_AGREEMENT_MIN)
    agreed = agreement(view, candidate, best.affine, enough=needed, least=_DRAWN_REFINED_MIN if drawn else -1.0)
    verdict, differs, is_alike = Verdict.SCENE, None, False
    if agreed is not None and agreed >= needed:
        is_alike = True
        differs = differences(view, candidate, best.affine, exact=best.inliers >= _SURE, agreed=agreed)
    elif drawn:  # drawings have no other shots
        verdict, is_alike = Verdict.VARIANT, differ_by_words_alone(align(view, candidate, best.affine))
    if is_alike:
        is_part = not drawn or max(shared_parts(best.affine, view, candidate)) >= CONTAINED_MIN
        verdict = Verdict.COPY if differs is None and is_part else Verdict.VARIANT
    differs = differs.mirrored() if differs and mirrored else differs
    return Verification(verdict, best.inliers, agreed, mapping(best.affine, view, candidate, mirrored), differs)
