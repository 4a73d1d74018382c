"""Calls that may hang."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest
from patience import PATIENCE_S

from shazimd.ingest import patience
from shazimd.ingest.patience import RemoteCalls, Stalled


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
