"""docs/how-to-cluster.md, followed word by word with a real PostgreSQL server; and the compose file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from daemon_process import SCRIPTS, drawing

sys.path.append(str(Path(__file__).resolve().parents[1] / "cluster"))

from postgres_server import PostgresServer, running_server

from shazimd import config
from shazimd.cluster import admin

CHECKOUT = Path(__file__).resolve().parents[2]


def shell(title: str) -> list[str]:
    """The shell blocks below a heading."""
    section = (CHECKOUT / "docs/how-to-cluster.md").read_text().partition(f"\n## {title}")[2].partition("\n## ")[0]
    return re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


def test_the_example_of_three_hosts_runs_as_it_stands(server: PostgresServer, tmp_path: Path) -> None:
    """The picture is found on another host, the edited copy raises an alert on a third, and the status lists all."""
    drawing(1).save(tmp_path / "picture.jpg")
    drawing(1).resize((300, 225)).save(tmp_path / "edited.jpg", quality=80)
    start, use = shell("Three hosts on one machine")
    patient = use.replace("sleep 2", "sleep 10")  # the machine of the tests is a busy one
    path = f"{SCRIPTS}:{server.bin}:{os.environ['PATH']}"
    environment = {**os.environ, "PGHOST": str(server.folder), "PGUSER": "shazim", "PATH": path}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-ec", f"{start}\nwait"], cwd=tmp_path, env=environment, stderr=log, start_new_session=True
        )
    try:
        server.wait_until(lambda: all((tmp_path / name / "socket").exists() for name in ("nas1", "nas2", "nas3")))
        server.wait_until(lambda: len(admin.hosts(server.url("shazim"))) == 3)
        done = subprocess.run(
            ["bash", "-c", patient],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    said = f"{done.stdout}{done.stderr}{(tmp_path / 'log').read_text()[-3000:]}"
    assert f"nas1:{tmp_path}/nas1/photos/picture.jpg" in done.stdout, said
    assert re.search(r"edited\.jpg: [0-9]+% copy of nas1:", done.stdout), said
    assert re.findall(r"^(nas\d)  (\d) files", done.stdout, re.MULTILINE) == [
        ("nas1", "1"),
        ("nas2", "0"),
        ("nas3", "1"),
    ]


def test_the_database_is_set_up_as_it_stands(server: PostgresServer, tmp_path: Path) -> None:
    """The roles can log in, the tables are there, and the file of the password is closed to others."""
    roles, init, password = shell("Set up")
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
