"""Files and directories that a person has taken out of the index: they stay out until that is taken back."""

from __future__ import annotations

import os
import threading
from functools import partial

from shazimd.errors import NotFound
from shazimd.ingest.commit import Committer
from shazimd.ingest.values import ignored_paths, set_ignored_paths
from shazimd.store.base import Store
from shazimd.text import readable


class IgnoredPaths:
    """The paths, in memory and in the store. Safe to use from several threads."""

    def __init__(self, store: Store, committer: Committer) -> None:
        self._committer = committer
        self._changing = threading.Lock()
        with store.read() as reader:
            self._paths = ignored_paths(reader)

    def all(self) -> list[bytes]:
        """The paths, sorted."""
        return sorted(self._paths)

    def cover(self, path: bytes) -> bool:
        """Whether a path, or a directory above it, is ignored."""
        paths = self._paths
        while paths and path not in paths:
            path, below = os.path.dirname(path), path
            if path == below:
                return False
        return bool(paths)

    def add(self, path: bytes) -> None:
        """Ignore a path with all below it, from now on; returns once that is stored."""
        with self._changing:
            self._keep(self._paths | {path})

    def remove(self, path: bytes) -> None:
        """Take the ignoring of a path back. Raises NotFound if this very path is not ignored."""
        with self._changing:
            if path not in self._paths:
                raise NotFound(f"{readable(path)} is not ignored; see: shazimctl forget --ignored")
            self._keep(self._paths - {path})

    def _keep(self, paths: frozenset[bytes]) -> None:
        self._committer.submit(partial(set_ignored_paths, paths=paths)).result()
        self._paths = paths
