"""The tutorial, command by command: what docs/tutorial.md shows is run, and compared with what it shows."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import drawing
from patience import PATIENCE_S, wait_for
from PIL import ImageOps

TUTORIAL = Path(__file__).resolve().parents[2] / "docs/tutorial.md"
SCRIPTS = Path(sys.executable).parent
ESCAPES = re.compile(r"\x1b\[[0-9;]*[mK]")


@pytest.fixture
def home() -> Iterator[Path]:
    """Ada's home, with five pictures, and a mirrored, smaller copy of one that was sent to her."""
    home = Path(tempfile.mkdtemp(prefix="sz-"))
    for folder in ("Pictures", "Downloads"):
        (home / folder).mkdir()
    for number, name in enumerate(("beach", "forest", "harbour", "market", "snow"), 1):
        drawing(number, (640, 480)).save(home / f"Pictures/{name}.jpg", quality=90)
        os.utime(home / f"Pictures/{name}.jpg", (1.5e9, 1.5e9))  # older than its copy will be
    sent = ImageOps.mirror(drawing(1, (640, 480))).resize((320, 240))
    sent.save(home / "Downloads/from-a-friend.jpg", quality=80)
    yield home
    shutil.rmtree(home)


class Terminal:
    """Ada's first terminal, 80 columns wide, in which the daemon runs."""

    def __init__(self, command: str, environ: dict[str, str]) -> None:
        self._ours, its = pty.openpty()
        self.process = subprocess.Popen(command, shell=True, stdin=its, stdout=its, stderr=its, env=environ)
        os.close(its)
        self._shown = ""

    def lines(self) -> list[str]:
        """What it shows so far, without the live line."""
        while select.select([self._ours], [], [], 0)[0]:
            self._shown += os.read(self._ours, 65536).decode()
        lines = ESCAPES.sub("", self._shown).replace("\r\n", "\n").split("\n")
        return [each for line in lines if (each := line.rpartition("\r")[2]) and not each.startswith("scanning:")]

    def wait_for(self, expected: list[str]) -> None:
        """Until the lines have come, in this order but for those of other threads in between."""
        wait_for(
            lambda: all(any(re.fullmatch(pattern_of(line), shown) for shown in self.lines()) for line in expected),
            lambda: "\n".join(["shown:", *self.lines(), "expected:", *expected]),
        )

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE_S) == 0
        os.close(self._ours)


def sessions(text: str) -> Iterator[tuple[bool, str, list[str]]]:
    """(is the daemon, command, lines that it shows), in order."""
    for mark, block in re.findall(r"(<!-- daemon -->\n)?^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            yield bool(mark), command, shown


def pattern_of(line: str) -> str:
    return ".*".join(map(re.escape, line.split("…")))


def matches(shown: list[str], said: list[str]) -> bool:
    """Whether the output is as shown; a line of the ellipsis alone stands for any lines."""
    text = "".join("(?:.*\n)*?" if line == "…" else pattern_of(line) + "\n" for line in shown)
    return re.fullmatch(text, "".join(f"{line}\n" for line in said)) is not None


def test_the_tutorial_does_what_it_says(home: Path) -> None:
    """Each command gives the lines below it, and the daemon's terminal shows its own."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "SHAZIMD_"))}
    environ |= {"HOME": str(home), "PATH": f"{SCRIPTS}:{environ['PATH']}", "XDG_RUNTIME_DIR": str(home)}
    if os.geteuid() == 0:  # root has the places of the system
        socket = {"RUNTIME_DIRECTORY": str(home), "SHAZIMD_SOCKET": str(home / "shazimd.sock")}
        environ |= {"STATE_DIRECTORY": str(home / ".local/state/shazimd"), **socket}
    terminal, expected, commands = None, list[str](), 0
    try:
        for is_daemon, command, shown in sessions(TUTORIAL.read_text()):
            commands += 1
            shown = [line.replace("/home/ada", str(home)) for line in shown]
            if is_daemon:
                terminal, expected = Terminal(f"exec {command}", environ), shown
                continue
            done = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True)
            assert done.returncode == 0, (command, done.stderr)
            assert matches(shown, done.stdout.splitlines()), f"$ {command}\n{done.stdout}"
        assert terminal is not None
        terminal.wait_for(expected)
        terminal.close()
    finally:
        if terminal is not None and terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
    assert commands > 12


def test_a_wrong_line_is_noticed() -> None:
    """The comparison above could pass with anything."""
    assert matches(["a … c", "…", "d"], ["a b c", "x", "y", "d"])
    assert matches([], [])
    assert not matches(["a"], ["a", "b"])
    assert not matches(["a … c"], ["a b d"])
