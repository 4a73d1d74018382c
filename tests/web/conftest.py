from __future__ import annotations

import os
import shutil
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


@pytest.fixture(scope="session")
def drawn_album(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    album = tmp_path_factory.mktemp("drawn") / "album"
    write_album(album, SCENES)
    return album, groups_of(album)


@pytest.fixture
def album(drawn_album: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A folder of pictures for one test to change, and its groups."""
    drawn, groups = drawn_album
    own = tmp_path / "album"
    shutil.copytree(drawn, own)
    moved = [
        group | {"members": [m | {"path": m["path"].replace(str(drawn), str(own))} for m in group["members"]]}
        for group in groups
    ]
    return own, moved


Serve = Callable[[FakeClient], ServedPage]


@pytest.fixture
def serve(pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves pages of made-up clients, with a cache, a journal and a trash of their own."""
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
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
