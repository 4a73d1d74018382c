"""Log lines for systemd's journal, with fields of their own: SHAZIMD_EVENT, SHAZIMD_PATH, SHAZIMD_VERDICT and others.

The native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram for each entry, a line KEY=VALUE for each field, or
for a value with line breaks KEY, a newline, the length as 64 bits little-endian, the value, a newline.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import msgspec
from structlog.typing import EventDict, WrappedLogger

from shazimd.telemetry.lines import sentence, shown_json

SOCKET = "/run/systemd/journal/socket"
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog(3) levels"""
_AS_BYTES = "surrogateescape"


def leads_to_journal(stream: TextIO) -> bool:
    """Whether systemd has connected a stream to the journal: $JOURNAL_STREAM names it, see systemd.exec(5)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}" and os.path.exists(SOCKET)


class JournalHandler(logging.Handler):
    """Sends what ``render`` made to the journal; an entry that the journal does not take goes to ``fallback``."""

    def __init__(self, fallback: TextIO) -> None:
        super().__init__()
        self._fallback = fallback
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry = self.format(record).encode("utf-8", _AS_BYTES)
            try:
                self._socket.sendto(entry, SOCKET)
            except OSError:  # too long for a datagram, or the journal is restarting
                self._fallback.write(_message(entry) + "\n")
                self._fallback.flush()
        except Exception:  # logging's own way to report a faulty handler
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def render(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    """A structlog renderer: the datagram as text, with bytes that are not UTF-8 as lone surrogates."""
    level = event.pop("level")
    facts: dict[str, Any] = {"event": event["event"], "level": level, **event}
    fields: dict[str, bytes] = {
        "MESSAGE": sentence(event).encode(),
        "PRIORITY": str(PRIORITIES.get(level, 6)).encode(),
        "SYSLOG_IDENTIFIER": b"shazimd",
        "SHAZIMD_JSON": shown_json(msgspec.json.encode(facts, enc_hook=repr).decode()).encode(),
        **{f"SHAZIMD_{key.upper()}": value for key, value in _values(event)},
    }
    return b"".join(_field(key, value) for key, value in fields.items()).decode("utf-8", _AS_BYTES)


def _values(event: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The facts as bytes: a path that is not UTF-8 has its exact bytes."""
    for key, value in event.items():
        if value is None or key.endswith("_b64"):
            continue
        exact = event.get(f"{key}_b64")
        yield key, base64.b64decode(exact) if exact else str(value).encode("utf-8", _AS_BYTES)


def _field(key: str, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%b\n%b%b\n" % (key.encode(), len(value).to_bytes(8, "little"), value)
    return b"%b=%b\n" % (key.encode(), value)


def _message(entry: bytes) -> str:
    """The first field, MESSAGE, for standard error; one with a traceback has several lines."""
    first, _, rest = entry.partition(b"\n")
    _, is_line, value = first.partition(b"=")
    if not is_line:
        value = rest[8 : 8 + int.from_bytes(rest[:8], "little")]
    return value.decode("utf-8", "replace")
