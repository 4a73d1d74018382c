"""Calls that may hang."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest
from patience import PATIENCE_S, wait_for

from shazimd.ingest import patience
from shazimd.ingest.patience import RemoteCalls, RemoteRoots, Stalled


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no file system that hangs."""
    monkeypatch.setattr(patience, "PATIENCE_S", PATIENCE_S)


def test_a_call_that_hangs_is_given_up_and_goes_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked is told, and can see when there is an answer."""
    answers = threading.Event()
    patient = RemoteCalls()
    with monkeypatch.context() as hurried:
        hurried.setattr(patience, "PATIENCE_S", 0.01)
        with pytest.raises(Stalled, match="no answer for"):
            patient.call(answers.wait)
    waiting = [patient.is_waiting]
    answers.set()
    while waiting[-1]:
        waiting.append(patient.is_waiting)
    assert waiting[0]
    assert 7 == patient.call(lambda: 7)


def test_a_slow_call_is_waited_for_as_long_as_it_makes_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is given up like any other."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.01)
    answers, done = threading.Event(), iter((1, 2, 3))
    patient = RemoteCalls()
    with pytest.raises(Stalled):
        patient.call(answers.wait, lambda: next(done, 3))
    assert [] == list(done)
    answers.set()


def test_a_root_that_owes_an_answer_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it gives it; other roots are."""
    answers = threading.Event()
    roots = RemoteRoots({b"/nas/a": b"/nas", b"/usb/a": b"/usb"}.get)
    with monkeypatch.context() as hurried:
        hurried.setattr(patience, "PATIENCE_S", 0.01)
        with pytest.raises(Stalled, match="no answer for"):
            roots.read(b"/nas/a", lambda _: answers.wait())
    with pytest.raises(Stalled, match="an earlier call"):
        roots.read(b"/nas/a", lambda _: 7)
    assert (7, 8) == (roots.read(b"/usb/a", lambda _: 7), roots.read(b"/local/a", lambda _: 8))
    (hanging,) = roots._hanging[b"/nas"]
    answers.set()
    wait_for(lambda: not hanging.is_waiting)
    assert 9 == roots.read(b"/nas/a", lambda _: 9)


class AtTheLastMoment(Future[Any]):
    """The answer comes between the end of the wait and the next look."""

    def result(self, timeout: float | None = None) -> Any:
        found = super().result()
        if timeout is not None:
            raise TimeoutError
        return found


def test_an_answer_at_the_last_moment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the wait is not taken for an error of the file system."""
    monkeypatch.setattr(patience, "Future", AtTheLastMoment)
    assert 7 == RemoteCalls().call(lambda: 7)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TimeoutError("of the file system")])
def test_an_error_of_the_call_is_its_own(error: OSError) -> None:
    """A file system may report a timeout itself."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        RemoteCalls().call(fail)
    assert error is raised.value
