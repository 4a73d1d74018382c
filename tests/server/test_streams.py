"""Streams of alerts, waits for changes, and the stop that ends them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_service import FakeService, alert
from patience import PATIENCE_S, wait_for
from raw_http import IMAGE, ask, connect, error

from shazimd import errors
from shazimd.client import Client
from shazimd.server import events, verbs
from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.sockets import bind_socket


def test_events_come_as_they_happen(service: FakeService, path: str) -> None:
    """A subscriber gets each alert once, in order, from the moment it is subscribed."""
    lines = Client(path)._lines(verbs.STREAM)
    assert next(lines) == b": subscribed"
    for number in (1, 2):
        service.tell(alert(number))
    got = [next(lines) for _ in range(9)]
    assert [line for line in got if line.startswith(b"id:")] == [b"id: 1", b"id: 2"]
    assert json.loads(next(line for line in got if line.startswith(b"data: "))[6:]) == alert(1)
    lines.close()
    wait_for(lambda: service.subscribers == 0)


@pytest.mark.parametrize("how", ["since", "header"])
def test_missed_events_come_first_and_once(service: FakeService, path: str, how: str) -> None:
    """With since, or the Last-Event-ID of a browser that returns, the stored alerts come before the new ones."""
    service.stored = [alert(n) for n in (1, 2, 3)]
    target, header = ("?since=1", b"") if how == "since" else ("", b"Last-Event-ID: 1\r\n")
    with connect(path) as connection:
        connection.sendall(f"GET /v1/events{target} HTTP/1.1\r\nHost: x\r\n".encode() + header + b"\r\n")
        reader = connection.makefile("rb")
        ids = (int(line[4:]) for line in reader if line.startswith(b"id: "))
        assert [next(ids), next(ids)] == [2, 3]
        service.tell(alert(4))
        assert next(ids) == 4
    assert error(ask(path, "GET", "/v1/events", b"", "Last-Event-ID: x&y")) == (400, "usage")


def test_a_silent_stream_is_kept_alive(service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing happens a comment comes now and then."""
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.05)
    lines = Client(path)._lines(verbs.STREAM)
    assert [line for line in (next(lines) for _ in range(5)) if line] == [b": subscribed", *[b": keep-alive"] * 2]
    lines.close()


def test_subscribers_have_a_limit(service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is told so, and there is room again when one leaves."""
    monkeypatch.setattr(events, "SUBSCRIBERS_MAX", 1)
    first = Client(path)._lines(verbs.STREAM)
    next(first)
    with pytest.raises(errors.Unavailable, match="1 subscribers are connected"):
        next(Client(path).events())
    first.close()
    wait_for(lambda: service.subscribers == 0)


def test_a_dropped_subscriber_is_hung_up_on(service: FakeService, path: str) -> None:
    """When the service ends a subscription, the stream ends, complete."""
    stream = Client(path).events(since=0)
    service.stored = [alert(1)]
    assert next(stream)["id"] == 1
    service.drop_subscribers()
    assert list(stream) == []


def test_a_request_that_waits_for_a_change_is_answered_with_it(service: FakeService, path: str) -> None:
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(path, "GET", "/v1/changes?after=0.x&wait=20")))
    asking.start()
    assert service.working.acquire(timeout=PATIENCE_S)
    assert answers == []
    service.changed.add()
    asking.join(PATIENCE_S)
    assert (answers[0][0], answers[0][1]["after"]) == (200, "1.x")


def test_stop_ends_the_waits_for_changes(service: FakeService, tmp_path: Path) -> None:
    """They are answered without a change."""
    path = str(tmp_path / "s")
    server = Server(create_app(service, max_body_bytes=100), bind_socket(path))
    server.start(PATIENCE_S)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(path, "GET", "/v1/changes?after=0.x&wait=20")))
    asking.start()
    assert service.working.acquire(timeout=PATIENCE_S)
    assert server.stop(PATIENCE_S)
    asking.join(PATIENCE_S)
    assert (answers[0][0], answers[0][1]["after"]) == (200, "0.x")


def test_stop_finishes_what_is_in_hand(service: FakeService, tmp_path: Path) -> None:
    """A question that was being worked on is answered, streams end, and the path is gone."""
    service.holds = threading.Event()
    path = str(tmp_path / "s")
    server = Server(create_app(service, max_body_bytes=100), bind_socket(path))
    server.start(PATIENCE_S)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(path, "POST", "/v1/find", IMAGE)))
    asking.start()
    assert service.working.acquire(timeout=PATIENCE_S)
    stream = Client(path)._lines(verbs.STREAM)
    next(stream)
    stopped: list[bool] = []
    stopping = threading.Thread(target=lambda: stopped.append(server.stop(PATIENCE_S)))
    stopping.start()
    assert list(stream) == [b""]
    service.holds.set()
    for thread in (asking, stopping):
        thread.join(PATIENCE_S)
    assert (answers[0][0], stopped, server.alive(), Path(path).exists()) == (200, [True], False, False)
    assert server.stop(1)


def test_stop_abandons_what_does_not_finish(service: FakeService, tmp_path: Path) -> None:
    """When the time is over, stop says that something was left, and returns."""
    service.holds = threading.Event()
    path = str(tmp_path / "s")
    server = Server(create_app(service, max_body_bytes=100), bind_socket(path))
    server.start(PATIENCE_S)
    with connect(path) as connection:
        connection.sendall(b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nimage1")
        assert service.working.acquire(timeout=PATIENCE_S)
        assert server.stop(0) is False
    service.holds.set()
    wait_for(lambda: not server.alive())
