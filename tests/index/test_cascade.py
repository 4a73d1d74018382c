"""What the cascade keeps between runs, and that it never trusts what it finds."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_hashes import first_hashes
from index_rows import Contents, Row, brute_force, kept, library, random_signals, unit
from numpy.typing import NDArray
from patience import PATIENCE_S

from shazimd.errors import StoreFull
from shazimd.fingerprint import Signals
from shazimd.index import bounds, cascade, files
from shazimd.index.bounds import Basis
from shazimd.index.cascade import CascadeIndex
from shazimd.types import DEFAULT_WEIGHTS

MODEL = "m"


def open_index(tmp_path: Path, store: Contents, model: str | None = MODEL) -> CascadeIndex:
    return CascadeIndex.open(str(tmp_path / "index"), store, model)


def assert_answers(index: CascadeIndex, rows: list[Row]) -> None:
    """The index answers as comparing with these rows does."""
    queries = [rows[0][1], rows[-1][1]]
    expected = [brute_force(rows, query, DEFAULT_WEIGHTS, 0.5) for query in queries]
    assert expected == index.search(queries, DEFAULT_WEIGHTS, 0.5)
    assert len(rows) == len(index)


def files_of(tmp_path: Path, ending: str) -> list[Path]:
    return sorted((tmp_path / "index").glob(f"*/*{ending}"))


def test_what_was_closed_is_opened_without_reading_the_store_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run finds the rows in its files, replaced and removed ones included, and asks only for the newest."""
    monkeypatch.setattr(cascade, "REWIND", 1000)
    rows = library(3000)
    store = Contents(rows)
    index = open_index(tmp_path, store)
    index.add([(5, rows[6][1])])
    index.remove([7])
    index.close()
    store.rows[5], store.removed, store.read = rows[6][1], [7], []
    del store.rows[7]
    index = open_index(tmp_path, store)
    assert_answers(index, sorted(store.rows.items()))
    assert min(store.read) > 3000 - 1000 - 1
    index.close()


def test_rows_that_came_and_went_meanwhile_are_followed(tmp_path: Path) -> None:
    """Contents that the store gained, lost and gave a vector since the index was closed are as the store has them."""
    rows = library(60)
    bare = [(content, Signals(one.hashes, None)) for content, one in rows[:10]]
    store = Contents([*bare, *rows[10:40]])
    open_index(tmp_path, store).close()
    store.rows = dict(rows[:20] + rows[22:])
    store.removed = [21, 22]
    index = open_index(tmp_path, store)
    assert_answers(index, rows[:20] + rows[22:])
    index.close()


def test_rows_added_after_the_last_save_are_read_again(tmp_path: Path) -> None:
    """A process that was killed loses nothing but the time to read what it had not yet saved."""
    rows = library(50)
    open_index(tmp_path, Contents(rows[:30])).close()
    index = open_index(tmp_path, Contents(rows[:30]))
    index.add(rows[30:40])
    shutil.copytree(tmp_path / "index", tmp_path / "killed" / "index")
    index.close()
    index = open_index(tmp_path / "killed", Contents(rows))
    assert_answers(index, rows)
    index.close()


def shorten(path: Path) -> None:
    os.truncate(path, 100)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[20] ^= 1
    path.write_bytes(raw)


def other_byte_order(path: Path) -> None:
    other = {"little": b"big", "big": b"little"}[sys.byteorder]
    path.write_bytes(path.read_bytes().replace(sys.byteorder.encode(), other, 1))


@pytest.mark.parametrize(
    ("ending", "damage"),
    [
        *((ending, shorten) for ending in (".ids", ".ah", ".dh", ".coarse", ".level2", ".fv", ".basis", "manifest")),
        *((ending, flip) for ending in (".ids", ".ah", ".dh", ".coarse", ".level0", ".basis", "manifest")),
        *((ending, Path.unlink) for ending in (".ids", ".basis", "manifest")),
        ("manifest", other_byte_order),
    ],
)
def test_damaged_files_are_made_anew(tmp_path: Path, ending: str, damage: Callable[[Path], None]) -> None:
    """Files that were cut, altered, lost or written by a machine of another byte order never give a wrong answer."""
    rows = library(40)
    store = Contents(rows)
    open_index(tmp_path, store).close()
    (path,) = files_of(tmp_path, ending)
    damage(path)
    store.read = []
    index = open_index(tmp_path, store)
    assert_answers(index, rows)
    assert store.read[:40] == list(range(1, 41))
    index.close()


