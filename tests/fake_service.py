"""A daemon without a daemon: answers by rule, remembers what it was asked, and can be told to wait or to fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

from patience import PATIENCE_S

from shazimd import protocol
from shazimd.errors import NotAnImage, NotFound, ShazimdError, Unavailable
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
from shazimd.protocol.cluster import (
    BehindReply,
    ChangedFile,
    ChangesPage,
    FingerprintMessage,
    ForeignReply,
    ForeignStatus,
)
from shazimd.protocol.groups import DecisionMessage, DuplicateGroup, GroupsPage
from shazimd.protocol.status import BaselineProgress, InstalledModel, InstallProgress, RelationsStatus, Status
from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.sockets import bind_socket
from shazimd.store.file_changes import FileChanges
from shazimd.text import path_fields
from shazimd.types import DEFAULT_WEIGHTS, Verdict, Weights

MAX_BODY_BYTES = 1_000_000
MODEL = "m-1"


def alert(alert_id: int) -> Alert:
    return {
        "id": alert_id,
        "time": "2026-01-02T03:04:05Z",
        "path": f"/srv/p/new{alert_id}.jpg",
        "match": "/srv/p/ski.jpg",
        "score": 0.93,
        "dah": 0.95,
        "ddh": 0.9,
        "dfv": 0.93,
        "verdict": "copy",
        "matches": 2,
        "took_ms": 38.2,
    }


class FakeService:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.fails: ShazimdError | Exception | None = None
        self.holds: threading.Event | None = None
        """while set and not yet fired, questions about pictures wait for it"""
        self.working = threading.Semaphore(0)
        """released once by each question that starts"""
        self.known: list[tuple[bytes, float, protocol.VerdictName]] = [
            (b"/srv/p/ski_copy.jpg", 1.0, "exact"),
            (b"/srv/p/ski2.jpg", 0.836, "copy"),
        ]
        self.stored: list[Alert] = []
        self.out: list[bytes] = []
        """paths that are ignored"""
        self.state: Any = "ready"
        self.pending = 0
        self.missing_layers: list[str] = []
        self.progress: BaselineProgress | None = None
        self.groups: list[DuplicateGroup] = []
        self.groups_found: list[DuplicateGroup] = []
        self.decided: list[DecisionMessage] = []
        self.exported: list[ExportedFile] = []
        self.failures: list[FailedFile] = []
        self.joined: list[PairLine] = []
        self.closed = threading.Event()
        self.changed = FileChanges()
        self._inboxes: list[Queue[Alert | None]] = []

    def find(self, body: SealedBytes, threshold: float | None, weights: Weights | None, limit: int | None) -> FindReply:
        data = bytes(body)
        self.asked.append(("find", hashlib.sha256(data).hexdigest(), threshold, weights, limit))
        self._work()
        if isinstance(self.fails, Unavailable):
            raise self.fails
        if not data.startswith(b"image"):
            raise NotAnImage("the body is no image that can be decoded")
        threshold = 0.75 if threshold is None else threshold
        found = [(path, score, verdict) for path, score, verdict in self.known if score >= threshold]
        return {
            "threshold": threshold,
            "weights": weights or DEFAULT_WEIGHTS,
            "model": MODEL,
            "complete": self.state == "ready",
            "known_images": 1200,
            "took_ms": 7.1,
            "matches": [
                {
                    **path_fields(path),  # type: ignore[typeddict-item]  # any field may be left out
                    "score": score,
                    "dah": score,
                    "ddh": score,
                    "dfv": score,
                    "verdict": verdict,
                    "width": 640,
                    "height": 480,
                }
                for path, score, verdict in found[:limit]
            ],
        }

    def compare(self, first: SealedBytes, second: SealedBytes, weights: Weights | None) -> CompareReply:
        a, b = bytes(first), bytes(second)
        self.asked.append(("compare", a, b, weights))
        self._work()
        if isinstance(self.fails, Exception):
            raise self.fails
        return {
            "score": 1.0 if a == b else 0.31,
            "dah": 1.0,
            "ddh": 0.5,
            "dfv": None,
            "verdict": "exact" if a == b else None,
            "weights": weights or DEFAULT_WEIGHTS,
            "model": None,
            "took_ms": 3.0,
        }

    def status(self) -> Status:
        if isinstance(self.fails, Exception):
            raise self.fails
        return {
            "version": "0.1.0",
            "state": self.state,
            "images": 1200,
            "contents": 1100,
            "pending": self.pending,
            "failed": 3,
            "roots": [
                {
                    "path": "/srv/p",
                    "mode": "inotify",
                    "state": "watching",
                    "watched_dirs": 12,
                    "unwatched_dirs": 0,
                    "unreadable_dirs": 0,
                    "overflows": 0,
                    "reconcile": {
                        "state": "idle",
                        "directories_done": 0,
                        "directories_pending": 0,
                        "known_files": 1200,
                    },
                    "baseline_complete": True,
                    "progress": self.progress,
                    "compared_at": 1_800_000_000.5,
                    "silent_s": 0,
                    "failed": 3,
                    "last_alert": self.stored[-1] if self.stored else None,
                }
            ],
            "model": {"state": "installed", "handle": "https://example.org/model/5", "id": MODEL, "width": 1792},
            "store": {
                "path": "/var/lib/shazimd",
                "schema": 1,
                "size_bytes": 5_000_000,
                "map_size_bytes": 1 << 34,
                "fault": None,
                "outdated": 0,
            },
            "uptime_s": 3725.0,
            "last_alert": self.stored[-1] if self.stored else None,
            "workers": {"missing_layers": self.missing_layers},
            "rss_bytes": 150_000_000,
        }

    def alerts(self, since: int, limit: int) -> list[Alert]:
        self.asked.append(("alerts", since, limit))
        return [a for a in self.stored if a["id"] > since][:limit]

    @contextmanager
    def subscribe(self) -> Iterator[Queue[Alert | None]]:
        inbox: Queue[Alert | None] = Queue(1000)
        self._inboxes.append(inbox)
        try:
            yield inbox
        finally:
            self._inboxes.remove(inbox)

    @property
    def subscribers(self) -> int:
        return len(self._inboxes)

    def tell(self, new: Alert) -> None:
        self.stored.append(new)
        for inbox in self._inboxes:
            inbox.put_nowait(new)

    def drop_subscribers(self) -> None:
        for inbox in self._inboxes:
            inbox.put_nowait(None)

    def rescan(self, path: bytes | None, deep: bool = False) -> RescanReply:
        self.asked.append(("rescan --deep" if deep else "rescan", path))
        if path is not None and not path.startswith(b"/srv/p"):
            raise NotFound("/elsewhere is in no root, expected a path below /srv/p")
        return {"path": None} if path is None else {**path_fields(path)}

    def forget(
        self, path: bytes | None, *, deleted: bool = False, content: bytes | None = None, ignore: bool = False
    ) -> ForgetReply:
        if path is None:
            self.asked.append(("forget", "deleted" if deleted else content))
            if content == bytes(32):
                return {"forgotten": 0, "comes_back": False, "held_by": ["attic", "nas"]}
            return {"forgotten": 2 if deleted else 1, "comes_back": False}
        self.asked.append(("forget", path, *(["ignore"] if ignore else [])))
        if ignore:
            self.out.append(path)
        is_known = path.startswith(b"/srv/p")
        return {"forgotten": 3 if is_known else 0, "comes_back": is_known and not ignore}

    def ignored(self) -> list[PathFields]:
        return [path_fields(path) for path in self.out]

    def unignore(self, path: bytes) -> RescanReply:
        if path not in self.out:
            raise NotFound("it is not ignored")
        self.out.remove(path)
        return {**path_fields(path)}

    def duplicates(self, threshold: float | None, weights: Weights | None) -> Iterator[DuplicateGroup]:
        self.asked.append(("duplicates", threshold, weights))
        if isinstance(self.fails, NotFound):
            raise self.fails
        return self._groups()

    def pairs(self, threshold: float | None, weights: Weights | None, after: int) -> Iterator[PairLine]:
        self.asked.append(("pairs", threshold, weights, after))
        return self._pairs(after)

    def _pairs(self, after: int) -> Iterator[PairLine]:
        try:
            for pair in self.joined:
                self._work()
                if pair["after"] >= after:
                    yield pair
            if self.fails:
                raise self.fails
        finally:
            self.closed.set()

    def _groups(self) -> Iterator[DuplicateGroup]:
        try:
            for group in self.groups:
                self._work()
                yield group
            if self.fails:
                raise self.fails
        finally:
            self.closed.set()

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
        self.asked.append(("groups", under, verdict, after, limit, decided, modified))
        return self._page()

    def group(self, centre: bytes) -> GroupsPage:
        self.asked.append(("group", centre))
        return self._page()

    def _page(self) -> GroupsPage:
        relations: RelationsStatus = {"done": 10, "left": 0, "seconds_left": 0.0}
        return {"groups": self.groups_found, "after": "5.7", "total": 9, "saves_bytes": 100, "relations": relations}

    def decisions(self, after: int, limit: int) -> list[DecisionMessage]:
        self.asked.append(("decisions", after, limit))
        return [each for each in self.decided if each["id"] > after][:limit]

    def decide(self, body: bytes, uid: int | None, *, accept_unknown: bool) -> list[int]:
        self.asked.append(("decide", body, accept_unknown))
        if isinstance(self.fails, Exception):
            raise self.fails
        return [len(self.decided) + 1 + n for n, _ in enumerate(body.splitlines())]

    def undo(self, number: int) -> DecisionMessage:
        self.asked.append(("undo", number))
        found = next((each for each in self.decided if each["id"] == number), None)
        if found is None:
            raise NotFound(f"decision {number}: there is none with this id")
        return found

    def export(self, *, vectors: bool) -> Iterator[ExportedFile]:
        self.asked.append(("export", vectors))
        for each in self.exported:
            yield each if vectors else {**each, "model": None, "vector": None}
        if self.fails:
            raise self.fails

    def failed(self) -> Iterator[FailedFile]:
        yield from self.failures

    def retry_failed(self, path: bytes | None) -> int:
        self.asked.append(("retry_failed", path))
        return len(self.failures)

    def reload(self) -> ReloadReply:
        self.asked.append(("reload",))
        if isinstance(self.fails, Exception):
            raise self.fails
        return {"roots": ["/srv/p"], "restart_needed": ["workers"]}

    def compact(self) -> CompactReply:
        self.asked.append(("compact",))
        return {"before_bytes": 5_000_000, "after_bytes": 2_000_000}

    def models(self) -> list[InstalledModel]:
        model: InstalledModel = {
            "id": MODEL,
            "source": "https://example.org/model/5",
            "output_width": 1792,
            "size_bytes": 24_000_000,
            "licence": "Apache-2.0",
            "active": True,
        }
        return [model]

    def install_model(self, handle: str, data: bytes | None) -> Iterator[InstallProgress]:
        self.asked.append(("install", handle, data))
        yield {"stage": "fetching"}
        if self.fails:
            raise self.fails
        yield {"stage": "installed", "model": self.models()[0]}

    def file_changes(self) -> int:
        return self.changed.number

    def wait_for_file_change(self, after: int, timeout_s: float) -> None:
        self.working.release()
        self.changed.wait(after, PATIENCE_S)  # the longest that one may ask for is less

    def end_waits(self) -> None:
        self.changed.end_waits()

    def changes(self, after: str | None, limit: int) -> ChangesPage:
        self.asked.append(("changes", after, limit))
        number = self.changed.number
        gone: ChangedFile = {"path": "/gone.jpg", "content": None, "made": "", "size_bytes": 0, "mtime_ns": 0}
        return {
            "changes": [gone] * number,
            "after": f"{number}.x",
            "restarted": True,
            "reading": True,
            "ended": True,
            "complete": True,
        }

    def fingerprints(self, contents: list[bytes]) -> list[FingerprintMessage]:
        self.asked.append(("fingerprints", contents))
        return []

    def foreign(self) -> ForeignStatus:
        self.asked.append(("foreign",))
        return {"hosts": [], "undecided": []}

    def foreign_paths(self, host: str, after: bytes | None, limit: int) -> list[PathFields]:
        self.asked.append(("foreign_paths", host, after, limit))
        return []

    def missing_contents(self, host: str, body: bytes, *, packed: bool) -> list[str]:
        self.asked.append(("missing_contents", host, body, packed))
        return []

    def put_foreign(
        self, host: str, body: bytes, position: str | None, *, complete: bool, packed: bool
    ) -> ForeignReply:
        self.asked.append(("put_foreign", host, body, position, complete, packed))
        return {"missing": [], "refused": []}

    def link_is_behind(self, changes: int) -> BehindReply:
        self.asked.append(("link_is_behind", changes))
        return {"behind": changes}

    def forget_foreign(self, host: str) -> ForgetReply:
        self.asked.append(("forget_foreign", host))
        return {"forgotten": 0, "comes_back": False}

    def decide_foreign(self, number: int, order: int, content: bytes) -> None:
        self.asked.append(("decide_foreign", number, order, content))

    def wanted_features(self, timeout_s: float) -> list[str]:
        return []

    def put_features(self, body: bytes) -> None:
        self.asked.append(("put_features", body))

    def metrics(self) -> bytes:
        return b"shazimd_images 1200\n"

    def _work(self) -> None:
        self.working.release()
        if self.holds is not None and not self.holds.wait(PATIENCE_S):
            raise AssertionError("held for 30 s")


@contextmanager
def serving(service: FakeService, folder: Path, *, stop_s: float = 1, **limits: Any) -> Iterator[str]:
    """The real server on a real socket, for as long as the block lasts; gives the socket's path.

    ``stop_s``: longest wait at the end for answers under way; the rest are cut."""
    path = str(folder / "s")
    app = create_app(service, **{"max_body_bytes": MAX_BODY_BYTES, **limits})
    server = Server(app, bind_socket(path))
    server.start(PATIENCE_S)
    try:
        yield path
    finally:
        server.stop(stop_s)
