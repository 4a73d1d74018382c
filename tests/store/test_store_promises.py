"""What every store promises (store/base.py), by example."""

from __future__ import annotations

import doctest
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from operator import methodcaller

import msgspec
import numpy as np
import pytest
from first_hashes import first_hashes

from shazimd.fingerprint import Fingerprint, FloatVector, Query, Signals
from shazimd.ingest.foreign_rows import ForeignFile
from shazimd.store import keys, tables
from shazimd.store.base import Store, Writer
from shazimd.text import NAME_BYTES_MAX
from shazimd.types import ContentId, FileRow, FileState, Listing, Stat

Make = Callable[..., Fingerprint]
Indexed = Callable[[ContentId], FileRow]


def put(store: Store, *paths: bytes, row: FileRow) -> None:
    store.write(lambda w: [w.put_file(path, row) for path in paths])


def everything(store: Store) -> list[bytes]:
    with store.read() as reader:
        return [path for path, _ in reader.walk(b"/")]


def test_keys_examples() -> None:
    """The examples in the text of ``keys`` and ``tables`` are true."""
    for module in (keys, tables):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


def test_a_file_comes_back_as_it_was_put(store: Store, failed: FileRow) -> None:
    """Every field of a row survives, a reason with bytes that are no UTF-8 too."""
    put(store, b"/a/b.jpg", row=failed)
    with store.read() as reader:
        assert reader.file(b"/a/b.jpg") == failed
        assert reader.file(b"/a") is None
        assert reader.file(b"/x/y") is None


def test_a_file_that_is_put_again_replaces_itself(store: Store, failed: FileRow) -> None:
    """The newest row counts, once."""
    put(store, b"/a", row=failed)
    row = FileRow(Stat(1, 2, 3), FileState.FAILED, reason="r")
    put(store, b"/a", row=row)
    with store.read() as reader:
        assert reader.file(b"/a") == row
        assert reader.counts()["failed"] == 1


@pytest.mark.parametrize("time_ns", [-11644473600 * 10**9, 20_000_000_000 * 10**9])
def test_a_file_may_have_any_date(store: Store, failed: FileRow, time_ns: int) -> None:
    """1601 is a time of zero on NTFS and SMB, and 2603 is later than 64 bits reach. The row shows an unchanged file,
    and another host takes its time."""
    stat = Stat.of(os.stat_result(range(10), {"st_mtime_ns": time_ns, "st_ctime_ns": time_ns}))
    put(store, b"/a.jpg", row=replace(failed, stat=stat))
    with store.read() as reader:
        row = reader.file(b"/a.jpg")
    assert row is not None
    assert stat.is_unchanged_since(row.stat)
    sent = {"path": "/a.jpg", "content": "00" * 32, "made": "", "size_bytes": 6, "mtime_ns": row.stat.mtime_ns}
    assert row.stat.mtime_ns == msgspec.convert(sent, ForeignFile).mtime_ns


@pytest.mark.parametrize("path", [b"", b"a", b"/", b"//a", b"/a/", b"/a/../b", b"/./a", b"/a\0", b"/" + b"n" * 496])
def test_a_path_that_is_not_normal_is_refused(store: Store, failed: FileRow, path: bytes) -> None:
    """A path must be absolute and normalised, its names short enough, and that of a file more than "/"."""
    with pytest.raises(ValueError, match="expected"):
        put(store, path, row=failed)
    assert everything(store) == []


def test_the_longest_name_has_room(store: Store, make_fingerprint: Make, indexed: Indexed) -> None:
    """A name of 495 bytes can be kept, found by its content, moved and removed."""
    path = b"/d/" + b"\xff" * NAME_BYTES_MAX
    content = store.write(lambda w: w.add_content(b"d", make_fingerprint(1)))
    put(store, path, row=indexed(content))
    store.write(lambda w: w.move(b"/d", b"/e"))
    moved = path.replace(b"/d/", b"/e/")
    with store.read() as reader:
        assert reader.files_of(content) == [moved]
    assert store.write(lambda w: w.remove_file(moved))


