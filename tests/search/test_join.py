"""The self-join through a real store and the index of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from first_hashes import first_hashes

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index import cascade
from shazimd.index.cascade import CascadeIndex
from shazimd.search.join import Step, pairs
from shazimd.search.library import Library
from shazimd.search.score import score, similarities
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import open_store
from shazimd.text import all_weights
from shazimd.types import FileRow, FileState, Stat

WEIGHTS = all_weights((1.0, 2.0, 0.0))
KNOWN = 150


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """KNOWN contents with a file each, some with two, one with none."""
    random = np.random.default_rng(2)
    centres = [int(bits) for bits in random.integers(0, 2**63, 12)]

    def fill(writer: Writer) -> None:
        for number in range(KNOWN):
            flips = sum(1 << int(bit) for bit in set(random.integers(0, 64, 6)))
            signals = Signals(first_hashes(centres[number % 12] ^ flips, centres[number % 7]), None)
            content = writer.add_content(number.to_bytes(32, "big"), Fingerprint(signals, None, 9, 9, "PNG"))
            for name in (b"/p/%d", b"/q/%d")[: (number != 5) + (number % 9 == 0)]:
                writer.put_file(name % number, FileRow(Stat(1, 1, 1), FileState.INDEXED, content))

    with closing(open_store(str(tmp_path / "store"), 1 << 26)) as store:
        store.write(fill)

        def open_index(_store: object, model: str | None) -> CascadeIndex:
            with store.read() as reader:
                return CascadeIndex.open(str(tmp_path / "index"), reader, model)

        with closing(Library(store, open_index)) as made:
            yield made


def told(steps: Iterator[Step]) -> dict[frozenset[bytes], float]:
    """The pairs, each told once."""
    found = {}
    for _, pair in steps:
        if pair is not None:
            names = frozenset((pair.path, pair.match))
            assert names not in found
            found[names] = pair.score
    return found


def expected(library: Library, threshold: float, after: int = 0) -> dict[frozenset[bytes], float]:
    with library.store.read() as reader:
        files = [(path, row.content) for path, row in reader.walk(b"/")]
        signals = dict(reader.signals(None))
    scores = {
        frozenset((a, b)): score(similarities(signals[one], signals[other]), WEIGHTS)
        for (a, one), (b, other) in combinations(files, 2)
        if one and other and max(one, other) > after
    }
    return {pair: value for pair, value in scores.items() if value >= threshold}


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("hits_max", [20, 100_000])
def test_every_pair_of_files_is_told_once(
    library: Library, threshold: float, hits_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs that reach the threshold, with their scores, also those of files with the same bytes."""
    monkeypatch.setattr(cascade, "JOIN_HITS", hits_max)
    assert expected(library, threshold) == told(pairs(library, WEIGHTS, threshold))


def test_it_goes_on_after_the_last_content_that_was_finished(library: Library) -> None:
    """Broken off anywhere, what was told up to the last finished content and what follows it are all pairs."""
    steps = list(pairs(library, WEIGHTS, 0.6))
    for end in range(0, len(steps), 97):
        after = max((content for content, pair in steps[:end] if pair is None), default=0)
        before = [step for step in steps[:end] if step[0] <= after]
        rest = list(pairs(library, WEIGHTS, 0.6, after))
        assert steps == before + rest
    assert expected(library, 0.6, after=100) == told(pairs(library, WEIGHTS, 0.6, 100))
