from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watch_mirror import Mirror

from shazimd.watch import inotify
from shazimd.watch.tree import Watches


@pytest.fixture
def watches() -> Watches:
    return Watches()


@pytest.fixture
def mirror(tmp_path: Path, watches: Watches) -> Iterator[Callable[..., Mirror]]:
    """Makes started mirrors of roots (default: one new directory), and stops them."""
    mirrors = []

    def make(*roots: Path, **config: Any) -> Mirror:
        roots = roots or (tmp_path / "root",)
        for root in roots:
            root.mkdir(exist_ok=True)
        made = Mirror(watches, *roots, **config)
        mirrors.append(made)
        return made.start()

    yield make
    for each in mirrors:
        each.stop()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def whole_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The halves of a rename belong together, however late the second comes on a busy machine."""
    monkeypatch.setattr(inotify, "_UNPAIRED_S", 3600)