def test_a_row_that_contradicts_itself_is_refused(store: Store) -> None:
    """Indexed means that there is a content, failed that there is none."""
    for row in (FileRow(Stat(1, 1, 1), FileState.INDEXED), FileRow(Stat(1, 1, 1), FileState.FAILED, 1)):
        with pytest.raises(ValueError, match="exactly when it is indexed"):
            put(store, b"/a", row=row)


def test_a_file_of_an_unknown_content_is_refused(store: Store, indexed: Indexed) -> None:
    """No row points nowhere."""
    with pytest.raises(KeyError):
        put(store, b"/a", row=indexed(5))


def test_a_listing_is_one_level(store: Store, failed: FileRow) -> None:
    """Files and directories of one directory, not what lies deeper."""
    put(store, b"/a/x", b"/a/b/y", b"/a/b/c/z", b"/ab/n", row=failed)
    with store.read() as reader:
        assert reader.listing(b"/a") == Listing({b"x": failed}, frozenset({b"b"}))
        assert reader.listing(b"/") == Listing({}, frozenset({b"a", b"ab"}))
        assert reader.listing(b"/none") == Listing()


def test_a_walk_goes_in_the_order_of_the_tree(store: Store, failed: FileRow) -> None:
    """Files of a directory by name, then its directories by name; only what lies below."""
    put(store, b"/a/c/2", b"/a/b/1", b"/a/z", b"/a/y", b"/ab/n", row=failed)
    with store.read() as reader:
        assert [path for path, _ in reader.walk(b"/a")] == [b"/a/y", b"/a/z", b"/a/b/1", b"/a/c/2"]
        assert list(reader.walk(b"/a/z")) == []


def test_a_tree_may_be_as_deep_as_a_path_is_long(store: Store, failed: FileRow) -> None:
    """2047 directories, one in the other, are walked, moved and removed."""
    deep = b"/a" * 2047
    put(store, deep + b"/x", row=failed)
    store.write(lambda w: w.move(b"/a", b"/b"))
    assert everything(store) == [b"/b" + deep[2:] + b"/x"]
    assert store.write(lambda w: w.remove_tree(b"/b")) == 1
    assert everything(store) == []


def test_no_empty_directories_stay(store: Store, failed: FileRow) -> None:
    """With its last file a directory is forgotten, and those above it that became empty."""
    put(store, b"/a/b/c/x", b"/a/y", row=failed)
    assert store.write(lambda w: w.remove_file(b"/a/b/c/x"))
    with store.read() as reader:
        assert reader.listing(b"/a") == Listing({b"y": failed}, frozenset())
    assert not store.write(lambda w: w.remove_file(b"/a/b/c/x"))


def test_a_tree_is_removed_whole_and_alone(store: Store, failed: FileRow) -> None:
    """What lies below goes, neighbours with a like name stay, the number of files comes back."""
    put(store, b"/a/b/x", b"/a/b/c/y", b"/a/b/c/d/z", b"/a/bb", row=failed)
    assert store.write(lambda w: w.remove_tree(b"/a/b")) == 3
    assert store.write(lambda w: w.remove_tree(b"/a/b")) == 0
    assert everything(store) == [b"/a/bb"]
    assert store.write(lambda w: w.remove_tree(b"/")) == 1
    assert everything(store) == []


