"""Contents without files: when they were deleted, by a clock that no jump of the wall clock can fool."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shazimd.fingerprint import Fingerprint, Query
from shazimd.store import maintenance
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import ContentId, FileRow

Make = Callable[..., Fingerprint]
Indexed = Callable[[ContentId], FileRow]

DAY = 86_400
START = 1_700_000_000


class Clock:
    """A wall clock under the test's control."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dated(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 << 20, clock=clock)
    opened.write(lambda w: w.advance_clock())
    yield opened
    opened.close()


def add(store: Store, name: str, make_fingerprint: Make, indexed: Indexed) -> ContentId:
    def work(w: Writer) -> ContentId:
        content = w.add_content(name.encode(), make_fingerprint(1, features=b"\x02" + b"f" * 3000))
        w.put_file(b"/r/" + name.encode(), indexed(content))
        return content

    return store.write(work)


def deleted(store: Store, age_s: float = 0) -> list[ContentId]:
    with store.read() as reader:
        return list(reader.deleted(age_s))


def let_pass(store: Store, clock: Clock, seconds: float) -> None:
    """Let time pass in steps of an hour, as for a daemon that runs."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now = min(end, clock.now + 3600)
        store.write(lambda w: w.advance_clock())


def test_a_content_is_deleted_when_its_last_file_goes(
    dated: Store, clock: Clock, make_fingerprint: Make, indexed: Indexed
) -> None:
    """Not before; the oldest deletion comes first; a file that comes back takes it back."""
    one, two, three = (add(dated, name, make_fingerprint, indexed) for name in ("1", "2", "3"))
    dated.write(lambda w: w.put_file(b"/copy", indexed(one)))
    dated.write(lambda w: [w.remove_file(b"/r/1"), w.remove_file(b"/r/3")])
    assert deleted(dated) == [three]
    let_pass(dated, clock, 100)
    dated.write(lambda w: [w.remove_file(b"/copy"), w.remove_tree(b"/r")])
    assert deleted(dated) == [three, one, two]
    assert deleted(dated, age_s=100) == [three]
    assert deleted(dated, age_s=101) == []
    assert dated.check() == []
    dated.write(lambda w: w.put_file(b"/back", indexed(three)))
    assert deleted(dated) == [one, two]
    dated.write(lambda w: w.prune([one, two, three]))
    assert deleted(dated) == []
    assert dated.check() == []


def test_a_move_deletes_nothing_but_what_it_replaces(dated: Store, make_fingerprint: Make, indexed: Indexed) -> None:
    """A renamed file keeps its content, and so do all files of a renamed directory."""
    one, two = (add(dated, name, make_fingerprint, indexed) for name in ("1", "2"))
    dated.write(lambda w: w.move(b"/r", b"/s"))
    dated.write(lambda w: w.move(b"/s/1", b"/s/3"))
    assert deleted(dated) == []
    dated.write(lambda w: w.move(b"/s/3", b"/s/2"))
    assert deleted(dated) == [two]
    with dated.read() as reader:
        assert reader.files_of(one) == [b"/s/2"]


def test_a_content_without_a_file_from_the_beginning_is_deleted(dated: Store, make_fingerprint: Make) -> None:
    """Its file may have been gone before its row was written."""
    content = dated.write(lambda w: w.add_content(b"d", make_fingerprint(1)))
    assert deleted(dated) == [content]
    assert dated.check() == []


@pytest.mark.parametrize("jump", [10 * 365 * DAY, -10 * 365 * DAY])
def test_a_jump_of_the_wall_clock_ends_no_grace(
    dated: Store, clock: Clock, make_fingerprint: Make, indexed: Indexed, jump: int
) -> None:
    """It counts for a day at most, whether it happens at once or while the daemon does not run."""
    content = add(dated, "1", make_fingerprint, indexed)
    dated.write(lambda w: w.remove_file(b"/r/1"))
    clock.now += jump
    assert deleted(dated, age_s=2 * DAY) == []
    dated.write(lambda w: w.advance_clock())
    assert deleted(dated, age_s=2 * DAY) == []
    let_pass(dated, clock, 2 * DAY)
    assert deleted(dated, age_s=2 * DAY) == [content]
    clock.now -= jump
    assert deleted(dated, age_s=2 * DAY) == [content]


def test_pruning_takes_the_pending_alerts_of_deleted_files(
    dated: Store, make_fingerprint: Make, indexed: Indexed
) -> None:
    """They hold the features of the picture; those of files that are known stay."""
    one, two = (add(dated, name, make_fingerprint, indexed) for name in ("1", "2"))
    query = Query(make_fingerprint(1), ())
    dated.write(lambda w: [w.add_pending_alert(path, query) for path in (b"/r/1", b"/r/2")])
    dated.write(lambda w: w.remove_file(b"/r/1"))
    dated.write(lambda w: w.prune([one, two]))
    with dated.read() as reader:
        assert [path for _, path, _ in reader.pending_alerts()] == [b"/r/2"]


def test_features_of_another_version_read_as_missing(tmp_path: Path, make_fingerprint: Make, indexed: Indexed) -> None:
    """In fingerprints, by themselves and in pending alerts; their contents are outdated until they are replaced."""
    store = open_store(str(tmp_path / "store"), 64 << 20, features_version=2)
    old, new = b"\x01" * 3000, b"\x02" * 3000

    def fill(w: Writer) -> None:
        for n, features in enumerate((old, new, b"")):
            fingerprint = make_fingerprint(n, features=features)
            content = w.add_content(b"%d" % n, fingerprint)
            w.put_file(b"/%d" % n, indexed(content))
            w.add_pending_alert(b"/%d" % n, Query(fingerprint, (), features))

    store.write(fill)
    with store.read() as reader:
        assert [reader.features(content) for content in (1, 2, 3)] == [b"", new, b""]
        assert [reader.fingerprint(content, None).features for content in (1, 2, 3)] == [b"", new, b""]
        assert [q.features for _, _, q in reader.pending_alerts()] == [b"", new, b""]
        assert [q.fingerprint.features for _, _, q in reader.pending_alerts()] == [b"", new, b""]
        assert list(reader.outdated(None, 2)) == [1, 3]
        assert list(reader.outdated(None, 2, after=1)) == [3]
        assert list(reader.outdated("m", None)) == []
        assert list(reader.outdated("other", None)) == [1, 2, 3]
    store.write(lambda w: [w.put_features(1, new), w.remove_file(b"/2")])
    with store.read() as reader:
        assert reader.features(1) == new
        assert list(reader.outdated(None, 2)) == []
    assert store.check() == []
    store.close()


def test_compacting_drops_vectors_of_other_models(
    dated: Store, make_fingerprint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a model is in use; where none is, all stay."""
    monkeypatch.setattr("shazimd.store.lmdb_store.VECTORS_A_BATCH", 3)
    dated.write(lambda w: [w.add_content(b"a%d" % n, make_fingerprint(n, model="old")) for n in range(7)])
    dated.write(lambda w: [w.add_content(b"b%d" % n, make_fingerprint(n, model="new")) for n in range(2)])
    dated.compact()
    with dated.read() as reader:
        assert reader.counts()["vectors"] == 9
    dated.compact("new")
    with dated.read() as reader:
        assert reader.counts()["vectors"] == 2
        assert reader.fingerprint(1, "old").model is None
        assert reader.fingerprint(8, "new").model == "new"
    assert dated.check() == []


