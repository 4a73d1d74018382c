"""An administrator's work on a cluster's database: make its tables, look at its hosts, remove a host for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from shazimd.cluster.base import HostState
from shazimd.cluster.postgres import CONNECT_TIMEOUT_S, limited, reason
from shazimd.cluster.tables import applied, expect_version, migrations, value_of
from shazimd.errors import ClusterError, NotFound

TIMEOUT_S = 600.0
"""A migration of large tables, or the removal of a host with millions of files."""
PASSWORDS = "/etc/shazimd/pgpass"
"""As in shazimd-link.service."""
_INIT_LOCK = 0x7368617A696E6974
""""shazinit": two commands at the same time make the tables once"""


def init(url: str) -> list[int]:
    """Make the tables, or bring them to this version; the numbers of the migrations that were applied. All or none."""
    with _database(url) as db, db.connection.transaction():
        db.execute("select pg_advisory_xact_lock(%s)", [_INIT_LOCK])
        found, made = applied(db), []
        for number, statements in migrations().items():
            if number > found:
                db.execute(statements.encode())
                db.execute("insert into shazim.migrations (number) values (%s)", [number])
                made.append(number)
    return made


def hosts(url: str) -> list[HostState]:
    """The hosts of the cluster, by name."""
    with _database(url) as db:
        expect_version(db)
        rows = db.execute(
            "select name, n, position, (select count(*) from shazim.files f where f.host = h.name), model, "
            "extract(epoch from now() - seen)::float from shazim.hosts h order by name"
        ).fetchall()
        followed = db.execute(
            "select f.host, f.follower, (select count(*) from shazim.entries e where e.host = f.host and e.n > f.n) "
            "from shazim.followers f order by f.follower"
        ).fetchall()
    return [HostState._make([*row, {by: owed for host, by, owed in followed if host == row[0]}]) for row in rows]


def forget(url: str, host: str) -> int:
    """Remove a host that is gone for good, with its files; their number. For the role that made the tables. Raises
    NotFound."""
    with _database(url) as db, db.connection.transaction():
        files = int(value_of(db.execute("select count(*) from shazim.files where host = %s", [host])))
        if not db.execute("delete from shazim.hosts where name = %s", [host]).rowcount:
            raise NotFound(f'host "{host}": there is none of this name')
        db.execute("select pg_notify('shazim', %s)", [host])
        return files


def _password_file() -> str | None:
    """The file that the link's unit has its password from, for root, who may read it and has no other; else libpq's."""
    others = (os.environ.get("PGPASSFILE"), os.path.expanduser("~/.pgpass"))
    is_wanted = os.access(PASSWORDS, os.R_OK) and not any(each and os.path.exists(each) for each in others)
    return PASSWORDS if is_wanted else None


@contextmanager
def _database(url: str) -> Iterator[psycopg.Cursor[Any]]:
    options = {"connect_timeout": CONNECT_TIMEOUT_S, "passfile": _password_file()}
    try:
        with (
            psycopg.connect(psycopg.conninfo.make_conninfo(url, **options), autocommit=True) as connection,
            limited(connection, TIMEOUT_S),
            connection.cursor() as cursor,
        ):
            yield cursor
    except psycopg.Error as error:
        raise ClusterError(reason(error)) from error