@pytest.mark.parametrize(
    ("known", "old", "new", "then"),
    [
        ([b"/a/x"], b"/a/x", b"/b/y", [b"/b/y"]),
        ([b"/a/x", b"/a/b/y"], b"/a", b"/c/d", [b"/c/d/x", b"/c/d/b/y"]),
        ([b"/a/x", b"/b/y"], b"/a", b"/b", [b"/b/x"]),
        ([b"/a/x", b"/b"], b"/a", b"/b", [b"/b/x"]),
        ([b"/a", b"/b/x"], b"/a", b"/b", [b"/b"]),
        ([b"/a/b/c/x", b"/a/b/y"], b"/a/b/c", b"/a/b", [b"/a/b/x"]),
        ([b"/a/b/x"], b"/a/b/x", b"/a/b", [b"/a/b"]),
        ([b"/a/x"], b"/none", b"/a", [b"/a/x"]),
        ([b"/a/x"], b"/a", b"/a", [b"/a/x"]),
        ([b"/f", b"/a/x"], b"/a", b"/f/g", [b"/f/g/x"]),
    ],
)
def test_a_move_takes_all_along_and_forgets_what_was_there(
    store: Store, failed: FileRow, known: list[bytes], old: bytes, new: bytes, then: list[bytes]
) -> None:
    """A file or a directory gets its new place; what was known there is gone; nothing unknown is moved."""
    put(store, *known, row=failed)
    store.write(lambda w: w.move(old, new))
    assert everything(store) == then
    assert store.check() == []


def test_a_move_into_itself_is_refused(store: Store, failed: FileRow) -> None:
    """No directory can lie below itself."""
    put(store, b"/a/x", row=failed)
    with pytest.raises(ValueError, match="not below it"):
        store.write(lambda w: w.move(b"/a", b"/a/b"))


def test_a_path_is_a_file_or_a_directory(store: Store, failed: FileRow) -> None:
    """To make a path the one forgets it as the other, whichever way round."""
    put(store, b"/a/b/x", row=failed)
    put(store, b"/a/b", row=failed)
    assert everything(store) == [b"/a/b"]
    put(store, b"/a/b/c/y", row=failed)
    assert everything(store) == [b"/a/b/c/y"]


def test_directories_come_go_and_move_within_a_transaction(store: Store, failed: FileRow) -> None:
    """A batch of operations finds each directory as those before it left it."""

    def work(writer: Writer) -> list[bytes]:
        writer.put_file(b"/a/b/x", failed)
        writer.remove_file(b"/a/b/x")
        writer.put_file(b"/a/b/y", failed)
        writer.move(b"/a/b", b"/c/b")
        assert writer.file(b"/a/b/y") is None
        writer.put_file(b"/a/b/z", failed)
        writer.put_file(b"nas:/z", failed)
        writer.put_file(b"/z", failed)
        assert [b"z"] == list(writer.listing(b"/").files) == list(writer.listing(b"nas:/").files)
        return [path for path, _ in writer.walk(b"/")]

    assert [b"/z", b"/a/b/z", b"/c/b/y"] == store.write(work)
    assert [] == store.check()


def test_a_directory_moves_without_touching_what_lies_below(store: Store, failed: FileRow) -> None:
    """The cost of a rename does not grow with the directory: it writes a few pages, not the rows."""
    put(store, *(b"/a/%06d" % n for n in range(5000)), row=failed)
    with store.read() as reader:
        before = reader.listing(b"/a").files
    store.compact()
    size = store.info()["size_bytes"]
    store.write(lambda w: w.move(b"/a", b"/b"))
    assert store.info()["size_bytes"] - size <= 16 * 4096
    with store.read() as reader:
        assert reader.listing(b"/b").files == before


def test_a_fingerprint_comes_back_as_it_was(store: Store, make_fingerprint: Make) -> None:
    """Every field survives, numbers of 64 bits and features of any size too; the vector to float16."""
    given = make_fingerprint(3, pixels=b"p" * 32, features=bytes(range(256)) * 20)
    content = store.write(lambda w: w.add_content(b"d", given))
    with store.read() as reader:
        kept = reader.fingerprint(content, "m")
        assert reader.features(content) == given.features
        assert reader.appearance(content)[:2] == (643, 480)
    assert given.signals.fv is not None
    assert kept.signals.fv is not None
    assert kept.signals.fv.dtype == np.float32
    assert np.array_equal(kept.signals.fv, given.signals.fv.astype(np.float16).astype(np.float32))
    assert abs(np.linalg.norm(kept.signals.fv) - 1) < 1e-3
    assert kept.signals.hashes == given.signals.hashes
    for name in ("model", "width", "height", "format", "pixels", "low_information", "features"):
        assert getattr(kept, name) == getattr(given, name)


