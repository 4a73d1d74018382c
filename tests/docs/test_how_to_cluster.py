"""docs/how-to-cluster.md, followed word by word with a real PostgreSQL server; and the compose file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml
from daemon_process import SCRIPTS, drawing
from patience import PATIENCE_S

sys.path.append(str(Path(__file__).resolve().parents[1] / "cluster"))

from postgres_server import SETTINGS, PostgresServer, running_server

from shazimd.cluster import admin
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.postgres import PostgresCluster
from shazimd.errors import ClusterError

CHECKOUT = Path(__file__).resolve().parents[2]


def shell(title: str) -> list[str]:
    """The shell blocks below a heading."""
    section = (CHECKOUT / "docs/how-to-cluster.md").read_text().partition(f"\n## {title}")[2].partition("\n## ")[0]
    return re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_every_block_of_commands_is_run() -> None:
    """By the tests below, but for the last of the setup, which tests/boot/test_link_unit.py runs."""
    text = (CHECKOUT / "docs/how-to-cluster.md").read_text()
    sections = {title: len(shell(title)) for title in re.findall(r"^## (.*)$", text, re.MULTILINE)}
    run = {"Set up": 4, "Three hosts on one machine, to try it": 2, "Backup": 2, "Failover": 2, "Leaving": 2}
    assert {title: blocks for title, blocks in sections.items() if blocks} == run
    assert "```sh\n" not in text


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
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
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
        process.wait(PATIENCE_S)


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
        link.wait(PATIENCE_S)
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
        ["bash", "-ec", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
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


class ComposedHosts:
    """The containers of packaging/cluster.yaml as processes: the words, variables and volumes of each are the file's
    and the image's, and the database is a server of the test."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.services = yaml.safe_load((CHECKOUT / "packaging/cluster.yaml").read_text())["services"]
        self._configs = yaml.safe_load((CHECKOUT / "packaging/cluster.yaml").read_text())["configs"]
        self._folder = folder
        self._server = server
        self._started: list[subprocess.Popen[bytes]] = []

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in a container, its own by default."""
        words, environment = self._prepared(name, list(command))
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def start(self, name: str) -> None:
        words, environment = self._prepared(name, [])
        with (self._folder / f"{name}.log").open("wb") as log:
            self._started.append(subprocess.Popen(words, env=environment, stderr=log))

    def close(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(PATIENCE_S)

    def _prepared(self, name: str, command: list[str]) -> tuple[list[str], dict[str, str]]:
        service, image = self.services[name], (CHECKOUT / "packaging/Dockerfile").read_text()
        lists = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", image, re.MULTILINE)
        own = [word for words in lists for word in json.loads(words)]
        (socket,) = re.findall(r"SHAZIMD_SOCKET=(\S+)", image)
        places = {"postgresql://shazim@db/shazim": self._server.url("shazim")}
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            place = self._folder / (source if source.startswith("./") else f"volume {source}")
            place.mkdir(exist_ok=True)
            places[target] = str(place)
        for config_name in service.get("configs", []):
            (self._folder / f"{config_name}.toml").write_text(_replaced(self._configs[config_name]["content"], places))
            places[f"/{config_name}"] = str(self._folder / f"{config_name}.toml")
        environment = {"SHAZIMD_SOCKET": socket, **service.get("environment", {})}
        words = [_replaced(word, places) for word in command or service.get("entrypoint", own)]
        path = {"PATH": f"{SCRIPTS}:{os.environ['PATH']}", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        return words, {**path, **{key: _replaced(value, places) for key, value in environment.items()}}


def _replaced(text: str, places: dict[str, str]) -> str:
    for inside, outside in places.items():
        text = text.replace(inside, outside) if "://" in inside or text.startswith(inside) else text
    return text


def test_the_containers_of_the_compose_file_find_each_others_pictures(server: PostgresServer) -> None:
    """Without a container tool, which CI may lack. The daemons have no network, the links only the database's."""
    server.createdb("shazim")
    with tempfile.TemporaryDirectory(prefix="sz-") as folder, closing(ComposedHosts(Path(folder), server)) as hosts:
        assert hosts.run("init").returncode == 0
        for name in ("nas1", "nas2", "nas3"):
            assert hosts.services[name]["network_mode"] == "none"
            assert hosts.services[f"{name}-link"]["networks"] == hosts.services["db"]["networks"]
            hosts.start(name)
            hosts.start(f"{name}-link")
        server.wait_until(lambda: len(admin.hosts(server.url("shazim"))) == 3)
        picture = Path(folder, "nas1/picture.png")
        drawing(1).save(picture.with_suffix(".part"), "PNG")
        picture.with_suffix(".part").rename(picture)
        server.wait_until(lambda: hosts.run("nas2", "shazimctl", "find", str(picture)).returncode == 0)
        assert f"nas1:{picture}" in hosts.run("nas2", "shazimctl", "find", str(picture)).stdout
        assert hosts.run("nas1-link", "shazimctl", "cluster", "status").stdout.count(" files, seen ") == 3
