"""The tables of the database: migrations, partitions, trimming."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from postgres_server import PostgresServer
from structlog.testing import capture_logs

from shazimd.cluster import admin, postgres, tables
from shazimd.cluster.base import FilesPage, Push, SharedFile
from shazimd.cluster.postgres import PostgresCluster
from shazimd.errors import ClusterError
from shazimd.protocol.cluster import FingerprintMessage

Join = Callable[[str], PostgresCluster]


@pytest.fixture
def join(url: str) -> Iterator[Join]:
    """Makes connections of hosts, which end with the test."""
    with ExitStack() as opened:

        def join(name: str) -> PostgresCluster:
            cluster = opened.enter_context(closing(PostgresCluster(url, name)))
            cluster.join(None)
            return cluster

        yield join


def fingerprint(path: bytes) -> FingerprintMessage:
    return {
        "content": digest(path).hex(),
        "made": "3/",
        "width": 40,
        "height": 30,
        "format": "PNG",
        "ah": None,
        "dh": None,
        "pixels": None,
        "low_information": False,
        "turned": "",
        "features": "",
        "model": None,
        "vector": None,
    }


def digest(path: bytes) -> bytes:
    return hashlib.sha256(path).digest()


def tell(cluster: PostgresCluster, *paths: bytes) -> None:
    """Push a file each time."""
    for number, path in enumerate(paths):
        cluster.put_contents([fingerprint(path)])
        cluster.push(Push([SharedFile(path, digest(path), "3/", 1, 1)], [], f"{number}.x"), frozenset())


def numbers(url: str, host: str) -> list[int]:
    """The numbers of the pushes of a host that are kept."""
    with psycopg.connect(url) as db:
        rows = db.execute("select distinct n from shazim.entries where host = %s order by n", [host]).fetchall()
    return [row[0] for row in rows]


def partitions(url: str) -> list[str]:
    with psycopg.connect(url) as db:
        found = "select relname from pg_inherits join pg_class c on c.oid = inhrelid "
        found += "where inhparent = 'shazim.entries'::regclass"
        return [row[0] for row in db.execute(found)]


def test_entries_are_kept_until_every_follower_has_read_them(join: Join, url: str) -> None:
    """The last push stays, whose mark the followers know; a follower that was not heard of for a day does not count."""
    a, b, c = join("a"), join("b"), join("c")
    tell(a, b"/1", b"/2", b"/3", b"/4")
    tell(b, b"/5")
    _, two, three, four = numbers(url, "a")
    b.follows("a", f"{two}.")
    c.follows("a", f"{three}.")
    a.trim(None)
    assert numbers(url, "a") == [two, three, four]
    with psycopg.connect(url) as db:
        db.execute("update shazim.followers set seen = now() - interval '2 days' where follower = 'b'")
    a.trim(None)
    assert numbers(url, "a") == [three, four]
    c.follows("a", f"{four}.")
    a.trim(None)
    assert numbers(url, "a") == [four]
    assert len(numbers(url, "b")) == 1


def test_a_model_that_comes_later_is_told(join: Join, url: str) -> None:
    """A host may join while its model is still being installed."""
    a = join("a")
    a.trim("m")
    assert [state.model for state in admin.hosts(url)] == ["m"]


def test_files_of_a_later_reading_are_new(join: Join, url: str) -> None:
    """Those of a host's first reading were there before all others, and stay so. What is unknown in a later one came
    since."""
    a = join("a")
    for number, paths in enumerate(([b"/1"], [b"/1", b"/2"])):
        a.put_contents([fingerprint(path) for path in paths])
        files = [SharedFile(path, digest(path), "3/", 1, 1) for path in paths]
        reading = Push(files, [], f"{number}.x", begins_reading=True, reads=True, ends_reading=True)
        a.push(reading, frozenset())
    since = {file.path: file.since for file in a.all_files("a", "").files}
    assert (since[b"/1"], since[b"/2"] > 0) == (0, True)


def test_all_files_come_in_pages_each_in_order_of_path(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file once, whatever the size of a page; the last page says that it is the last."""
    monkeypatch.setattr(postgres, "READ_ROWS", 3)
    paths = [b"/%d" % number for number in range(8)]
    a = join("a")
    tell(a, *paths)
    pages: list[FilesPage] = []
    after = ""
    while not pages or not pages[-1].is_last:
        pages.append(a.all_files("a", after))
        after = pages[-1].position
    read = [[file.path for file in page.files] for page in pages]
    assert [len(page) for page in read] == [3, 3, 2]
    assert sorted(path for page in read for path in page) == paths
    assert all(page == sorted(page) for page in read)
    assert [path for page in read for path in page] != paths  # a page is a sample of all