def test_a_fingerprint_without_that_model_has_no_vector(store: Store, make_fingerprint: Make) -> None:
    """Signals that are not known come back as None, and so does the model."""
    content = store.write(lambda w: w.add_content(b"d", make_fingerprint(3)))
    with store.read() as reader:
        for model in (None, "other"):
            kept = reader.fingerprint(content, model)
            assert (kept.signals.fv, kept.model) == (None, None)


def test_an_unknown_content_is_a_key_error(store: Store, unit_vector: Callable[..., FloatVector]) -> None:
    """Whatever is asked of a content that isn't there."""
    with store.read() as reader:
        for ask in (lambda: reader.fingerprint(1, None), lambda: reader.features(1), lambda: reader.appearance(1)):
            with pytest.raises(KeyError):
                ask()
        assert reader.files_of(1) == []
    with pytest.raises(KeyError):
        store.write(lambda w: w.put_vector(1, "m", unit_vector(1)))


def test_a_digest_names_one_content(store: Store, make_fingerprint: Make) -> None:
    """The same bytes are kept once, and stay what they were."""
    first = store.write(lambda w: w.add_content(b"d", make_fingerprint(1)))
    second = store.write(lambda w: w.add_content(b"d", make_fingerprint(2)))
    with store.read() as reader:
        assert second == first == reader.content(b"d")
        assert reader.content(b"e") is None
        assert reader.fingerprint(first, None).width == 641
        assert reader.counts()["contents"] == 1


def test_equal_pixels_are_found(store: Store, make_fingerprint: Make) -> None:
    """By exactly these pixels, not by a beginning of them, in order of id."""
    ids = store.write(lambda w: [w.add_content(b"%d" % n, make_fingerprint(n, pixels=b"p" * 32)) for n in range(3)])
    store.write(lambda w: w.add_content(b"x", make_fingerprint(9, pixels=b"p" * 33)))
    with store.read() as reader:
        assert reader.contents_with_pixels(b"p" * 32) == ids
        assert reader.contents_with_pixels(b"p" * 31) == []


def test_the_paths_of_a_content_are_sorted(store: Store, make_fingerprint: Make, indexed: Indexed) -> None:
    """Wherever they lie; a file that changed is no longer among them."""
    one, two = store.write(lambda w: [w.add_content(b"%d" % n, make_fingerprint(n)) for n in (1, 2)])
    put(store, b"/b/x", b"/a", b"/c/d/y", row=indexed(one))
    put(store, b"/a", row=indexed(two))
    with store.read() as reader:
        assert reader.files_of(one) == [b"/b/x", b"/c/d/y"]
        assert reader.files_of(two) == [b"/a"]


def test_signals_are_streamed_in_order(store: Store, make_fingerprint: Make) -> None:
    """Every content with information, from an id on, with the vector of the model where there is one."""

    def fill(w: Writer) -> None:
        w.add_content(b"1", make_fingerprint(1))
        w.add_content(b"2", make_fingerprint(2, model=None))
        w.add_content(b"3", make_fingerprint(3, low_information=True))
        w.add_content(b"4", make_fingerprint(4, model="other"))
        w.add_content(b"5", make_fingerprint(5))

    store.write(fill)
    with store.read() as reader:

        def seen(model: str | None, after: int = 0) -> list[tuple[int, int | None, bool]]:
            return [(content, s.hashes[1], s.fv is not None) for content, s in reader.signals(model, after)]

        assert seen("m") == [(1, 1, True), (2, 2, False), (4, 4, False), (5, 5, True)]
        assert seen("m", after=2) == [(4, 4, False), (5, 5, True)]
        assert seen("other") == [(1, 1, False), (2, 2, False), (4, 4, True), (5, 5, False)]
        assert seen(None, after=4) == [(5, 5, False)]


