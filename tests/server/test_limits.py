"""Bad callers: limits of headers, bodies, connections and turns."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from fake_service import MAX_BODY_BYTES, FakeService, alert, serving
from patience import PATIENCE_S, wait_for
from raw_http import FORM, IMAGE, ask, connect, error, form, talk

from shazimd import errors
from shazimd.client import Client
from shazimd.protocol.groups import GroupMember
from shazimd.server import bodies, guard


def test_garbage_is_answered_in_json(path: str) -> None:
    """What is no HTTP gets a 400 in the same form as any other error."""
    status, _, body = talk(path, b"\x16\x03\x01\x02\x00\x01 not http\r\n\r\n")
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")


def test_huge_headers_are_refused(path: str) -> None:
    """Headers over the limit end in a 431 long before they fill the memory."""
    status, _, body = talk(path, b"GET / HTTP/1.1\r\nX: " + b"x" * 4 * guard.HEAD_BYTES_MAX)
    assert (status, json.loads(body)["error"]["code"]) == (431, "bad_request")


def test_requests_sent_ahead_have_a_limit(service: FakeService, path: str) -> None:
    """A few are answered in order; too many end the connection before they fill the memory."""
    request = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
    assert talk(path, request * 5 + request.replace(b"Host", b"Connection: close\r\nHost"))[2].count(b" 200 ") == 5
    service.fails = errors.NotFound("not asked so often")
    received = talk(path, request * 1000)
    assert b"more than 16 requests were sent ahead" in received[2]


def test_a_refusal_amid_a_request_leaves_no_error_in_the_log(
    service: FakeService, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who sends too many requests ahead is hung up on while the first is in work; its answer goes nowhere."""
    service.holds = threading.Event()
    first = b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage"
    with connect(path) as connection:
        connection.sendall(first)
        assert service.working.acquire(timeout=PATIENCE_S)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        service.holds.set()
    assert ask(path, "POST", "/v1/find", IMAGE)[0] == 200
    assert [] == [record.message for record in caplog.records if record.levelname == "ERROR"]


