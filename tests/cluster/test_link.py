"""Hosts that share their pictures by a real PostgreSQL server."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import psycopg
from daemon_process import drawing
from drawn import encoded, photograph
from linked import LinkedHost, known, wait_until
from postgres_server import PostgresServer

from shazimd.cluster import admin

Hosts = Callable[[str, str], LinkedHost]


def test_two_hosts_know_each_others_pictures(host: Hosts, url: str) -> None:
    """What was there before the cluster, what comes, what goes and what is renamed; a copy is told of once."""
    a, b = host("a", url), host("b", url)
    drawing(1).save(a.root / "before.png")
    a.start()
    b.start()
    a.daemon.settled()
    wait_until(lambda: known(b, a), a, b)
    drawing(1).resize((200, 150)).save(b.root / "copy.jpg", quality=90)
    wait_until(lambda: known(a, b), a, b)
    wait_until(lambda: b.told_across() == [(f"{b.root}/copy.jpg", f"a:{a.root}/before.png")], a, b)
    assert a.find(b.root / "copy.jpg") == {f"{a.root}/before.png", f"b:{b.root}/copy.jpg"}
    (a.root / "deep").mkdir()
    (a.root / "before.png").rename(a.root / "deep" / "renamed.png")
    (b.root / "copy.jpg").unlink()
    wait_until(lambda: known(a, b) and known(b, a), a, b)
    assert b.foreign() == {"a": {f"{a.root}/deep/renamed.png"}}
    assert (a.told_across(), len(b.told_across())) == ([], 1)

    def hosts() -> dict[str, object]:
        return {state.name: (state.files, state.followers) for state in admin.hosts(url)}

    wait_until(lambda: hosts() == {"a": (1, {"b": 0}), "b": (0, {"a": 0})}, a, b)  # a follower notes it afterwards
    assert (a.stop_link(), b.stop_link()) == (0, 0)


def test_a_damaged_file_of_another_host_is_known_as_damaged(host: Hosts, url: str) -> None:
    """In answers, and when its bytes land here."""
    a, b = host("a", url), host("b", url)
    whole = encoded(photograph(), "PNG")
    (a.root / "cut.png").write_bytes(whole[: len(whole) * 7 // 10])
    (b.root / "whole.png").write_bytes(whole)
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    matches = {match["path"]: match.get("damaged", False) for match in b.client.find(whole)["matches"]}
    assert matches == {f"a:{a.root}/cut.png": True, f"{b.root}/whole.png": False}
    shutil.copy(a.root / "cut.png", b.root / "landed.png")
    wait_until(lambda: b.told_across(), a, b)  # beside the alert about its own, before or after it
    assert {alert["damaged"] for alert in b.client.alerts()} == {True}


def test_a_host_is_forgotten_for_good(host: Hosts, url: str) -> None:
    """By `shazimctl cluster forget`, when its link is gone; the others forget its files."""
    a, b = host("a", url), host("b", url)
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    a.kill_link()
    done = b.daemon.ctl("cluster", "forget", "a", "--config", str(b.config))
    assert (done.returncode, done.stdout) == (0, "forgot a: 1 files\n"), done.stderr
    wait_until(lambda: b.foreign() == {}, a, b)
    assert b.find(a.root / "1.png") == set()
    a.start_link()
    wait_until(lambda: known(b, a), a, b)


def test_a_second_machine_of_the_same_name_is_refused(host: Hosts, url: str) -> None:
    """Its link says so once, follows nobody in the first one's place, and takes over when the first has gone."""
    a, other = host("a", url), host("other", url)
    drawing(1).save(other.root / "1.png")
    a.start()
    other.start()
    wait_until(lambda: known(a, other), a, other)
    second = host("second", url)
    second.name = "a"
    second.configure(url)
    drawing(2).save(second.root / "2.png")
    second.start()
    wait_until(lambda: second.events("cluster_waits"), second)
    assert second.events("cluster_waits")[0]["code"] == "host_taken"
    assert (admin.hosts(url)[0].files, second.foreign()) == (0, {})
    a.kill_link()
    wait_until(lambda: admin.hosts(url)[0].files == 1 and known(second, other), second, other)
    assert len(second.events("cluster_waits")) == 1


