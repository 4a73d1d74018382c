"""The journal of a clean-up: an append-only file of JSON lines, each on the disk before its act.

    {"event": "begin", "run": ID, "version": 1, "time": ...}
    {"event": "act", "n": 1, "how": "trash", "path": ..., "keep": ..., state of both files}
    {"event": "done", "n": 1}
    {"event": "undone", "n": 1}     also for an act that failed and was taken back at once

Only the line before an act is synced. A lost "done" does no harm, as the state of the disk decides when an act is taken
back; the next sync writes the line as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from shazimd.acting.facts import DiskState, why
from shazimd.errors import BadInput, NotFound, ShazimdError, StoreError, Unavailable
from shazimd.paths import xdg
from shazimd.posix.files import sync, try_lock
from shazimd.text import path_bytes, path_fields, path_fields_as, readable

VERSION = 1
SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class ActRecord:
    """An act on one name of a file, with all facts for taking the act back."""

    run: str
    n: int
    how: str
    """trash, move, hardlink or reflink"""
    path: bytes
    state: DiskState
    keep: bytes
    keep_state: DiskState
    to: bytes = b""
    """the new path of a move"""

    @property
    def has_same_bytes(self) -> bool:
        return self.state.digest == self.keep_state.digest

    def beside(self, path: bytes, suffix: str) -> bytes:
        """A name of this act alone, in the directory of ``path``."""
        return os.path.join(os.path.dirname(path), f".shazimd-{self.run}-{self.n}.{suffix}".encode())

    def to_json(self) -> dict[str, Any]:
        paths = {**path_fields(self.path), **path_fields_as("keep", self.keep)}
        if self.to:
            paths |= path_fields_as("to", self.to)
        states = {"state": asdict(self.state), "keep_state": asdict(self.keep_state)}
        return {"event": "act", "n": self.n, "how": self.how, **paths, **states}

    @classmethod
    def from_json(cls, run: str, item: dict[str, Any]) -> ActRecord:
        return cls(
            run,
            item["n"],
            item["how"],
            path_bytes(item),
            DiskState(**item["state"]),
            path_bytes(item, "keep"),
            DiskState(**item["keep_state"]),
            path_bytes(item, "to") if "to" in item else b"",
        )


@dataclass(slots=True)
class CleanRun:
    """A past run, read from its journal."""

    run: str
    time: str = ""
    acts: dict[int, ActRecord] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    undone: set[int] = field(default_factory=set)
    """taken back, or never carried out"""
    problem: str = ""
    """of a journal that cannot be read; empty when there is none"""

    @property
    def left(self) -> list[ActRecord]:
        """The acts to take back, the last first."""
        return [self.acts[n] for n in sorted(self.acts, reverse=True) if n not in self.undone]

    @property
    def state(self) -> str:
        if self.problem:
            return "unreadable"
        if not self.left:
            return "undone" if self.done else "nothing done"
        if any(record.n not in self.done for record in self.left):
            return "interrupted"
        return "partly undone" if self.done & self.undone else "done"


def journals() -> str:
    """The directory of the journals."""
    return os.path.join(xdg("XDG_STATE_HOME", "~/.local/state"), "shazimd", "clean")


@contextmanager
def only_one() -> Iterator[None]:
    """Hold the lock of all runs of this user: two runs at once could each remove the copy kept by the other.

    Raises Unavailable while another run holds the lock, StoreError when there can be no journal."""
    try:
        os.makedirs(journals(), 0o700, exist_ok=True)
        lock = os.open(os.path.join(journals(), "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{journals()}: no journal can be written: {why(error)}; nothing was changed") from error
    try:
        if not try_lock(lock):
            raise Unavailable("another `shazimctl clean` is running; wait for its end")
        yield
    finally:
        os.close(lock)


class Journal:
    """Appends to the journal of one run. Every method raises StoreError when the line cannot be written."""

    def __init__(self, run: str) -> None:
        self.run = run
        self._path = journal_path(run)
        with _named(self._path):
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # ends the line that a crash cut short

    @classmethod
    def new(cls) -> Journal:
        """A journal under a new name, made of the time."""
        now = datetime.now(UTC)
        run = stem = f"{now:%Y%m%d-%H%M%S}"
        number = 1
        while os.path.lexists(journal_path(run)):
            number += 1
            run = f"{stem}-{number}"
        journal = cls(run)
        journal._write({"event": "begin", "run": run, "version": VERSION, "time": f"{now:%Y-%m-%dT%H:%M:%SZ}"})
        with _named(journal._path):
            sync(journals())
        return journal

    def act(self, record: ActRecord) -> None:
        """Write an act, and sync the journal."""
        self._write(record.to_json())
        with _named(self._path):
            os.fsync(self._file)

    def done(self, n: int) -> None:
        self._write({"event": "done", "n": n})

    def undone(self, n: int) -> None:
        self._write({"event": "undone", "n": n})

    def close(self) -> None:
        try:
            with _named(self._path):
                os.fsync(self._file)
        finally:
            os.close(self._file)

    def _write(self, item: dict[str, Any]) -> None:
        line = json.dumps(item).encode() + b"\n"
        with _named(self._path):
            while line:
                line = line[os.write(self._file, line) :]


def journal_path(run: str) -> str:
    return os.path.join(journals(), run + SUFFIX)


def read_run(run: str) -> CleanRun:
    """A past run. Raises NotFound, and BadInput for the journal of a later version."""
    if not run or "/" in run:
        raise NotFound(f"run {run!r}: no such run; see `shazimctl clean --list`")
    try:
        with open(journal_path(run), "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError as error:
        raise NotFound(f"run {run}: no such run; see `shazimctl clean --list`") from error
    except OSError as error:
        raise StoreError(f"{journal_path(run)}: {why(error)}") from error
    result = CleanRun(run)
    try:
        for line in lines:
            _replay(result, line)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{journal_path(run)}: a line is damaged: {error}") from error
    return result


def _replay(result: CleanRun, line: bytes) -> None:
    try:
        item = json.loads(line)
    except ValueError:
        return  # cut short by a crash, so the act of this line never began
    match item["event"]:
        case "begin":
            if item["version"] > VERSION:
                raise BadInput(f"run {result.run}: made by a newer version of shazimd, which can take it back")
            result.time = item["time"]
        case "act":
            result.acts[item["n"]] = ActRecord.from_json(result.run, item)
        case "done":
            result.done.add(item["n"])
        case "undone":
            result.undone.add(item["n"])


def runs() -> list[CleanRun]:
    """All past runs, the oldest first. A run with an unreadable journal has its ``problem``, and no acts."""
    try:
        names = [name.removesuffix(SUFFIX) for name in os.listdir(journals()) if name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{journals()}: {why(error)}") from error
    # By time, then by number: "...-2" comes before "...-10".
    return [_run_or_problem(name) for name in sorted(names, key=lambda name: (name[:15], len(name), name))]


def _run_or_problem(run: str) -> CleanRun:
    try:
        return read_run(run)
    except ShazimdError as error:
        return CleanRun(run, problem=error.message)


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{readable(os.fsencode(path))}: the journal cannot be written: {why(error)}") from error
