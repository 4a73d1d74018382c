"""The line that a command shows on a terminal while it works."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TextIO
from unittest.mock import Mock

import pytest
from patience import wait_for

from shazimd.cli import working
from shazimd.cli.working import Working


class Screen:
    """A terminal as standard error."""

    def __init__(self, columns: int) -> None:
        self._ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream: TextIO = os.fdopen(its, "w")
        self.text = ""

    def read(self) -> str:
        while select.select([self._ours], [], [], 0)[0]:
            self.text += os.read(self._ours, 65536).decode()
        return self.text

    def wait_for(self, pattern: str) -> None:
        wait_for(lambda: re.search(pattern, self.read()), lambda: repr(self.text))

    def close(self) -> None:
        self.stream.close()
        os.close(self._ours)


@pytest.fixture
def screen_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Screen]]:
    """Make a terminal of a width, which is standard error from then on."""
    monkeypatch.setattr(working, "SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(working, "INTERVAL_S", 0.01)
    with ExitStack() as opened:

        def make(columns: int) -> Screen:
            screen = Screen(columns)
            opened.callback(screen.close)
            monkeypatch.setattr(sys, "stderr", screen.stream)
            return screen

        yield make


def test_the_share_is_shown_and_the_line_is_gone_at_the_end(screen_of: Callable[[int], Screen]) -> None:
    """The text alone with the time, then the share; the end clears the line, and nothing follows."""
    screen = screen_of(80)
    with Working("compacting") as line:
        screen.wait_for(r"compacting, \d+ s")
        line.show("looking for damage", 30, 40)
        screen.wait_for("looking for damage: 75%")
    assert screen.read().endswith(working.CLEAR_LINE)


def test_the_time_left_follows_from_the_share(
    screen_of: Callable[[int], Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter is done: three times as long is left; at first it is no more than a guess, and not shown."""
    clock = Mock()
    clock.monotonic.return_value = 100.0
    monkeypatch.setattr(working, "time", clock)
    screen = screen_of(80)
    with Working("copying") as line:
        line.show("copying", 1, 4)
        screen.wait_for("copying: 25%\r")
        clock.monotonic.return_value = 200.0
        screen.wait_for("copying: 25%, 5 min left")


def test_a_narrow_terminal_gets_what_fits(screen_of: Callable[[int], Screen]) -> None:
    """A line that wraps would not be cleared."""
    screen = screen_of(12)
    with Working("comparing the tables"):
        screen.wait_for("comparing t")
    assert "comparing th" not in screen.read()


def test_lines_are_printed_above(screen_of: Callable[[int], Screen]) -> None:
    """The line is cleared before them, and shown again below."""
    screen = screen_of(80)
    before = set(threading.enumerate())
    with Working("asking") as line:
        assert set(threading.enumerate()) - before
        screen.wait_for("asking")
        line.above(lambda: print("an answer", file=screen.stream, flush=True))
        screen.wait_for(r"\r\x1b\[Kan answer\r\n\r\x1b\[Kasking")


def test_nothing_is_shown_off_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets no progress, and no thread waits to show some."""
    monkeypatch.setattr(working, "SHOWN_AFTER_S", 0.0)
    before = set(threading.enumerate())
    with Working("compacting") as line:
        line.show("copying", 1, 2)
        line.above(lambda: print("an answer"))
        assert not set(threading.enumerate()) - before
    assert capsys.readouterr() == ("an answer\n", "")
