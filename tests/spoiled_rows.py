"""Spoils a row of an open store, as a failing disk does to a store that was closed cleanly."""

from __future__ import annotations

from shazimd.store.base import Store, Writer
from shazimd.store.tables import raw_rows


def spoil(store: Store, table: str, place: int = 0) -> None:
    """Flip a bit of the row at a place of a table."""

    def work(writer: Writer) -> None:
        handle = getattr(writer._t, table)
        key, stored = list(raw_rows(writer._txn, handle, b""))[place]
        writer._txn.put(key, stored[:-1] + bytes([stored[-1] ^ 4]), db=handle)

    store.write(work)
