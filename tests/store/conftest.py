from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from first_hashes import first_hashes

from shazimd.fingerprint import Fingerprint, FloatVector, Signals
from shazimd.store.lmdb_store import Store, open_store
from shazimd.types import ContentId, FileRow, FileState, Stat

MIB = 1 << 20
sys.path.append(str(Path(__file__).parent / "fixtures"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 * MIB)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def unit_vector() -> Callable[..., FloatVector]:
    """A vector of unit length, the same for the same seed."""

    def make(seed: int, width: int = 64) -> FloatVector:
        v = np.random.default_rng(seed).standard_normal(width)
        return (v / np.linalg.norm(v)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def make_fingerprint(unit_vector: Callable[..., FloatVector]) -> Callable[..., Fingerprint]:
    """A fingerprint, the same for the same seed."""

    def make(
        seed: int,
        model: str | None = "m",
        pixels: bytes | None = None,
        features: bytes = b"",
        low_information: bool = False,
    ) -> Fingerprint:
        fv = None if model is None else unit_vector(seed)
        signals = Signals(first_hashes((1 << 64) - 1 - seed, seed), fv)
        return Fingerprint(signals, model, 640 + seed, 480, "JPEG", pixels, low_information, features)

    return make


@pytest.fixture(scope="session")
def indexed() -> Callable[[ContentId], FileRow]:
    """The row of a file that holds a content."""
    return lambda content: FileRow(Stat(100, -5, 2**64 - 1), FileState.INDEXED, content)


@pytest.fixture(scope="session")
def failed() -> FileRow:
    return FileRow(Stat(7, 8, 9), FileState.FAILED, reason="not_an_image: \udcff is no picture")
