from __future__ import annotations

import base64
import io
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

import pytest
import structlog
from patience import PATIENCE_S

from shazimd.telemetry import journal as journal_module
from shazimd.telemetry import log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    for handler in set(logging.getLogger().handlers) - set(handlers):
        handler.close()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_json_gives_a_path_that_is_not_utf8_exactly_and_readably() -> None:
    """Programs take path_b64 where it is there."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    structlog.get_logger().warning("near_duplicate", path=b"/p/\xff.jpg")
    line = json.loads(stream.getvalue())
    assert ("near_duplicate", "warning", "/p/\\xff.jpg") == (line["event"], line["level"], line["path"])
    assert b"/p/\xff.jpg" == base64.b64decode(line["path_b64"])


def test_a_text_with_bytes_that_are_not_utf8_is_written() -> None:
    """Such as an error that names a file."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    structlog.get_logger().error("stopped", reason="/p/\udcff: é")
    assert "/p/\\xff: é" == json.loads(stream.getvalue())["reason"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_file_name_can_not_forge_a_line(log_format: log.Format) -> None:
    """Newlines and escape sequences in a name stay inside its own line."""
    stream = io.StringIO()
    log.configure(log_format, stream=stream)
    structlog.get_logger().warning("near_duplicate", path=b"/p/a\nerror\x1b[2J.jpg")
    logging.getLogger("library").warning("took %s", "a\nb")
    written = stream.getvalue()
    assert (2, False) == (written.count("\n"), "\x1b[2J" in written)


def test_under_systemd_a_line_begins_with_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """journalctl -p warning finds the alerts."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    stream = io.StringIO()
    log.configure("auto", stream=stream)
    structlog.get_logger().warning("near_duplicate")
    assert "<4>{" == stream.getvalue()[:4]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[socket.socket, TextIO]]:
    """A journal, and a stream that leads to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, (tmp_path / "err").open("w+") as stream:
        journal.settimeout(PATIENCE_S)
        journal.bind(str(tmp_path / "journal"))
        monkeypatch.setattr(journal_module, "SOCKET", str(tmp_path / "journal"))
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        yield journal, stream


def entry_of(datagram: bytes) -> dict[str, bytes]:
    """The fields of an entry, read as the protocol says."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        key, is_text, value = line.partition(b"=")
        if not is_text:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        fields[key.decode()] = value
        datagram = rest
    return fields


def test_the_journal_has_fields_and_a_readable_message(journal: tuple[socket.socket, TextIO]) -> None:
    """Each fact is a field, with the exact bytes of a path; a line break in a name stays in its field."""
    received, stream = journal
    log.configure("auto", stream=stream)
    path, match = b"/p/\xff\nPRIORITY=0.jpg", b"/p/a.jpg"
    structlog.get_logger().warning("near_duplicate", path=path, match=match, verdict="copy", score=0.978, matches=3)
    entry = entry_of(received.recv(65536))
    assert entry["MESSAGE"].decode() == "/p/\\xff\\nPRIORITY=0.jpg: copy of /p/a.jpg (98%, and 2 more)"
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["SHAZIMD_EVENT"]) == (
        b"4",
        b"shazimd",
        b"near_duplicate",
    )
    assert (entry["SHAZIMD_PATH"], entry["SHAZIMD_MATCH"]) == (path, match)
    assert (entry["SHAZIMD_VERDICT"], entry["SHAZIMD_SCORE"]) == (b"copy", b"0.978")
    assert json.loads(entry["SHAZIMD_JSON"])["matches"] == 3


def test_an_entry_that_the_journal_refuses_is_on_standard_error(journal: tuple[socket.socket, TextIO]) -> None:
    """A datagram is limited; no line is lost, and none of a traceback."""
    _, stream = journal
    log.configure("auto", stream=stream)
    structlog.get_logger().error("reload_failed", reason="x" * 5_000_000)
    try:
        int("the last line")
    except ValueError:
        structlog.get_logger().exception("job_failed", reason="y" * 5_000_000)
    stream.seek(0)
    first, second, *traceback, last = stream.read().splitlines()
    assert first.startswith("reload failed: reason=xxx")
    assert second.startswith("job failed: reason=yyy")
    assert traceback[0] == "Traceback (most recent call last):"
    assert last == "ValueError: invalid literal for int() with base 10: 'the last line'"


def test_lines_below_the_level_are_not_written() -> None:
    """Debug is for us."""
    stream = io.StringIO()
    log.configure("json", level="info", stream=stream)
    structlog.get_logger().debug("image_indexed")
    structlog.get_logger().info("ready")
    assert ["ready"] == [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def _fail(reason: str) -> None:
    raise ValueError(f"bad {reason}")


HOSTILE = ["\x9b31m", "\u202e", "\u2028", "\x1b]0;x\x07"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_name_reaches_a_log_raw(form: Literal["json", "console"]) -> None:
    """Neither as a path nor within a reason or a traceback; JSON stays JSON."""
    stream = io.StringIO()
    log.configure(form, stream=stream)
    for evil in HOSTILE:
        try:
            _fail(evil)
        except ValueError:
            structlog.get_logger().warning("x_failed", path=f"/p/{evil}".encode(), reason=f"no {evil}", exc_info=True)
    written = stream.getvalue()
    assert [c for c in written if not c.isprintable() and c != "\n"] == []
    if form == "json":
        assert [json.loads(line)["path"] for line in written.splitlines()] == [f"/p/{evil}" for evil in HOSTILE]


def test_a_terminal_shows_two_names_differently() -> None:
    """A byte that is not UTF-8, and a name that is spelled like its escape."""
    lines = []
    for name in (b"/p/\xff.jpg", b"/p/\\xff.jpg"):
        stream = io.StringIO()
        log.configure("console", stream=stream)
        structlog.get_logger().warning(
            "near_duplicate", path=name, match=b"/p/a.jpg", verdict="copy", score=0.9, matches=1, alert_id=1
        )
        lines.append(stream.getvalue().partition(" ")[2])
    assert lines[0] != lines[1]


def test_lines_of_a_batch_are_written_together_and_errors_at_once() -> None:
    """The lines of other threads do not wait; an error takes the lines before it along."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    logger = structlog.get_logger()

    def written() -> list[str]:
        return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]

    with log.lines_together():
        logger.warning("first")
        assert [] == written()
        other = threading.Thread(target=lambda: logger.warning("of_another_thread"))
        other.start()
        other.join()
        assert ["of_another_thread"] == written()
        logger.error("second")
        assert ["of_another_thread", "first", "second"] == written()
        logger.warning("third")
    assert ["of_another_thread", "first", "second", "third"] == written()
    logger.warning("last")
    assert "last" == written()[-1]
