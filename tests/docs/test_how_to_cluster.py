"""docs/how-to-cluster.md, followed word by word with a real PostgreSQL server; and the compose file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml
from daemon_process import SCRIPTS, drawing

sys.path.append(str(Path(__file__).resolve().parents[1] / "cluster"))

from postgres_server import SETTINGS, PostgresServer, running_server

from shazimd import config
from shazimd.cluster import admin
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.postgres import PostgresCluster
from shazimd.errors import ClusterError

CHECKOUT = Path(__file__).resolve().parents[2]


def shell(title: str) -> list[str]:
    """The shell blocks below a heading."""
    section = (CHECKOUT / "docs/how-to-cluster.md").read_text().partition(f"\n## {title}")[2].partition("\n## ")[0]
    return re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@contextmanager
def three_hosts(
    server: PostgresServer, folder: Path
) -> Iterator[tuple[Callable[[str], str], Callable[[], list[psutil.Process]]]]:
    """The hosts of the example while entered: a function that runs further lines there and returns their output, and
    one that lists the processes."""
    path = f"{SCRIPTS}:{server.bin}:{os.environ['PATH']}"
    environment = {**os.environ, "PGHOST": str(server.folder), "PGUSER": "shazim", "PATH": path}
    start = shell("Three hosts on one machine")[0]

    def run(script: str) -> str:
        words = ["bash", "-ec", script]
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{(folder / 'log').read_text()[-3000:]}"
        return done.stdout

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-ec", f"{start}\nwait"], cwd=folder, env=environment, stderr=log, start_new_session=True
        )
    try:
        server.wait_until(lambda: all((folder / name / "socket").exists() for name in ("nas1", "nas2", "nas3")))
        server.wait_until(lambda: len(admin.hosts(server.url("shazim"))) == 3)
        yield run, psutil.Process(process.pid).children
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def files(server: PostgresServer) -> dict[str, int]:
    """The number of files of each host; none while the database is away."""
    try:
        return {state.name: state.files for state in admin.hosts(server.url("shazim"))}
    except ClusterError:
        return {}


def test_the_example_of_three_hosts_runs_as_it_stands(server: PostgresServer, tmp_path: Path) -> None:
    """The picture is found on another host, the edited copy raises an alert on a third, and the status lists all. Then
    the database is lost and comes back from a dump, and a host leaves."""
    drawing(1).save(tmp_path / "picture.jpg")
    drawing(1).resize((300, 225)).save(tmp_path / "edited.jpg", quality=80)
    land, edit, look = shell("Three hosts on one machine")[1].split("sleep 2\n")
    dump, restore = shell("Backup")
    forget, clear = shell("Leaving")
    nas2, nas3 = (LinkClient(str(tmp_path / name / "socket")) for name in ("nas2", "nas3"))
    with three_hosts(server, tmp_path) as (run, processes):
        run(land)
        server.wait_until(lambda: nas2.foreign_paths("nas1"))
        said = run(edit)
        server.wait_until(lambda: list(nas3.alerts()))
        said += run(look)
        assert f"nas1:{tmp_path}/nas1/photos/picture.jpg" in said
        assert re.search(r"edited\.jpg: [0-9]+% copy of nas1:", said), said
        assert re.findall(r"^(nas\d)  (\d) files", said, re.MULTILINE) == [("nas1", "1"), ("nas2", "0"), ("nas3", "1")]
        run(dump)
        drawing(2).save(tmp_path / "nas2/photos/later.png")
        server.wait_until(lambda: files(server) == {"nas1": 1, "nas2": 1, "nas3": 1})
        run(restore)
        server.wait_until(lambda: files(server) == {"nas1": 1, "nas2": 1, "nas3": 1})
        (link,) = (each for each in processes() if "shazimd-link" in each.cmdline()[1] and "nas3" in each.cmdline()[3])
        link.terminate()
        link.wait(60)
        assert run(forget) == "forgot nas3: 1 files\n"
        assert json.loads(run(clear))["forgotten"] == 1
        server.wait_until(lambda: [each["host"] for each in nas2.foreign()["hosts"]] == ["nas1"])


def test_a_standby_takes_over_as_it_stands(server: PostgresServer) -> None:
    """A commit waits for it; once the primary is gone it can be written to, and a link finds it by itself."""
    make, promote = shell("Failover")
    server.createdb("shazim")
    admin.init(server.url("shazim"))
    with closing(PostgresServer()) as standby:
        url = server.url("shazim", "shazim", standby)
        run = partial(run_as_server, standby, PRIMARY=str(server.folder))
        settings = [f"-c {name}='{value}'" for name, value in SETTINGS.items()]
        place = f'-o "{" ".join(settings)} -c unix_socket_directories={standby.folder}"'
        run(make.replace("--log=standby.log start", f"--log={standby.folder}/log {place} start"))
        with psycopg.connect(server.url("shazim"), autocommit=True) as db:
            assert db.execute("show synchronous_standby_names").fetchone() == ("ANY 1 (*)",)
        with closing(PostgresCluster(url, "a")) as cluster:
            cluster.join(None)
        server.kill()
        run(promote)
        with closing(PostgresCluster(url, "b")) as cluster:
            cluster.join(None)
            assert cluster.others() == ["a"]
        run('pg_ctl --pgdata="$PGDATA" --mode=immediate stop')


def run_as_server(standby: PostgresServer, script: str, **more: str) -> None:
    """Run lines as the user of a server's files."""
    environment = {**os.environ, "PATH": f"{standby.bin}:{os.environ['PATH']}", "PGDATA": str(standby.data)}
    environment |= {"PGHOST": str(standby.folder), "PGUSER": "shazim", "PGDATABASE": "postgres", **more}
    user = standby.owner()[0] if os.geteuid() == 0 else None
    log = (standby.folder / "said").open("wb")
    with log:  # not a pipe, which the server would hold open
        done = subprocess.run(
            ["bash", "-ec", script], env=environment, stdout=log, stderr=log, user=user, cwd=standby.folder, check=False
        )
    assert done.returncode == 0, (standby.folder / "said").read_text()


