"""Damage to a data file: to the structure, as found by LMDB's own verifier, and to the rows, by their checksums.

Both read the file by read(2): no damage can end this process. LMDB opens the file only to hold a snapshot beside a
writing daemon: the pages of a snapshot stay as they are while a reader holds the snapshot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import lmdb
import lmdb.verify

from shazimd.errors import StoreDamaged
from shazimd.store.environment import DATA, data_path
from shazimd.store.pages import Fault, Meta, OnRead, PageFile, PinnedFile, metas, whole_metas
from shazimd.store.tables import CHECKSUM_BYTES, LARGE, TABLES_MAX, Tables, Transaction, is_sealed, joined

TRIES = 1000
"""A writing daemon may overwrite the meta page of a snapshot before the page is read."""


@dataclass
class TableRows:
    """The whole rows of a data file, table by table, and what is not whole."""

    file: PageFile
    roots: dict[str, int]
    damaged: list[tuple[str, bytes]] = field(default_factory=list)
    """rows that differ from their checksums, as (table, key)"""

    @property
    def faults(self) -> list[Fault]:
        return self.file.faults

    def of(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """The whole rows of a table, without checksums; large values in one. To be read once for each table."""
        rows = self.file.rows(table, self.roots.get(table, -1))
        for key, stored in joined(rows) if table in LARGE else rows:
            if is_sealed(key, stored):
                yield key, stored[:-CHECKSUM_BYTES]
            else:
                self.damaged.append((table, key))


class Snapshot:
    """A data file as one transaction left it, open until ``close``."""

    def __init__(self, descriptor: int, meta: Meta) -> None:
        self._descriptor = descriptor
        self._meta = meta
        self.on_read: OnRead = lambda _: None

    @property
    def size_bytes(self) -> int:
        """Bytes of the pages in use, and of those that were."""
        return (self._meta.last_page + 1) * self._meta.page_bytes

    def close(self) -> None:
        os.close(self._descriptor)

    def problems(self) -> Iterator[str]:
        """The faults of the structure, a sentence each; nothing for a file that LMDB can use."""
        file, size = PinnedFile(self._descriptor, self._meta, self.on_read), os.fstat(self._descriptor).st_size
        try:
            # lmdb.verify.verify would open the path, and read the meta pages of a later transaction.
            yield from lmdb.verify._Verifier(file, size).verify()  # type: ignore[no-untyped-call]
        except lmdb.verify.VerifyError as error:
            yield str(error)

    def rows(self) -> TableRows:
        """The rows; a missing table is a fault."""
        file = PageFile(self._descriptor, self._meta, self.on_read)
        roots = file.tables()
        missing = [name for name in Tables._fields if name not in roots]
        file.faults += [Fault("main", self._meta.root, f"the table {name} is missing") for name in missing]
        return TableRows(file, roots)


def opened(directory: str, transaction: int | None = None) -> Snapshot | None:
    """The snapshot after a transaction, of the last one by default; None if it is no longer there. Raises StoreDamaged
    for damaged meta pages, OSError."""
    descriptor = _open(directory)
    found = metas(descriptor)
    meta = next((meta for meta in found if transaction in (None, meta.transaction)), None)
    if meta is not None:
        return Snapshot(descriptor, meta)
    os.close(descriptor)
    if not found:
        raise StoreDamaged(
            f"store {data_path(directory)}: its first two pages are not whole, expected an intact LMDB file; "
            "shazimctl store repair keeps what can be read"
        )
    return None


@contextmanager
def last(directory: str) -> Iterator[Snapshot]:
    """The last snapshot of a file that no other process writes. Raises StoreDamaged, OSError."""
    snapshot = opened(directory)
    assert snapshot is not None
    with closing(snapshot):
        yield snapshot


@contextmanager
def held(directory: str) -> Iterator[tuple[Snapshot, lmdb.Environment, Transaction]]:
    """The last snapshot, which stays as it is until the end of the block, and a transaction on it. Raises StoreDamaged,
    lmdb.Error, OSError."""
    with last(directory):  # LMDB divides by numbers in the meta pages
        pass
    size = os.path.getsize(data_path(directory))
    name = os.fsencode(directory)  # as text LMDB takes UTF-8 alone
    env = lmdb.open(name, readonly=True, create=False, max_dbs=TABLES_MAX, map_size=2 * size + (1 << 30))
    try:
        for _ in range(TRIES):
            with env.begin() as txn:
                if (snapshot := opened(directory, txn.id())) is not None:
                    with closing(snapshot):
                        yield snapshot, env, txn
                    return
        raise StoreDamaged(f"store {directory}: its last transaction can't be read, expected an intact LMDB file")
    finally:
        env.close()


@contextmanager
def readable(directory: str) -> Iterator[Snapshot]:
    """The snapshot of a damaged file from which most can be read: that of the last transaction, or of the one before.

    Raises StoreDamaged without a readable row of the present schema."""
    descriptor = _open(directory)
    try:
        found = [Snapshot(descriptor, meta) for meta in whole_metas(descriptor)]
        best = max(found, key=lambda snapshot: len(snapshot.rows().roots), default=None)
        if best is None or not any(any(best.rows().of(name)) for name in Tables._fields):
            raise StoreDamaged(f"store {directory}: no row of it can be read; restore a backup, or remove {DATA}")
        yield best
    finally:
        os.close(descriptor)


def _open(directory: str) -> int:
    return os.open(data_path(directory), os.O_RDONLY | os.O_CLOEXEC)
