"""The types of a store for the modules that use one."""

from __future__ import annotations

from shazimd.store.lmdb_store import Store
from shazimd.store.reader import Reader
from shazimd.store.writer import Writer

__all__ = ["Reader", "Store", "Writer"]
