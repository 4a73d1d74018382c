"""What the files of an index are, and whether they still are that.

A folder holds ``manifest``, for each table (a set of signals) and column ``<generation>.<table>.<column>``, and the
basis as ``<generation>.basis``. Files only grow, so a manifest tells how many of their rows count, and the CRC-32 of
these; which of them are dead stands in the manifest itself. It is replaced as one (written beside, synced, renamed),
after the files were synced: a crash leaves the previous manifest and at least its rows. A rewrite of everything goes
to files of a new generation.

The first line of the manifest is ``shazimd-index <version> <byte order> <CRC-32 of the rest, hex>``, the rest is JSON.
"""

from __future__ import annotations

import os
import sys
import zlib

import msgspec
import numpy as np

from shazimd.index.bounds import DIMENSIONS, LEVELS, NUMBERS, Basis
from shazimd.index.exact import Bools
from shazimd.posix.files import atomic_write

NAME = "manifest"
VERSION = 1


class Stale(Exception):  # says what happened, as all of the project's errors do
    """The files are not what this program, machine or model can use; the index is to be made anew."""


class Absent(Stale):
    """There are no files yet."""


class TableRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    dead: bytes
    """zlib of the bits (``numpy.packbits``) of ``count`` rows, 1 where not alive"""
    checksums: dict[str, int | None]
    """column -> CRC-32 of its rows; None where that would take too long to verify"""

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
    """the last removal of the store that was taken over"""
    learned_from: int
    basis: int
    """CRC-32 of the basis' file"""
    tables: dict[str, TableRecord]
    """by the signals' names: "ah+dh+fv" """


def packed(alive: Bools) -> bytes:
    """Dead rows, as ``TableRecord.dead`` has them."""
    return zlib.compress(np.packbits(~alive).tobytes(), 1)


def read(directory: str) -> Manifest:
    """Raises Stale unless there is a manifest that can be believed."""
    try:
        with open(os.path.join(directory, NAME), "rb") as file:
            first, body = file.readline(), file.read()
        if first != _first_line(body):
            raise Stale(f"{NAME} begins with {first[:60]!r}, expected {_first_line(body)!r}")
        return msgspec.json.decode(body, type=Manifest)
    except FileNotFoundError as error:
        raise Absent("there is none yet") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise Stale(f"{NAME}: {error}") from error


def write(directory: str, manifest: Manifest) -> None:
    """Replace the manifest. Raises OSError."""
    body = msgspec.json.encode(manifest)
    atomic_write(os.path.join(directory, NAME), _first_line(body) + body)


def basis_bytes(basis: Basis) -> bytes:
    return basis.projection.tobytes() + basis.steps.tobytes()


def read_basis(path: str, manifest: Manifest) -> Basis:
    """Raises Stale unless the file is the one that the manifest means."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise Stale(f"{path}: {error.strerror}") from error
    width = manifest.width or 0
    if zlib.crc32(raw) != manifest.basis or len(raw) != 8 * (DIMENSIONS * width + LEVELS * NUMBERS):
        raise Stale(f"{path} has {len(raw)} bytes or a checksum that were not written")
    projection, steps = np.split(np.frombuffer(raw, np.float64), [DIMENSIONS * width])
    return Basis(projection.reshape(DIMENSIONS, width), steps.reshape(LEVELS, NUMBERS), manifest.learned_from)


def _first_line(body: bytes) -> bytes:
    return f"shazimd-index {VERSION} {sys.byteorder} {zlib.crc32(body):08x}\n".encode()