def test_files_that_cannot_be_read_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector is an error of a read. In a mapping it would end the process."""
    rows = library(40)
    store = Contents(rows)
    open_index(tmp_path, store).close()
    store.read = []
    monkeypatch.setattr(cascade, "REWIND", 10)

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", failing)
    index = open_index(tmp_path, store)
    assert_answers(index, rows)
    assert store.read[:40] == list(range(1, 41))
    index.close()


def test_a_directory_among_the_files_is_passed_over(tmp_path: Path) -> None:
    """Such as one that a NAS makes for its previews; also while the files before a rewrite are removed."""
    rows = library(40)
    open_index(tmp_path, Contents(rows)).close()
    (manifest,) = files_of(tmp_path, "manifest")
    manifest.unlink()
    (manifest.parent / "@eaDir").mkdir()
    index = open_index(tmp_path, Contents(rows))
    assert_answers(index, rows)
    index.compact()
    index.close()
    assert len(files_of(tmp_path, ".basis")) == 1


@pytest.mark.parametrize("version", [files.VERSION - 1, files.VERSION + 1])
def test_files_of_another_version_are_made_anew(tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that this program does not write is not read."""
    store = Contents(library(20))
    with monkeypatch.context() as patch:
        patch.setattr(files, "VERSION", version)
        open_index(tmp_path, store).close()
    store.read = []
    open_index(tmp_path, store).close()
    assert store.read == list(range(1, 21))


def test_an_index_of_another_store_is_made_anew(tmp_path: Path) -> None:
    """Ids of a store that was replaced by another mean other pictures: rows are compared when the index is opened."""
    open_index(tmp_path, Contents(library(40))).close()
    other = library(40, seed=2)
    index = open_index(tmp_path, Contents(other))
    assert_answers(index, other)
    index.close()


def test_vectors_that_a_disk_lost_are_noticed(tmp_path: Path) -> None:
    """Vectors are too many to be checked whole at each start, but zeros in place of many are seen."""
    rows = library(40)
    open_index(tmp_path, Contents(rows)).close()
    (path,) = files_of(tmp_path, ".fv")
    path.write_bytes(bytes(path.stat().st_size))
    index = open_index(tmp_path, Contents(rows))
    assert_answers(index, rows)
    index.close()


def test_another_model_has_an_index_of_its_own(tmp_path: Path) -> None:
    """While the index of one model is open, that of another, of another width, is made beside it; what no one holds
    is removed."""
    rows, wide = library(30), library(30, width=32)
    first = open_index(tmp_path, Contents(rows), "a")
    second = open_index(tmp_path, Contents(wide), "b")
    assert_answers(second, wide)
    assert_answers(first, rows)
    first.close()
    second.close()
    open_index(tmp_path, Contents(wide), "b").close()
    assert len(list((tmp_path / "index").iterdir())) == 1


def test_the_same_model_can_be_opened_anew_while_open(tmp_path: Path) -> None:
    """The second index takes another folder, and never writes into the first one's files."""
    rows = library(30)
    first = open_index(tmp_path, Contents(rows))
    second = open_index(tmp_path, Contents(rows))
    second.remove([1])
    assert_answers(first, rows)
    assert_answers(second, rows[1:])
    second.close()
    first.close()


def test_a_rewrite_drops_the_dead_and_keeps_the_answers(tmp_path: Path) -> None:
    """After a rewrite the files hold the living rows alone, sorted, and the next run opens them."""
    rows = library(200)
    index = open_index(tmp_path, Contents(rows))
    index.add(rows[:50][::-1])
    index.remove([content for content, _ in rows[100:]])
    size = sum(view.ids.size for view in index._views)
    index.compact()
    assert (size, 100) == (250, sum(view.ids.size for view in index._views))
    assert_answers(index, rows[:100])
    index.close()
    store = Contents(rows[:100])
    index = open_index(tmp_path, store)
    assert_answers(index, rows[:100])
    index.close()


