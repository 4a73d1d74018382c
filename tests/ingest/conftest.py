from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ingest_bench import Bench

from shazimd.ingest.commit import Committer
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 << 20)
    yield opened
    opened.close()


@pytest.fixture
def committer(store: Store) -> Iterator[Committer]:
    with closing(Committer(store)) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"
