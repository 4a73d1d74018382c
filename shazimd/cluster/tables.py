"""The tables of the database and their versions: migrations/*.sql."""

from __future__ import annotations

from importlib.resources import files as package_files
from typing import Any

import psycopg

from shazimd.errors import ClusterError


def migrations() -> dict[int, str]:
    """The statements of each migration, by number."""
    folder = package_files("shazimd.cluster").joinpath("migrations")
    found = {int(each.name[:4]): each.read_text("utf-8") for each in folder.iterdir() if each.name.endswith(".sql")}
    return dict(sorted(found.items()))


def expect_version(db: psycopg.Cursor[Any]) -> None:
    """Raise ClusterError unless the tables are those of this version."""
    needed = max(migrations())
    found = applied(db)
    if found != needed:
        act = "install a newer shazimd here" if found > needed else "run shazimctl cluster init"
        raise ClusterError(f"the tables of the database are of version {found}, expected {needed}: {act}")


def applied(db: psycopg.Cursor[Any]) -> int:
    """The number of the last migration, 0 without tables."""
    if value_of(db.execute("select to_regclass('shazim.migrations')::text")) is None:
        return 0
    return int(value_of(db.execute("select coalesce(max(number), 0) from shazim.migrations")))


def value_of(cursor: psycopg.Cursor[Any]) -> Any:
    """The first value of the next row."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]
