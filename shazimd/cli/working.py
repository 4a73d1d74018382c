"""A line on a terminal's standard error while a command works: what it does, the share done, and the time."""

from __future__ import annotations

import sys
import threading
import time

from shazimd.text import columns_of, duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from shazimd.cli.progress import Bar

SHOWN_AFTER_S = 0.5
"""A quick command shows nothing."""
INTERVAL_S = 0.2
ESTIMATED_AFTER_S = 3.0
"""The time left is a guess from the share done so far."""
CLEAR_LINE = "\r\x1b[K"


def bar_on_terminal() -> Bar | None:
    """A progress bar, if standard error is a terminal."""
    if not sys.stderr.isatty():
        return None
    from shazimd.cli.progress import Bar

    return Bar()


class Working:
    """While entered, shows a line, and removes it at the end; off a terminal it shows nothing."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._done, self._total = 0, 0
        self._started = time.monotonic()
        self._is_shown = False
        self._ended = threading.Event()
        self._writing = threading.Lock()

    def __enter__(self) -> Working:
        if sys.stderr.isatty():
            threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, text: str, done: int = 0, total: int = 0) -> None:
        """Replace the text and the share done; a total of 0 stands for an unknown one."""
        if total and text != self._text:  # a step with a share of its own
            self._started = time.monotonic()
        self._text, self._done, self._total = text, done, total

    def above(self, work: Callable[..., None], *arguments: Any) -> None:
        """Have ``work`` print lines, above the line if that is shown."""
        with self._writing:
            if self._is_shown:
                self._write("")
            work(*arguments)

    def close(self) -> None:
        """Remove the line: before the command's own lines. Closing twice is fine."""
        with self._writing:
            self._ended.set()
            if self._is_shown:
                self._is_shown = False
                self._write("")

    def _run(self) -> None:
        delay_s = SHOWN_AFTER_S
        while not self._ended.wait(delay_s):
            delay_s = INTERVAL_S
            with self._writing:
                if not self._ended.is_set():
                    self._is_shown = True
                    self._write(self._line()[: columns_of(sys.stderr) - 1])

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        if not self._total:
            return f"{self._text}, {duration(elapsed)}"
        share = min(self._done / self._total, 1)
        left = f", {duration(elapsed / share - elapsed)} left" if share and elapsed > ESTIMATED_AFTER_S else ""
        return f"{self._text}: {int(100 * share)}%{left}"

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(CLEAR_LINE + text)
            sys.stderr.flush()
        except OSError:  # the terminal has closed
            self._ended.set()
