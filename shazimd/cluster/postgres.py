"""A cluster's database in PostgreSQL 15 or later, without extensions. The tables: migrations/*.sql."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

import psycopg
import structlog
from psycopg.rows import dict_row, tuple_row

from shazimd import __version__
from shazimd.cluster.base import Content, FilesPage, Push, SharedFile
from shazimd.cluster.tables import expect_version, value_of
from shazimd.errors import ClusterError, HostTaken
from shazimd.protocol.cluster import FingerprintMessage
from shazimd.types import Digest

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 10
VERB_TIMEOUT_S = 60.0
"""A server that hangs is given up: the connection is shut, and another tried later."""
SESSION = {
    "search_path": "shazim, pg_temp",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
}
"""The server ends a session whose machine is gone after a minute. It would keep it for 2 hours, and with it the host's
lock, or the row of ``clock`` that every push needs. Over a Unix socket keepalives have no effect."""
ROWS = 500
"""Entries in a page; the entries of a push stay together."""
READ_ROWS = 10_000
"""Files in a page of all, 10 MB: in order of path, those that a daemon writes together lie together in its store."""
FOLLOWER_GONE = "1 day"
"""A follower that was not heard of for so long reads all files anew."""
CHANNEL = "shazim"
LOCKS = 0x7368617A
"""The class of the advisory locks of hosts: "shaz"."""
FEATURES_BYTES_MAX, VECTOR_BYTES_MAX = 1 << 16, 1 << 15
PATH_BYTES_MAX, OTHER_BYTES_MAX = 4096, 1 << 13
"""Larger values are no picture's: a host that writes them does not fill the memory of others. Linux opens no path
longer than PATH_MAX; the last is for all other values of a fingerprint together, which take some 500."""
_OTHERS = ("made", "format", "ah", "dh", "pixels", "turned", "model")
_OTHERS_SMALL = " + ".join(f"coalesce(octet_length({name}), 0)" for name in _OTHERS) + f" <= {OTHER_BYTES_MAX}"
_SMALL = f"octet_length(e.path) <= {PATH_BYTES_MAX} and {_OTHERS_SMALL}"
_BYTES = ("pixels", "turned", "features", "vector")
_COLUMNS = (
    *("digest", "made", "width", "height", "format", "ah", "dh", "pixels", "low_information", "turned", "features"),
    *("model", "vector", "damaged"),
)


class PostgresCluster:
    """See ``base.Cluster``; one thread at a time."""

    def __init__(self, url: str, host: str, *, keeps_features: bool = True) -> None:
        """Connect. Raises ClusterError."""
        self._keeps_features = keeps_features
        self._host = host
        self._known = 0
        """the greatest number seen: a server that lost its last transactions must not give it out again"""
        try:
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name=f"shazimd-link {host}"
            )
        except psycopg.Error as error:
            raise ClusterError(reason(error)) from error
        with ExitStack() as opened:
            opened.callback(self._connection.close)
            with self._verb() as db:
                put = "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) s (name, value)"
                db.execute(put, [[*SESSION], [*SESSION.values()]])
                db.execute(f"listen {CHANNEL}")
                expect_version(db)
            opened.pop_all()

    def join(self, model: str | None) -> str | None:
        with self._verb() as db:
            lock = "select pg_try_advisory_lock(%s, hashtext(%s))"
            if not value_of(db.execute(lock, [LOCKS, self._host])):
                raise HostTaken(
                    f'the host "{self._host}" is connected already, or still: a connection that was lost ends within '
                    "a minute or two; expected another [cluster] host on each machine"
                )
            db.execute("insert into hosts (name) values (%s) on conflict do nothing", [self._host])
            update = "update hosts set model = %s, version = %s, seen = now() where name = %s returning position, n"
            row = db.execute(update, [model, __version__, self._host]).fetchone()
            if row is None:
                raise HostTaken(f'the host "{self._host}" was made by another role of the database')
            self._known = max(self._known, row[1])
            return cast(str | None, row[0])

    def lacking(self, contents: Mapping[Digest, str]) -> list[Digest]:
        with self._verb() as db:
            found = db.execute(
                "select digest, made from contents where host = %s and digest = any(%s)", [self._host, list(contents)]
            )
            known = dict(found.fetchall())
        return [digest for digest, made in contents.items() if known.get(digest) != made]

    def put_contents(self, contents: Sequence[FingerprintMessage]) -> None:
        values = ", ".join(f"%({name})s" for name in ("host", *_COLUMNS))
        changed = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "digest")
        statement = (
            f"insert into contents (host, {', '.join(_COLUMNS)}) values ({values}) "  # noqa: S608  # our own names
            f"on conflict (host, digest) do update set {changed}"
        )
        with self._verb() as db, self._connection.transaction():
            db.executemany(statement, [{"host": self._host, **_row(each)} for each in contents])

    def push(self, push: Push, renewed: frozenset[Digest]) -> None:
        paths, mark = [file.path for file in push.files], os.urandom(8)
        with self._verb() as db, self._connection.transaction():
            n = value_of(db.execute("update clock set n = greatest(n, %s) + 1 returning n", [self._known]))
            begun = "update hosts set position = %s, reading = reading + %s, n = %s, seen = now() where name = %s"
            begun += " returning reading"
            row = db.execute(begun, [push.position, int(push.begins_reading), n, self._host]).fetchone()
            if row is None:
                raise ClusterError(f'the host "{self._host}" was removed from the cluster; it joins anew')
            reading = row[0]
            before = _digests(db, self._host, [*paths, *push.gone])
            told = [
                path for path, digest in zip(paths, (f.digest for f in push.files), strict=True) if digest in renewed
            ]
            told += self._put_files(db, push, n, reading)
            gone = "delete from files where host = %s and key in (select sha256(p) from unnest(%s::bytea[]) p)"
            told += [row[0] for row in db.execute(f"{gone} returning path", [self._host, list(push.gone)])]
            if push.ends_reading:
                stale = "delete from files where host = %s and reading <> %s returning path, digest"
                rows = db.execute(stale, [self._host, reading]).fetchall()
                told += [path for path, _ in rows]
                before |= {digest for _, digest in rows}
            entries = "insert into entries (host, n, path, mark) select %s, %s, p, %s from unnest(%s::bytea[]) p"
            db.execute(entries, [self._host, n, mark, list(dict.fromkeys(told))])
            orphans = "delete from contents c where host = %s and digest = any(%s) and not exists "
            orphans += "(select from files f where f.host = c.host and f.digest = c.digest)"
            db.execute(orphans, [self._host, list(before)])
            db.execute("select pg_notify(%s, %s)", [CHANNEL, self._host])
        self._known = max(self._known, n)

    def _put_files(self, db: Any, push: Push, n: int, reading: int) -> list[bytes]:
        """Write the files of a push; the paths of those that changed."""
        columns = [list(column) for column in zip(*push.files, strict=True)] or [[]] * 6
        paths, digests, _, sizes, times, _ = columns
        if push.reads:
            seen = (
                "update files set reading = %s where host = %s and key in (select sha256(p) from unnest(%s::bytea[]) p)"
            )
            db.execute(seen, [reading, self._host, paths])
        statement = """
            insert into files as f (host, path, digest, size_bytes, mtime_ns, since, landed, reading)
            select %(host)s, path, digest, size_bytes, mtime_ns,
                coalesce((select min(since) from files o where o.host = %(host)s and o.digest = new.digest), %(since)s),
                %(n)s, %(reading)s
            from unnest(%(paths)s::bytea[], %(digests)s::bytea[], %(sizes)s::bigint[], %(times)s::bigint[])
                as new (path, digest, size_bytes, mtime_ns)
            on conflict (host, key) do update set
                digest = excluded.digest, size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
                since = excluded.since, reading = excluded.reading,
                landed = case when f.digest = excluded.digest then f.landed else excluded.landed end
            where (f.digest, f.size_bytes, f.mtime_ns)
                is distinct from (excluded.digest, excluded.size_bytes, excluded.mtime_ns)
            returning path
        """
        is_old = push.is_old or (push.reads and reading == 1)  # in later readings what is not known yet is new
        given = {"host": self._host, "since": 0 if is_old else n, "n": n, "reading": reading, "paths": paths}
        given |= {"digests": digests, "sizes": sizes, "times": times}
        return [row[0] for row in db.execute(statement, given)]

    def trim(self, model: str | None) -> None:
        with self._verb() as db:
            db.execute(
                "delete from entries where host = %(host)s and n < least("
                "(select max(n) from entries where host = %(host)s), "
                "(select min(n) from followers where host = %(host)s and seen > now() - %(gone)s::interval))",
                {"host": self._host, "gone": FOLLOWER_GONE},
            )
            db.execute("update hosts set seen = now(), model = %s where name = %s", [model, self._host])

    def others(self) -> list[str]:
        with self._verb() as db:
            return [row[0] for row in db.execute("select name from hosts where name <> %s order by name", [self._host])]

    def changes(self, host: str, position: str | None) -> FilesPage | None:
        n, mark = _parsed(position)
        with self._verb() as db:
            known = db.execute("select from entries where host = %s and n = %s and mark = %s limit 1", [host, n, mark])
            if known.fetchone() is None:
                return None
            first = "select n from entries where host = %s and n > %s order by n limit %s"
            numbers = [row[0] for row in db.execute(first, [host, n, ROWS])]
            if not numbers:
                return FilesPage([], [], cast(str, position), is_last=True)
            rows = db.execute(
                f"select e.n, e.mark, e.key, case when {_SMALL} then e.path end, f.digest, "  # noqa: S608  # our own names
                f"case when {_SMALL} then made end, f.size_bytes, f.mtime_ns, f.since from entries e "
                "left join files f using (host, key) left join contents c using (host, digest) "
                "where host = %s and e.n > %s and e.n <= %s order by e.n",
                [host, n, numbers[-1]],
            ).fetchall()
        if not rows:
            return None
        self._known = max(self._known, numbers[-1])
        last = _position(rows[-1][0], rows[-1][1])
        sound = _without_large(host, [row[2:] for row in rows])
        files = {row[0]: SharedFile(*row) for row in sound if row[1] is not None}
        gone = dict.fromkeys(row[0] for row in sound if row[1] is None)
        return FilesPage(list(files.values()), list(gone), last, len(numbers) < ROWS)

    def position(self, host: str) -> str | None:
        with self._verb() as db:
            last = "select n, mark from entries where host = %s order by n desc limit 1"
            row = db.execute(last, [host]).fetchone()
            return None if row is None else _position(*row)

    def count(self, host: str, position: str | None) -> int:
        with self._verb() as db:
            if position is None:
                return int(value_of(db.execute("select count(*) from files where host = %s", [host])))
            later = "select count(*) from entries where host = %s and n > %s"
            return int(value_of(db.execute(later, [host, _parsed(position)[0]])))

    def all_files(self, host: str, after: str) -> FilesPage:
        with self._verb() as db:
            rows = db.execute(
                f"select key, case when {_SMALL} then e.path end, digest, case when {_SMALL} then made end, "  # noqa: S608
                "size_bytes, mtime_ns, since from files e join contents using (host, digest) "
                "where host = %s and key > %s order by key limit %s",
                [host, bytes.fromhex(after), READ_ROWS],
            ).fetchall()
        last = rows[-1][0].hex() if rows else after
        files = sorted(SharedFile(*row) for row in _without_large(host, rows))
        return FilesPage(files, [], last, len(rows) < READ_ROWS)

    def unknown(self, host: str, paths: Sequence[bytes]) -> list[bytes]:
        with self._verb() as db:
            rows = db.execute(
                "select p from unnest(%s::bytea[]) p where not exists "
                "(select from files where host = %s and key = sha256(p))",
                [list(paths), host],
            )
            return [row[0] for row in rows]

    def contents(self, host: str, digests: Sequence[Digest]) -> list[Content]:
        columns = f"encode(digest, 'hex') as content, {', '.join(_COLUMNS[1:])}"
        if not self._keeps_features:
            columns = columns.replace("features", "''::bytea as features")
        with self._verb() as db:
            db.row_factory = dict_row
            return db.execute(
                f"select {columns} from contents where host = %s and digest = any(%s) "  # noqa: S608
                f"and octet_length(features) <= %s and coalesce(octet_length(vector), 0) <= %s and {_OTHERS_SMALL}",
                [host, list(digests), FEATURES_BYTES_MAX, VECTOR_BYTES_MAX],
            ).fetchall()

    def features(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        with self._verb() as db:
            rows = db.execute(
                "select digest, features from hosts join contents on host = name "
                "where digest = any(%s) and octet_length(features) between 1 and %s",
                [list(digests), FEATURES_BYTES_MAX],
            )
            return {row[0]: row[1] for row in rows}

    def landed(self, files: Sequence[tuple[bytes, Digest]]) -> list[int | None]:
        with self._verb() as db:
            rows = db.execute(
                "select landed from unnest(%s::bytea[], %s::bytea[]) with ordinality as a (path, digest, at) "
                "left join files f on f.host = %s and f.key = sha256(a.path) and f.digest = a.digest order by at",
                [[path for path, _ in files], [digest for _, digest in files], self._host],
            )
            return [row[0] for row in rows]

    def follows(self, host: str, position: str) -> None:
        with self._verb() as db:
            db.execute(
                "insert into followers (follower, host, n) values (%s, %s, %s) "
                "on conflict (follower, host) do update set n = excluded.n, seen = now()",
                [self._host, host, _parsed(position)[0]],
            )

    def wait(self, timeout_s: float) -> None:
        with self._verb(timeout_s + VERB_TIMEOUT_S):
            for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
                pass

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _verb(self, timeout_s: float = VERB_TIMEOUT_S) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor; a verb that takes too long ends in an error, though the server says nothing at all."""
        try:
            with (
                limited(self._connection, timeout_s),
                self._connection.cursor(binary=True, row_factory=tuple_row) as cursor,  # as text a byte is two
            ):
                yield cursor
        except psycopg.Error as error:
            raise ClusterError(reason(error)) from error


