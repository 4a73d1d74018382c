"""Every index there is, made anew for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from index_rows import Contents, Make, Rewritten

from shazimd.index import cascade, scan
from shazimd.index.base import Index
from shazimd.index.cascade import CascadeIndex
from shazimd.index.flat import FlatIndex


@pytest.fixture(params=["flat", "cascade", "rewritten"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes an empty index of each kind: the reference, the cascade, and the cascade with bounds that prune small
    libraries (and small blocks)."""
    made: list[Index] = []
    if request.param == "rewritten":
        monkeypatch.setattr(cascade, "LEARN_FROM", 1)
        monkeypatch.setattr(scan, "BLOCK", 64)
        monkeypatch.setattr(scan, "PROBES", 4)
    kinds: dict[str, Make] = {
        "flat": FlatIndex,
        "cascade": lambda: CascadeIndex.open(tempfile.mkdtemp(dir=tmp_path), Contents(), "m"),
        "rewritten": lambda: Rewritten.open(tempfile.mkdtemp(dir=tmp_path), Contents(), "m"),
    }

    def make_one() -> Index:
        while made:
            made.pop().close()
        made.append(kinds[request.param]())
        return made[-1]

    yield make_one
    for index in made:
        index.close()
