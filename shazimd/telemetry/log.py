"""Set-up of structlog: coloured lines on a terminal, entries with fields in systemd's journal, JSON lines otherwise.

Levels: debug for developers, info for operators, warning for a problem handled, error for a problem to act on.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from shazimd.telemetry import journal
from shazimd.telemetry.console import ConsoleHandler, ConsoleRenderer
from shazimd.telemetry.lines import shown_json
from shazimd.telemetry.repeats import Repeats
from shazimd.text import path_fields_as, printable

Format = Literal["auto", "console", "journal", "json"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options that ``configure`` takes."""
    parser.add_argument("--log-format", choices=["auto", "console", "journal", "json"], default="auto")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")


def configure(log_format: Format = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line, including those of libraries, to ``stream`` (standard error)."""
    logging._srcfile = None  # see "Optimization" in Python's Logging HOWTO: no line names its caller,
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # thread or process
    stream = stream or sys.stderr
    if log_format == "auto":
        log_format = "console" if stream.isatty() else "journal" if journal.leads_to_journal(stream) else "json"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
        _paths_as_text,
    ]
    structlog.configure(
        processors=[*shared, Repeats(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _handler(log_format, stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format, stream),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line at once, but those of a thread inside ``lines_together`` in one go; errors never wait."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._held = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        held: list[logging.LogRecord] | None = getattr(self._held, "records", None)
        if held is None:
            super().emit(record)
            return
        held.append(record)
        if record.levelno >= logging.ERROR:
            self._write(held)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold the lines that this thread logs until the end."""
        held = self._held.records = []
        try:
            yield
        finally:
            del self._held.records
            if held:
                with self.lock or nullcontext():
                    self._write(held)

    def _write(self, held: list[logging.LogRecord]) -> None:
        try:
            self.stream.write("".join(self.format(record) + self.terminator for record in held))
            self.flush()
        except Exception:  # logging's own way to report a faulty handler
            self.handleError(held[-1])
        held.clear()


def lines_together() -> AbstractContextManager[None]:
    """While entered, hold the lines that this thread logs, where they go to a file or pipe: with a write for each, a
    batch of alerts waits for the system and for other threads between any two."""
    handler = next(iter(logging.getLogger().handlers), None)
    return handler.together() if isinstance(handler, LineHandler) else nullcontext()


def live_line() -> Callable[[str], None] | None:
    """A function that shows a line of progress below the log; None where the log is on no terminal."""
    handler = logging.getLogger().handlers[0]
    return handler.show if isinstance(handler, ConsoleHandler) and handler.stream.isatty() else None


def _handler(log_format: str, stream: TextIO) -> logging.Handler:
    if log_format == "journal":
        return journal.JournalHandler(stream)
    return ConsoleHandler(stream) if log_format == "console" else LineHandler(stream)


def _renderers(log_format: str, stream: TextIO) -> list[Any]:
    if log_format == "console":
        return [ConsoleRenderer(stream)]
    if log_format == "journal":  # which has the time
        return [journal.render]
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _JsonRenderer(prefixed="JOURNAL_STREAM" in os.environ),
    ]


class _JsonRenderer:
    """Render a JSON object per line, the event first; for systemd, prefixed with the priority, which it strips
    (sd-daemon(3))."""

    def __init__(self, *, prefixed: bool) -> None:
        self._prefixed = prefixed

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> str:
        ordered = {"event": event.pop("event"), "level": event.pop("level"), **event}
        line = shown_json(msgspec.json.encode(ordered, enc_hook=repr).decode())
        return f"<{journal.PRIORITIES.get(ordered['level'], 6)}>{line}" if self._prefixed else line


def _paths_as_text(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    for key, value in list(event.items()):
        if isinstance(value, bytes):
            event.update(path_fields_as(key, value))
        elif isinstance(value, str) and not value.isascii() and any("\udc80" <= c <= "\udcff" for c in value):
            event[key] = printable(value)  # such as an error with the name of a file that is not UTF-8
    return event
