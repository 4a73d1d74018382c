"""Types of the store."""

from __future__ import annotations

from shazimd.store.bulk import BulkWriter
from shazimd.store.lmdb_store import Store
from shazimd.store.reader import Reader
from shazimd.store.writer import Writer

__all__ = ["BulkWriter", "Reader", "Store", "Writer"]
