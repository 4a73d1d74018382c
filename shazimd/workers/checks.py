"""The values in the replies to each job: a worker that was taken over may send any of the right type.

Each check knows what was asked, and raises MalformedReply for a value that no honest worker makes of it. Ranges are
those that the store, the index and the answers rely on.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np

from shazimd.fingerprint import Fingerprint, FloatVector, Query
from shazimd.models.model import ModelInfo
from shazimd.text import HASHES
from shazimd.types import (
    FORMATS,
    HASH_MAX,
    OTHER_FORMATS,
    PIXELS_BYTES,
    Evidence,
    Hashes,
    Mapping,
    PictureFacts,
    Verdict,
    Verification,
)
from shazimd.words.packing import ASKED_MAX, FEATURE, check_packed
from shazimd.workers import jobs
from shazimd.workers.messages import MalformedReply

T = TypeVar("T")

UNIT_TOLERANCE = 1e-3
"""As for the store: rounding to float16 stays well inside."""
TURNED = 7
"""Orientations besides upright."""
REGIONS_MAX, POINTS_MAX, SIGNS_MAX = 12, 40, 12
"""Regions and points of an answer, and signs of one side: as many as ``imaging`` gives."""
TEXT_MAX = 100
"""Characters of a camera's name and of a date."""


def checked(function: Callable[..., T], arguments: Sequence[Any], result: T) -> T:
    """The result if ``function`` may have it with these arguments. Raises MalformedReply otherwise."""
    examine = CHECKS.get(function)
    if examine is not None:
        asked = dict(zip(_parameters(function), arguments, strict=True))
        try:
            examine(result, asked)
        except ValueError as error:
            raise MalformedReply(f"a worker's reply to {function.__name__} is wrong: {error}") from error
    return result


@cache
def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _fingerprint(found: Fingerprint, asked: dict[str, Any]) -> None:
    model: ModelInfo | None = asked["model"]
    for hashes in (found.signals.hashes, *found.turned):
        _hashes(hashes)
    _expect(found.model is None or (model is not None and found.model == model.id), "the model's id", found.model)
    _expect((found.model is None) == (found.signals.fv is None), "a vector exactly with a model", found.model)
    if found.signals.fv is not None and model is not None:
        _vector(found.signals.fv, model.output_width)
    _size((found.width, found.height), asked)
    _expect(found.format in (*FORMATS, *OTHER_FORMATS), "the name of a format", found.format)
    _expect(found.pixels is None or len(found.pixels) == PIXELS_BYTES, f"{PIXELS_BYTES} bytes of pixels", found.pixels)
    _expect(asked["features"] or not found.features, "no features", found.features)
    check_packed(found.features)
    _expect(len(found.turned) == TURNED, f"hashes of {TURNED} orientations", len(found.turned))


def _query(found: Query, asked: dict[str, Any]) -> None:
    _fingerprint(found.fingerprint, asked)
    _expect(asked["features"] or not found.features, "no features", found.features)
    check_packed(found.features, asked=True)
    expected = found.fingerprint.orientations
    _expect(len(found.orientations) == len(expected), f"{len(expected)} orientations", len(found.orientations))
    for own, other in zip(found.orientations, expected, strict=True):
        _expect(own.hashes == other.hashes, "the hashes of the fingerprint", own.hashes)
        same = own.fv is None if other.fv is None else own.fv is not None and np.array_equal(own.fv, other.fv)
        _expect(same, "the vector of the fingerprint", "another")


def _query_without_points(found: Query, asked: dict[str, Any]) -> None:
    _query(found, asked | {"features": True})


def _points_of_query(found: bytes, _asked: dict[str, Any]) -> None:
    count, rest = divmod(len(found), FEATURE.itemsize)
    _expect(not rest and count <= ASKED_MAX, f"at most {ASKED_MAX} points of {FEATURE.itemsize} bytes", len(found))


