"""Stores as earlier versions wrote them. ``fixtures/make_store.py`` says how to add the next one."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_store import rows

from shazimd.store.lmdb_store import open_store

MIB = 1 << 20
SCHEMAS = sorted(path.parent.name for path in Path(__file__).parent.glob("fixtures/*/store.tar.xz"))


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[str], Path]:
    """Unpacks the store of a schema; its directory."""

    def unpack(schema: str) -> Path:
        with tarfile.open(Path(__file__).parent / "fixtures" / schema / "store.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / "store"

    return unpack


def expected(directory: Path) -> Any:
    return json.loads((directory.parent / "expected.json").read_text())


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_store_of_an_earlier_schema_keeps_every_row(unpacked: Callable[[str], Path], schema: str) -> None:
    """All files, contents, vectors, features, alerts and pending alerts are there after the migration, and again when
    the store is opened once more."""
    directory = unpacked(schema)
    for _ in range(2):
        store = open_store(str(directory), 16 * MIB)
        with store.read() as reader:
            assert rows(reader) == expected(directory)
        assert store.check() == []
        store.close()
