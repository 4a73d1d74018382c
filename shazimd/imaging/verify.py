"""Is there a geometric map between two pictures? Pure; runs where the features were made, in a worker process.

Features are matched by their bits. Each match proposes a map by itself, for a feature has a place, a size and an
angle (Lowe, IJCV 2004, section 7); the proposal that most matches agree with is refined to an affine map by least
squares. All proposals are tried, so there is no chance in it: the same pair has the same answer every time.
The query is tried as it is, then mirrored. Module ``agreement`` compares the aligned pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.agreement import agreement
from shazimd.imaging.differences import differences
from shazimd.imaging.features import SIDE, Features, unpack_features
from shazimd.imaging.frames import go_on_alike
from shazimd.imaging.mapping import CONTAINED_MIN, mapping, shared_parts
from shazimd.imaging.whole import WholeView, compared_whole, whole_view
from shazimd.types import Box, Verdict, Verification

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
_GROWTH = 3
"""Refined maps have at most so many times the inliers of the best proposal, nearly always."""
_SURE = 30
"""Inliers from which on a map is exact all over the picture, and the one from the other side would be the same."""
_ONE_SIDED = 60
"""Inliers from which on the other view is not tried: a nearly symmetric picture has fewer one way."""
_NEAR = 1.0
"""Pixels of the candidate's frame."""
_RATIO = 0.85
"""A match counts where the second best candidate is this much farther in bits (Lowe's ratio test)."""
_TOLERANCE = 4.0
"""Pixels of the candidate's frame (256) by which a feature may miss the place that the map says."""
_TURN_TOLERANCE = 0.5
_OCTAVE_TOLERANCE = 0.8
"""Radians and octaves by which a feature may differ from the proposal."""
_SCALE_RANGE = 1 / 8, 8.0
_STRETCH_MAX = 2.0
"""Ratio of the two scales of the map: an edit stretches by less, a chance map seldom does."""
_CELL = 3.0
"""Features nearer than this, in pixels, count as one: SIFT gives a corner several angles and sizes."""
_ON_A_LINE = 1e-6
"""Determinant of the scatter of points on one line, which give no affine map."""
_CELLS_MAX = 1 << 20
"""More than a picture has in a row."""
_ROUNDS = 4

Affine = NDArray[np.float64]
"""[2, 3]: pixels of the query's frame (mirrored, where that is said) -> pixels of the candidate's frame."""


class View(NamedTuple):
    """A query, upright or mirrored, ready to be matched again and again."""

    features: Features
    bits: NDArray[np.float32]


class _Question:
    """A query upright and mirrored, prepared once for all candidates."""

    def __init__(self, features: Features) -> None:
        self.views = view(features), view(features.mirrored())

    @property
    def features(self) -> Features:
        return self.views[0].features

    @cached_property
    def whole(self) -> list[WholeView]:
        return [whole_view(each.features) for each in self.views]


class Map(NamedTuple):
    inliers: int
    affine: Affine
    miss: float
    """median distance of the inliers from where the map puts them, pixels of the candidate's frame; of a query
    smaller than a frame it is reduced in proportion, for its features are placed no finer than its own pixels"""


class _JudgedMap(NamedTuple):
    verification: Verification
    best: Map | None
    mirrored: bool


def verify_all(query: bytes, candidates: Sequence[bytes]) -> list[Verification]:
    """Compare a query with each candidate by geometry and by the aligned pictures; all are packed features.

    Empty bytes, a picture without features, are related to nothing, and so is a candidate whose bytes are broken: a
    worker that a hostile picture took over may have made them, and they must not cost the other candidates their
    answer. Raises ValueError for a query that is no packed features."""
    if not query:
        return [Verification(None) for _ in candidates]
    asked = _question(query)
    return [_verify_packed(asked, candidate) for candidate in candidates]


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


def view(features: Features) -> View:
    """Features, ready to be matched."""
    return View(features, features.bits.astype(np.float32))


def _verify_packed(asked: _Question, candidate: bytes) -> Verification:
    if not candidate:
        return Verification(None)
    try:
        return _verify(asked, unpack_features(candidate))
    except (ValueError, cv2.error):  # the small picture is decoded when it is first looked at
        return Verification(None)