def test_what_lacks_a_vector_is_found(
    store: Store, make_fingerprint: Make, indexed: Indexed, unit_vector: Callable[..., FloatVector]
) -> None:
    """Contents of files that still are there, until they have one."""
    ids = store.write(lambda w: [w.add_content(b"%d" % n, make_fingerprint(n)) for n in range(4)])
    for content in ids[1:]:
        put(store, b"/%d" % content, row=indexed(content))
    with store.read() as reader:
        assert list(reader.without_vector("m")) == []
        assert list(reader.without_vector("new")) == ids[1:]
        assert list(reader.without_vector("new", after=ids[1])) == ids[2:]
    store.write(lambda w: w.put_vector(ids[2], "new", unit_vector(7, width=32)))
    with store.read() as reader:
        assert list(reader.without_vector("new")) == [ids[1], ids[3]]


def test_vectors_of_a_model_are_replaced_and_dropped(
    store: Store, make_fingerprint: Make, unit_vector: Callable[..., FloatVector]
) -> None:
    """The last one counts, once; those of other models stay."""
    content = store.write(lambda w: w.add_content(b"d", make_fingerprint(1)))
    for seed in (5, 6):
        store.write(methodcaller("put_vector", content, "new", unit_vector(seed, width=1792)))
    with store.read() as reader:
        kept = reader.fingerprint(content, "new").signals.fv
        assert kept is not None
        assert np.allclose(kept, unit_vector(6, width=1792), atol=1e-3)
        assert reader.counts()["vectors"] == 2
    assert store.write(lambda w: w.drop_vectors_except("m", 10))
    assert not store.write(lambda w: w.drop_vectors_except("m", 10))
    with store.read() as reader:
        assert reader.counts()["vectors"] == 1
        assert reader.fingerprint(content, "new").model is None
        assert reader.fingerprint(content, "m").model == "m"
    store.write(lambda w: w.put_vector(content, "new", unit_vector(5, width=16)))
    assert store.check() == []


def test_a_vector_that_is_none_is_refused(
    store: Store, make_fingerprint: Make, unit_vector: Callable[..., FloatVector]
) -> None:
    """Not of unit length, not finite, not one-dimensional, of another width, or without a model."""
    content = store.write(lambda w: w.add_content(b"d", make_fingerprint(1)))
    good = unit_vector(1)
    for bad in (good * 1.01, good * np.float32(np.nan), good[np.newaxis], good * 0, unit_vector(1, width=65)):
        with pytest.raises(ValueError, match="expected"):
            store.write(methodcaller("put_vector", content, "m", bad))
    orphan = Fingerprint(Signals(first_hashes(1, 2), good), None, 1, 1, "PNG")
    with pytest.raises(ValueError, match="no model"):
        store.write(lambda w: w.add_content(b"e", orphan))


def test_prune_removes_only_what_has_no_file(store: Store, make_fingerprint: Make, indexed: Indexed) -> None:
    """A content without files goes with all that was kept of it, is told by ``removals``, its id never comes back."""
    ids = store.write(
        lambda w: [
            w.add_content(b"%d" % n, make_fingerprint(n, pixels=b"p" * 32, features=b"f" * 3000)) for n in range(3)
        ]
    )
    put(store, b"/a", row=indexed(ids[0]))
    assert store.write(lambda w: w.prune([*ids, ids[1], 99])) == 2
    with store.read() as reader:
        assert list(reader.removals()) == [(1, ids[1]), (2, ids[2])]
        assert list(reader.removals(after=1)) == [(2, ids[2])]
        assert reader.contents_with_pixels(b"p" * 32) == [ids[0]]
        assert reader.content(b"1") is None
        assert reader.counts() == {"images": 1, "foreign": 0, "contents": 1, "failed": 0, "alerts": 0, "vectors": 1}
    assert store.write(lambda w: w.add_content(b"1", make_fingerprint(1))) > ids[2]
    assert store.check() == []


