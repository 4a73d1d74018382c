"""A folder of files with groups of duplicates, and a process that cleans it up and is killed at any system call."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import hashlib
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from send2trash import plat_other

from shazimd.acting import acts
from shazimd.cli import clean
from shazimd.cli import run as run_words
from shazimd.text import path_fields

CALLS = ("open", "link", "rename", "replace", "unlink", "write", "fsync", "mkdir", "utime", "chmod", "chown")
"""Functions of ``os`` that change the file system, and ``open``, which may."""

OLD_NS = 1_500_000_000 * 10**9


class CleanTree:
    """``root`` holds the files; ``groups`` is the daemon's answer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.data = folder / "data"
        self.groups: list[dict[str, Any]] = []
        monkeypatch.setenv("XDG_DATA_HOME", str(self.data))
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        monkeypatch.setattr(plat_other, "HOMETRASH_B", os.fsencode(self.trash))  # it reads the variable once
        monkeypatch.setattr(plat_other, "XDG_DATA_HOME", os.fsencode(self.data))
        monkeypatch.setattr(clean, "Client", lambda _socket: self)

    @property
    def trash(self) -> Path:
        return self.data / "Trash"

    def duplicates(self) -> Iterator[Any]:
        return iter(self.groups)

    def file(self, name: str | bytes, content: bytes = b"picture", age: int = 0, mode: int = 0o644) -> bytes:
        """Write a file that is the older, the larger ``age`` is, in hours."""
        path = os.path.join(os.fsencode(self.root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        os.utime(path, ns=(OLD_NS, OLD_NS - age * 3600 * 10**9 + 12345))
        return path

    def group(
        self,
        *paths: bytes,
        verdicts: Sequence[str] = (),
        sizes: Sequence[tuple[int, int]] = (),
        damaged: Collection[bytes] = (),
    ) -> None:
        """A group of the daemon; all exact, whole and of the same size unless said otherwise."""
        members = []
        for number, path in enumerate(paths):
            width, height = sizes[number] if sizes else (400, 300)
            verdict = None if number == 0 else (verdicts[number - 1] if verdicts else "exact")
            members.append(
                {
                    **path_fields(path),
                    "width": width,
                    "height": height,
                    "size_bytes": os.path.getsize(path),
                    "score": None if number == 0 else 1.0,
                    "verdict": verdict,
                    **({"damaged": True} if path in damaged else {}),
                }
            )
        self.groups.append({"saves_bytes": 0, "members": members})

    def snapshot(self) -> dict[bytes, tuple[bytes, int, int]]:
        """Bytes, modification time and mode of every file, by path."""
        result = {}
        for path in files_below(os.fsencode(self.root)):
            status = os.lstat(path)
            content = os.fsencode(os.readlink(path)) if os.path.islink(path) else read(path)
            result[path] = (content, status.st_mtime_ns, status.st_mode)
        return result

    def names(self) -> list[str]:
        """The files below the root, relative to the root."""
        root = os.fsencode(self.root)
        return sorted(os.path.relpath(path, root).decode(errors="replace") for path in files_below(root))

    def run(self, *words: str) -> Spoke:
        out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = run_words(["clean", *words])
            except SystemExit as end:
                status = int(end.code or 0)
        out.seek(0)
        return Spoke(status, out.read(), err.getvalue())

    def killed(self, at: int, *words: str) -> bool:
        """Run the command in a process that is killed at its ``at``-th call; False if it ended before."""
        Image.init()  # it loads all of Pillow's formats, which each process would load anew
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from Python 3.12 on: the process may have threads
            child = os.fork()
        if child == 0:
            kill_at(at)
            try:
                self.run(*words)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)


class Spoke(NamedTuple):
    status: int
    out: str
    err: str


def kill_at(at: int) -> None:
    """Have this process killed at a call; the one that writes has then written half."""
    counted = 0

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal counted
            counted += 1
            if counted == at:
                if function is real_write:
                    real_write(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **more)

        return call

    real_write = os.write
    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))
    builtins.open = counting(builtins.open)


@contextlib.contextmanager
def reflinks() -> Iterator[None]:
    """A file system with reflinks: the clone is a copy, which looks the same from outside."""

    def ioctl(target: int, request: int, source: int) -> int:
        assert request == acts.FICLONE
        data = os.pread(source, 1 << 24, 0)
        os.pwrite(target, data, 0)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "ioctl", ioctl)
        yield


def files_below(folder: bytes) -> Iterator[bytes]:
    for directory, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(directory, name)


def read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def contents(*folders: Path) -> set[bytes]:
    return {read(path) for folder in folders for path in files_below(os.fsencode(folder)) if not os.path.islink(path)}


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def other_file_system(than: Path) -> Path | None:
    """A folder to write to on another file system."""
    for folder in ("/dev/shm", "/run/user/" + str(os.getuid()), "/tmp"):
        if os.path.isdir(folder) and os.access(folder, os.W_OK) and os.stat(folder).st_dev != os.stat(than).st_dev:
            return Path(folder)
    return None


assert sys.platform == "linux"


def pair(tree: CleanTree) -> tuple[bytes, bytes]:
    """A group of two files with the same bytes; the first is kept, as it is older."""
    kept, other = tree.file("a.jpg", age=2), tree.file("b.jpg", age=1)
    tree.group(kept, other)
    return kept, other


def write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def run_id(out: str) -> str:
    """The run that an output names for its undo."""
    found = re.search(r"--undo (\S+)", out)
    assert found is not None, out
    return found[1]