def test_each_host_has_a_partition(join: Join, url: str) -> None:
    """Made when it joins first, of a name however long, and dropped when it is forgotten; it may join anew."""
    long = "x" * 63
    for name in ("a", long, f"{long[1:]}y"):
        tell(join(name), b"/1")
    assert len(partitions(url)) == 3
    admin.forget(url, long)
    assert (len(partitions(url)), len(numbers(url, "a"))) == (2, 1)
    tell(join("b"), b"/1")
    assert len(partitions(url)) == 3


def test_a_partition_is_closed_to_every_role(join: Join, shared_server: PostgresServer, url: str) -> None:
    """Rows are read and written by way of the whole table, where row-level security holds."""
    join("a")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("drop role if exists nas9")
        db.execute("create role nas9 login")
    (name,) = partitions(url)
    database = url.split("///")[1].split("?")[0]
    with psycopg.connect(shared_server.url(database, "nas9"), autocommit=True) as db:
        forbidden = f"select from shazim.{name}", f"delete from shazim.{name}", "select shazim.add_partition('z')"
        for statement in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(statement)


def test_a_database_of_an_earlier_version_keeps_its_rows(
    shared_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`shazimctl cluster init` brings it to this version; until then a link says so."""
    shared_server.createdb("earlier")
    url = shared_server.url("earlier")
    every = tables.migrations()
    monkeypatch.setattr(admin, "migrations", lambda: {1: every[1]})
    assert admin.init(url) == [1]
    monkeypatch.undo()
    with psycopg.connect(url) as db:
        db.execute("insert into shazim.hosts (name) values ('a'), ('b')")
        db.execute("insert into shazim.entries (host, n, path, mark) values ('a', 1, '/1', 'm'), ('b', 2, '/2', 'm')")
        columns = "host, digest, made, width, height, format, low_information, turned, features"
        row = "'a', %s, '3/', 40, 30, 'PNG', false, '', ''"
        db.execute(f"insert into shazim.contents ({columns}) values ({row})", [digest(b"/1")])
    with pytest.raises(ClusterError, match="are of version 1, expected 3: run shazimctl cluster init"):
        PostgresCluster(url, "a")
    assert admin.init(url) == [2, 3]
    assert (numbers(url, "a"), numbers(url, "b"), len(partitions(url))) == ([1], [2], 2)
    with closing(PostgresCluster(url, "c")) as cluster:
        cluster.join(None)
        tell(cluster, b"/3")
        assert len(numbers(url, "c")) == 1
        assert [each["damaged"] for each in cluster.contents("a", [digest(b"/1")])] == [False]


def test_a_database_of_a_later_version_is_left_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link says that this host has the older version: to make the tables again would change nothing."""
    every = tables.migrations()
    monkeypatch.setattr(tables, "migrations", lambda: {1: every[1], 2: every[2]})
    with pytest.raises(ClusterError, match="are of version 3, expected 2: install a newer shazimd here"):
        PostgresCluster(url, "a")


def test_a_damaged_picture_is_told_as_such(join: Join) -> None:
    """One that a daemon of an earlier version tells of, which does not say, counts as whole."""
    a, b = join("a"), join("b")
    told: list[FingerprintMessage] = [
        {**fingerprint(b"/1"), "damaged": True},
        {**fingerprint(b"/2"), "damaged": False},
        fingerprint(b"/3"),
    ]
    a.put_contents(told)
    found = b.contents("a", [bytes.fromhex(each["content"]) for each in told])
    assert {each["content"]: each["damaged"] for each in found} == {
        each["content"]: each.get("damaged", False) for each in told
    }
    a.put_contents([fingerprint(b"/1")])
    assert [each["damaged"] for each in b.contents("a", [digest(b"/1")])] == [False]


def test_rows_of_a_hostile_host_are_no_larger_than_a_pictures(join: Join, url: str) -> None:
    """A path, or a way in which a fingerprint was made, that would fill the memory of others is left out and named."""
    evil, other = join("evil"), join("other")
    tell(evil, b"/first", b"/good", b"/" + b"p" * postgres.PATH_BYTES_MAX, b"/made")
    with psycopg.connect(url) as db:
        made = "update shazim.contents set made = repeat('m', %s) where digest = %s"
        db.execute(made, [postgres.OTHER_BYTES_MAX + 1, digest(b"/made")])
        mark = "select n, mark from shazim.entries where host = 'evil' order by n limit 1"
        begin = postgres._position(*db.execute(mark).fetchall()[0])
    with capture_logs() as logs:
        page = other.changes("evil", begin)
        everything = other.all_files("evil", "")
    assert page is not None
    assert ([b"/good"], [], True) == ([file.path for file in page.files], page.gone, page.is_last)
    assert [b"/first", b"/good"] == [file.path for file in everything.files]
    assert [("cluster_rows_too_large", "evil", 2)] * 2 == [(each["event"], each["host"], each["rows"]) for each in logs]
    assert [digest(b"/good").hex()] == [
        each["content"] for each in other.contents("evil", [digest(b"/good"), digest(b"/made")])
    ]
