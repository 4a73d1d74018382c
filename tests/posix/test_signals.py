from __future__ import annotations

import os
import signal
import subprocess
import sys

import patience
import pytest

WAITING = """
import os, signal, sys
from shazimd.posix.signals import StopSignals

signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"usr1\\n"))  # no buffer, which may be in use
stop = StopSignals(signal.SIGTERM, signal.SIGINT)
print("waiting", flush=True)
if sys.argv[1] == "early":
    signal.raise_signal(signal.SIGTERM)
print(stop.wait(None if sys.argv[1] != "short" else 0.05), flush=True)
"""


def started(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WAITING, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    """Another one runs its handler, and the wait goes on."""
    with started("long") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "usr1\n"
        process.send_signal(number)
        assert process.stdout.read() == "True\n"


def test_a_signal_before_the_wait_counts() -> None:
    """It is not waited for then."""
    with started("early") as process:
        assert process.communicate()[0] == "True\n"


def test_a_wait_has_an_end() -> None:
    """Without a signal it is over after its time."""
    with started("short") as process:
        assert process.communicate()[0] == "False\n"


ELSEWHERE = """
import signal, sys, threading
from patience import wait_for
from shazimd.posix.signals import set_at

stop = threading.Event()
set_at(stop, signal.SIGTERM)
main = threading.main_thread().ident


def take_it():
    wait_for(lambda: sys._current_frames()[main].f_code is threading.Condition.wait.__code__)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


threading.Thread(target=take_it, daemon=True).start()
stop.wait()
print("set", flush=True)
"""


def test_a_signal_that_another_thread_gets_sets_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread waits for the event without an end, and is not interrupted."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(patience.__file__), prepend=os.pathsep)
    assert subprocess.check_output([sys.executable, "-c", ELSEWHERE], text=True) == "set\n"