def _verifications(found: list[Verification], asked: dict[str, Any]) -> None:
    expected = len(asked["candidates"])
    _expect(len(found) == expected, f"{expected} verifications", len(found))
    for each in found:
        _expect(each.verdict not in (Verdict.EXACT, Verdict.SIMILAR), "a verdict of geometry", each.verdict)
        _expect(0 <= each.inliers <= ASKED_MAX, f"0 to {ASKED_MAX} inliers", each.inliers)
        _expect(each.agreement is None or -1.001 <= each.agreement <= 1.001, "an agreement of -1 to 1", each.agreement)
        if each.mapping is not None:
            _mapping(each.mapping)
        if each.differs is not None:
            _expect(0 <= each.differs.share <= 1, "a share of 0 to 1", each.differs.share)
            _expect(len(each.differs.regions) <= REGIONS_MAX, f"{REGIONS_MAX} regions", len(each.differs.regions))
            _finite(number for pair in each.differs.regions for box in pair for number in box)


def _mapping(found: Mapping) -> None:
    _finite((found.scale, found.rotation_deg, *found.region))
    _expect(found.scale > 0, "a scale over 0", found.scale)


def _evidence(found: Evidence, _asked: dict[str, Any]) -> None:
    for signs in (found.asked, found.known):
        _expect(len(signs) <= SIGNS_MAX, f"at most {SIGNS_MAX} signs", len(signs))
        _expect(all(sign.isidentifier() and len(sign) <= TEXT_MAX for sign in signs), "names of signs", signs)
    if found.detail is not None:
        _finite([found.detail])


def _facts(found: PictureFacts, _asked: dict[str, Any]) -> None:
    for text in (found.camera, found.captured):
        _expect(len(text) <= TEXT_MAX, f"at most {TEXT_MAX} characters", text)
    _expect(0 <= found.jpeg_quality <= 100, "a quality of 0 to 100", found.jpeg_quality)


def _jpeg(found: bytes, _asked: dict[str, Any]) -> None:
    _expect(found.startswith(b"\xff\xd8\xff"), "a JPEG", found)


def _points(found: list[tuple[float, float, float, float]], _asked: dict[str, Any]) -> None:
    _expect(len(found) <= POINTS_MAX, f"at most {POINTS_MAX} points", len(found))
    _finite(number for pair in found for number in pair)


def _hashes(found: Hashes) -> None:
    _expect(len(found) == len(HASHES), f"{len(HASHES)} hashes", found)
    for kind, value in zip(HASHES, found, strict=True):
        if value is None or not 0 <= value <= HASH_MAX:
            _expect(False, f"{kind.name} of 0 to {HASH_MAX}", value)


def _vector(found: FloatVector, width: int) -> None:
    _expect(len(found) == width, f"a vector of {width} numbers", len(found))
    length = float(np.linalg.norm(found.astype(np.float64)))
    _expect(abs(length - 1) <= UNIT_TOLERANCE, "a vector of length 1", length)


def _size(found: tuple[int, int], asked: dict[str, Any]) -> None:
    limit = asked["max_pixels"]
    _expect(all(1 <= side <= limit for side in found), f"a size of 1 to {limit} pixels a side", found)


def _finite(numbers: Iterable[float]) -> None:
    for number in numbers:
        _expect(math.isfinite(number), "finite numbers", number)


def _expect(holds: bool, expected: str, found: object) -> None:
    if not holds:
        raise ValueError(f"expected {expected}, found {repr(found)[:80]}")


CHECKS: dict[Callable[..., Any], Callable[[Any, dict[str, Any]], None]] = {
    jobs.fingerprint: _fingerprint,
    jobs.query: _query,
    jobs.query_without_points: _query_without_points,
    jobs.points: _points_of_query,
    jobs.verify_all: _verifications,
    jobs.lineage: _evidence,
    jobs.picture_facts: _facts,
    jobs.rendition: _jpeg,
    jobs.upright_size: _size,
    jobs.matched_points: _points,
}
"""For each job of the daemon and of the page."""
