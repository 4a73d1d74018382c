"""A daemon that was started by hand: on a terminal, here a pseudo-terminal, and without a session of its own."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_for
from running import Daemon, draw

ON_A_TERMINAL = """\
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.setsid()
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal on standard input the controlling one: credentials(7), tty_ioctl(2). Hang-up
is not ignored, though the tests themselves may run under nohup(1)."""
AS_NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "+dac_read_search"]
AS_NOBODY += ["--ambient-caps", "+dac_read_search"]
"""Another user, but for the right to read the interpreter, which may lie in a home."""


def start_on_a_terminal(daemon: Daemon, *prefix: str) -> int:
    """Start the daemon as a session of its own; the other end of its terminal."""
    ours, its = pty.openpty()
    words = [*prefix, sys.executable, "-m", "shazimd.daemon.main", "--config", str(daemon.config)]
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *words, "--socket", daemon.socket, "--log-format", "json"],
            stdin=its,
            stderr=log,
        )
    os.close(its)
    daemon.wait_ready()
    return ours


@pytest.fixture
def by_hand(daemon: Daemon) -> Daemon:
    daemon.stop()
    return daemon


def test_closing_the_terminal_stops_the_daemon(by_hand: Daemon) -> None:
    """The store and the socket are free again, and the work in hand was finished."""
    os.close(start_on_a_terminal(by_hand))
    assert by_hand.process.wait(PATIENCE_S) == 0, by_hand.log.read_text()
    assert '"event":"stopped"' in by_hand.events()[-1]
    assert not Path(by_hand.socket).exists()
    by_hand.start()  # none is left that holds the store
    by_hand.stop()


def test_a_terminal_shows_the_first_scan_and_then_the_alerts(by_hand: Daemon, tmp_path: Path) -> None:
    """A live line, then the number of duplicates among the first pictures, then a line for each alert."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        draw(photos / f"{number}.png", number)
    shutil.copy(photos / "5.png", photos / "twin.png")
    by_hand.configure(roots=(photos,))
    ours, its = pty.openpty()
    words = [sys.executable, "-m", "shazimd.daemon.main", "--config", str(by_hand.config), "--socket", by_hand.socket]
    by_hand.process = subprocess.Popen(words, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    shown = b""

    def has(text: bytes) -> bool:
        nonlocal shown
        while select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 65536)
        return text in shown

    def shows_the_scan() -> bool:
        os.utime(photos / "0.png")  # while a file goes on changing, the first scan is not over
        return has(b"scanning: ")

    wait_for(shows_the_scan)
    wait_for(lambda: has(b"21 images known in "))
    wait_for(lambda: has(b" of duplicates: shazimctl duplicates"), lambda: shown)
    shutil.copy(photos / "3.png", photos / "copy.png")
    wait_for(lambda: has(b"exact 100%: "))
    os.close(ours)
    by_hand.stop()


def reloads(daemon: Daemon) -> int:
    """Of all its runs: the log is one."""
    return sum('"event":"reloaded"' in line for line in daemon.events())


def test_under_nohup_it_goes_on(by_hand: Daemon) -> None:
    """nohup(1) asks for that: the hang-up is a request to reload, as without a terminal."""
    ours = start_on_a_terminal(by_hand, "/usr/bin/nohup")
    before = reloads(by_hand)
    os.close(ours)
    wait_for(lambda: reloads(by_hand) > before or by_hand.process.poll() is not None)
    assert by_hand.client.status()["state"] != "draining"
    by_hand.process.send_signal(signal.SIGTERM)
    assert by_hand.process.wait(PATIENCE_S) == 0


@pytest.fixture
def home() -> Iterator[Path]:
    """The home of a user without a runtime directory, as in a container, under cron or after su."""
    home = Path(tempfile.mkdtemp(prefix="sz-"))
    (home / "Pictures").mkdir()
    draw(home / "Pictures/1.png", 1)
    home.chmod(0o755)
    if os.geteuid() == 0:  # root has the places of the system, so this is about another user
        for path in (home, *home.rglob("*")):
            os.chown(path, 65534, 65534)
    yield home
    shutil.rmtree(home)


def test_without_a_runtime_directory_the_command_of_the_readme_works(home: Path) -> None:
    """The daemon starts, and shazimctl, in the same surroundings, finds it."""
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    python = [*(AS_NOBODY if os.geteuid() == 0 else []), sys.executable]
    words = [*python, "-m", "shazimd.daemon.main", "--model", "none", str(home / "Pictures")]
    ask = [*python, "-c", "import sys, shazimd.cli; sys.exit(shazimd.cli.run(sys.argv[1:]))"]
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen(words, stderr=log, env=environ, start_new_session=True)
    try:
        # Until it listens, shazimctl would ask the machine's own daemon, if there is one.
        wait_for(lambda: '"event":"started"' in (home / "log").read_text())
        waited = subprocess.run(
            [*ask, "wait", "--timeout", str(int(PATIENCE_S))], env=environ, capture_output=True, check=False
        )
        assert waited.returncode == 0, (waited.stderr, (home / "log").read_text())
        found = subprocess.run([*ask, "find", home / "Pictures/1.png"], env=environ, capture_output=True, check=False)
        assert b"1.png at 100% exact" in found.stdout
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE_S) == 0
