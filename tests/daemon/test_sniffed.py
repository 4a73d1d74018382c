"""Pictures without an image's extension, in a real daemon."""

from __future__ import annotations

from pathlib import Path

from daemon_process import DaemonProcess, daemon_process
from drawn import encoded, photograph

from shazimd.client import Client


def _config(folder: Path, *, sniff: bool) -> str:
    """A configuration that watches two files."""
    root = folder / "root"
    root.mkdir()
    (root / "first").write_bytes(encoded(photograph(), "PNG"))
    (root / "notes.txt").write_text("no picture")
    config = folder / "config.toml"
    config.write_text(f'[[watch]]\npath = "{root}"\nsniff = {str(sniff).lower()}\n[workers]\nprocesses = 1\n')
    return str(config)


def _names(daemon: DaemonProcess) -> list[str]:
    return sorted(Path(file["path"]).name for file in Client(daemon.socket).export())


def test_files_are_taken_in_by_their_first_bytes(tmp_path: Path) -> None:
    """In the first scan and by events; no other file is read or fails, and one that turns into text is forgotten."""
    with daemon_process(tmp_path, "--config", _config(tmp_path, sniff=True)) as daemon:
        daemon.start()
        daemon.settled()
        (daemon.root / "copy").write_bytes(encoded(photograph(), "BMP"))
        (daemon.root / "more.txt").write_text("no picture")
        assert daemon.wait_for("near_duplicate")["verdict"] == "exact"
        daemon.settled()
        assert _names(daemon) == ["copy", "first"]
        assert list(Client(daemon.socket).failed()) == []
        (daemon.root / "copy").write_text("no picture any more")
        daemon.wait_until(lambda: _names(daemon) == ["first"])


def test_what_is_passed_over_by_name_is_counted(tmp_path: Path) -> None:
    """In the status, also as words."""
    with daemon_process(tmp_path, "--config", _config(tmp_path, sniff=False)) as daemon:
        daemon.start()
        daemon.settled()
        assert daemon.status()["roots"][0]["reconcile"]["passed_over"] == 2
        assert "2 files are not named like images" in daemon.ctl("status").stdout
        assert _names(daemon) == []
