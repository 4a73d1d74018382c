"""A limit that many threads share."""

from __future__ import annotations

import threading

from patience import PATIENCE_S, wait_for

from shazimd.ingest.memory_budget import MemoryBudget


def test_a_large_file_is_alone_and_is_not_overtaken() -> None:
    """Small files that come after it wait, though there would be room for them beside the first."""
    budget, order = MemoryBudget(100), list[str]()
    release = threading.Event()
    taken = threading.Event()

    def take(name: str, size: int, *, until: threading.Event | None = None) -> None:
        with budget.taking(size):
            order.append(name)
            taken.set()
            if until is not None:
                until.wait(PATIENCE_S)

    first = threading.Thread(target=take, args=("first", 60), kwargs={"until": release})
    first.start()
    taken.wait(PATIENCE_S)
    large = threading.Thread(target=take, args=("larger than all", 1000))
    large.start()
    wait_for(budget._turn.locked)
    small = threading.Thread(target=take, args=("small", 10))
    small.start()
    release.set()
    for thread in (first, large, small):
        thread.join(PATIENCE_S)
    assert ["first", "larger than all", "small"] == order
    with budget.taking(100):  # all was given back
        pass
