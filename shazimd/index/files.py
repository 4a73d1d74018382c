"""The directory of one index: its lock, its manifest and its files.

A folder holds ``manifest``, a file ``<generation>.<table>.<column>`` for each column of each table (a set of signals),
and the basis as ``<generation>.basis``. Files only grow. The manifest has the number of valid rows of each file with
their CRC-32, and the dead rows. The manifest is replaced atomically after the files were synced: a crash leaves the
previous manifest and at least its rows. A rewrite of all rows goes to the files of a new generation.

The first line of the manifest is ``shazimd-index <version> <byte order> <CRC-32 of the rest, hex>``, the rest is JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import sys
import zlib

import msgspec
import numpy as np

from shazimd.errors import StoreFull
from shazimd.index.bounds import DIMENSIONS, LEVELS, NUMBERS, Basis
from shazimd.index.exact import Bools
from shazimd.posix.files import atomic_write, names, try_lock
from shazimd.types import decodable

LOCK = "lock"
MANIFEST = "manifest"
VERSION = 1


class Stale(Exception):
    """The files don't fit this program, machine, model or store; the index must be rebuilt."""


class Absent(Stale):
    """There are no files yet."""


class TableRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    dead: bytes
    """zlib of the bits (``numpy.packbits``) of ``count`` rows, 1 for a dead row"""
    checksums: dict[str, int | None]
    """column -> CRC-32 of its rows; None for vectors, which take too long to verify"""

    def alive(self) -> Bools:
        try:
            packed = np.frombuffer(zlib.decompress(self.dead), np.uint8)
            return np.equal(np.unpackbits(packed, count=self.count), 0)
        except (zlib.error, ValueError) as error:
            raise Stale(f"dead rows: {error}") from error


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str | None
    width: int | None
    generation: int
    removals: int
    """sequence number of the last removal of the store that the index has"""
    learned_from: int
    basis: int
    """CRC-32 of the basis' file"""
    tables: dict[str, TableRecord]
    """by the signals' names: "ah+dh+fv" """


class Folder:
    """A directory locked by one index until closed."""

    def __init__(self, path: str, lock: int) -> None:
        self.path, self._lock = path, lock
        self._closed = False

    @classmethod
    def take(cls, directory: str, model: str | None) -> Folder:
        """Lock the first free folder of a model below ``directory``; remove unlocked folders of other models.

        A model has a second folder only while its index is being replaced. Raises StoreFull."""
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
        if not try_lock(lock):
            os.close(lock)
            return None
        return cls(path, lock)

    def read_manifest(self, model: str | None) -> Manifest:
        """Raises Stale unless there is a sound manifest of this model."""
        try:
            with open(self.file(MANIFEST), "rb") as file:
                first, body = file.readline(), file.read()
            if first != _first_line(body):
                raise Stale(f"{MANIFEST} begins with {first[:60]!r}, expected {_first_line(body)!r}")
            found = msgspec.json.decode(body, type=decodable(Manifest))
        except FileNotFoundError as error:
            raise Absent("there is no index yet") from error
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Stale(f"{MANIFEST}: {error}") from error
        if found.model != model:
            raise Stale(f"the index is of the model {found.model}, expected {model}")
        return found

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest atomically. Raises OSError."""
        body = msgspec.json.encode(manifest)
        atomic_write(self.file(MANIFEST), _first_line(body) + body)

    def read_basis(self, manifest: Manifest) -> Basis:
        """Raises Stale unless the basis has the manifest's size and checksum."""
        path, width = self.file(f"{manifest.generation}.basis"), manifest.width or 0
        try:
            with open(path, "rb") as file:
                raw = file.read()
        except OSError as error:
            raise Stale(f"{path}: {error.strerror}") from error
        if zlib.crc32(raw) != manifest.basis or len(raw) != 8 * (DIMENSIONS * width + LEVELS * NUMBERS):
            raise Stale(f"{path} has {len(raw)} bytes or a checksum that were not written")
        projection, steps = np.split(np.frombuffer(raw, np.float64), [DIMENSIONS * width])
        return Basis(projection.reshape(DIMENSIONS, width), steps.reshape(LEVELS, NUMBERS), manifest.learned_from)

    def write_basis(self, generation: int, basis: Basis) -> None:
        """Raises OSError."""
        atomic_write(self.file(f"{generation}.basis"), basis_bytes(basis))

    def file(self, name: str) -> str:
        """The path of a file."""
        return os.path.join(self.path, name)

    def open_file(self, name: str) -> int:
        """A descriptor of a file, created if missing. Raises OSError."""
        return os.open(self.file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def clear(self, prefix: str = "") -> None:
        """Remove all files with this prefix but the lock; open descriptors and mappings stay valid."""
        for name in names(self.path):
            if name.startswith(prefix) and name != LOCK:
                os.unlink(self.file(name))

    def keep_only(self, prefix: str) -> None:
        """Remove the files of other generations: all but the lock, the manifest and the files with this prefix."""
        for name in names(self.path):
            if not name.startswith((prefix, LOCK, MANIFEST)):
                os.unlink(self.file(name))

    def close(self) -> None:
        """Release the lock."""
        if not self._closed:
            self._closed = True
            os.close(self._lock)

    def _remove_others(self, directory: str) -> None:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if path != self.path and os.path.exists(os.path.join(path, LOCK)) and (other := self._locked(path)):
                with contextlib.closing(other):
                    shutil.rmtree(path)


def pack_dead(alive: Bools) -> bytes:
    """The dead rows as ``TableRecord.dead``."""
    return zlib.compress(np.packbits(~alive).tobytes(), 1)


def basis_bytes(basis: Basis) -> bytes:
    return basis.projection.tobytes() + basis.steps.tobytes()


def _first_line(body: bytes) -> bytes:
    return f"shazimd-index {VERSION} {sys.byteorder} {zlib.crc32(body):08x}\n".encode()
