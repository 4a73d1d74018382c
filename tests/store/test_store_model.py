"""The store against a dict that does the same, in every order of doing that hypothesis thinks of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable

import numpy as np
from first_hashes import first_hashes
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.store.base import Writer
from shazimd.store.lmdb_store import Store, open_store
from shazimd.types import FileRow, FileState, Stat

NAMES = [b"a", b"b", b"\xff\xfe", b"new\nline", b"n" * 255, b" ", b"\xc3\xa9"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map(lambda names: b"/" + b"/".join(names))
digests = st.sampled_from([b"d%d" % n for n in range(6)])


class Model:
    """What the promises say, in the plainest way."""

    def __init__(self) -> None:
        self.files: dict[bytes, FileRow] = {}
        self.contents: dict[bytes, int] = {}
        self.given_out = 0
        self.removed: list[int] = []
        self.alerts: list[dict[str, int]] = []

    def below(self, directory: bytes) -> list[bytes]:
        return [path for path in self.files if path.startswith(directory + b"/")]

    def put(self, path: bytes, row: FileRow) -> None:
        self.remove_tree(path)
        for known in list(self.files):
            if path.startswith(known + b"/"):
                del self.files[known]
        self.files[path] = row

    def remove_tree(self, directory: bytes) -> int:
        gone = self.below(directory)
        for path in gone:
            del self.files[path]
        return len(gone)

    def move(self, old: bytes, new: bytes) -> None:
        moved = {path: self.files.pop(path) for path in [old, *self.below(old)] if path in self.files}
        if moved:
            self.remove_tree(new)
            self.files.pop(new, None)
        for path, row in moved.items():
            self.put(new + path[len(old) :], row)

    def add_content(self, digest: bytes) -> int:
        if digest not in self.contents:
            self.given_out += 1
            self.contents[digest] = self.given_out
        return self.contents[digest]

    def prune(self) -> int:
        held = {row.content for row in self.files.values()}
        gone = {digest: content for digest, content in self.contents.items() if content not in held}
        for digest in gone:
            del self.contents[digest]
        self.removed += sorted(gone.values())
        return len(gone)


def tree_order(path: bytes) -> list[tuple[int, bytes]]:
    *directories, name = path.split(b"/")[1:]
    return [(1, directory) for directory in directories] + [(0, name)]


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.directory = tempfile.mkdtemp()
        self.store: Store = open_store(self.directory, 16 << 20)
        self.model = Model()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.directory)

    @rule(path=paths, size=st.integers(0, 2**63 - 1), reason=st.text(max_size=3))
    def put_failed(self, path: bytes, size: int, reason: str) -> None:
        self._put(path, FileRow(Stat(size, -size, size), FileState.FAILED, reason=reason))

    @rule(path=paths, digest=digests)
    def put_indexed(self, path: bytes, digest: bytes) -> None:
        signals = Signals(first_hashes(1, 2), np.eye(1, 8, dtype=np.float32)[0])
        fingerprint = Fingerprint(signals, "m", 1, 1, "PNG", pixels=digest * 16, features=digest * 1000)
        content = self.store.write(lambda w: w.add_content(digest, fingerprint))
        assert self.model.add_content(digest) == content
        self._put(path, FileRow(Stat(1, 2, 3), FileState.INDEXED, content))

    def _put(self, path: bytes, row: FileRow) -> None:
        self.store.write(lambda w: w.put_file(path, row))
        self.model.put(path, row)

    @rule(path=paths)
    def remove_file(self, path: bytes) -> None:
        assert self.store.write(lambda w: w.remove_file(path)) == (self.model.files.pop(path, None) is not None)

    @rule(path=paths)
    def remove_tree(self, path: bytes) -> None:
        assert self.store.write(lambda w: w.remove_tree(path)) == self.model.remove_tree(path)

    @rule(old=paths, new=paths)
    def move(self, old: bytes, new: bytes) -> None:
        if not new.startswith(old + b"/") and old != new:
            self.store.write(lambda w: w.move(old, new))
            self.model.move(old, new)

    @rule()
    def prune(self) -> None:
        ids = list(self.model.contents.values())
        assert self.store.write(lambda w: w.prune(ids)) == self.model.prune()

    @rule(number=st.integers())
    def alert(self, number: int) -> None:
        self.model.alerts.append({"n": number})
        assert self.store.write(lambda w: w.add_alert({"n": number})) == len(self.model.alerts)

    @rule(path=paths)
    def fail_in_the_middle(self, path: bytes) -> None:
        def work(w: Writer) -> None:
            w.remove_tree(b"/")
            w.put_file(path, FileRow(Stat(0, 0, 0), FileState.FAILED))
            raise KeyboardInterrupt

        self._expect_interrupt(lambda: self.store.write(work))

    def _expect_interrupt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except KeyboardInterrupt:
            return
        raise AssertionError("the exception was swallowed")

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.directory, 16 << 20)

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @invariant()
    def says_what_the_model_says(self) -> None:
        files = self.model.files
        with self.store.read() as reader:
            assert list(reader.walk(b"/")) == sorted(files.items(), key=lambda item: tree_order(item[0]))
            assert all(reader.file(path) == row for path, row in files.items())
            for digest, content in self.model.contents.items():
                assert reader.content(digest) == content
                assert reader.contents_with_pixels(digest * 16) == [content]
                assert reader.fingerprint(content, "m").features == digest * 1000
                holding = sorted(path for path, row in files.items() if row.content == content)
                assert reader.files_of(content) == holding
            assert [content for content, _ in reader.signals("m")] == sorted(self.model.contents.values())
            assert [content for _, content in reader.removals()] == self.model.removed
            assert [record for _, record in reader.alerts()] == self.model.alerts
            assert reader.counts() == self._counts()

    def _counts(self) -> dict[str, int]:
        images = sum(row.state is FileState.INDEXED for row in self.model.files.values())
        return {
            "images": images,
            "foreign": 0,
            "contents": len(self.model.contents),
            "failed": len(self.model.files) - images,
            "alerts": len(self.model.alerts),
            "vectors": len(self.model.contents),
        }

    @invariant()
    def is_in_order(self) -> None:
        assert self.store.check() == []


TestStoreAgainstModel = StoreMachine.TestCase
TestStoreAgainstModel.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # it flushes to a disk that others use too
)
