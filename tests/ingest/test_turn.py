"""One thread at a time computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from ingest_bench import Bench
from patience import PATIENCE_S

from shazimd.ingest import turn as turns
from shazimd.ingest.turn import ComputingTurn


def test_turns_are_had_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", PATIENCE_S)
    computing = threading.Lock()

    def compute() -> bool:
        with ComputingTurn(computing):
            return computing.locked()

    with ThreadPoolExecutor(1) as pool:
        with ComputingTurn(computing) as first:
            first.take()  # it has the turn
            second = pool.submit(compute)
            assert not wait([second], 0.2).done
            first.release()
            assert second.result(PATIENCE_S)
            first.take()
        assert not computing.locked()


def test_a_thread_that_waits_too_long_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves the turn to the thread that has it."""
    monkeypatch.setattr(turns, "PATIENCE_S", 0.01)
    computing = threading.Lock()
    with ComputingTurn(computing):
        with ComputingTurn(computing):
            pass
        assert computing.locked()


@pytest.mark.parametrize("data", [b"known", b"new", b"bad", b"crash", b"x" * 2000, None])
def test_a_file_that_waits_for_others_has_no_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, data: bytes | None
) -> None:
    """Neither for a worker nor for its commit: known, new, failed, too large and deleted files."""
    bench.look("before", b"known")
    path = bench.look("file", b"other")
    bench.decoders.decoded.clear()
    held: list[bool] = []

    def note() -> None:
        held.append(bench.committer.turn()._computing.locked())

    submit = bench.committer.submit

    def submitted(*arguments: Any, **options: Any) -> Future[object]:
        """Waits for the commit, whose own turn is over then."""
        done: Future[object] = submit(*arguments, **options)
        return _Watched(done, note)

    monkeypatch.setattr(bench.committer, "submit", submitted)
    bench.decoders.meanwhile = note
    if data is None:
        bench.root.joinpath("file").unlink()
    else:
        bench.write("file", data)
    bench.ingest.ingest(path, deleted=data is None)
    assert held
    assert not any(held)


class _Watched(Future[object]):
    def __init__(self, done: Future[object], note: Callable[[], None]) -> None:
        super().__init__()
        self._done = done
        self._note = note

    def result(self, timeout: float | None = None) -> object:
        found = self._done.result(PATIENCE_S)
        self._note()
        return found