def test_compacting_without_a_daemon_empties_the_list_of_removals(tmp_path: Path, make_fingerprint: Make) -> None:
    """With the index, its only reader; the next removal has the next number, which no index has seen."""
    path, map_bytes = str(tmp_path / "store"), 64 << 20

    def remove_one(store: Store) -> list[tuple[int, ContentId]]:
        content = store.write(lambda w: w.add_content(b"digest", make_fingerprint(1)))
        store.write(lambda w: w.prune([content]))
        with store.read() as reader:
            return list(reader.removals())

    with closing(open_store(path, map_bytes)) as store:
        assert [(1, 1)] == remove_one(store)
    (tmp_path / "store" / "index").mkdir()
    maintenance.compact(path, map_bytes, None)
    with closing(open_store(path, map_bytes)) as store:
        with store.read() as reader:
            assert [] == list(reader.removals())
        assert [(2, 2)] == remove_one(store)
        assert store.check() == []
    assert "index" not in os.listdir(path)


def test_compacting_leaves_no_bytes_of_removed_rows(dated: Store, make_fingerprint: Make, indexed: Indexed) -> None:
    """Not even in the unused part of a page: rows lie side by side with those that were removed."""

    def features(n: int) -> bytes:
        return b"\x02" + random.Random(n).randbytes(3000)

    ids = dated.write(
        lambda w: [w.add_content(b"digest %d" % n, make_fingerprint(n, features=features(n))) for n in range(200)]
    )
    dated.write(lambda w: [w.put_file(b"/%d" % n, indexed(ids[n])) for n in range(0, 200, 2)])
    dated.write(lambda w: w.prune(ids))
    dated.compact()
    raw = (Path(dated.info()["path"]) / "data.mdb").read_bytes()
    assert all((b"digest %d" % n in raw) == (n % 2 == 0) for n in range(100, 200))
    for n in range(200):
        parts = [features(n)[at : at + 32] for at in range(0, 2976, 32)]
        assert any(part in raw for part in parts) == (n % 2 == 0)
    assert dated.check() == []
