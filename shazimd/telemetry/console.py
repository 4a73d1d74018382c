"""Log lines for a person at a terminal: short, fitted to its width, with a live line of progress below them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from shazimd.telemetry.lines import traceback_lines, with_exact_names
from shazimd.text import NARROW, alert_line, columns_of, printable

CLEAR_LINE = "\r\x1b[K"
WARNING, PLAIN = "\x1b[33m", "\x1b[0m"
HINT = "see them: shazimctl web; clean up: shazimctl clean --verdict exact,copy"
PHRASES = {
    "alerts_held": "alerts wait until the vectors of all images are there",
    "alerts_released": "{alerts:,} alerts that waited are decided now",
    "backfill_complete": "vectors and features of all images are up to date",
    "backfill_incomplete": "vectors and features of {contents:,} images wait until their files can be read: {example}",
    "backfill_started": "vectors and features of {contents:,} images are made again in the background",
    "baseline_complete": "{images:,} images known in {path}",
    "directory_unreadable": "{path} can't be read: {reason}",
    "events_lost": "events of {root} were lost ({reason}); it is compared with the disk",
    "files_gone": "{files:,} images are gone from {directory}",
    "image_failed": "{path} can't be read: {reason}",
    "image_postponed": "{path} is tried again soon: {reason}",
    "model_in_use": "the model is there: {handle}",
    "model_installing": "the model is being installed: {handle}",
    "model_missing": "there is no model, so only the hashes are compared: {reason}",
    "relations_outdated": "{contents:,} images are compared with each other again, by the rules of this version",
    "reloaded": "the configuration was reloaded",
    "removal_held": "{missing:,} of {known:,} images are missing in {root}, and stay known: {reason}; {remedy}",
    "root_polled": "{root} is compared at intervals: {reason}",
    "root_unavailable": "{root} is not there, and its images stay known: {reason}",
    "start_waits": "the start has to wait: {reason}",
    "started": "shazimd {version} runs; ask it with shazimctl, stop it with Ctrl-C",
    "stopped": "stopped",
    "stopping": "stopping: finishing the images in hand",
    "store_looked_through": "looking through the store for damage: {reason}",
    "store_migrated": "the store is up to date",
    "store_migrating": "bringing the store up to date",
    "store_not_writable": "the store can't be written, and new images wait: {reason}",
    "store_writable_again": "the store can be written again",
}
"""Events in words, with the facts of the event in braces."""


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Writes lines above a live line, which ``show`` replaces. Safe from any thread."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._live = ""
        self._writing = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        with self._writing, suppress(OSError):  # the terminal has closed, which ends the daemon by a signal
            if self._live:
                self.stream.write(CLEAR_LINE)
            super().emit(record)
            self._draw()

    def show(self, text: str) -> None:
        """Show a live line; an empty one removes it."""
        with self._writing, suppress(OSError):
            if self._live or text:
                self._live = text
                self.stream.write(CLEAR_LINE)
                self._draw()

    def _draw(self) -> None:
        self.stream.write(self._live)
        self.stream.flush()


class ConsoleRenderer:
    """A structlog renderer: the daemon's usual events in words, others as structlog writes them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._others = structlog.dev.ConsoleRenderer(colors=self._is_coloured, pad_event_to=0, sort_keys=False)
        self._hinted = False

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> str:
        trace = traceback_lines(event)
        event = {k: printable(v) if isinstance(v, str) else v for k, v in with_exact_names(event).items()}
        event |= {"exception": "\n".join(trace)} if trace else {}
        event["timestamp"] = datetime.now().astimezone().strftime("%H:%M:%S")
        text = self._in_words(event)
        if text is None:
            return str(self._others(logger, name, event))
        return f"{event['timestamp']} {text}"

    def _in_words(self, event: Mapping[str, Any]) -> str | None:
        columns = columns_of(self._stream)
        if event["event"] == "near_duplicate" and "verdict" in event:
            text = alert_line(event, columns, len("00:00:00 "))
            if not self._hinted:
                self._hinted = True
                text += f"\n         {HINT}" if columns >= NARROW else ""
            return f"{WARNING}{text}{PLAIN}" if self._is_coloured else text
        words = _WORDS.get(event["event"]) or PHRASES.get(event["event"], "").format_map
        text = words(event)
        if text and event.get("repeated", 1) > 1:  # this one with others, see ``Repeats``
            text += f" (and {event['repeated'] - 1:,} more)"
        is_marked = text and event["level"] != "info" and self._is_coloured
        return f"{WARNING}{text}{PLAIN}" if is_marked else text or None


def _watched(event: Mapping[str, Any]) -> str:
    how = "" if event.get("mode") == "inotify" else ", by comparing it at intervals"
    return f"watching {event['root']}{how}"


def _compared(event: Mapping[str, Any]) -> str:
    count = event.get("duplicate_groups")
    if count is None:
        return "compared with each other"
    if not count:
        return "compared with each other; no duplicates"
    return f"compared with each other; {count:,} group{'s' * (count > 1)} of duplicates: shazimctl duplicates"


_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {"root_watched": _watched, "pictures_compared": _compared}
"""Events that take other words by their facts."""
