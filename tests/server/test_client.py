"""The client against a daemon that is not there, not allowed, not well or not one."""

from __future__ import annotations

import grp
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fake_service import MAX_BODY_BYTES, FakeService, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S

from shazimd import errors
from shazimd.client import Client, _target
from shazimd.server import parameters, verbs


@contextmanager
def answering(folder: Path, answer: bytes) -> Iterator[Client]:
    """A client of something that reads a little and answers with these bytes, whatever it was asked."""
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(BrokenPipeError, ConnectionResetError):  # the client may have had enough
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Client(path, timeout_s=PATIENCE_S)
        finally:
            thread.join(PATIENCE_S)


def test_no_daemon(tmp_path: Path) -> None:
    """The message says the path, and how to start one."""
    with pytest.raises(errors.DaemonUnreachable) as raised:
        Client(f"{tmp_path}/s").status()
    assert raised.value.message == (
        f"no daemon at {tmp_path}/s: the daemon is not running; start it with `shazimd DIR`"
    )
    assert raised.value.exit_status == 3


def test_a_dead_daemon(tmp_path: Path) -> None:
    """A socket that nobody listens on was left by a daemon that died."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    with pytest.raises(errors.DaemonUnreachable, match="left by a daemon that died"):
        Client(f"{tmp_path}/s").status()


@contextmanager
def nobody_special() -> Iterator[None]:
    """Root may connect to anything, so be someone else for a moment."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_socket_without_permission() -> None:
    """The message says which group may connect; in a directory that can't be entered, that."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        os.chmod(folder, 0o755)
        listener.bind(f"{folder}/s")
        listener.listen()
        os.chmod(f"{folder}/s", 0)
        group = grp.getgrgid(os.stat(f"{folder}/s").st_gid).gr_name
        with nobody_special(), pytest.raises(errors.DaemonUnreachable) as raised:
            Client(f"{folder}/s").status()
        assert raised.value.message == (
            f"no daemon at {folder}/s: permission denied; members of the group {group} may connect"
        )
        os.chmod(folder, 0)
        with nobody_special(), pytest.raises(errors.DaemonUnreachable, match="can't be entered"):
            Client(f"{folder}/s").status()
        os.chmod(folder, 0o700)


def test_a_silent_daemon(tmp_path: Path) -> None:
    """A daemon that says nothing for the time given is unreachable."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        listener.listen()
        with pytest.raises(errors.DaemonUnreachable, match=r"said nothing for 0\.05 s"):
            Client(f"{tmp_path}/s", timeout_s=0.05).status()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"", errors.DaemonUnreachable, "was cut short"),
        (b"220 smtp\r\n\r\n", errors.InternalError, "is no shazimd: found '220', expected HTTP/1.1"),
        (b"HTTP/1.1 abc\r\n\r\n", errors.InternalError, "is no shazimd"),
        (OK + b"Content-Length: 9\r\n\r\n{}", errors.DaemonUnreachable, "was cut short"),
        (OK + b"Content-Length: 5\r\n\r\n<html", errors.InternalError, "is no shazimd"),
        (OK + b"X: " + b"x" * 200_000, errors.InternalError, "has more than 65536 bytes"),
        (
            OK + b"X: y\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(200)),
            errors.InternalError,
            "more than 100 headers",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", errors.DaemonUnreachable, "was cut short"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", errors.InternalError, "is no shazimd"),
        (b"HTTP/1.1 500 x\r\nContent-Length: 2\r\n\r\n{}", errors.InternalError, "is no shazimd"),
    ],
)
def test_an_answer_that_makes_no_sense(
    tmp_path: Path, answer: bytes, kind: type[errors.ShazimdError], message: str
) -> None:
    """What is cut short or no shazimd at all is told apart, and is never a foreign exception."""
    with answering(tmp_path, answer) as client, pytest.raises(kind, match=message) as raised:
        client.status()
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not_an_image", errors.NotAnImage),
        ("store_full", errors.StoreFull),
        ("usage", errors.UsageError),
        ("unavailable", errors.Unavailable),
        ("something new", errors.InternalError),
    ],
)
def test_an_error_has_the_class_of_its_code(tmp_path: Path, code: str, kind: type[errors.ShazimdError]) -> None:
    """An error of the daemon is raised as what it was there; a code that is not known is an internal error."""
    body = json.dumps({"error": {"code": code, "message": "why"}}).encode()
    answer = b"HTTP/1.1 500 x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with answering(tmp_path, answer) as client, pytest.raises(kind) as raised:
        client.status()
    assert (type(raised.value), raised.value.message) == (kind, "why")


def test_a_picture_over_the_limit_is_refused_while_it_is_sent(tmp_path: Path) -> None:
    """The daemon stops reading; the client says why, not that the pipe broke."""
    with serving(FakeService(), tmp_path) as path, pytest.raises(errors.TooLarge, match="expected at most 1000000"):
        Client(path).find(b"x" * (20 * MAX_BODY_BYTES))


def test_two_pictures_arrive_as_they_are(tmp_path: Path) -> None:
    """Any bytes survive the form, line ends and boundaries among them."""
    service = FakeService()
    a, b = bytes(range(256)) * 100, b"\r\n--\r\n"
    with serving(service, tmp_path) as path:
        Client(path).compare(a, b, (1, 1, 2))
    assert service.asked == [("compare", a, b, (1.0, 1.0, 2.0))]


@settings(max_examples=200)
@given(path=st.binary().map(lambda raw: b"/" + raw.replace(b"\0", b"")))
def test_any_path_survives_the_query_string(path: bytes) -> None:
    """What the client writes into a target, the server reads out of it."""
    target = _target(verbs.FORGET, path=path)
    assert target.isascii()
    query = target.partition("?")[2].encode()
    assert parameters.parse(query, (parameters.PATH,)) == {"path": os.path.normpath(path)}


@settings(max_examples=200)
@given(
    threshold=st.floats(0, 1),
    weights=st.tuples(*[st.floats(0, 1e6)] * 3).filter(any),
    limit=st.integers(1, 10**18 - 1),
)
def test_numbers_survive_the_query_string(threshold: float, weights: tuple[float, float, float], limit: int) -> None:
    """Threshold, weights and limit are the same numbers on both sides."""
    query = _target(verbs.FIND, threshold=threshold, weights=weights, limit=limit).partition("?")[2].encode()
    assert parameters.parse(query, verbs.FIND.parameters) == {
        "threshold": threshold,
        "weights": weights,
        "limit": limit,
    }