def test_alerts_come_back_in_order(store: Store) -> None:
    """Oldest first, from an id on, as many as asked for; ids grow."""
    records = [{"path": f"/p/{n}", "score": 0.5, "odd": "\udcff", "none": None} for n in range(3)]
    assert store.write(lambda w: [w.add_alert(record) for record in records]) == [1, 2, 3]
    with store.read() as reader:
        assert list(reader.alerts()) == list(enumerate(records, start=1))
        assert list(reader.alerts(after=1, limit=1)) == [(2, records[1])]
        assert list(reader.alerts(after=3)) == []
        assert reader.counts()["alerts"] == 3


def test_small_values_are_kept_under_a_name(store: Store) -> None:
    """Plain JSON values; None removes; what is no JSON is refused."""
    store.write(lambda w: w.set("roots", {"/a": [1, 2.5, None, "\udcff"]}))
    with store.read() as reader:
        assert reader.get("roots") == {"/a": [1, 2.5, None, "\udcff"]}
        assert reader.get("other") is None
    store.write(lambda w: w.set("roots", None))
    with store.read() as reader:
        assert reader.get("roots") is None
    with pytest.raises(TypeError):
        store.write(lambda w: w.set("roots", b"bytes"))


def test_notes_of_untold_files_are_kept_whole(store: Store, make_fingerprint: Make) -> None:
    """A query comes back with all its orientations; a dropped note is gone, an unknown number passed over."""
    fingerprint = make_fingerprint(1, pixels=b"p" * 16, features=b"f" * 9000)
    turned = make_fingerprint(2, model=None).signals
    query = Query(fingerprint, (fingerprint.signals, turned), b"m" * 100)
    assert store.write(lambda w: [w.add_pending_alert(path, query) for path in (b"/z", b"/\xff")]) == [1, 2]
    store.write(lambda w: [w.remove_pending_alert(1), w.remove_pending_alert(77)])
    with store.read() as reader:
        [(number, path, kept)] = reader.pending_alerts()
    assert (number, path, kept.features) == (2, b"/\xff", b"m" * 100)
    assert (kept.fingerprint.model, kept.fingerprint.features, kept.fingerprint.width) == ("m", b"f" * 9000, 641)
    expected = [(each.hashes, each.fv is not None) for each in query.orientations]
    assert [(each.hashes, each.fv is not None) for each in kept.orientations] == expected
    assert store.write(lambda w: w.add_pending_alert(b"/a", query)) == 3


def test_counts_follow_every_change(store: Store, make_fingerprint: Make, indexed: Indexed, failed: FileRow) -> None:
    """Images are the indexed files, failed the others; a file may turn from one into the other."""
    content = store.write(lambda w: w.add_content(b"d", make_fingerprint(1)))
    put(store, b"/a", b"/b/c", row=indexed(content))
    put(store, b"/d", b"/b/e", row=failed)

    def counts() -> tuple[int, int]:
        with store.read() as reader:
            found = reader.counts()
        return found["images"], found["failed"]

    assert counts() == (2, 2)
    put(store, b"/a", row=failed)
    assert counts() == (1, 3)
    store.write(lambda w: w.move(b"/d", b"/b/c"))
    assert counts() == (0, 3)
    store.write(lambda w: w.remove_tree(b"/b"))
    assert counts() == (0, 1)


def test_an_exception_leaves_everything_as_it_was(store: Store, failed: FileRow, make_fingerprint: Make) -> None:
    """Nothing of a write is kept unless all of it is; the exception comes out as it is."""

    def work(w: Writer) -> None:
        w.put_file(b"/a", failed)
        w.add_content(b"d", make_fingerprint(1))
        w.set("k", 1)
        assert w.file(b"/a") == failed
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        store.write(work)
    with store.read() as reader:
        assert (reader.file(b"/a"), reader.content(b"d"), reader.get("k")) == (None, None, None)
        assert set(reader.counts().values()) == {0}


