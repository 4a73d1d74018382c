"""Calls that may hang."""

from __future__ import annotations

import threading

import pytest

from shazimd.ingest import patience
from shazimd.ingest.patience import RemoteCalls, Stalled


def test_a_call_that_hangs_is_given_up_and_goes_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked is told, and can see when there is an answer."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.01)
    answers = threading.Event()
    patient = RemoteCalls()
    with pytest.raises(Stalled, match="no answer for"):
        patient.call(answers.wait)
    waiting = [patient.is_waiting]
    answers.set()
    while waiting[-1]:
        waiting.append(patient.is_waiting)
    assert waiting[0]
    assert 7 == patient.call(lambda: 7)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TimeoutError("of the file system")])
def test_an_error_of_the_call_is_its_own(error: OSError) -> None:
    """A file system may report a timeout itself."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        RemoteCalls().call(fail)
    assert error is raised.value