def test_a_store_from_a_backup_and_a_lost_store_are_told_anew(host: Hosts, url: str) -> None:
    """The files that the restored store does not know any more go, those that it has again come."""
    a, b = host("a", url), host("b", url)
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    a.stop_link()
    assert a.daemon.stop() == 0
    saved = a.daemon.store.with_name("saved")
    shutil.copytree(a.daemon.store, saved)
    a.start()
    drawing(2).save(a.root / "2.png")
    drawing(3).save(a.root / "3.png")
    wait_until(lambda: known(b, a), a, b)
    a.kill_link()
    a.daemon.kill()
    (a.root / "2.png").unlink()
    shutil.rmtree(a.daemon.store)
    saved.rename(a.daemon.store)
    a.start()
    wait_until(lambda: known(b, a), a, b)
    a.kill_link()
    a.daemon.kill()
    shutil.rmtree(a.daemon.store)
    (a.root / "1.png").unlink()
    a.start()
    wait_until(lambda: known(b, a), a, b)


def test_a_store_from_a_backup_tells_of_no_copy_twice(host: Hosts, url: str) -> None:
    """Files that came after the backup are known to the cluster: they are neither gone nor new, and their copies on
    another host are not told of again."""
    a, b = host("a", url), host("b", url)
    a.start()
    b.start()
    backup = a.root.parent / "backup"
    done = a.daemon.ctl("store", "--store", str(a.daemon.store), "backup", str(backup))
    assert done.returncode == 0, done.stderr
    for number in range(20):
        drawing(number).save(a.root / f"{number}.png")
    wait_until(lambda: known(b, a), a, b)
    drawing(1).resize((200, 150)).save(b.root / "copy.jpg", quality=90)
    wait_until(lambda: known(a, b) and b.told_across() == [(f"{b.root}/copy.jpg", f"a:{a.root}/1.png")], a, b)
    before = landed(url)
    a.daemon.kill()
    shutil.rmtree(a.daemon.store)
    backup.rename(a.daemon.store)
    a.daemon.start()
    a.daemon.settled()
    wait_until(lambda: known(a, b) and not a.client.foreign()["undecided"], a, b)
    assert (a.told_across(), len(b.told_across()), landed(url)) == ([], 1, before)


def landed(url: str) -> list[tuple[bytes, int]]:
    """Every file of the cluster with the number of the push that told of it."""
    with psycopg.connect(url) as db:
        return db.execute("select path, landed from shazim.files order by path").fetchall()


def test_a_follower_that_was_away_for_long_reads_all(host: Hosts, url: str) -> None:
    """Its entries were trimmed: it reads every file, and removes those that are gone."""
    a, b = host("a", url), host("b", url)
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    b.kill_link()
    (a.root / "1.png").unlink()
    drawing(2).save(a.root / "2.png")
    wait_until(lambda: admin.hosts(url)[0].followers["b"] > 0, a)
    a.daemon.settled()
    wait_until(lambda: admin.hosts(url)[0].files == 1, a)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("update shazim.followers set seen = now() - interval '2 days'")
        db.execute("delete from shazim.entries e where n < (select max(n) from shazim.entries where host = e.host)")
    b.start_link()
    wait_until(lambda: known(b, a), a, b)
    assert len(b.events("cluster_host_read")) == 2


def test_a_host_writes_only_its_own_rows(host: Hosts, shared_server: PostgresServer, url: str) -> None:
    """With a role of its own, it can neither write files of another host, nor its position, nor remove it."""
    with psycopg.connect(url, autocommit=True) as db:
        for role in ("nas1", "nas2"):
            db.execute(f"drop role if exists {role}")
            db.execute(f"create role {role} login")
    database = url.split("///")[1].split("?")[0]
    a, b = host("a", shared_server.url(database, "nas1")), host("b", shared_server.url(database, "nas2"))
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a) and admin.hosts(url)[0].files == 1, a, b)
    with psycopg.connect(shared_server.url(database, "nas2"), autocommit=True) as db:
        for statement in (
            "update shazim.files set path = '/etc/forged' where host = 'a'",
            "delete from shazim.contents where host = 'a'",
            "update shazim.hosts set position = 'x' where name = 'a'",
            "delete from shazim.entries where host = 'a'",
        ):
            assert db.execute(statement).rowcount == 0
        for statement in (
            "insert into shazim.entries (host, n, path, mark) values ('a', 1000, '/x', '')",
            "insert into shazim.files (host, path, digest, size_bytes, mtime_ns, since, landed, reading) "
            "select host, '/forged', digest, 1, 1, 0, 0, 0 from shazim.files",
            "insert into shazim.hosts (name, owner) values ('c', 'nas1')",
            "delete from shazim.hosts where name = 'a'",
        ):
            try:
                db.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                continue
            raise AssertionError(statement)
    assert known(b, a)
