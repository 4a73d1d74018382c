"""The daemon's service: every verb of ``server.service.Service``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from shazimd import __version__
from shazimd.daemon import decide, feed, wire
from shazimd.daemon.app import App
from shazimd.daemon.export import exported_files
from shazimd.daemon.failures import failed_files
from shazimd.daemon.link_progress import LinkProgress
from shazimd.daemon.root_facts import FactsOfRoots
from shazimd.daemon.run import Run
from shazimd.errors import BadInput, NotFound, WorkerFailed
from shazimd.ingest import collect
from shazimd.ingest.alerts import Inbox, stored
from shazimd.ingest.fetched import take
from shazimd.posix import memory
from shazimd.posix.sealed import SealedBytes
from shazimd.protocol import (
    Alert,
    CompactReply,
    CompareReply,
    ExportedFile,
    FailedFile,
    FindReply,
    ForgetReply,
    PairLine,
    PathFields,
    ReloadReply,
    RescanReply,
)
from shazimd.protocol.cluster import BehindReply, ChangesPage, FingerprintMessage, ForeignReply, ForeignStatus
from shazimd.protocol.groups import DecisionMessage, DuplicateGroup, GroupsPage
from shazimd.protocol.status import InstalledModel, InstallProgress, RootStatus, Status
from shazimd.search.duplicates import GroupFilter, GroupPage, Scoring
from shazimd.search.fetching import Fetching
from shazimd.search.join import pairs
from shazimd.server.cluster_verbs import DIGESTS_MAX
from shazimd.text import path_bytes, path_fields
from shazimd.types import Digest, Verdict, Weights, new_digest

MATCHES_MAX = 10_000
"""Maximum of an answer: at a low threshold every image matches, and a million matches would be half a gigabyte."""

UNDECIDED_MAX = 100
MEMBERS_MAX = 200
"""Files of a group in a page."""


class DaemonService:
    def __init__(self, app: App) -> None:
        self._app = app
        self._facts = FactsOfRoots(app.store)
        self._started = time.monotonic()
        self._link = LinkProgress()

    def find(self, data: SealedBytes, threshold: float | None, weights: Weights | None, limit: int | None) -> FindReply:
        started = time.perf_counter()
        complete = self._app.run.has_baselines()  # before the search: it may be complete afterwards
        weights, threshold = self._scoring(weights, threshold)
        model = self._app.library.model
        asked = self._app.workers.query(data, model)
        digest = _digest(data)  # while the workers are at it
        early = asked.without_points()
        ahead = None if early is None else self._app.search.ahead(early, weights, threshold)
        query = asked.result()
        content = self._app.library.content_of(digest)
        limit = min(limit or MATCHES_MAX, MATCHES_MAX)
        fetching = self._fetching()
        matches = self._app.search.matches(
            query, content, weights=weights, threshold=threshold, limit=limit, fetch=fetching, ahead=ahead
        )
        self._app.metrics.query_s.labels("find").observe(time.perf_counter() - started)
        reply: FindReply = {
            "threshold": threshold,
            "weights": weights,
            "model": model.id if model else None,
            "complete": complete,
            "known_images": self._counts()["images"],
            "took_ms": _since_ms(started),
            "matches": [wire.found_image(match) for match in matches],
        }
        if query.fingerprint.damaged:
            reply["damaged"] = True
        if fetching is not None and fetching.missed:
            reply["unverified"] = fetching.missed
        return reply

    def compare(self, a: SealedBytes, b: SealedBytes, weights: Weights | None) -> CompareReply:
        started = time.perf_counter()
        weights, threshold = self._scoring(weights)
        model = self._app.library.model
        first, second = self._app.workers.query(a, model), self._app.workers.fingerprint(b, model)
        with _naming("a"):
            query = first.result()
        with _naming("b"):
            other = second.result()
        compared = self._app.search.compare(
            query,
            other,
            same_bytes=len(a) == len(b) and _digest(a) == _digest(b),
            weights=weights,
            threshold=threshold,
        )
        self._app.metrics.query_s.labels("compare").observe(time.perf_counter() - started)
        return {
            **wire.scores(compared.score, compared.similarities),
            **wire.geometry(compared.verification),
            "verdict": compared.verdict.value if compared.verdict else None,
            "weights": weights,
            "model": model.id if model else None,
            "took_ms": _since_ms(started),
        }

    def status(self) -> Status:
        store, run = self._app.library.store, self._app.run
        # In this order: with no file pending the counts have all files that the state and the scans tell of.
        state, roots, pending, counts = run.state, self._roots(run), run.pending(), self._counts()
        status: Status = {
            "version": __version__,
            "state": state,
            "images": counts["images"],
            "foreign": counts["foreign"],
            "contents": counts["contents"],
            "pending": pending,
            "failed": counts["failed"],
            "roots": roots,
            "model": self._app.provision.status(self._app.library.model),
            "store": {
                **store.info(),
                **path_fields(os.fsencode(store.info()["path"])),
                "fault": self._app.committer.fault,
                "outdated": self._app.library.filling.left,
            },
            "workers": {"missing_layers": self._app.workers.missing_layers()},
            "relations": run.relating.status(),
            "last_alert": self._app.alerts.last,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "rss_bytes": memory.resident_bytes(),
        }
        if cluster := self._link.status(self._app.store):
            status["cluster"] = cluster
        return status

    def _roots(self, run: Run) -> list[RootStatus]:
        states = run.root_states()
        facts = self._facts.of([path_bytes(state) for state in states])
        return [
            {**state, "failed": fact.failed, "last_alert": fact.last_alert}
            for state, fact in zip(states, facts, strict=True)
        ]

    def _scoring(self, weights: Weights | None = None, threshold: float | None = None) -> Scoring:
        """As asked for, and else as in the settings."""
        own = self._app.run.scoring
        return Scoring(weights or own.weights, own.threshold if threshold is None else threshold)

    def _fetching(self) -> Fetching | None:
        """For one search."""
        return Fetching(self._app.store, self._app.wanted) if self._app.fetches else None

    def _counts(self) -> dict[str, int]:
        with self._app.library.store.read() as reader:
            return reader.counts()

    def alerts(self, since: int, limit: int) -> list[Alert]:
        with self._app.library.store.read() as reader:
            return stored(reader, since, limit)

    def subscribe(self) -> AbstractContextManager[Inbox]:
        return self._app.alerts.subscribe()

    def rescan(self, path: bytes | None, deep: bool = False) -> RescanReply:
        self._app.run.rescan(path, deep=deep)
        return {"path": None} if path is None else {**path_fields(path)}

    def forget(
        self, path: bytes | None, *, deleted: bool = False, content: Digest | None = None, ignore: bool = False
    ) -> ForgetReply:
        library, committer = self._app.library, self._app.committer
        committer.expect_writable()
        if path is not None:
            return self._forget_path(self._stored_path(path), ignore=ignore)
        if content is not None:
            found = collect.forget_content(library, committer, content)
            return {"forgotten": found.number, "comes_back": False, "held_by": list(found.held_by)}
        forgotten = collect.forget_deleted(library, committer) if deleted else 0
        return {"forgotten": forgotten, "comes_back": False}

    def _forget_path(self, path: bytes, *, ignore: bool) -> ForgetReply:
        if ignore:
            self._app.run.roots.expect(path)
            self._app.ignored.add(path)
        forgotten = collect.forget_path(self._app.library, self._app.committer, path)
        return {"forgotten": forgotten, "comes_back": not ignore and self._app.run.roots.comes_back(path)}

    def ignored(self) -> list[PathFields]:
        return [path_fields(path) for path in self._app.ignored.all()]

    def unignore(self, path: bytes) -> RescanReply:
        self._app.committer.expect_writable()
        if path not in self._app.ignored.all():
            path = self._app.run.roots.known_path(path)  # as it was ignored by
        self._app.ignored.remove(path)
        if self._app.run.roots.comes_back(path):
            self._app.run.rescan(path)
        return {**path_fields(path)}

    def duplicates(self, threshold: float | None, weights: Weights | None) -> Iterator[DuplicateGroup | None]:
        groups = self._app.duplicates.groups(self._app.run.keep, self._scoring(weights, threshold))
        return wire.duplicate_groups(groups)

    def group_page(
        self,
        under: bytes | None,
        verdict: Verdict | None,
        after: tuple[int, int] | None,
        limit: int,
        *,
        decided: bool,
        modified: tuple[float | None, float | None] = (None, None),
    ) -> GroupsPage:
        below = None if under is None else self._app.run.roots.known_path(under)
        since_ns, until_ns = (None if seconds is None else int(seconds * 1e9) for seconds in modified)
        wanted = GroupFilter(below, verdict, decided, since_ns, until_ns)
        page = self._app.duplicates.page(self._app.run.keep, self._app.run.scoring, wanted, after, limit)
        return self._page(page)

    def group(self, centre: Digest) -> GroupsPage:
        found = self._app.duplicates.group(self._app.run.keep, self._app.run.scoring, centre)
        if found is None:
            raise NotFound(f"group {centre.hex()}: there is none with this id; it may have been settled or changed")
        return self._page(GroupPage([found], None, 1, found.saves_bytes))

    def _page(self, page: GroupPage) -> GroupsPage:
        return {
            "groups": [wire.duplicate_group(group, MEMBERS_MAX) for group in page.groups],
            "after": wire.cursor(page.after) if page.after else None,
            "total": page.total,
            "saves_bytes": page.saves_bytes,
            "relations": self._app.run.relating.status(),
        }

    def decisions(self, after: int, limit: int) -> list[DecisionMessage]:
        return decide.listed(self._app.store, after, limit)

    def decide(self, body: bytes, uid: int | None, *, accept_unknown: bool) -> list[int]:
        self._app.committer.expect_writable()
        made = decide.add(self._app.committer, body, uid, accept_unknown=accept_unknown)
        self._app.duplicates.settle(made.digests)
        return made.ids

    def undo(self, number: int) -> DecisionMessage:
        self._app.committer.expect_writable()
        undone = decide.undo(self._app.store, self._app.committer, number)
        self._app.duplicates.settle(bytes.fromhex(digest) for digest in undone["contents"])
        return undone

    def export(self, *, vectors: bool) -> Iterator[ExportedFile]:
        return exported_files(self._app.store, self._app.library.model_id, vectors=vectors)

    def failed(self) -> Iterator[FailedFile]:
        return (wire.failed_file(path, row) for path, row in failed_files(self._app.store))

    def retry_failed(self, path: bytes | None) -> int:
        return self._app.run.retry(None if path is None else self._stored_path(path))

    def _stored_path(self, path: bytes) -> bytes:
        """The path by the name of its root, unless the store has files under the given name: those of a former root
        that is now a link to the present one."""
        with suppress(ValueError), self._app.store.read() as reader:  # ValueError: a name longer than the store takes
            if reader.file(path) or next(reader.walk(path), None):
                return path
        return self._app.run.roots.known_path(path)

    def pairs(self, threshold: float | None, weights: Weights | None, after: int) -> Iterator[PairLine]:
        steps = pairs(self._app.library, *self._scoring(weights, threshold), after)
        return wire.pair_lines(steps, after)

    def models(self) -> list[InstalledModel]:
        return self._app.provision.list(self._app.library.model_id)

    def install_model(self, handle: str, data: bytes | None) -> Iterator[InstallProgress]:
        return self._app.provision.install(handle, data)

    def reload(self) -> ReloadReply:
        return self._app.reload()

    def compact(self) -> CompactReply:
        store = self._app.library.store
        before = store.info()["size_bytes"]
        store.compact(self._app.library.model_id)
        self._app.library.compact()
        return {"before_bytes": before, "after_bytes": store.info()["size_bytes"]}

    def changes(self, after: str | None, limit: int) -> ChangesPage:
        page = feed.changes(self._app.store, self._app.library.model_id, after, limit)
        self._link.asked(after, page)
        return page

    def file_changes(self) -> int:
        return self._app.store.file_changes.number

    def wait_for_file_change(self, after: int, timeout_s: float) -> None:
        self._app.store.file_changes.wait(after, timeout_s)

    def end_waits(self) -> None:
        self._app.store.file_changes.end_waits()
        self._app.wanted.end_waits()

    def fingerprints(self, contents: list[bytes]) -> list[FingerprintMessage]:
        return feed.fingerprints(self._app.store, self._app.library.model_id, contents)

    def foreign(self) -> ForeignStatus:
        undecided = self._app.run.ingest.across.undecided(UNDECIDED_MAX)
        return {"hosts": self._app.foreign.hosts(), "undecided": undecided}

    def foreign_paths(self, host: str, after: bytes | None, limit: int) -> list[PathFields]:
        return self._app.foreign.paths(host, after, limit)

    def missing_contents(self, host: str, body: bytes, *, packed: bool) -> list[str]:
        return self._app.foreign.missing(host, body, packed=packed)

    def put_foreign(
        self, host: str, body: bytes, position: str | None, *, complete: bool, packed: bool
    ) -> ForeignReply:
        return self._app.foreign.put(host, body, position, complete=complete, packed=packed)

    def link_is_behind(self, changes: int) -> BehindReply:
        self._link.is_behind(changes)
        return {"behind": changes}

    def forget_foreign(self, host: str) -> ForgetReply:
        return {"forgotten": self._app.foreign.forget(host), "comes_back": False}

    def decide_foreign(self, number: int, order: int, content: Digest) -> None:
        self._app.run.ingest.across.decide(number, order, content, self._fetching())

    def wanted_features(self, timeout_s: float) -> list[str]:
        return [digest.hex() for digest in self._app.wanted.wanted(DIGESTS_MAX, timeout_s)]

    def put_features(self, body: bytes) -> None:
        take(self._app.wanted, body)

    def metrics(self) -> bytes:
        return self._app.metrics.render(self.status())


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Name the part of a form in errors about its picture: the other part is a picture, too."""
    try:
        yield
    except (BadInput, WorkerFailed) as error:
        raise type(error)(f"{part}: {error}") from error


def _since_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _digest(data: SealedBytes) -> Digest:
    """See ``types.digest_of``."""
    digest = new_digest()
    for piece in data.pieces():
        digest.update(piece)
    return digest.digest()
