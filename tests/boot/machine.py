"""A booted Debian tree, and how to work in it from outside."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from patience import PATIENCE_S, wait_for

REBOOT = 133  # systemd-nspawn's exit status for "start me again" under --keep-unit


def own_cgroups() -> Iterator[Path]:
    """The cgroups of this process that systemd keeps units in."""
    own = {
        name: path for _, name, path in (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().split())
    }
    for mount in Path("/proc/self/mountinfo").read_text().splitlines():
        place, (kind, _, options) = mount.split()[4], mount.rpartition(" - ")[2].split()
        name = "" if kind == "cgroup2" else "name=systemd"
        if name in own and (kind == "cgroup2" or (kind == "cgroup" and name in options.split(","))):
            yield Path(place + own[name])


class Machine:
    """A booted tree. Programs are run in it from here, through its namespaces."""

    def __init__(self, root: Path, console: Path) -> None:
        self.root = root
        self._console = console
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._cgroups = [cgroup / f"shazimd-{os.getpid()}-{root.parent.name}" for cgroup in own_cgroups()]

    def start(self) -> None:
        words = [
            "systemd-nspawn",
            "-q",
            "-D",
            str(self.root),
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ]
        # systemd-nspawn 252 forbids Landlock inside, which a real machine allows.
        words += ["--system-call-filter=landlock_create_ruleset landlock_restrict_self"]
        words += ["--console=pipe", "--link-journal=no", "--timezone=off", "--resolv-conf=off"]
        # systemd-nspawn gives all machines the same cgroup below that of its caller, in which one removed the other's.
        in_own = [
            "sh",
            "-c",
            'dirs=$1; shift; for dir in $dirs; do echo $$ >"$dir/cgroup.procs"; done; exec "$@"',
            "sh",
        ]
        for cgroup in self._cgroups:
            cgroup.mkdir(exist_ok=True)
        words = [*in_own, " ".join(map(str, self._cgroups)), *words]
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.wait(self._booted)

    def stop(self) -> None:
        if self._nspawn and self._nspawn.poll() is None:
            self.run("systemctl", "poweroff", check=False)
            self._nspawn.wait(PATIENCE_S)
        for cgroup in self._cgroups:
            for below, _, _ in os.walk(cgroup, topdown=False):
                with suppress(OSError):  # killed, it may be in use for a moment
                    os.rmdir(below)

    def reboot(self) -> None:
        """Returns when the next boot is done."""
        assert self._nspawn is not None
        self.run("systemctl", "reboot", check=False)
        assert self._nspawn.wait(PATIENCE_S) == REBOOT, self._console.read_text(errors="replace")
        self.start()

    def _booted(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._console.read_text(errors="replace")
        return self.leader() is not None and self._state() in ("running", "degraded")

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).strip()

    def leader(self) -> str | None:
        """The container's init, as seen from here."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return children[0] if children else None

    def run(self, *words: str, check: bool = True, stdin: bytes = b"") -> str:
        """Run a program inside as root; its standard output and error. When it fails, the journal is shown, too."""
        done = self.call(*words, stdin=stdin)
        output = done.stdout.decode(errors="replace")
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{output}{self._last_lines()}"
        return output

    def _last_lines(self) -> str:
        return self.run("journalctl", "--no-pager", "-n", "60", check=False)

    def call(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a program inside; how it ended."""
        namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
        environ = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        return subprocess.run(
            ["nsenter", f"--target={self.leader()}", *namespaces, *environ, *words],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S + 60,  # a program inside may wait for PATIENCE_S
            check=False,
        )

    def wait(self, condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        """Until a condition holds; on time-out the journal is shown."""
        wait_for(condition, self._last_lines, timeout_s, every_s=0.1)

    def journal(self, unit: str = "shazimd.service", *words: str) -> list[dict[str, Any]]:
        """This boot's entries of a unit; those of our log have its facts under ``json``."""
        lines = self.journalctl("-b", "-o", "json", "-u", unit, *words).splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        for entry in entries:
            if "SHAZIMD_JSON" in entry:
                entry["json"] = json.loads(entry["SHAZIMD_JSON"])
        return entries

    def journalctl(self, *words: str) -> str:
        """With all that was written before: a journal that is behind takes that in first."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", *words)

    def show(self, unit: str, key: str) -> str:
        return self.run("systemctl", "show", "-P", key, unit).strip()

    def write(self, path: str, content: bytes) -> None:
        """Put a file inside, as root."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path, stdin=content)
