"""Comparisons in the workers, in which a candidate that ends its worker costs only itself.

Local features come from workers that a hostile picture may have taken over, and from other hosts. They are checked
without a decoder; their small pictures are decoded in a comparison alone. Were one made to end the decoder, every
question that comes across it would fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog

from shazimd.errors import WorkerFailed, WorkerLost
from shazimd.types import Digest, Verification, digest_of
from shazimd.workers.jobs import verify_all

log = structlog.get_logger()

UNRELATED = Verification(None)

Submit = Callable[..., "Future[list[Verification]]"]
"""Has a worker run a job: ``WorkerPool.submit`` or ``submit_later``."""


class Verifier:
    """``verify_all`` in the workers. Candidates that end a worker are related to nothing from then on."""

    def __init__(self, submit: Submit, failed: set[Digest]) -> None:
        """``failed``: digests of features that ended a worker; shared by all verifiers of a pool."""
        self._submit = submit
        self._failed = failed

    def __call__(self, query: bytes, candidates: Sequence[bytes]) -> Verifications:
        """Start to compare a query with each candidate, all packed features."""
        asked = candidates
        if self._failed:
            asked = [b"" if digest_of(each) in self._failed else each for each in candidates]
        return Verifications(self, query, asked, self.start(query, asked))

    def start(self, query: bytes, candidates: Sequence[bytes]) -> Future[list[Verification]]:
        return self._submit(verify_all, query, candidates)

    def leave_out(self, candidate: bytes, error: WorkerFailed) -> None:
        """Ask no worker about this candidate any more."""
        log.warning("features_failed", digest=digest_of(candidate).hex(), code=error.code, reason=str(error))
        self._failed.add(digest_of(candidate))


class Verifications:
    """The answers about some candidates, in their order."""

    def __init__(
        self, verifier: Verifier, query: bytes, candidates: Sequence[bytes], job: Future[list[Verification]]
    ) -> None:
        self._verifier = verifier
        self._query = query
        self._candidates = candidates
        self._job = job

    def result(self) -> list[Verification]:
        """Wait for the answers. Raises WorkerLost, and WorkerFailed if the query is to blame."""
        try:
            return self._job.result()
        except WorkerLost:
            raise
        except WorkerFailed:
            self._verifier.start(self._query, [self._query]).result()
            return [self._alone(candidate) for candidate in self._candidates]

    def _alone(self, candidate: bytes) -> Verification:
        try:
            return self._verifier.start(self._query, [candidate]).result()[0]
        except WorkerLost:
            raise
        except WorkerFailed as error:
            self._verifier.leave_out(candidate, error)
            return UNRELATED
