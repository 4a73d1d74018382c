"""The index beside a real store: what the daemon opens at each start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from index_rows import Row, brute_force, kept, library

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.cascade import CascadeIndex
from shazimd.store.base import Store, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.types import DEFAULT_WEIGHTS

MODEL = "model"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 1 << 26)
    yield opened
    opened.close()


def put(store: Store, rows: list[Row], model: str | None = MODEL) -> list[Row]:
    """Store these signals; the same under the ids that they were given."""

    def work(writer: Writer) -> list[Row]:
        given = []
        for number, signals in rows:
            fv = signals.fv if model else None
            own = Signals(signals.hashes, fv)
            digest = number.to_bytes(32, "big")
            fingerprint = Fingerprint(own, model, 10, 10, "PNG", turned=(own.hashes,) * 7)
            given.append((writer.add_content(digest, fingerprint), own))
        return given

    return store.write(work)


def open_index(tmp_path: Path, store: Store, model: str | None = MODEL) -> CascadeIndex:
    with store.read() as reader:
        return CascadeIndex.open(str(tmp_path / "store" / "index"), reader, model)


def assert_answers(index: CascadeIndex, rows: list[Row]) -> None:
    query = kept(rows[0][1])
    expected = brute_force(rows, query, DEFAULT_WEIGHTS, 0.5)
    assert [expected] == index.search([query], DEFAULT_WEIGHTS, 0.5)
    assert len(rows) == len(index)


def test_everything_in_the_store_is_found(tmp_path: Path, store: Store) -> None:
    """A first start reads the whole store, a second start its files and what is new."""
    rows = put(store, library(30))
    index = open_index(tmp_path, store)
    assert_answers(index, rows)
    index.close()
    rows += put(store, [(100 + number, signals) for number, signals in library(20, seed=3)])
    index = open_index(tmp_path, store)
    assert_answers(index, rows)
    index.close()


def test_what_was_pruned_is_not_found(tmp_path: Path, store: Store) -> None:
    """Contents that the store removed while the index was closed are gone from it, too."""
    rows = put(store, library(30))
    open_index(tmp_path, store).close()
    store.write(lambda writer: writer.prune([content for content, _ in rows[:10]]))
    index = open_index(tmp_path, store)
    assert_answers(index, rows[10:])
    index.close()


def test_vectors_that_came_later_are_searched(tmp_path: Path, store: Store) -> None:
    """Contents stored before there was a model get their vectors from the backfill, and the index with them."""
    rows = library(20)
    given = put(store, rows, model=None)
    index = open_index(tmp_path, store)
    assert_answers(index, given)
    index.close()
    complete = [(content, one) for (content, _), (_, one) in zip(given, rows, strict=True)]

    def backfill(writer: Writer) -> None:
        for content, one in complete:
            assert one.fv is not None
            writer.put_vector(content, MODEL, one.fv)

    store.write(backfill)
    index = open_index(tmp_path, store)
    assert_answers(index, complete)
    index.close()


def test_the_files_stand_below_the_store(tmp_path: Path, store: Store) -> None:
    """All that the index keeps lies in its own directory, for its owner alone."""
    put(store, library(3))
    open_index(tmp_path, store).close()
    (folder,) = (tmp_path / "store" / "index").iterdir()
    assert os.stat(folder).st_mode & 0o077 == 0
