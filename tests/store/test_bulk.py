"""Pages of other hosts' rows, written at once: the store is as after writing them one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from first_hashes import first_hashes

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.store.base import BulkWriter, Store
from shazimd.store.lmdb_store import open_store
from shazimd.types import ContentId, Digest, FileRow, FileState, Stat
from shazimd.words.packing import VERSION

Make = Callable[..., Fingerprint]
Page = tuple[dict[Digest, Fingerprint], dict[bytes, Digest]]
"""Fingerprints, and files with their contents."""

FEATURES = bytes([VERSION + 1]) * 3000
"""Of another version, so the store looks no further into them."""
NAMES = [b"a", b"b", b"c", b"\xff"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Two stores, with three contents of two models each: without a file, of this host, of another."""
    with (
        closing(open_store(str(tmp_path / "a"), 64 << 20)) as a,
        closing(open_store(str(tmp_path / "b"), 64 << 20)) as b,
    ):
        yield a, b


def row(content: ContentId, mtime_ns: int = 1) -> FileRow:
    return FileRow(Stat(100, mtime_ns, 0, 5), FileState.INDEXED, content)


def at_once(writer: BulkWriter, page: Page) -> None:
    given, files = page
    ids = writer.add_new_contents({digest: given[digest] for digest in files.values() if digest in given})
    rows = {}
    for path, digest in files.items():
        content = ids.get(digest) or added(writer, given, digest)
        if content is not None:
            rows[path] = row(content)
    writer.put_foreign_files(rows)


def singly(writer: BulkWriter, page: Page) -> None:
    given, files = page
    for path, digest in files.items():
        content = added(writer, given, digest)
        if content is not None:
            writer.put_file(path, row(content))


def added(writer: BulkWriter, given: dict[Digest, Fingerprint], digest: Digest) -> ContentId | None:
    known = writer.content(digest)
    if known is not None or digest not in given:
        return known
    try:
        return writer.add_content(digest, given[digest], related=False, held=True)
    except ValueError:
        return None


def state(store: Store) -> dict[str, Any]:
    """All that a reader sees, by names that do not depend on the order of writing."""
    with store.read() as reader:
        contents = {reader.digest(content): content for content, *_ in reader.hashes()}
        found: dict[str, Any] = {
            "files": {
                path: replace(file, content=None, state=FileState.FAILED) for path, file in reader.walk(b"nas:/")
            },
            "contents": {digest: sorted(reader.files_of(c, foreign=True)) for digest, c in contents.items()},
            "pixels": {d: len(reader.twins(c)) for d, c in contents.items()},
            "deleted": {reader.digest(content) for content in reader.deleted()},
            "counts": reader.counts(),
        }
        for digest, content in contents.items():
            for model in ("m", "n"):
                f = reader.fingerprint(content, model)
                found[f"{digest.hex()} {model}"] = (
                    *(
                        f.signals.hashes,
                        None if f.signals.fv is None else f.signals.fv.tobytes(),
                        f.model,
                    ),
                    *(f.width, f.height, f.format, f.pixels, f.low_information, f.features, f.turned, f.damaged),
                )
    assert store.check() == []
    return found


def random_page(rng: random.Random, make: Make, number: int) -> Page:
    """Contents of two models and of none, known ones and faulty ones; files at random paths, of which none is a
    directory of another in the page."""
    given: dict[Digest, Fingerprint] = {}
    files: dict[bytes, Digest] = {}
    for _ in range(rng.randrange(12)):
        seed = rng.randrange(40)
        digest = b"%032d" % seed
        fingerprint = make(seed, rng.choice([None, "m", "n"]), rng.choice([None, b"p" * 16, b"%016d" % seed]), FEATURES)
        fault = rng.randrange(12)
        if fault == 0:
            fingerprint = replace(fingerprint, format="x" * 40)
        elif fault == 1:
            fingerprint = replace(
                fingerprint, model="m", signals=Signals(first_hashes(1, 2), np.eye(1, 4, dtype=np.float32)[0])
            )
        elif fault == 2:
            fingerprint = replace(fingerprint, model="m", signals=Signals(first_hashes(1, 2), np.zeros(64, np.float32)))
        elif fault == 3:
            fingerprint = replace(
                fingerprint, model=None, signals=Signals(first_hashes(1, 2), np.eye(1, 64, dtype=np.float32)[0])
            )
        if rng.random() < 0.9:
            given[digest] = fingerprint
        depth = rng.randrange(3)
        path = b"nas:/" + b"/".join([*(rng.choice(NAMES) for _ in range(depth)), b"%d" % rng.randrange(6)])
        files[path] = digest
    if number % 3 == 0:
        files[b"nas:/" + rng.choice(NAMES)] = b"%032d" % rng.randrange(40)
        files = {path: digest for path, digest in files.items() if not any(p.startswith(path + b"/") for p in files)}
    return given, files


@pytest.mark.parametrize("seed", range(6))
def test_a_page_leaves_the_store_as_its_rows_one_by_one(
    pair: tuple[Store, Store], make_fingerprint: Make, seed: int
) -> None:
    """Whatever the page has: new, known and deleted contents, several models, faulty fingerprints, files in place of
    other files and of directories."""
    rng = random.Random(seed)
    for number in range(25):
        page = random_page(rng, make_fingerprint, number)
        gone = b"nas:/" + rng.choice([*NAMES, b"1", b"a/1", b"b/2"])
        for store, write in zip(pair, (at_once, singly), strict=True):
            store.write(partial(write, page=page))
            store.write(methodcaller("remove_file", gone))
        assert state(pair[0]) == state(pair[1])


def test_of_a_file_and_a_directory_at_a_path_only_the_file_stays(store: Store, make_fingerprint: Make) -> None:
    """No host has both, a hostile peer may say so: neither order leaves a file below a file."""
    digests = {b"nas:/a": b"1" * 32, b"nas:/a/b": b"2" * 32, b"nas:/a/b/c": b"3" * 32, b"nas:/z": b"4" * 32}
    given = {digest: make_fingerprint(number) for number, digest in enumerate(digests.values())}
    for files in (digests, dict(reversed(digests.items()))):
        store.write(partial(at_once, page=(given, files)))
        with store.read() as reader:
            assert [path for path, _ in reader.walk(b"nas:/")] == [b"nas:/a", b"nas:/z"]
        assert store.check() == []