def test_headers_that_never_end_are_cut_off(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that opens a connection and says little or nothing gets a 408."""
    with connect(path) as connection:  # also the second request of a connection
        connection.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(guard, "HEAD_S", 0.05)  # now, for the first request may take its time
        connection.sendall(b"GET /v1/sta")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
    assert talk(path, b"")[0] == 408
    assert talk(path, b"GET /v1/status HTTP/1.1\r\nX: ")[0] == 408


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_before_it_is_read(service: FakeService, path: str, announced: bool) -> None:
    """A 413 comes at the announced size, or as soon as more than the limit has come."""
    head = b"POST /v1/find HTTP/1.1\r\nHost: x\r\n"
    if announced:
        sent = head + b"Content-Length: 9000000000\r\n\r\nimage"
    else:
        chunk = b"x" * 65536
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%s\r\n" % chunk * (MAX_BODY_BYTES // 65536 + 1)
    status, _, body = talk(path, sent)
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
    assert service.asked == []


def test_a_client_that_is_still_sending_a_refused_body_reads_the_answer(path: str) -> None:
    """The daemon throws away what still comes for a while: a close with bytes unread would take the answer back."""
    with connect(path) as connection:
        connection.sendall(b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\nimage")
        answer = connection.recv(1, socket.MSG_PEEK)  # it is on its way
        connection.sendall(b"x" * 2_000_000)
        while more := connection.recv(65536):
            answer += more
    assert answer[1:].startswith(b"HTTP/1.1 413")


def test_a_body_of_exactly_the_limit_is_taken(path: str) -> None:
    """The limit itself is allowed, for each of two compared pictures as well."""
    data = b"image".ljust(MAX_BODY_BYTES, b"x")
    assert ask(path, "POST", "/v1/find", data)[0] == 200
    assert ask(path, "POST", "/v1/compare", form(a=data, b=data), FORM)[0] == 200
    assert error(ask(path, "POST", "/v1/compare", form(a=data + b"x", b=b""), FORM)) == (413, "too_large")


def test_a_truncated_body_costs_nobody_else(service: FakeService, path: str) -> None:
    """A client that hangs up within its body is dropped; the service is not asked and others are served."""
    with connect(path) as connection:
        connection.sendall(b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nimage")
    assert ask(path, "GET", "/v1/status")[0] == 200
    assert service.asked == []


def test_a_body_that_stalls_is_cut_off(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence within a body ends in a 408 and frees what was held."""
    monkeypatch.setattr(bodies, "IDLE_S", 0.05)
    with serving(service, tmp_path) as path:
        status, _, body = talk(path, b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nimage")
        assert (status, json.loads(body)["error"]["code"]) == (408, "timeout")
        assert ask(path, "POST", "/v1/find", IMAGE)[0] == 200


def test_a_body_that_trickles_is_cut_off(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte comes, a body has a total time."""
    monkeypatch.setattr(bodies, "TOTAL_S", 0.2)
    with serving(service, tmp_path) as path, connect(path) as connection:
        connection.sendall(b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nimage")
        connection.settimeout(0.01)
        answer = b""
        while not answer:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was cut off just now
                connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body took more than 0.2 s" in answer


def test_a_body_over_the_share_of_a_user_is_too_large(service: FakeService, tmp_path: Path) -> None:
    """It could never be held: it is refused for its size, and not told to come again."""
    with serving(service, tmp_path, held_max_bytes=100) as path:
        assert error(ask(path, "POST", "/v1/find", b"image".ljust(51))) == (413, "too_large")
        assert ask(path, "POST", "/v1/find", b"image".ljust(50))[0] == 200


def test_bodies_together_have_a_limit(service: FakeService, tmp_path: Path) -> None:
    """While as much as a user may hold is held, a further picture gets a 503; once it is freed, it is answered."""
    service.holds = threading.Event()
    with serving(service, tmp_path, held_max_bytes=200) as path:
        first = threading.Thread(target=ask, args=(path, "POST", "/v1/find", b"image".ljust(80)))
        first.start()
        assert service.working.acquire(timeout=PATIENCE_S)
        assert error(ask(path, "POST", "/v1/find", b"image".ljust(80))) == (503, "unavailable")
        service.holds.set()
        first.join(PATIENCE_S)
        assert ask(path, "POST", "/v1/find", b"image".ljust(80))[0] == 200


def test_status_answers_while_every_picture_waits(service: FakeService, path: str) -> None:
    """Questions about pictures wait for each other, and never hold up the rest."""
    service.holds = threading.Event()
    asking = [threading.Thread(target=ask, args=(path, "POST", "/v1/find", IMAGE)) for _ in range(8)]
    for thread in asking:
        thread.start()
    for _ in range(4):
        assert service.working.acquire(timeout=PATIENCE_S)
    assert ask(path, "GET", "/v1/status")[0] == 200
    assert len(service.asked) == 4
    service.holds.set()
    for thread in asking:
        thread.join(PATIENCE_S)
    assert len(service.asked) == 8


def test_who_hangs_up_while_waiting_is_not_worked_for(service: FakeService, path: str) -> None:
    """A question whose client has gone before its turn came is dropped."""
    service.holds = threading.Event()
    head = b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nimage"
    working = [connect(path) for _ in range(4)]
    for number, connection in enumerate(working):
        connection.sendall(head + b"%d" % number)
        assert service.working.acquire(timeout=PATIENCE_S)
    gone = connect(path)
    gone.sendall(head + b"x")
    ask(path, "GET", "/v1/status")
    gone.close()
    ask(path, "GET", "/v1/status")
    service.holds.set()
    last = ask(path, "POST", "/v1/find", IMAGE)
    assert last[0] == 200
    assert sha256(b"imagex").hexdigest() not in {asked[1] for asked in service.asked}
    for connection in working:
        connection.close()


def test_connections_have_a_limit(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the connection that has waited longest for its client is closed, and the new one is served."""
    monkeypatch.setattr(guard, "CONNECTIONS_MAX", 2)
    with connect(path) as longest:
        ask(path, "GET", "/v1/status")
        with connect(path):
            wait_for(lambda: ask(path, "GET", "/v1/status")[0] == 200)
            assert b" 503 " in longest.recv(65536)


def test_bodies_that_trickle_make_room(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections in the middle of a body count as waiting: they keep nobody out, however often they send a byte."""
    monkeypatch.setattr(guard, "CONNECTIONS_MAX", 2)
    head = b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\nP"
    with connect(path) as first, connect(path) as second:
        first.sendall(head)
        second.sendall(head)
        for _ in range(3):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it made room
                second.sendall(b"x")
            assert ask(path, "GET", "/v1/status")[0] == 200


def test_connections_that_the_daemon_works_for_are_kept(
    service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If none waits for its client, a new connection is told to come again."""
    monkeypatch.setattr(guard, "CONNECTIONS_MAX", 1)
    service.holds = threading.Event()
    with connect(path) as working:
        working.sendall(b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nimage")
        wait_for(lambda: bool(service.asked))
        assert talk(path, b"")[0] == 503
        service.holds.set()
        assert b" 200 " in working.recv(65536)


STREAM = b"GET /v1/duplicates HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def long_stream(service: FakeService) -> int:
    """The number of groups in a stream that fills all buffers."""
    file: GroupMember = {"path": "/x", "width": 8, "height": 8, "size_bytes": 9, "score": None, "verdict": None}
    service.groups = [{"saves_bytes": 1, "members": [file] * 100}] * 500
    return len(service.groups)


@pytest.mark.usefixtures("long_stream")
def test_a_stream_that_nobody_reads_is_cut_off(
    service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that stops reading for long loses the connection, and the service's iterator is closed."""
    monkeypatch.setattr(guard, "UNREAD_S", 0.05)
    monkeypatch.setattr(guard, "STREAM_UNREAD_S", 0.1)
    with connect(path) as connection:
        connection.sendall(STREAM)
        assert service.closed.wait(PATIENCE_S)


@pytest.mark.parametrize("requests", [1, 2])
def test_an_answer_that_nobody_reads_is_cut_off_sooner(
    service: FakeService, path: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in memory as a whole; so is one that is not begun behind it."""
    monkeypatch.setattr(guard, "UNREAD_S", 0.05)
    service.stored = [{**alert(number), "path": "/" + "x" * 2000} for number in range(1, 1001)]
    with connect(path) as connection:
        connection.sendall(b"GET /v1/alerts HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
        wait_for(lambda: has_ended(connection))


def test_a_stream_may_be_read_after_a_pause(long_stream: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a person who reads the first page of it."""
    monkeypatch.setattr(guard, "UNREAD_S", 0.05)
    groups = Client(path).duplicates()
    next(groups)
    time.sleep(0.5)
    assert long_stream == 1 + sum(1 for _ in groups)


@pytest.mark.usefixtures("long_stream")
def test_a_stream_that_nobody_reads_makes_room(
    service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up at once, rather than after it was read, when another client comes."""
    monkeypatch.setattr(guard, "UNREAD_S", 0.05)
    monkeypatch.setattr(guard, "CONNECTIONS_MAX", 1)
    with connect(path) as connection:
        connection.sendall(STREAM)
        wait_for(lambda: ask(path, "GET", "/v1/status")[0] == 200)
        assert service.closed.wait(PATIENCE_S)


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed; reads nothing."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    return bool(poll.poll(0))