def _verify(asked: _Question, candidate: Features) -> Verification:
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
        backwards = [_inverted(best_map(known, each)) for each in views]
        if not (found.differs and _is_near(judged, backwards[judged.mirrored], asked.features)):
            again = _best_judged(views, candidate, lambda each, _more: backwards[each is views[1]]).verification
            found = again if again.verdict is Verdict.COPY or found.verdict is None else found
    few = min(len(side.points) for side in (asked.features, candidate)) < FEW_FEATURES
    drawn = asked.features.drawn and candidate.drawn
    if few and (found.verdict is not Verdict.COPY or (drawn and found.inliers < FEW_INLIERS)):
        whole = compared_whole(asked.whole, candidate, judged.best and (judged.best.affine, judged.mirrored))
        if whole is not None and (found.verdict is None or Verdict.COPY in (found.verdict, whole.verdict)):
            return whole
    return found


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


def _is_near(judged: _JudgedMap, other: Map | None, query: Features) -> bool:
    """Whether two maps put the corners of the query to the same places: regions that differ would be the same."""
    if judged.best is None or other is None:
        return False
    corners = np.array([[0, 0, 1], [query.width, 0, 1], [0, query.height, 1], [query.width, query.height, 1]])
    return bool(np.abs(corners @ (judged.best.affine - other.affine).T).max() < _NEAR)


def _inverted(found: Map | None) -> Map | None:
    """A map from the candidate to the query as one from the query to the candidate."""
    if found is None:
        return None
    affine = np.asarray(cv2.invertAffineTransform(found.affine), np.float64)
    return Map(found.inliers, affine, found.miss * float(np.sqrt(np.linalg.det(affine[:, :2]))))


def _judged(view: Features, candidate: Features, best: Map, mirrored: bool) -> Verification:
    needed = COPY_EVIDENCE_MIN - copy_evidence(0, best.inliers, best.miss)
    drawn = view.drawn and candidate.drawn
    if drawn:
        needed = min(needed, DRAWN_AGREEMENT_MIN)
    agreed = agreement(view, candidate, best.affine, enough=needed, least=_DRAWN_REFINED_MIN if drawn else -1.0)
    verdict, differs = Verdict.SCENE, None
    if agreed is not None and agreed >= needed:
        differs = differences(view, candidate, best.affine, exact=best.inliers >= _SURE)
        is_part = not drawn or max(shared_parts(best.affine, view, candidate)) >= CONTAINED_MIN
        verdict = Verdict.COPY if differs is None and is_part else Verdict.VARIANT
    elif drawn:
        verdict = Verdict.VARIANT  # drawings have no other shots
    if differs is not None and mirrored:
        differs = replace(differs, regions=tuple((_mirrored_box(ours), theirs) for ours, theirs in differs.regions))
    return Verification(verdict, best.inliers, agreed, mapping(best.affine, view, candidate, mirrored), differs)


def _mirrored_box(box: Box) -> Box:
    left, top, right, bottom = box
    return 1 - right, top, 1 - left, bottom


def best_map(query: View, candidate: View, more_than: int = 2) -> Map | None:
    """The map that most features agree on, None where no three do, or where not ``more_than`` so many match."""
    asked, known = _matches(query.bits, candidate.bits)
    if len(asked) <= max(2, more_than):
        return None
    agreeing = _consensus(query.features, candidate.features, asked, known)
    if _GROWTH * agreeing.sum() < more_than:
        return None
    a, b = query.features.points[asked], candidate.features.points[known]
    found = _refined(a.astype(float), b.astype(float), agreeing)
    smaller = min(1.0, max(query.features.width, query.features.height) / SIDE)
    return found and found._replace(miss=found.miss * smaller)


