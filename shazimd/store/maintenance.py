"""Commands of an administrator on a store, beside the daemon that has it open or while none runs.

LMDB lets another process read a consistent snapshot while the daemon writes. Root acts as the store's owner here, to
make no file that the daemon could not open.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import closing, suppress
from itertools import count
from typing import NamedTuple

from shazimd.errors import NotFound, StoreDamaged, StoreError
from shazimd.posix import files
from shazimd.store import child, environment
from shazimd.store.damage import readable
from shazimd.store.environment import DirectoryLock, as_owner
from shazimd.store.lmdb_store import open_data, open_store
from shazimd.store.repair import rebuild
from shazimd.store.report import Report, reader_of, unreported
from shazimd.store.salvage import Salvage
from shazimd.store.tables import foreign_errors
from shazimd.store.writer import Writer

IDS_SKIPPED_MIN = 1_000_000

INDEX = "index"
"""Made again from the store; after a restore it would belong to another store."""


def check(path: str, report: Report = unreported) -> list[str]:
    """Look for damage, then compare all tables with each other: each problem in a sentence, and each file that damage
    concerns. Raises StoreError, also before the migration of an older schema."""
    _expect_store(path)
    try:
        return child.run("check", path, report=report)
    except StoreDamaged as error:
        return [str(error)]


def backup(path: str, target: str, report: Report = unreported) -> None:
    """Write a consistent, compact copy into a new directory, which is a store then.

    Raises StoreError when the target exists, StoreFull when its disk is full, StoreDamaged for a damaged store."""
    _expect_store(path)
    with foreign_errors(target), environment.new_directory(target) as aside:
        child.run("backup", path, environment.data_path(aside), report=report)
        files.sync(aside)


def restore(path: str, source: str, report: Report = unreported) -> None:
    """Replace the store by the copy in ``source``. The daemon must be stopped. Ids of alerts go on where no store was:
    what was told of after the backup had ids that must not come again.

    Raises StoreError when a daemon has the store, StoreDamaged when the copy is no whole store; then nothing has
    changed."""
    data = environment.data_path(source)
    with foreign_errors(source), open(data, "rb") as copy, as_owner(path), foreign_errors(path):
        environment.prepare_directory(path)
        with closing(DirectoryLock(path)), environment.replacing_data(path) as aside:
            _copy_in(copy.fileno(), aside, report)
            _remove_index(path)


def compact(path: str, map_size_bytes: int, model: str | None) -> None:
    """Drop vectors of models other than ``model`` (None: of none) and rewrite the data file without removed rows. The
    index is removed, to be made again from the store, and then the list of removed contents, which no index has any
    more. The daemon must be stopped. Raises StoreError."""
    _expect_store(path)
    with as_owner(path), foreign_errors(path), closing(open_store(path, map_size_bytes)) as store:
        store.compact(model)
        _remove_index(path)  # its files may hold removed rows
        files.sync(path)  # it must not come back without them
        store.write(lambda writer: writer.forget_removals())


class Repaired(NamedTuple):
    """The outcome of a repair."""

    problems: list[str]
    """as ``check`` found them; nothing was changed if there are none"""
    kept: str
    """the damaged data file; empty if nothing was changed"""


def repair(path: str, map_size_bytes: int, report: Report = unreported) -> Repaired:
    """Replace a damaged store by a new one with all that is whole. The daemon must be stopped; it reads and decodes the
    rest again. The damaged file stays under another name.

    Raises StoreError when a daemon has the store, and StoreDamaged when nothing in it can be read; then nothing has
    changed."""
    _expect_store(path)
    with as_owner(path), foreign_errors(path), closing(DirectoryLock(path)):
        if not (found := check(path, report)):
            return Repaired([], "")
        with environment.replacing_data(path) as aside, readable(path) as snapshot:
            snapshot.on_read = reader_of(report, "keeping what is whole", 2 * snapshot.size_bytes)
            with closing(open_store(aside, map_size_bytes)) as store:
                rebuild(store.write, Salvage(snapshot.rows()), snapshot.rows())
                if wrong := store.check():
                    raise StoreError(f"store {path}: the repaired store has problems, expected none: {wrong[0]}")
            _remove_index(path)
            kept = _kept_aside(environment.data_path(path))
    return Repaired(found, kept)


def left_by_repairs(path: str) -> list[str]:
    """The damaged data files, left by repairs of a store. Raises OSError."""
    begin = os.path.basename(environment.data_path(path)) + _DAMAGED
    return sorted(os.path.join(path, name) for name in os.listdir(path) if name.startswith(begin))


_DAMAGED = ".damaged"


def _kept_aside(data: str) -> str:
    """Give a data file a second name, under which it stays when another takes its place."""
    names = (f"{data}{_DAMAGED}{number or ''}" for number in count())
    name = next(name for name in names if not os.path.lexists(name))
    os.link(data, name)
    return name


def _copy_in(source: int, directory: str, report: Report) -> None:
    copied = reader_of(report, "copying", os.fstat(source).st_size)
    with open(environment.data_path(directory), "xb") as file:
        while data := os.read(source, 1 << 20):
            file.write(data)
            copied(len(data))
        file.flush()
        os.fsync(file.fileno())
    environment.expect_whole(directory)
    env, tables = open_data(directory, os.path.getsize(environment.data_path(directory)) + (1 << 30))
    with closing(env), env.begin(write=True) as txn:
        _skip_alert_ids(Writer(txn, tables, trim=lambda: None))


def _skip_alert_ids(writer: Writer) -> None:
    """Let the next alert's id be over the time in milliseconds: no store gives out a thousand a second. On a machine
    without a clock it is over the last one by IDS_SKIPPED_MIN."""
    last = max((alert for alert, _ in writer.alerts()), default=0)
    writer.go_on_after(b"alert", max(last + IDS_SKIPPED_MIN, int(time.time() * 1000)))


def _remove_index(path: str) -> None:
    """Raises OSError. Before another data file takes the place of the store's: the contents of both have the same ids,
    and new ones with ids of this index would never be found."""
    with suppress(FileNotFoundError):
        shutil.rmtree(os.path.join(path, INDEX))


def _expect_store(path: str) -> None:
    if not os.path.exists(environment.data_path(path)):
        raise NotFound(f"{path}: no store is there")