def test_a_rewrite_follows_what_happens_meanwhile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows added, replaced and removed while a rewrite copies are as they were left."""
    rows = library(400)
    index = open_index(tmp_path, Contents(rows[:300]))
    copying = index._copy

    def copy_and_meddle(*arguments: Any) -> bool:
        done = copying(*arguments)
        index.add(rows[300:])
        index.add([(1, rows[7][1]), (2, Signals(first_hashes(1, 2), None))])
        index.remove([3, 350])
        index.add([(3, rows[9][1])])
        index.remove([4])
        return done

    monkeypatch.setattr(index, "_copy", copy_and_meddle)
    index.compact()
    now = dict(rows) | {1: rows[7][1], 2: Signals(first_hashes(1, 2), None), 3: rows[9][1]}
    assert_answers(index, [row for row in sorted(now.items()) if row[0] not in (4, 350)])
    index.close()


def test_a_rewrite_beside_half_an_add_copies_each_row_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A rewrite that begins while an add has written rows, but not yet retired those they replace, copies each once."""
    rows = library(100)
    index = open_index(tmp_path, Contents(rows))
    retiring, halfway, copied = index._rows.retire, threading.Event(), threading.Event()
    copying = index._copy

    def retire_late(contents: Collection[int]) -> None:
        halfway.set()
        assert copied.wait(PATIENCE_S)
        retiring(contents)

    def copy_and_tell(*arguments: Any) -> bool:
        done = copying(*arguments)
        copied.set()
        return done

    monkeypatch.setattr(index._rows, "retire", retire_late)
    monkeypatch.setattr(index, "_copy", copy_and_tell)
    adding = threading.Thread(target=index.add, args=(rows[:5],))  # replaced by the same
    adding.start()
    assert halfway.wait(PATIENCE_S)
    index.compact()
    adding.join()
    assert_answers(index, rows)
    index.close()


def test_a_closed_index_has_no_file_open(tmp_path: Path) -> None:
    """Files, mappings and the lock are released; closing twice is fine."""
    before = len(os.listdir("/proc/self/fd"))
    index = open_index(tmp_path, Contents(library(20)))
    assert before < len(os.listdir("/proc/self/fd"))
    index.close()
    index.close()
    del index
    assert before >= len(os.listdir("/proc/self/fd"))


def test_growth_brings_a_better_basis_in_the_background(tmp_path: Path) -> None:
    """A library that grew has been given a basis that fits it, without a word from outside."""
    random = np.random.default_rng(1)
    common = np.abs(random.normal(size=40))
    index = open_index(tmp_path, Contents())
    rows = [
        (n, Signals(first_hashes(n, n), unit(common + 0.1 * np.abs(random.normal(size=40))))) for n in range(1, 1400)
    ]
    index.add(rows)
    assert index._upkeep is not None
    index._upkeep.result()
    assert index._rows.basis.learned_from == 1399
    assert index._views[0].coarse[:, 15].max() < 0.3  # the rest that 15 of 40 dimensions leave
    index.close()


def test_bounds_leave_few_rows_of_a_library_like_photos(tmp_path: Path) -> None:
    """The vectors that are read are a small part of all: the bounds do prune, not just allow."""
    random = np.random.default_rng(1)
    common = np.abs(random.normal(size=64))
    rows = []
    for number in range(1, 3001):
        one = random_signals(random, 64)
        assert one.fv is not None
        rows.append((number, Signals(one.hashes, unit(0.05 * common + 0.3 * one.fv))))
    index = open_index(tmp_path, Contents(rows))
    index.compact()
    (view,) = index._views
    read: list[int] = []

    class Counted(type(view)):  # type: ignore[misc]  # the class of a frozen dataclass, to count its reads
        def rows(self, which: NDArray[np.intp]) -> object:
            read.append(len(which))
            return super().rows(which)

    counted = Counted(*(getattr(view, name) for name in view.__slots__))
    index._views = (counted,)
    (hits,) = index.search([rows[0][1]], DEFAULT_WEIGHTS, 0.9)
    assert [hit.content for hit in hits] == [1]
    assert sum(read) < 30
    index.close()


