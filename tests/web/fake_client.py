"""A daemon's client with made-up groups: for pages that a real daemon would take long to fill."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

from shazimd.errors import DaemonUnreachable, NotAnImage, NotFound
from shazimd.types import digest_of


class FakeClient:
    """The methods of ``client.Client`` that the page uses, on groups in memory."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.every = groups
        self.by_id = {group["id"]: group for group in groups}
        self.made: dict[int, dict[str, Any]] = {}
        self.broken: list[dict[str, Any]] = []
        self.retried: list[bytes | None] = []
        self.known: dict[str, Any] | None = None
        """the match of every picture that is asked about"""
        self.asked = b""
        self.compared: list[str] = []
        """digests of the files compared last"""
        self.gone = ""
        """the reason why the daemon does not answer; empty while it does"""
        self.coming: queue.Queue[dict[str, Any]] = queue.Queue()
        self.relations: dict[str, Any] = {"done": 0, "left": 0, "seconds_left": None}
        self.state: dict[str, Any] = {
            "state": "ready",
            "images": 2 * len(groups),
            "pending": 0,
            "failed": 0,
            "roots": [],
        }
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def groups(self, **wanted: Any) -> dict[str, Any]:
        self._answer()
        if wanted.get("group_id"):
            if wanted["group_id"] not in self.by_id:
                raise NotFound(f"group {wanted['group_id']}: there is none with this id")
            found = [self.by_id[wanted["group_id"]]]
        else:
            decided = bool(wanted.get("decided"))
            marked = [self._marked(group) for group in self.every]
            found = [g for g in marked if g is not None and (g["decision"] is not None) == decided]
        start = int(wanted.get("after") or 0)
        limit = wanted.get("limit") or 50
        after = str(start + limit) if start + limit < len(found) else None
        saves = sum(group["saves_bytes"] for group in found)
        page = {"groups": found[start : start + limit], "after": after, "total": len(found), "saves_bytes": saves}
        return page | {"relations": self.relations}

    def _marked(self, group: dict[str, Any]) -> dict[str, Any] | None:
        """The group with the decision about it, the kept file first; None if it was silenced."""
        contents = {member["content"] for member in group["members"]}
        for number, made in self.made.items():
            if contents <= set(made["contents"]):
                if made["kind"] != "keep":
                    return None
                named = made.get("keep_path")
                members = sorted(group["members"], key=lambda m: (m["content"] != made["keep"], m["path"] != named))
                return group | {"members": members, "decision": number}
        return group

    def decide(self, decisions: list[dict[str, Any]]) -> list[int]:
        self._answer()
        with self._lock:
            ids = []
            for decision in decisions:
                number = next(self._numbers)
                self.made[number] = {
                    "id": number,
                    "time": "2026-11-26T04:00:00Z",
                    "uid": 1000,
                    "keep": None,
                    "files": [],
                }
                self.made[number] |= decision
                ids.append(number)
            return ids

    def undo(self, number: int) -> dict[str, Any]:
        if number not in self.made:
            raise NotFound(f"decision {number}: no such decision")
        return self.made.pop(number)

    def decisions(self, after: int = 0) -> Iterator[dict[str, Any]]:
        yield from (d for number, d in self.made.items() if number > after)

    def status(self) -> dict[str, Any]:
        self._answer()
        return self.state | {"relations": self.relations}

    def alerts(self, since: int = 0) -> Iterator[dict[str, Any]]:
        yield from ()

    def events(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        while True:
            yield self.coming.get()

    def failed(self) -> Iterator[dict[str, Any]]:
        yield from self.broken

    def retry_failed(self, path: bytes | None = None) -> int:
        self.retried.append(path)
        return len(self.broken)

    def find(self, data: bytes, limit: int | None = None) -> dict[str, Any]:
        self._answer()
        self.asked = data
        if not data.startswith(b"\x89PNG"):
            raise NotAnImage("the file begins with b'no picture', expected the header of a picture in a known format")
        matches = [self.known | {"verdict": "copy", "score": 0.93}] if self.known else []
        return {"matches": matches, "threshold": 0.75, "took_ms": 1.0}

    def compare(self, a: bytes, b: bytes, *, names: list[str]) -> dict[str, Any]:
        """The relation of the two files among the groups, with a region that differs."""
        digests = [digest_of(data).hex() for data in (a, b)]
        whole = (0.0, 0.0, 1.0, 1.0)
        differs = {"share": 0.2, "regions": [{"query": (0.1, 0.1, 0.3, 0.3), "match": (0.1, 0.1, 0.3, 0.3)}]}
        mapping = {"scale": 1.0, "rotation_deg": 0.0, "mirrored": False, "region": whole}
        relation = {"verdict": "variant", "score": 0.9, "dah": 1.0, "ddh": 1.0, "dfv": None, "mapping": mapping}
        self.compared = digests
        return relation | {"differs": differs, "inliers": 30, "agreement": 0.9, "weights": [1, 1, 2], "model": None}

    def _answer(self) -> None:
        if self.gone:
            raise DaemonUnreachable(self.gone)