def test_a_reader_sees_one_picture(store: Store) -> None:
    """What is written meanwhile is seen by the next reader."""
    store.write(lambda w: w.set("k", 1))
    with store.read() as reader:
        writer = threading.Thread(target=store.write, args=(lambda w: w.set("k", 2),))
        writer.start()
        writer.join()
        assert reader.get("k") == 1
    with store.read() as reader:
        assert reader.get("k") == 2


def test_errors_of_the_caller_stay_his_own(store: Store) -> None:
    """An OSError raised while reading is not mistaken for one of the store."""
    with pytest.raises(PermissionError), store.read():
        raise PermissionError("his")


def test_the_info_names_the_store_and_its_size(store: Store) -> None:
    """Path and schema stay, sizes follow the writes."""
    before = store.info()
    store.write(lambda w: w.set("k", 1))
    after = store.info()
    assert {k: after[k] for k in ("path", "schema")} == {k: before[k] for k in ("path", "schema")}
    assert 0 < after["size_bytes"] <= after["map_size_bytes"]


def test_some_files_of_a_content_are_found_without_reading_all(
    store: Store, make_fingerprint: Make, indexed: Indexed
) -> None:
    """By their stat, whatever the ctime; a few of them; and their number up to a limit."""
    stats = [Stat(5, 1 << 60, inode, ctime) for inode, ctime in ((7, 1), (8, 2), (1 << 40, 3), (8, 4))]
    paths = [b"/b/%d" % number for number in range(4)]

    def write(writer: Writer) -> int:
        content = writer.add_content(b"d" * 32, make_fingerprint(1))
        for path, stat in zip(paths, stats, strict=True):
            writer.put_file(path, replace(indexed(content), stat=stat))
        return content

    content = store.write(write)
    with store.read() as reader:
        assert reader.files_with_stat(content, Stat(5, 1 << 60, 8, 99)) == [paths[1], paths[3]]
        assert reader.files_with_stat(content, Stat(5, 1 << 60, 1 << 40)) == [paths[2]]
        assert reader.files_with_stat(content, Stat(6, 1 << 60, 8)) == []
        assert [path for path, _ in reader.some_files_of(content, 2)] == paths[:2]
        assert (reader.count_files(content, 3), reader.count_files(content, 9)) == (3, 4)
        assert reader.files_with_stat(content + 1, stats[0]) == []


def test_files_of_a_content_below_directories(store: Store, make_fingerprint: Make, indexed: Indexed) -> None:
    """At any depth, in order of the directories, however many are elsewhere; a name that begins alike is another."""
    paths = [b"/a/%d/x" % number for number in range(5)] + [b"/bank/1", b"/bank/in/2", b"/bank2/3", b"nas:/bank/4"]

    def write(writer: Writer) -> int:
        content = writer.add_content(b"d" * 32, make_fingerprint(1))
        for path in paths:
            writer.put_file(path, indexed(content))
        return content

    content = store.write(write)
    with store.read() as reader:

        def below(*directories: bytes, limit: int = 9, foreign: bool = False) -> list[bytes]:
            files = reader.some_files_of(content, limit, foreign=foreign, below=directories)
            return [path for path, _ in files]

        assert below(b"/bank") == [b"/bank/1", b"/bank/in/2"]
        assert below(b"/bank", limit=1) == [b"/bank/1"]
        assert below(b"/bank2", b"/a/3", b"/none") == [b"/a/3/x", b"/bank2/3"]
        assert (below(b"/"), below(b"/none")) == (paths[:-1], [])
        assert (below(b"/bank", foreign=True), below(b"nas:/", foreign=True)) == ([], [b"nas:/bank/4"])