def test_a_full_disk_is_an_error_and_the_rows_before_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rows that can't be written raise StoreFull and are not known; they can be added once there is room."""
    rows = library(20)
    index = open_index(tmp_path, Contents(rows[:10]))
    writing, calls = os.pwrite, iter(range(100))

    def fail_at_fourth(*arguments: Any) -> int:
        if next(calls) == 3:
            raise OSError(28, "No space left on device")
        return writing(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail_at_fourth)
        with pytest.raises(StoreFull, match="No space left"):
            index.add(rows[10:])
    assert_answers(index, rows[:10])
    index.add(rows[10:])
    assert_answers(index, rows)
    index.close()
    store = Contents(rows)
    index = open_index(tmp_path, store)
    assert_answers(index, rows)
    index.close()


def test_an_index_that_could_not_be_opened_is_opened_in_the_same_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A full disk would only have less room with a second one."""
    rows = library(10)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StoreFull, match="No space left"):
            open_index(tmp_path, Contents(rows))
    index = open_index(tmp_path, Contents(rows))
    assert_answers(index, rows)
    assert len(list((tmp_path / "index").iterdir())) == 1
    index.close()


def test_a_rewrite_on_a_full_disk_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error is told, the half-written files are gone, answers and the next start are right."""
    rows = library(100)
    index = open_index(tmp_path, Contents(rows))

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(OSError, match="No space left"):
            index.compact()
    assert_answers(index, rows)
    assert not files_of(tmp_path, "/1.*")
    index.compact()
    assert_answers(index, rows)
    assert not files_of(tmp_path, "/0.*")
    index.close()


def test_closing_breaks_off_a_rewrite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The daemon's stop does not wait for a long rewrite; the rows are as before at the next start."""
    rows = library(300)
    index = open_index(tmp_path, Contents(rows))
    monkeypatch.setattr(cascade, "BATCH", 10)
    reached, go_on = threading.Event(), threading.Event()
    living = type(index._views[0]).rows

    def slow(view: Any, which: Any) -> object:
        reached.set()
        assert go_on.wait(PATIENCE_S)
        return living(view, which)

    with monkeypatch.context() as patch:
        patch.setattr(type(index._views[0]), "rows", slow)
        rewriting = threading.Thread(target=index.compact)
        rewriting.start()
        assert reached.wait(PATIENCE_S)
        index._closed = True
        go_on.set()
        rewriting.join()
    index.close()
    assert not files_of(tmp_path, "/1.basis")
    index = open_index(tmp_path, Contents(rows))
    assert_answers(index, [(content, kept(one)) for content, one in rows])
    index.close()


def test_a_basis_keeps_nearly_as_much_as_the_eigenvectors() -> None:
    """Of vectors with a common part and a falling spectrum, as those of pictures; its rows stay orthonormal."""
    random = np.random.default_rng(1)
    rows = random.standard_normal((600, 320)) / np.arange(1, 321) ** 0.7 + 0.1
    sample = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    rows = sample.astype(np.float64)
    projection = Basis.learn(sample, len(sample)).projection
    best = np.linalg.eigh(rows.T @ rows)[0][::-1][: bounds.DIMENSIONS].sum()
    assert 0.999 * best < np.square(rows @ projection.T).sum() < best
    assert np.allclose(projection @ projection.T, np.eye(bounds.DIMENSIONS), atol=1e-8)


def test_a_basis_is_learned_from_few_and_equal_rows() -> None:
    """Fewer rows than dimensions, or all of them equal, make no number that is not finite."""
    for sample in (np.eye(5, 300), np.tile(np.eye(1, 300), (400, 1))):
        basis = Basis.learn(sample.astype(np.float16), len(sample))
        assert np.linalg.eigvalsh(basis.projection @ basis.projection.T).max() < 1
        assert np.isfinite(basis.steps).all()
