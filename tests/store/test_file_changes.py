"""Waits for a change of a file: until a file that is being taken in was dealt with, within a limit."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from patience import PATIENCE_S

from shazimd.store.file_changes import FileChanges


def test_a_wait_ends_though_a_block_is_never_left() -> None:
    changes = FileChanges(deferred_max_s=0.01)
    with changes.deferring():
        changes.add()
        changes.wait(0, PATIENCE_S)
        assert 1 == changes.number


def test_blocks_that_are_entered_later_prolong_no_wait() -> None:
    """Under a flood there is always a block that was not left."""
    changes, begun, woken = FileChanges(deferred_max_s=PATIENCE_S), threading.Event(), threading.Event()

    def flood() -> None:
        before = ExitStack()
        before.enter_context(changes.deferring())
        changes.add()
        begun.set()
        while not woken.is_set():
            following = ExitStack()
            following.enter_context(changes.deferring())
            before.close()
            before = following
        before.close()

    flooding = threading.Thread(target=flood)
    flooding.start()
    begun.wait(PATIENCE_S)
    changes.wait(0, PATIENCE_S)
    woken.set()
    flooding.join(PATIENCE_S)


def test_the_end_of_waits_ends_a_deferred_one() -> None:
    changes = FileChanges(deferred_max_s=PATIENCE_S)
    with changes.deferring():
        changes.add()
        changes.end_waits()
        changes.wait(0, PATIENCE_S)
