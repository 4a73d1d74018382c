from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from album import PIXELS_MAX, groups_of
from browser import Browser, chromium
from fake_client import FakeClient
from page_serving import ServedPage, served
from scenery import write_album
from send2trash import plat_other

from shazimd.workers.pool import WorkerPool

SCENES = 7


@pytest.fixture(scope="session")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2, 1024, 60, PIXELS_MAX) as pool:
        yield pool


class Albums:
    """A folder of pictures and its groups. The next test has the same, with the pictures in the page's cache, unless
    the last has changed any: then it has a copy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn = folder / "drawn"
        write_album(self._drawn, SCENES)
        self._groups = groups_of(self._drawn)
        self._copy()

    def unchanged(self) -> tuple[Path, list[dict[str, Any]]]:
        if _states(self._last) != self._before:
            self._copy()
        old, new = str(self._drawn), str(self._last)
        groups = copy.deepcopy(self._groups)
        for member in (each for group in groups for each in group["members"]):
            member["path"] = member["path"].replace(old, new)
        return self._last, groups

    def _copy(self) -> None:
        self._last = Path(tempfile.mkdtemp(dir=self._folder)) / "album"
        shutil.copytree(self._drawn, self._last)
        self._before = _states(self._last)


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    """The inode of each file and the time of its last change, which no program can set."""
    return {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def albums(tmp_path_factory: pytest.TempPathFactory) -> Albums:
    return Albums(tmp_path_factory.mktemp("albums"))


@pytest.fixture
def album(albums: Albums) -> tuple[Path, list[dict[str, Any]]]:
    """A folder of pictures that a test may change, and its groups."""
    return albums.unchanged()


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


Serve = Callable[[FakeClient], ServedPage]


@pytest.fixture
def serve(pool: WorkerPool, cache_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves pages of made-up clients, with a journal and a trash of their own, and one cache of pictures for all."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    for name in ("XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    data = os.fsencode(tmp_path / "XDG_DATA_HOME")
    monkeypatch.setattr(plat_other, "XDG_DATA_HOME", data)  # it reads the variable once
    monkeypatch.setattr(plat_other, "HOMETRASH_B", os.path.join(data, b"Trash"))
    with ExitStack() as stack:
        yield lambda client: stack.enter_context(served(client, pool))


@pytest.fixture
def page(serve: Serve, album: tuple[Path, list[dict[str, Any]]]) -> ServedPage:
    """A page of the album's groups."""
    return serve(FakeClient(album[1]))


@pytest.fixture(scope="session")
def chrome() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser, page: ServedPage) -> Iterator[Browser]:
    """Chromium on the page, on a desk, in light colours; afterwards nothing was complained about on its console."""
    chrome.begin()
    chrome.open(page.access.link())
    chrome.until("return document.querySelector('.js .cards') !== null")
    chrome.complaints()
    yield chrome
    assert [] == chrome.complaints()
