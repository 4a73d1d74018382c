"""A thread of the daemon that fails is noticed, and what it lost is made good."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from world import picture, world


@pytest.mark.parametrize(("name", "event"), [("reader.ppm", "inotify_reader_died"), ("follow.ppm", "following_failed")])
def test_a_thread_that_fails_costs_no_file(tmp_path: Path, name: str, event: str) -> None:
    """The one that reads events, and the one that follows them: one line says so, then all is compared anew."""
    with world(tmp_path) as running:
        running.program = [sys.executable, str(Path(__file__).with_name("sabotaged.py"))]
        (running.root / "anchor.ppm").write_bytes(picture(0))
        running.start()
        running.rest()
        (running.root / name).write_bytes(picture(1))
        assert "sabotaged" in running.wait_for(event)["exception"]
        running.wait_for("image_indexed", path=str(running.root / name))
        (running.root / "later.ppm").write_bytes(picture(2))
        running.wait_for("image_indexed", path=str(running.root / "later.ppm"))
        running.rest()
        assert running.on_disk() == running.known().files
        assert 0 == running.stop()
