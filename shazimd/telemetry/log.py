"""Set-up of structlog: coloured lines on a terminal, entries with fields in systemd's journal, JSON lines otherwise.

Levels: debug for developers, info for operators, warning for a problem handled, error for a problem to act on.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from shazimd.telemetry import journal
from shazimd.telemetry.repeats import Repeats
from shazimd.text import path_fields, printable

Format = Literal["auto", "console", "journal", "json"]


def configure(log_format: Format = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line, including those of libraries, to ``stream`` (standard error)."""
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
    handler = journal.JournalHandler(stream) if log_format == "journal" else logging.StreamHandler(stream)
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


def _renderers(log_format: str, stream: TextIO) -> list[Any]:
    if log_format == "console":
        clock = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        pretty = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0, sort_keys=False)
        return [_printable, clock, pretty]
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
        line = msgspec.json.encode(ordered, enc_hook=repr).decode()
        return f"<{journal.PRIORITIES.get(ordered['level'], 6)}>{line}" if self._prefixed else line


def _paths_as_text(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    for key, value in list(event.items()):
        if isinstance(value, bytes):
            event.update(path_fields(value, key))
    return event


def _printable(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Escape control characters: a file's name could forge a line or move the cursor. Tracebacks keep their lines."""
    return {k: printable(v) if isinstance(v, str) and k != "exception" else v for k, v in event.items()}