def _matches(query: NDArray[np.float32], candidate: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(query's, candidate's) numbers of the features that match, by Hamming distance."""
    if len(query) < 2 or len(candidate) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    distances = query.sum(axis=1)[:, np.newaxis] + candidate.sum(axis=1) - 2 * (query @ candidate.T)
    rows = np.arange(len(query))
    nearest = distances.argmin(axis=1)
    first = distances[rows, nearest]
    distances[rows, nearest] = np.inf
    kept = np.flatnonzero(first < _RATIO * distances.min(axis=1))
    return kept, nearest[kept]


def _consensus(
    query: Features, candidate: Features, asked: NDArray[np.intp], known: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Which matches agree with the proposal that most agree with."""
    a, b = _complex(query.points[asked]), _complex(candidate.points[known])
    octaves = np.log2(candidate.sizes[known] / query.sizes[asked])
    turns = candidate.angles[known] - query.angles[asked]
    proposals = np.exp2(octaves) * np.exp(1j * turns)
    misses = np.abs(proposals[:, None] * (a[None] - a[:, None]) + b[:, None] - b[None])
    turn_differences = np.abs((turns[:, None] - turns[None] + np.pi) % (2 * np.pi) - np.pi)
    agree = (
        (misses < 3 * _TOLERANCE)  # one feature's size and angle are rough
        & (turn_differences < _TURN_TOLERANCE)
        & (np.abs(octaves[:, None] - octaves[None]) < _OCTAVE_TOLERANCE)
    )
    return np.asarray(agree[agree.sum(axis=1).argmax()])


def _refined(a: NDArray[np.float64], b: NDArray[np.float64], agreeing: NDArray[np.bool_]) -> Map | None:
    """Least squares on those that agree, then who agrees, until that stands still."""
    for _ in range(_ROUNDS):
        affine = _fitted(a[agreeing], b[agreeing])
        if affine is None:
            return None
        misses = np.linalg.norm(a @ affine[:, :2].T + affine[:, 2] - b, axis=1)
        found = Map(0, affine, float(np.median(misses[agreeing])))
        settled = np.array_equal(misses < _TOLERANCE, agreeing)
        agreeing = misses < _TOLERANCE
        if settled:
            break
    return found._replace(inliers=min(_distinct(a[agreeing]), _distinct(b[agreeing])))


def _fitted(a: NDArray[np.float64], b: NDArray[np.float64]) -> Affine | None:
    """An affine map where there are enough points for one, else a similarity; None where that is not sane."""
    if _distinct(a) < 3:
        return None
    affine = _least_squares_affine(a, b) if _distinct(a) >= 6 else _least_squares_similarity(a, b)
    large, small, determinant = _scales(affine)
    sane = determinant > 0 and _SCALE_RANGE[0] < small and large < _SCALE_RANGE[1] and large < _STRETCH_MAX * small
    return affine if sane else None


def _scales(affine: Affine) -> tuple[float, float, float]:
    """The singular values of the linear part, larger first, and its determinant; numpy's take ten times as long."""
    (p, q, _), (r, s, _) = affine.tolist()
    one, other = math.hypot(p + s, r - q) / 2, math.hypot(p - s, r + q) / 2
    return one + other, abs(one - other), p * s - q * r


def _least_squares_affine(a: NDArray[np.float64], b: NDArray[np.float64]) -> Affine:
    middle, target = a.mean(axis=0), b.mean(axis=0)
    x, y = a - middle, b - target
    scatter = x.T @ x
    if np.linalg.det(scatter) < _ON_A_LINE:
        return np.zeros((2, 3))
    linear = np.linalg.solve(scatter, x.T @ y).T
    return np.column_stack([linear, target - linear @ middle])


def _least_squares_similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> Affine:
    za, zb = _complex(a), _complex(b)
    ca, cb = za - za.mean(), zb - zb.mean()
    turn = (cb * ca.conj()).sum() / max((np.abs(ca) ** 2).sum(), 1e-9)
    shift = zb.mean() - turn * za.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _distinct(points: NDArray[np.float64]) -> int:
    """How many cells of the picture the points lie in."""
    cells = (points / _CELL).astype(np.int64)
    return len(set((cells[:, 0] * _CELLS_MAX + cells[:, 1]).tolist()))


def _complex(points: NDArray[np.floating]) -> NDArray[np.complex128]:
    return np.asarray(points[:, 0] + 1j * points[:, 1])
