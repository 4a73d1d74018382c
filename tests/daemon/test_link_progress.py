"""How far a link is: seconds and changes, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from operator import methodcaller
from pathlib import Path

import pytest

from shazimd.daemon import feed
from shazimd.daemon.link_progress import LinkProgress
from shazimd.ingest.sharing import begin_sharing
from shazimd.posix import memory
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileRow, FileState, Stat

FAILED = FileRow(Stat(1, 1, 1), FileState.FAILED, reason="not_an_image: text")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "store"), 1 << 24)) as store:
        yield store


def ask(store: Store, progress: LinkProgress, after: str | None) -> str:
    """As a link asks for changes; the position that it has then."""
    page = feed.changes(store, None, after, 1)
    progress.asked(after, page)
    return page["after"]


def test_the_lag_of_telling_grows_while_changes_are_owed(store: Store) -> None:
    clock = Clock()
    progress = LinkProgress(clock)
    assert progress.status(store) is None
    store.write(lambda writer: begin_sharing(writer, is_shared=True))
    status = progress.status(store)
    assert status is not None
    assert (status["owed"], status["tell_lag_s"]) == (None, None)
    after = ask(store, progress, ask(store, progress, None))
    for name in (b"/a.txt", b"/b.txt"):
        store.write(methodcaller("put_file", name, FAILED))
    clock.now += 30
    status = progress.status(store)
    assert status is not None
    assert (status["owed"], status["tell_lag_s"]) == (2, 30.0)
    after = ask(store, progress, after)
    status = progress.status(store)
    assert status is not None
    assert (status["owed"], status["tell_lag_s"]) == (2, 30.0)
    ask(store, progress, ask(store, progress, after))
    status = progress.status(store)
    assert status is not None
    assert (status["owed"], status["tell_lag_s"]) == (0, 0.0)


def test_the_lag_of_following_grows_until_all_is_here(store: Store) -> None:
    clock = Clock()
    progress = LinkProgress(clock)
    store.write(lambda writer: begin_sharing(writer, is_shared=True))
    progress.is_behind(0)
    clock.now += 5
    progress.is_behind(700)
    clock.now += 5
    status = progress.status(store)
    assert status is not None
    assert (status["behind"], status["follow_lag_s"]) == (700, 10.0)
    progress.is_behind(0)
    status = progress.status(store)
    assert status is not None
    assert (status["behind"], status["follow_lag_s"]) == (0, 0.0)


def test_freed_memory_is_kept_while_the_link_brings_many_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first word of them to its last, whatever comes between; a link that has brought all changes nothing."""
    asked: list[str] = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda _bytes: asked.append("keep"))
    monkeypatch.setattr(memory, "return_freed_memory", lambda: asked.append("return"))
    progress = LinkProgress()
    for changes in (0, 0, 900, 400, 0, 0, 7, 0):
        progress.is_behind(changes)
    assert asked == ["keep", "return", "keep", "return"]
