"""The container image without a container tool: its Dockerfile's settings on a Debian tree with the wheel installed.

The steps that install are those of the tree (conftest.py), an environment in /opt/shazimd. User, variables, command,
health check and mounts are read from packaging/Dockerfile and packaging/compose.yaml.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from patience import PATIENCE_S, wait_for
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(900)]


def dockerfile() -> dict[str, Any]:
    """Variables, user, and the words of ENTRYPOINT, CMD and HEALTHCHECK, and of the step that makes the volume."""
    text = (CHECKOUT / "packaging/Dockerfile").read_text().replace("\\\n", " ")
    variables = re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", text, re.MULTILINE)))

    def words(pattern: str) -> list[str]:
        found = re.search(pattern, text, re.MULTILINE)
        assert found is not None
        listed: list[str] = json.loads(found[1])
        return listed

    user = re.search(r"^USER (\d+):\d+$", text, re.MULTILINE)
    volume = re.search(r"^RUN (install -d .+) /var/lib/shazimd$", text, re.MULTILINE)
    assert user is not None
    assert volume is not None
    return {
        "environ": dict(variables),
        "user": int(user[1]),
        "volume": volume[1].split(),
        "command": words(r"^ENTRYPOINT (\[.*\])$") + words(r"^CMD (\[.*\])$"),
        "health": words(r"^HEALTHCHECK .*CMD (\[.*\])$"),
    }


class Container:
    """The image's process in namespaces of its own: a read-only root, no network, no rights."""

    def __init__(self, root: Path, photos: Path, store: Path, log: IO[bytes]) -> None:
        self._image = dockerfile()
        words = ["systemd-nspawn", "-q", "-D", str(root), "--read-only", "--register=no", "--keep-unit", "--as-pid2"]
        words += ["--private-network", "--no-new-privileges=yes", "--resolv-conf=off"]
        words += [f"--bind-ro={photos}:/photos", f"--bind={store}:/var/lib/shazimd", "--console=pipe", "--timezone=off"]
        words += [f"--setenv={key}={value}" for key, value in self._image["environ"].items()]
        words += ["/usr/bin/setpriv", f"--reuid={self._image['user']}", f"--regid={self._image['user']}"]
        words += ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        self.process = subprocess.Popen([*words, *self._image["command"]], stderr=log)

    def health(self) -> int:
        """The exit status of the health check."""
        return self.run(*self._image["health"]).returncode

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as `docker exec` does."""
        inside = self.daemon()
        if inside is None:
            return subprocess.CompletedProcess(words, 125, "", "not running")
        variables = [f"{key}={value}" for key, value in self._image["environ"].items()]
        enter = ["nsenter", f"--target={inside}", "--mount", "--pid", "--net", "--root", "--wd"]
        enter += [f"--setuid={self._image['user']}", f"--setgid={self._image['user']}", "env", "-i", *variables]
        return subprocess.run([*enter, *words], capture_output=True, text=True)

    def daemon(self) -> int | None:
        """The daemon's process id, as seen from here."""
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"python" in command[0] and command[1].endswith(b"/shazimd"):
                return pid
        return None


@pytest.fixture
def container(installed_tree: Path, tmp_path: Path) -> Iterator[Container]:
    """A container with the image's settings, a folder of photos and an empty volume."""
    photos, store = tmp_path / "photos", tmp_path / "volume"
    for folder in (photos, store, installed_tree / "photos", installed_tree / "var/lib/shazimd"):
        folder.mkdir(exist_ok=True)
    tmp_path.chmod(0o755)
    Image.effect_mandelbrot((160, 120), (-2, -1.5, 1, 1.5), 40).save(photos / "1.png")
    subprocess.run([*dockerfile()["volume"], store], check=True)
    with (tmp_path / "log").open("wb") as log:
        started = Container(installed_tree, photos, store, log)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def test_the_image_watches_read_only_photos_without_rights(container: Container, tmp_path: Path) -> None:
    """Healthy once it answers; the copy that lands is found; the doctor is content; SIGTERM stops it with status 0."""

    def is_healthy() -> bool:
        assert container.process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        return container.health() == 0

    wait_for(is_healthy, lambda: container.run("shazimctl", "status").stderr, every_s=0.5)
    assert container.run("shazimctl", "wait", "--timeout", str(int(PATIENCE_S))).returncode == 0
    assert container.run("shazimctl", "find", "/photos/1.png").stdout.endswith("/photos/1.png at 100% exact\n")
    doctor = container.run("shazimctl", "doctor")
    assert doctor.returncode == 0, doctor.stdout
    for place in ("/photos/x", "/x", "/opt/shazimd/x"):
        assert container.run("touch", place).returncode != 0
    assert (tmp_path / "volume" / "data.mdb").exists()
    inside = container.daemon()
    assert inside is not None
    os.kill(inside, signal.SIGTERM)
    assert container.process.wait(PATIENCE_S) == 0


def test_the_compose_file_is_as_strict_as_the_image(tmp_path: Path) -> None:
    """Read-only root, no capabilities, no network, read-only photos, a volume for the store, the image's user."""
    service = yaml.safe_load((CHECKOUT / "packaging/compose.yaml").read_text())["services"]["shazimd"]
    assert (service["read_only"], service["cap_drop"], service["network_mode"]) == (True, ["ALL"], "none")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] == str(dockerfile()["user"])
    photos, store = service["volumes"]
    assert (photos["target"], photos["read_only"]) == (dockerfile()["command"][-1], True)
    assert (store["type"], store["target"]) == ("volume", "/var/lib/shazimd")
    assert (CHECKOUT / "packaging" / service["build"]["context"]).resolve() == CHECKOUT
