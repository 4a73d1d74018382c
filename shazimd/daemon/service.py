"""The daemon as the server asks it: every verb of ``server.service.Service``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import cast

from shazimd import __version__, protocol
from shazimd.daemon.app import App
from shazimd.ingest import collect
from shazimd.ingest.alerts import Inbox, stored
from shazimd.ingest.ingest import digest_of
from shazimd.posix import memory
from shazimd.search.duplicates import Member
from shazimd.search.join import Step, pairs
from shazimd.text import path_fields
from shazimd.types import ContentId, Differences, Digest, Match, Similarities, Verification, Weights, rounded_score

MATCHES_MAX = 10_000
"""Most matches in one answer: at a low threshold everything matches, and a million of them would be half a gigabyte."""

PROGRESS_EVERY_S = 1.0


class DaemonService:
    def __init__(self, app: App) -> None:
        self._app = app
        self._started = time.monotonic()

    def find(
        self, data: bytes, threshold: float | None, weights: Weights | None, limit: int | None
    ) -> protocol.FindReply:
        started = time.perf_counter()
        threshold = self._app.run.settings.threshold if threshold is None else threshold
        weights = weights or self._app.run.settings.weights
        model = self._app.library.model
        query = self._app.workers.query(data, model).result()
        with self._app.library.store.read() as reader:
            content = reader.content(digest_of(data))
        limit = min(limit or MATCHES_MAX, MATCHES_MAX)
        matches = self._app.search.matches(query, content, weights=weights, threshold=threshold, limit=limit)
        self._app.metrics.query_answered("find", time.perf_counter() - started)
        return {
            "threshold": threshold,
            "weights": weights,
            "model": model.id if model else None,
            "took_ms": _since_ms(started),
            "matches": [_told(match) for match in matches],
        }

    def compare(self, a: bytes, b: bytes, weights: Weights | None) -> protocol.CompareReply:
        started = time.perf_counter()
        weights = weights or self._app.run.settings.weights
        model = self._app.library.model
        query, other = self._app.workers.query(a, model), self._app.workers.fingerprint(b, model)
        compared = self._app.search.compare(
            query.result(),
            other.result(),
            same_bytes=a == b,
            weights=weights,
            threshold=self._app.run.settings.threshold,
        )
        self._app.metrics.query_answered("compare", time.perf_counter() - started)
        return {
            **_scores(compared.score, compared.similarities),
            **_geometry(compared.verification),
            "verdict": compared.verdict.value if compared.verdict else None,
            "weights": weights,
            "model": model.id if model else None,
            "took_ms": _since_ms(started),
        }

    def status(self) -> protocol.Status:
        store = self._app.library.store
        with store.read() as reader:
            counts = reader.counts()
        return {
            "version": __version__,
            "state": self._app.run.state,
            "images": counts["images"],
            "contents": counts["contents"],
            "pending": self._app.run.pending(),
            "failed": counts["failed"],
            "roots": self._app.run.roots(),
            "model": self._app.provision.status(self._app.library.model),
            "store": {**store.info(), "fault": self._app.committer.fault, "outdated": self._app.library.outdated},
            "uptime_s": round(time.monotonic() - self._started, 1),
            "rss_bytes": memory.resident_bytes(),
        }

    def alerts(self, since: int, limit: int) -> list[protocol.Alert]:
        with self._app.library.store.read() as reader:
            return stored(reader, since, limit)

    def subscribe(self) -> AbstractContextManager[Inbox]:
        return self._app.alerts.subscribe()

    def rescan(self, path: bytes | None) -> None:
        self._app.run.rescan(path)

    def forget(self, path: bytes | None, *, deleted: bool = False, content: Digest | None = None) -> int:
        library, committer = self._app.library, self._app.committer
        if path is not None:
            return collect.forget_path(library, committer, path)
        if content is not None:
            return collect.forget_content(library, committer, content)
        return collect.forget_deleted(library, committer) if deleted else 0

    def duplicates(self, threshold: float | None, weights: Weights | None) -> Iterator[protocol.DuplicateGroup]:
        threshold = self._app.run.settings.threshold if threshold is None else threshold
        groups = self._app.duplicates.groups(weights or self._app.run.settings.weights, threshold)
        return (
            {"saves_bytes": sum(member.size_bytes for member in group[1:]), "members": list(map(_as_member, group))}
            for group in groups
        )

    def pairs(self, threshold: float | None, weights: Weights | None, after: int) -> Iterator[protocol.PairLine]:
        threshold = self._app.run.settings.threshold if threshold is None else threshold
        return _told_in_time(
            pairs(self._app.library, weights or self._app.run.settings.weights, threshold, after), after
        )

    def models(self) -> list[protocol.InstalledModel]:
        return self._app.provision.list(self._app.library.model_id)

    def install_model(self, handle: str) -> Iterator[protocol.InstallProgress]:
        return self._app.provision.install(handle)

    def reload(self) -> protocol.ReloadReply:
        return self._app.reload()

    def compact(self) -> protocol.CompactReply:
        store = self._app.library.store
        before = store.info()["size_bytes"]
        store.compact(self._app.library.model_id)
        self._app.library.compact()
        return {"before_bytes": before, "after_bytes": store.info()["size_bytes"]}

    def metrics(self) -> bytes:
        return self._app.metrics.render(self.status())


def _told(match: Match) -> protocol.FoundImage:
    return {
        **cast(protocol.PathFields, path_fields(match.path)),
        **_scores(match.score, match.similarities),
        **_geometry(match.verification),
        "verdict": match.verdict.value,
        "width": match.width,
        "height": match.height,
    }


def _told_in_time(steps: Iterator[Step], after: ContentId) -> Iterator[protocol.PairLine]:
    """The pairs, with how far it has come in between: a reader that hung up is noticed only when there is a line."""
    told = time.monotonic()
    for content, pair in steps:
        if pair is not None:
            paths = path_fields(pair.path) | path_fields(pair.match, "match")
            yield cast(protocol.PairLine, {"after": after, **paths, **_scores(pair.score, pair.similarities)})
            continue
        after = content
        if time.monotonic() - told >= PROGRESS_EVERY_S:
            told = time.monotonic()
            yield {"after": after}
    yield {"after": after}


def _as_member(member: Member) -> protocol.GroupMember:
    return {
        **cast(protocol.PathFields, path_fields(member.path)),
        "width": member.width,
        "height": member.height,
        "size_bytes": member.size_bytes,
        "score": rounded_score(member.relation.score) if member.relation else None,
        "verdict": member.relation.verdict.value if member.relation else None,
    }


def _scores(score: float, pair: Similarities) -> protocol.Scores:
    dah, ddh, dfv = (None if s is None else rounded_score(s) for s in pair)
    return {"score": rounded_score(score), "dah": dah, "ddh": ddh, "dfv": dfv}


def _geometry(verification: Verification | None) -> protocol.Geometry:
    if verification is None:
        return {}
    mapping = verification.mapping
    return {
        "inliers": verification.inliers,
        "agreement": verification.agreement,
        "mapping": cast(protocol.Placement, asdict(mapping)) if mapping else None,
        "differs": _differs(verification.differs) if verification.differs else None,
    }


def _differs(found: Differences) -> protocol.DiffersMessage:
    regions: list[protocol.Region] = [{"query": query, "match": match} for query, match in found.regions]
    return {"share": found.share, "regions": regions}


def _since_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
