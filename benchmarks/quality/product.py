"""The product as the benchmark asks it: a daemon's rooms in one process, on a store of its own."""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from hashlib import blake2b

from shazimd.config import WorkersConfig
from shazimd.fingerprint import Fingerprint, Query
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify_all
from shazimd.index.flat import FlatIndex
from shazimd.models.model import EmbeddingModel, ModelInfo
from shazimd.models.registry import Registry
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import (
    DEFAULT_THRESHOLD,
    DEFAULT_WEIGHTS,
    ContentId,
    FileRow,
    FileState,
    Match,
    Stat,
    Verdict,
    Verification,
)

MAX_PIXELS = WorkersConfig().max_pixels
MAP_BYTES = 1 << 30
RANK = {Verdict.EXACT: 3.0, Verdict.COPY: 2.0, Verdict.SCENE: 1.0, Verdict.SIMILAR: 0.0}


def installed(handle: str) -> ModelInfo:
    """The model of a handle, such as ``bundled`` or a SavedModel's directory; converted once for all benchmarks."""
    registry = Registry(os.path.join(tempfile.gettempdir(), "shazimd-benchmark-models"))
    return registry.find(handle) or registry.install(handle)


class Product:
    """Known pictures are named by numbers of the caller's."""

    def __init__(self, model: ModelInfo | None) -> None:
        self.model = model
        self.spent_ms: defaultdict[str, list[float]] = defaultdict(list)
        self._extractor = Extractor(None if model is None else EmbeddingModel(model), MAX_PIXELS)
        self._folder = tempfile.TemporaryDirectory(prefix="shazimd-quality-")
        self._library = Library(open_store(self._folder.name, MAP_BYTES), lambda _store, _model: FlatIndex(), model)
        self._search = Search(self._library, self._verify)
        self._known: dict[int, Fingerprint] = {}

    def fingerprint(self, data: bytes) -> Fingerprint:
        return self._extractor.fingerprint(data)

    def add(self, number: int, fingerprint: Fingerprint) -> None:
        def work(writer: Writer) -> ContentId:
            content = writer.add_content(blake2b(str(number).encode(), digest_size=32).digest(), fingerprint)
            writer.put_file(b"/%d" % number, FileRow(Stat(0, 0, 0), FileState.INDEXED, content))
            return content

        self._library.add([(self._library.store.write(work), fingerprint)])
        self._known[number] = fingerprint

    def first(self, count: int) -> Product:
        """The same product, knowing only the numbers below this."""
        smaller = Product(self.model)
        for number, fingerprint in self._known.items():
            if number < count:
                smaller.add(number, fingerprint)
        return smaller

    def ask(self, data: bytes) -> Query:
        started = time.process_time()
        query = self._extractor.query(data)
        self._spend("fingerprinting a query", started)
        return query

    def matches(self, query: Query) -> dict[int, Match]:
        """Known numbers that match the query, whatever the verdict."""
        started = time.process_time()
        found = self._search.matches(query, None, weights=DEFAULT_WEIGHTS, threshold=DEFAULT_THRESHOLD)
        self._spend("the rest of a query", started)
        return {int(match.path[1:]): match for match in found}

    def _verify(self, query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        started = time.process_time()
        done: Future[list[Verification]] = Future()
        done.set_result(verify_all(query, candidates))
        self._spend("verifying one candidate", started, len(candidates))
        return done

    def _spend(self, step: str, started: float, among: int = 1) -> None:
        self.spent_ms[step].append((time.process_time() - started) * 1e3 / max(1, among))


def rank(match: Match) -> float:
    """A number to sort related pairs by: the verdict first, then how many features agree."""
    inliers = match.verification.inliers if match.verification else 0
    return RANK[match.verdict] + inliers / (inliers + 50)
