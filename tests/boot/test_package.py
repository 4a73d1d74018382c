"""The Debian package on a booted Debian: built, installed, used, upgraded, removed, purged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from machine import Machine
from patience import PATIENCE_S
from PIL import Image

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]  # the first run makes the tree

PHOTO = "/srv/photos/1.png"
FOUND = f"Found 1 image(s)\n{PHOTO} at 100% exact\n"


def picture() -> bytes:
    coarse = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def install_package(machine: Machine) -> None:
    machine.run("sh", "-c", "dpkg --force-unsafe-io -i /shazimd_*.deb")  # no fsync of each of its files


def find(machine: Machine) -> str:
    machine.run("shazimctl", "wait", "--timeout", str(int(PATIENCE_S)))
    return machine.run("shazimctl", "find", PHOTO)


def events(machine: Machine, pid: str) -> list[str]:
    return [e["json"]["event"] for e in machine.journal("shazimd.service", f"_PID={pid}") if "json" in e]


@pytest.fixture(scope="module")
def service(packaged: Machine) -> Machine:
    """The machine with the package installed and the service set up as the manual says."""
    packaged.write("/etc/shazimd/config.toml", b'[model]\nhandle = "none"\n')
    packaged.write("/etc/default/shazimd", b"SHAZIMD_ARGS=--log-level debug\n")
    packaged.write(PHOTO, picture())
    install_package(packaged)
    packaged.run("shazimctl", "service", "install", "--yes", "/srv/photos")
    return packaged


def test_it_answers(service: Machine) -> None:
    """One package and one command: a picture is known, and the daemon runs from the package's files."""
    assert find(service) == FOUND
    assert service.run("dpkg", "-V", "shazimd") == ""
    words = service.run("cat", f"/proc/{service.show('shazimd.service', 'MainPID')}/cmdline").split("\0")
    assert words[:2] == ["/opt/shazimd/bin/python3", "/opt/shazimd/bin/shazimd"]


def test_nothing_of_the_place_it_was_built_in_is_left(service: Machine) -> None:
    """Programs and compiled modules name the place where they lie, /opt/shazimd."""
    assert service.run("head", "-n1", "/opt/shazimd/bin/shazimd") == "#!/opt/shazimd/bin/python3\n"
    places = "import shazimd.daemon.main as m; print(m.__file__, m.main.__code__.co_filename, m.__cached__)"
    source, compiled_from, compiled = service.run("/opt/shazimd/bin/python3", "-c", places).split()
    assert compiled_from == source
    assert source.startswith("/opt/shazimd/lib/")
    assert service.run("dpkg", "-S", compiled) == f"shazimd: {compiled}\n"


def test_an_upgrade_restarts_it_and_keeps_what_is_known(service: Machine) -> None:
    """After the next version another process answers, without a look inside any picture."""
    pid = service.show("shazimd.service", "MainPID")
    install_package(service)
    assert find(service) == FOUND
    new_pid = service.show("shazimd.service", "MainPID")
    assert new_pid not in ("0", pid)
    assert "image_indexed" in events(service, pid)
    assert "started" in events(service, new_pid)
    assert "image_indexed" not in events(service, new_pid)


def test_removing_keeps_config_and_store(service: Machine) -> None:
    """The program and its units go, the config and the store stay, and the package installed again knows all."""
    service.run("dpkg", "-r", "shazimd")
    assert service.call("systemctl", "cat", "shazimd.service").returncode != 0
    assert service.run("find", "/usr", "/etc/systemd", "-name", "*shazim*") == ""
    assert service.call("test", "-e", "/opt/shazimd").returncode != 0
    install_package(service)
    service.run("shazimctl", "service", "install", "--yes")
    assert find(service) == FOUND


def test_purging_leaves_nothing(service: Machine) -> None:
    """Config and store go too."""
    service.run("dpkg", "-P", "shazimd")
    assert service.run("find", "/etc", "/usr", "/var", "/run", "-name", "*shazim*") == ""
