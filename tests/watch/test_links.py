"""Links on the way to a directory."""

from __future__ import annotations

import os
from pathlib import Path

from shazimd.watch.links import links_on


def test_all_links_that_a_lookup_follows_are_found(tmp_path: Path) -> None:
    """In the path, in targets, relative and absolute; not those below the directory."""
    base = Path(os.path.realpath(tmp_path))
    (base / "real" / "photos").mkdir(parents=True)
    (base / "up").mkdir()
    (base / "a").symlink_to(base / "up" / "b")
    (base / "up" / "b").symlink_to("../real")
    (base / "real" / "photos" / "c").symlink_to("/")
    found = links_on(os.fsencode(base / "a" / "photos"))
    assert [os.fsencode(base / "a"), os.fsencode(base / "up" / "b")] == found
    assert [] == links_on(os.fsencode(base / "real" / "photos"))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """As the kernel's lookup does."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(links_on(os.fsencode(tmp_path / "a"))) >= 40
