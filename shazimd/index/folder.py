"""The directory that one index has to itself: its lock, its manifest and its files."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil

from shazimd.errors import StoreFull
from shazimd.index import manifest
from shazimd.index.manifest import Manifest, Stale
from shazimd.posix.files import try_lock

LOCK = "lock"


class Folder:
    """Held by a lock until closed."""

    def __init__(self, path: str, lock: int) -> None:
        self.path, self._lock = path, lock
        self.closed = False

    @classmethod
    def take(cls, directory: str, model: str | None) -> Folder:
        """The first free of a model's folders below ``directory``. Those of other models that no one holds are removed.

        There is a second one only while an index of the same model is being replaced. Raises StoreFull."""
        name = hashlib.blake2b(repr(model).encode(), digest_size=8).hexdigest()
        try:
            os.makedirs(directory, exist_ok=True)
            own = next(
                folder
                for number in itertools.count()
                if (folder := cls._locked(os.path.join(directory, f"{name}-{number}"))) is not None
            )
            own._remove_others(directory)
        except OSError as error:
            raise StoreFull(f"{directory}: an index can't be kept here: {error.strerror}") from error
        return own

    @classmethod
    def _locked(cls, path: str) -> Folder | None:
        os.makedirs(path, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if try_lock(lock):
            return cls(path, lock)
        os.close(lock)
        return None

    def manifest(self, model: str | None) -> Manifest:
        """Raises Stale unless there is a sound one of this model."""
        found = manifest.read(self.path)
        if found.model != model:
            raise Stale(f"it is of the model {found.model}, expected {model}")
        return found

    def write_manifest(self, record: Manifest) -> None:
        """Raises OSError."""
        manifest.write(self.path, record)

    def file(self, name: str) -> str:
        """The path of a file."""
        return os.path.join(self.path, name)

    def open_file(self, name: str) -> int:
        """A descriptor of a file, made where missing. Raises OSError."""
        return os.open(self.file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def clear(self, prefix: str = "") -> None:
        """Remove the files whose names begin so; who has them open may go on reading."""
        for name in os.listdir(self.path):
            if name.startswith(prefix) and name != LOCK:
                os.unlink(self.file(name))

    def keep(self, prefix: str) -> None:
        """Remove what earlier generations left: files whose names begin otherwise."""
        for name in os.listdir(self.path):
            if not name.startswith((prefix, LOCK, manifest.NAME)):
                os.unlink(self.file(name))

    def close(self) -> None:
        """Let go of the lock."""
        if not self.closed:
            self.closed = True
            os.close(self._lock)

    def _remove_others(self, directory: str) -> None:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if path != self.path and os.path.exists(os.path.join(path, LOCK)) and (other := self._locked(path)):
                with contextlib.closing(other):
                    shutil.rmtree(path)
