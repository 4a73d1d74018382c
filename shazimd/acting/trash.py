"""The trash of freedesktop.org: put a file there, and find the file again.

Specification: https://specifications.freedesktop.org/trash-spec/1.0/. Send2Trash moves files there.
Neither Send2Trash nor trash-cli returns the place in the trash. But a move keeps the inode, and the info file names the
original path: a file is found by these, after a crash as well.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote_to_bytes

INFO_BYTES_MAX = 65536


class Trash:
    """The trash directories of this user, each listed once: for taking a run back."""

    def __init__(self) -> None:
        self._listed: dict[bytes, dict[int, list[bytes]]] = {}

    def put(self, path: bytes) -> None:
        """Move a file to the trash of its file system, or of the home directory. Raises OSError."""
        from send2trash import send2trash

        send2trash(path)

    def find(self, path: bytes, inode: int) -> Iterator[bytes]:
        """Candidates in the trash for the file from ``path``, the likeliest first. The caller compares their bytes."""
        directories = list(_directories(path))
        found = [os.path.join(d, b"files", name) for d in directories for name in self._names(d).get(inode, ())]
        # Two names of one file have the same inode, so the info file decides between them.
        yield from sorted(found, key=lambda entry: original_path(entry) != path)
        for directory in directories:  # copied to another file system, which gives a new inode
            for name in (name for names in self._names(directory).values() for name in names):
                entry = os.path.join(directory, b"files", name)
                if entry not in found and original_path(entry) == path:
                    yield entry

    def forget(self, entry: bytes) -> None:
        """Remove the info file of an entry after its move."""
        with suppress(FileNotFoundError):
            os.unlink(info_file(entry))

    def _names(self, directory: bytes) -> dict[int, list[bytes]]:
        if directory not in self._listed:
            names: defaultdict[int, list[bytes]] = defaultdict(list)
            with suppress(OSError), os.scandir(os.path.join(directory, b"files")) as entries:  # most do not exist
                for entry in entries:
                    names[entry.inode()].append(entry.name)
            self._listed[directory] = dict(names)
        return self._listed[directory]


def info_file(entry: bytes) -> bytes:
    """The info file of an entry of the trash."""
    files, name = os.path.split(entry)
    return os.path.join(os.path.dirname(files), b"info", name + b".trashinfo")


def original_path(entry: bytes) -> bytes | None:
    """The former path of an entry, by its info file; None when unreadable."""
    try:
        with open(info_file(entry), "rb") as file:
            lines = file.read(INFO_BYTES_MAX).splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(b"Path="):
            path = unquote_to_bytes(line.removeprefix(b"Path="))
            return os.path.normpath(os.path.join(_top(os.path.dirname(os.path.dirname(entry))), path))
    return None


def _top(directory: bytes) -> bytes:
    """The start of relative paths of a trash directory: $top of $top/.Trash/$uid or $top/.Trash-$uid,
    and $XDG_DATA_HOME for the home trash."""
    parent = os.path.dirname(directory)
    return os.path.dirname(parent) if os.path.basename(parent) == b".Trash" else parent


def _directories(path: bytes) -> Iterator[bytes]:
    """The home trash, and the trash directories of every directory above the path: the mount is among these."""
    yield os.path.join(os.environb.get(b"XDG_DATA_HOME") or os.path.expanduser(b"~/.local/share"), b"Trash")
    uid = str(os.getuid()).encode()
    above = os.path.dirname(os.path.realpath(path))
    while True:
        yield os.path.join(above, b".Trash", uid)
        yield os.path.join(above, b".Trash-" + uid)
        if above == b"/":
            return
        above = os.path.dirname(above)
