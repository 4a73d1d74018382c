"""`shazimctl alerts`, once and following."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import PAIRS, shazimctl
from fake_service import FakeService, alert, serving
from patience import PATIENCE_S, wait_for

from shazimd.protocol import Alert, PairLine
from shazimd.server import guard


def test_alerts(run: Any, service: FakeService) -> None:
    """Stored alerts after an id, a line each; 1 when there is none."""
    said = run("alerts", "--json")
    assert (said.status, said.out, said.err) == (1, "", "shazimctl: no alerts\n")
    service.stored = [alert(1), alert(2), {**alert(3), "matches": 1}]
    said = run("alerts", "--since", "1")
    assert said.out.splitlines() == [
        "2 2026-01-02T03:04:05Z /srv/p/new2.jpg: 93% copy of /srv/p/ski.jpg and 1 more",
        "3 2026-01-02T03:04:05Z /srv/p/new3.jpg: 93% copy of /srv/p/ski.jpg",
    ]
    assert (said.status, run("alerts", "--json").json) == (0, service.stored)


@pytest.mark.parametrize(
    ("since", "ids"),
    [
        ("2", [3]),
        ("2026-01-02T03:04:05+00:00", [1, 2, 3]),
        ("2026-01-02 03:04:06Z", []),
        ("2026-01-03", []),
        ("36500d", [1, 2, 3]),
        ("2h", []),
        ("today", []),
    ],
)
def test_alerts_since_a_time(run: Any, service: FakeService, since: str, ids: list[int]) -> None:
    """An id, a time, a day or a duration; a time without a zone is local."""
    service.stored = [alert(number) for number in (1, 2, 3)]
    assert [item["id"] for item in run("alerts", "--json", "--since", since).json] == ids


def test_a_time_that_is_none_is_refused(run: Any) -> None:
    """With examples of those that are understood."""
    said = run("alerts", "--since", "noon")
    assert (said.status, "'noon' found, expected an id, or a time such as 2h" in said.err) == (2, True)


def test_all_pages_of_alerts_are_read(run: Any, service: FakeService) -> None:
    """More alerts than one answer holds are asked for page by page."""
    service.stored = [alert(number) for number in range(1, 2501)]
    assert len(run("alerts").out.splitlines()) == 2500


def test_followed_alerts_survive_being_dropped(service: FakeService, socket_path: str) -> None:
    """--follow tells what was missed, then what comes, each once, also when the daemon ends the stream in between."""
    service.stored = [alert(1), alert(2)]
    process = shazimctl("alerts", "--since", "1", "--follow", "--json")
    lines = process.stdout
    assert lines is not None

    def next_alert() -> Alert:
        told: Alert = json.loads(lines.readline())
        return told

    assert next_alert() == alert(2)
    service.stored.append(alert(3))
    service.drop_subscribers()
    assert next_alert() == alert(3)
    wait_for(lambda: service.subscribers == 1)
    service.tell(alert(4))
    assert next_alert() == alert(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def test_alerts_that_are_followed_through_a_pause_all_arrive(
    service: FakeService, socket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow program behind the pipe misses none: the daemon cuts off a stream that is not read, and the command reads
    on in another one."""
    monkeypatch.setattr(guard, "UNREAD_S", 0.05)
    monkeypatch.setattr(guard, "STREAM_UNREAD_S", 0.1)
    service.stored = [alert(number) for number in range(1, 5001)]
    process = shazimctl("alerts", "--since", "0", "--follow", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    wait_for(lambda: not service.subscribers)
    told = [first, *(json.loads(process.stdout.readline()) for _ in range(4999))]
    assert service.stored == told
    wait_for(lambda: service.subscribers == 1)
    service.tell(alert(5001))
    assert json.loads(process.stdout.readline()) == alert(5001)
    process.send_signal(signal.SIGINT)
    process.communicate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_lines_reach_a_pipe_at_once(
    service: FakeService, socket_path: str, number: signal.Signals, status: int
) -> None:
    """Each alert is in the pipe before the next one exists; a signal loses no line and prints none."""
    service.stored = [alert(1)]
    process = shazimctl("alerts", "--since", "0", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("1 ")
    wait_for(lambda: service.subscribers == 1)
    service.tell(alert(2))
    assert process.stdout.readline().startswith("2 ")
    process.send_signal(number)
    assert (*process.communicate(), process.returncode) == ("", "", status)


def test_pairs_reach_a_pipe_at_once(service: FakeService, socket_path: str) -> None:
    """A pair is in the pipe while the join is still running."""
    more = threading.Event()

    def pairs() -> Iterator[PairLine]:
        yield from PAIRS[:2]
        more.wait(PATIENCE_S)
        yield from PAIRS[2:]

    service.joined = pairs()  # type: ignore[assignment]  # the service iterates once
    process = shazimctl("duplicates", "--all")
    assert process.stdout is not None
    assert process.stdout.readline() == "/srv/b: 84% like /srv/a\n"
    more.set()
    assert (*process.communicate(), process.returncode) == ("/srv/c: 80% like /srv/a\n", "", 0)


def test_following_ends_with_the_daemon(service: FakeService, tmp_path: Path) -> None:
    """When the daemon is gone for good, exit status 3 says so."""
    with serving(service, tmp_path, stop_s=PATIENCE_S) as path:
        process = shazimctl("--socket", path, "alerts", "--follow")
        wait_for(lambda: service.subscribers)
    _, err = process.communicate()
    assert process.returncode == 3
    assert "the daemon is not running" in err
