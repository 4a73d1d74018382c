from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shazimd.telemetry import log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def test_json_gives_a_path_that_is_not_utf8_exactly_and_readably() -> None:
    """Programs take path_b64 where it is there."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    structlog.get_logger().warning("near_duplicate", path=b"/p/\xff.jpg")
    line = json.loads(stream.getvalue())
    assert ("near_duplicate", "warning", "/p/\ufffd.jpg") == (line["event"], line["level"], line["path"])
    assert b"/p/\xff.jpg" == base64.b64decode(line["path_b64"])


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


def test_lines_below_the_level_are_not_written() -> None:
    """Debug is for us."""
    stream = io.StringIO()
    log.configure("json", level="info", stream=stream)
    structlog.get_logger().debug("image_indexed")
    structlog.get_logger().info("ready")
    assert ["ready"] == [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