@contextmanager
def limited(connection: psycopg.Connection[Any], timeout_s: float) -> Iterator[None]:
    """Shut the connection unless the block ends in time. A time limit of the server's does not help while it hangs."""
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as own:
        timer = threading.Timer(timeout_s, _shut, [own])
        timer.daemon = True  # the end of the process waits for no server
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _shut(own: socket.socket) -> None:
    with suppress(OSError):
        own.shutdown(socket.SHUT_RDWR)


def _digests(db: psycopg.Cursor[Any], host: str, paths: Sequence[bytes]) -> set[Digest]:
    """The contents that files at these paths have at present."""
    statement = "select digest from files where host = %s and key in (select sha256(p) from unnest(%s::bytea[]) p)"
    return {row[0] for row in db.execute(statement, [host, list(paths)])}


def _position(n: int, mark: bytes) -> str:
    return f"{n}.{mark.hex()}"


def _without_large(host: str, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """The rows (key, path, ...) without their keys; those whose values are too large come without a path, are left out
    and named."""
    if large := [row[0].hex() for row in rows if row[1] is None]:
        log.warning("cluster_rows_too_large", host=host, rows=len(large), example_key=large[0])
    return [row[1:] for row in rows if row[1] is not None]


def _parsed(position: str | None) -> tuple[int, bytes]:
    n, _, mark = (position or "0.").partition(".")
    return int(n), bytes.fromhex(mark)


def _row(message: FingerprintMessage) -> dict[str, Any]:
    """The columns of a fingerprint."""
    row: dict[str, Any] = {"damaged": False, **message, "digest": bytes.fromhex(message["content"])}
    return row | {name: None if row[name] is None else base64.b64decode(row[name]) for name in _BYTES}


def reason(error: psycopg.Error) -> str:
    """The first line of an error, without the address of the server's source."""
    return f"the database: {(str(error) or type(error).__name__).strip().splitlines()[0]}"
