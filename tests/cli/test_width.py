"""Help and answers fit the width of a terminal."""

from __future__ import annotations

import contextlib
import io

import pytest
from asking import on_terminal
from fake_service import FakeService, alert

from shazimd.cli import command_names, parser


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", command_names())
def test_help_fits_a_terminal(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prose is wrapped; examples, which are indented, stay as they can be copied."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with contextlib.redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit):
        parser(command).parse_args([command, "--help"])
    text = shown.getvalue()
    prose = [line for line in text.splitlines() if not line.startswith("  ") and not line.startswith("usage: ")]
    assert max(map(len, prose)) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_status_and_doctor_fit_a_terminal(service: FakeService, socket_path: str, columns: int) -> None:
    """Long lines go on below the beginning of their text, and no word that fits a line is torn."""
    service.stored = [alert(1)]
    for command, indent in (("status", " " * 10), ("doctor", " " * 9)):
        shown = on_terminal(columns, command)
        assert max(map(len, shown)) <= columns
        assert any(line.startswith(indent) for line in shown)
        whole = " ".join(" ".join(shown).split())
        text = {"status": "1,100 different known, 3 could not be read", "doctor": "shazimctl failed"}[command]
        assert text in whole


@pytest.mark.parametrize("columns", [40, 80])
def test_alerts_fit_a_terminal(service: FakeService, socket_path: str, columns: int) -> None:
    """A line each at 80 columns; the ends of long paths, which have the names, stay. A pipe gets the whole paths."""
    service.stored = [alert(7)]
    service.stored[0]["path"] = "/srv/uploads/2026/01/02/a folder with a long name/holiday.jpg"
    shown = on_terminal(columns, "alerts")
    assert len(shown) == (1 if columns == 80 else 3)
    assert all(len(line) <= columns for line in shown)
    assert "/holiday.jpg" in "".join(shown)
    assert shown[0].startswith("7 02 Jan ")