def test_the_database_is_set_up_as_it_stands(server: PostgresServer, tmp_path: Path) -> None:
    """The roles can log in, the tables are there, and the file of the password is closed to others."""
    roles, init, password, _ = shell("Set up")  # the service: tests/boot/test_link_unit.py
    (url,) = re.findall(r'"(postgresql://shazim@.*)"', init)
    script = "".join([roles, init.replace(url, server.url("shazim")), password]).replace("sudo -u postgres ", "")
    script = script.replace("sudo ", "").replace("/etc/shazimd", str(tmp_path)).replace("createuser shazim\n", "")
    path = f"{SCRIPTS}:{server.bin}:{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PGHOST": str(server.folder),
        "PGUSER": "shazim",
        "PGDATABASE": "postgres",
        "PATH": path,
    }
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    with psycopg.connect(server.url("shazim", "nas1")) as db:
        assert db.execute("select count(*) from shazim.hosts").fetchone() == (0,)
    stranger: list[str | Path] = [server.bin / "psql", "-c", "create role stranger login"]
    subprocess.run(stranger, env=environment, check=True, capture_output=True)
    with pytest.raises(psycopg.OperationalError, match="CONNECT"):
        psycopg.connect(server.url("shazim", "stranger"))
    pgpass = tmp_path / "pgpass"
    assert (pgpass.stat().st_mode & 0o777, pgpass.read_text().count(":")) == (0o600, 4)


def test_the_compose_file_is_one() -> None:
    """Every host has a daemon, a link, a configuration that is accepted, and a volume that both share."""
    compose = yaml.safe_load((CHECKOUT / "packaging/cluster.yaml").read_text())
    for host in ("nas1", "nas2", "nas3"):
        settings = config.parse(tomllib.loads(compose["configs"][host]["content"]), host).cluster
        assert settings.host == host
        daemon, link = compose["services"][host], compose["services"][f"{host}-link"]
        assert daemon["volumes"][0] == link["volumes"][0] == f"{host}:/var/lib/shazimd"
        assert link["entrypoint"] == ["shazimd-link"]
