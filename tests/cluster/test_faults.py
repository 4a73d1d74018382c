"""Faults of the server, the links and the daemons: nothing is lost, and local work goes on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from daemon_process import drawing
from linked import LinkedHost, known, new_database, wait_until
from postgres_server import PostgresServer

from shazimd.cluster import admin, postgres
from shazimd.cluster.postgres import PostgresCluster
from shazimd.errors import ClusterError

Hosts = Callable[[str, str], LinkedHost]


def test_local_work_goes_on_while_the_server_is_away(host: Hosts, server: PostgresServer) -> None:
    """A link says it once; local copies are told at once, the others when the server is back, each once."""
    url = new_database(server)
    a, b = host("a", url), host("b", url)
    a.start()
    b.start()
    drawing(1).save(a.root / "1.png")
    wait_until(lambda: known(b, a) and all_are_told(url, a, b), a, b)
    server.stop()
    drawing(1).resize((200, 150)).save(b.root / "copy.jpg", quality=90)
    drawing(2).save(b.root / "2.png")
    b.daemon.settled()
    drawing(2).resize((200, 150)).save(b.root / "2.jpg", quality=90)
    wait_until(lambda: b.alerts() == [(f"{b.root}/2.jpg", f"{b.root}/2.png")], a, b)
    wait_until(lambda: {event["work"] for event in b.events("cluster_waits")} == {"tell", "follow"}, a, b)
    server.start()
    wait_until(lambda: known(a, b) and b.told_across(), a, b)
    assert b.told_across() == [(f"{b.root}/copy.jpg", f"a:{a.root}/1.png")]
    wait_until(lambda: b.events("cluster_works_again"), a, b)
    assert a.told_across() == []


def test_a_server_that_hangs_is_given_up(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it says nothing at all; another connection works once it goes on."""
    url = new_database(server)
    with closing(PostgresCluster(url, "a")) as cluster:
        cluster.join(None)
        server.hang()
        try:
            with pytest.raises(ClusterError), cluster._verb(1):
                cluster._connection.execute("select 1")
            with monkeypatch.context() as patch:
                patch.setattr(postgres, "CONNECT_TIMEOUT_S", 2)
                with pytest.raises(ClusterError):
                    PostgresCluster(url, "a")
        finally:
            server.go_on()
    with closing(PostgresCluster(url, "a")) as cluster:
        assert cluster.others() == []


def test_the_server_ends_a_session_whose_machine_is_gone(server: PostgresServer) -> None:
    """By its own keepalives, within a minute: the default is 2 hours, for which the host could not join again."""
    name = new_database(server).split("///")[1].split("?")[0]
    server.stop()
    address = f"127.83.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # of this test alone, with the usual port
    server.start(listen_addresses=address)
    with closing(PostgresCluster(f"postgresql://shazim@{address}/{name}", "a")) as cluster:
        limits = [limit for limit in postgres.SESSION if limit != "search_path"]
        found = [row for limit in limits for row in cluster._connection.execute(f"show {limit}")]
    assert found == [("30",), ("10",), ("3",), ("60000",), ("1min",)]


def test_a_server_that_lost_its_last_transactions_is_told_again(host: Hosts, server: PostgresServer) -> None:
    """An old backup takes its place: the hosts send what it lacks, and followers read what it has."""
    url = new_database(server)
    a, b = host("a", url), host("b", url)
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    server.stop()
    saved = server.folder / "saved"
    shutil.copytree(server.data, saved)
    for path in (saved, *saved.rglob("*")):
        shutil.chown(path, *server.owner())
    server.start()
    drawing(2).save(a.root / "2.png")
    (a.root / "1.png").unlink()
    drawing(3).save(b.root / "3.png")
    wait_until(lambda: known(a, b) and known(b, a), a, b)
    wait_until(lambda: all_are_told(url, a, b), a, b)
    server.kill()
    shutil.rmtree(server.data)
    saved.rename(server.data)
    server.start()
    drawing(4).save(a.root / "4.png")
    wait_until(lambda: a.events("cluster_lost_changes") and b.events("cluster_lost_changes"), a, b)
    wait_until(lambda: known(a, b) and known(b, a), a, b)


def test_hosts_with_different_models_compare_by_hashes_and_words(host: Hosts, url: str) -> None:
    """A copy is found on the other host though its vector means nothing there."""
    a, b = host("a", url), host("b", url)
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start("--model", "bundled")
    wait_until(lambda: known(b, a), a, b)
    drawing(1).resize((200, 150)).save(b.root / "copy.jpg", quality=90)
    wait_until(lambda: b.told_across() == [(f"{b.root}/copy.jpg", f"a:{a.root}/1.png")], a, b)
    wait_until(lambda: known(a, b), a, b)
    assert a.find(b.root / "copy.jpg") == {f"{a.root}/1.png", f"b:{b.root}/copy.jpg"}
    said = b.daemon.ctl("doctor", "--config", str(b.config)).stdout
    assert "cluster: b is one of 2 hosts" in said
    assert re.search(r"different models .*a:\s+none;\s+b:\s+\S", said, re.DOTALL), said


def all_are_told(url: str, *hosts: LinkedHost) -> bool:
    """Whether each link knows that its last push was committed."""
    positions = {state.name: state.position for state in admin.hosts(url)}
    pushed = {host.name: [event["position"] for event in host.events("cluster_pushed")] for host in hosts}
    return all(each[-1:] == [positions[name]] for name, each in pushed.items())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "disk"
    point.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(point)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting is needed, which takes root: {error}")
    yield point
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def test_a_followers_full_disk_pauses_following_alone(host: Hosts, url: str, small_disk: Path) -> None:
    """What room is left is for the host's own pictures: they are taken in, told and shared, others wait. With room
    again all is followed."""
    a, b = host("a", url), host("b", url)
    b.daemon.store = small_disk / "store"
    drawing(1).save(a.root / "1.png")
    a.start()
    b.start()
    wait_until(lambda: known(b, a), a, b)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(free - (2 << 20)))
    drawing(2).save(a.root / "2.png")
    wait_until(lambda: b.events("cluster_waits"), a, b)
    assert "less than 3 MiB free" in b.events("cluster_waits")[0]["reason"]
    drawing(3).save(b.root / "3.png")
    b.daemon.settled()
    drawing(3).resize((200, 150)).save(b.root / "3.jpg", quality=90)
    wait_until(lambda: b.alerts() == [(f"{b.root}/3.jpg", f"{b.root}/3.png")], a, b)
    wait_until(lambda: known(a, b), a, b)
    assert b.foreign() == {"a": {f"{a.root}/1.png"}}
    ballast.unlink()
    wait_until(lambda: known(b, a), a, b)
    assert [(event["work"], event["code"]) for event in b.events("cluster_waits")] == [("follow", "unavailable")]
    wait_until(lambda: [event["work"] for event in b.events("cluster_works_again")] == ["follow"], a, b)
