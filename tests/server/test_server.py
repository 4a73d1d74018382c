"""The server on a real Unix socket, asked over raw bytes and by curl."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fake_service import MAX_BODY_BYTES, FakeService, alert, eventually, serving
from patience import PATIENCE_S
from starlette.routing import Route

from shazimd import errors
from shazimd.client import Client
from shazimd.cluster.daemon import LinkClient
from shazimd.server import bodies, events, guard, openapi, verbs
from shazimd.server.app import ALL_VERBS, create_app
from shazimd.server.cluster_verbs import CLUSTER_VERBS
from shazimd.server.run import Server
from shazimd.server.sockets import bind_socket, systemd_sockets

IMAGE = b"image of a ski"


def connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(path)
    return connection


def talk(path: str, sent: bytes) -> tuple[int, bytes, bytes]:
    """Send bytes, read until the server closes: status, head, body. The request must ask for the close."""
    with connect(path) as connection:
        with contextlib.suppress(BrokenPipeError):  # refused before all was sent
            connection.sendall(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # as a close with unread bytes ends, once all was read
            while chunk := connection.recv(65536):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


def ask(path: str, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, Any]:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    status, _, answer = talk(path, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return status, json.loads(answer)


def error(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


# ---- the verbs


def test_find_passes_the_body_and_every_parameter(service: FakeService, path: str) -> None:
    """POST /v1/find hands the bytes, threshold, weights and limit to the service and its reply to the caller."""
    status, reply = ask(path, "POST", "/v1/find?threshold=0.8&weights=0.5,0.5,3&limit=1", IMAGE)
    assert service.asked == [("find", sha256(IMAGE).hexdigest(), 0.8, (0.5, 0.5, 3.0), 1)]
    assert (status, reply["threshold"], reply["weights"]) == (200, 0.8, [0.5, 0.5, 3.0])
    assert [m["path"] for m in reply["matches"]] == ["/srv/p/ski_copy.jpg"]


def test_find_without_parameters_leaves_the_defaults_to_the_service(service: FakeService, path: str) -> None:
    """Without parameters the service is asked with None throughout."""
    ask(path, "POST", "/v1/find", IMAGE)
    assert service.asked == [("find", sha256(IMAGE).hexdigest(), None, None, None)]


def test_a_path_that_is_not_utf8_is_readable_and_exact(service: FakeService, path: str) -> None:
    """Such a path has replacement characters in "path" and its bytes in "path_b64"."""
    service.known = [(b"/srv/\xff.jpg", 0.9, "similar")]
    _, reply = ask(path, "POST", "/v1/find", IMAGE)
    assert [(m["path"], m["path_b64"]) for m in reply["matches"]] == [("/srv/\\xff.jpg", "L3Nydi//LmpwZw==")]


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("threshold=abc", 'threshold is "abc", expected a number from 0 to 1'),
        ("threshold=nan", 'threshold is "nan", expected a number from 0 to 1'),
        ("threshold=2", 'threshold is "2", expected a number from 0 to 1'),
        ("threshold=", 'threshold is "", expected a number from 0 to 1'),
        ("threshold=0.5&threshold=0.6", "threshold is given twice, expected once"),
        ("weights=1,2", 'weights is "1,2", expected three numbers AH,DH,FV that are >= 0 and not all zero'),
        ("weights=0,0,0", 'weights is "0,0,0", expected three numbers AH,DH,FV that are >= 0 and not all zero'),
        ("weights=1,1,inf", 'weights is "1,1,inf", expected three numbers AH,DH,FV that are >= 0 and not all zero'),
        ("limit=-1", 'limit is "-1", expected a whole number from 1'),
        ("limit=0", 'limit is "0", expected a whole number from 1'),
        ("limit=" + "9" * 5000, f'limit is "{"9" * 80}...", expected a whole number from 1'),
        ("thresold=0.5", '"thresold" is not a parameter here, expected one of threshold, weights, limit'),
    ],
)
def test_a_bad_parameter_is_refused_by_name(service: FakeService, path: str, target: str, named: str) -> None:
    """A 400 names the parameter, what was found and what was expected, and the service is not asked."""
    status, reply = ask(path, "POST", f"/v1/find?{target}", IMAGE)
    assert (status, reply) == (400, {"error": {"code": "usage", "message": named}})
    assert service.asked == []


def test_find_without_a_body_says_so(path: str) -> None:
    """An empty body is a 400 that says what was expected."""
    assert ask(path, "POST", "/v1/find") == (
        400,
        {"error": {"code": "usage", "message": "the body is empty, expected the bytes of an image"}},
    )


FORM = "Content-Type: multipart/form-data; boundary=X"


def form(**files: bytes) -> bytes:
    parts = [
        b'--X\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--X--\r\n"


def test_compare_takes_two_files_of_a_form_in_any_order(service: FakeService, path: str) -> None:
    """POST /v1/compare hands over a and b by name, byte for byte."""
    a, b = b"image\r\n--X\r--" + bytes(range(256)), b"image b"
    status, reply = ask(path, "POST", "/v1/compare?weights=1,0,0", form(b=b, a=a), FORM)
    assert service.asked == [("compare", a, b, (1.0, 0.0, 0.0))]
    assert (status, reply["verdict"]) == (200, None)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (form(a=b"image"), FORM),
        (form(a=b"image", c=b"image"), FORM),
        (form(a=b"1", b=b"2", c=b"3"), FORM),
        (form(a=b"1", b=b"2")[:-20], FORM),
        (b"no form at all", FORM),
        (b"no form at all", "Content-Type: multipart/form-data"),
        (IMAGE, "Content-Type: image/jpeg"),
    ],
)
def test_compare_refuses_another_form(service: FakeService, path: str, body: bytes, header: str) -> None:
    """A form that has not exactly a and b, or that can't be read, is a 400."""
    assert error(ask(path, "POST", "/v1/compare", body, header)) == (400, "usage")
    assert service.asked == []


def test_alerts_are_paged_by_since_and_limit(service: FakeService, path: str) -> None:
    """GET /v1/alerts gives the oldest alerts after an id, at most limit of them."""
    service.stored = [alert(n) for n in range(1, 6)]
    _, reply = ask(path, "GET", "/v1/alerts?since=2&limit=2")
    assert [a["id"] for a in reply["alerts"]] == [3, 4]


def test_rescan_takes_any_bytes_and_says_what_it_took(service: FakeService, path: str) -> None:
    """A percent-encoded path reaches the service as bytes; without one every root is meant."""
    assert ask(path, "POST", "/v1/rescan?path=/srv/p/%FF%20a") == (
        202,
        {"path": "/srv/p/\\xff a", "path_b64": "L3Nydi9wL/8gYQ=="},
    )
    assert ask(path, "POST", "/v1/rescan") == (202, {"path": None})
    assert ask(path, "POST", "/v1/rescan?deep=true") == (202, {"path": None})
    assert service.asked == [("rescan", b"/srv/p/\xff a"), ("rescan", None), ("rescan --deep", None)]


def test_forget_wants_an_absolute_path(service: FakeService, path: str) -> None:
    """POST /v1/forget refuses a missing, relative or zero-holding path, and counts what it forgot."""
    assert ask(path, "POST", "/v1/forget?path=/srv/p/old") == (200, {"forgotten": 3, "comes_back": True})
    for bad in ("", "?path=srv", "?path=/a%00b", "?path="):
        assert error(ask(path, "POST", f"/v1/forget{bad}")) == (400, "usage")
    assert service.asked == [("forget", b"/srv/p/old")]


def test_forget_takes_deleted_images_or_a_digest(service: FakeService, path: str) -> None:
    """deleted=true and content=DIGEST stand alone; a digest has 64 hexadecimal digits."""
    assert ask(path, "POST", "/v1/forget?deleted=true") == (200, {"forgotten": 2, "comes_back": False})
    assert ask(path, "POST", f"/v1/forget?content={'0F' * 32}") == (200, {"forgotten": 1, "comes_back": False})
    for bad in ("deleted=false", "deleted=true&path=/a", "content=0f", f"content={'xy' * 32}", "deleted=true&content="):
        assert error(ask(path, "POST", f"/v1/forget?{bad}")) == (400, "usage")
    assert service.asked == [("forget", "deleted"), ("forget", b"\x0f" * 32)]


def test_what_is_ignored_is_listed_and_let_in_again(service: FakeService, path: str) -> None:
    """ignore=true goes with a path alone; DELETE /v1/ignored takes it back, and a path that is not ignored is a 404."""
    assert ask(path, "POST", "/v1/forget?path=/srv/p/%FF&ignore=true") == (200, {"forgotten": 3, "comes_back": False})
    for bad in ("ignore=true", "deleted=true&ignore=true", "path=/a&ignore=false"):
        assert error(ask(path, "POST", f"/v1/forget?{bad}")) == (400, "usage")
    listed = {"path": "/srv/p/\\xff", "path_b64": "L3Nydi9wL/8="}
    assert ask(path, "GET", "/v1/ignored") == (200, {"ignored": [listed]})
    assert ask(path, "DELETE", "/v1/ignored?path=/srv/p/%FF") == (202, listed)
    assert error(ask(path, "DELETE", "/v1/ignored?path=/srv/p/%FF")) == (404, "not_found")
    assert error(ask(path, "DELETE", "/v1/ignored")) == (400, "usage")


def test_a_model_is_installed_step_by_step(service: FakeService, path: str) -> None:
    """POST /v1/models answers with a line for each step, the model in the last; a failure is the last line."""
    steps = list(Client(path).install_model("https://example.org/m/5"))
    assert [s["stage"] for s in steps] == ["fetching", "installed"]
    assert service.asked == [("install", "https://example.org/m/5", None)]
    list(Client(path).install_model("/opt/m.tflite", b"a flatbuffer"))
    assert service.asked[1:] == [("install", "/opt/m.tflite", b"a flatbuffer")]
    service.fails = errors.ModelError("404 from example.org")
    with pytest.raises(errors.ModelError, match=r"404 from example\.org"):
        list(Client(path).install_model("https://example.org/m/5"))


def test_duplicates_come_as_lines_while_they_are_made(service: FakeService, path: str) -> None:
    """The first group is read while the second is still being made; limit ends the stream early."""
    service.groups = [{"saves_bytes": n, "members": []} for n in (30, 20, 10)]
    groups = Client(path).duplicates(threshold=0.9, limit=2)
    assert [g["saves_bytes"] for g in groups] == [30, 20]
    assert service.asked == [("duplicates", 0.9, None)]
    service.holds = threading.Event()
    stream = Client(path)._lines(verbs.DUPLICATES)
    service.holds.set()
    assert json.loads(next(stream)) == {"saves_bytes": 30, "members": []}
    stream.close()


def test_a_stream_that_fails_midway_ends_with_the_error(service: FakeService, path: str) -> None:
    """What was made before the failure is read, then the error is raised; one known at once is a status."""
    service.groups = [{"saves_bytes": 30, "members": []}]
    service.fails = errors.StoreError("the store can't be read")
    stream = Client(path).duplicates()
    assert next(stream)["saves_bytes"] == 30
    with pytest.raises(errors.StoreError, match="the store can't be read"):
        next(stream)
    service.fails = errors.NotFound("no model m-2")
    assert error(ask(path, "GET", "/v1/duplicates")) == (404, "not_found")


def test_a_reader_who_leaves_closes_the_groups(service: FakeService, path: str) -> None:
    """Hanging up in the middle of a stream closes the service's iterator, even one that is at work."""
    service.groups = [{"saves_bytes": n, "members": []} for n in range(3)]
    service.holds = threading.Event()
    connection = connect(path)
    connection.sendall(b"GET /v1/duplicates HTTP/1.1\r\nHost: x\r\n\r\n")
    assert service.working.acquire(timeout=PATIENCE_S)
    connection.close()
    service.holds.set()
    assert service.closed.wait(PATIENCE_S)


def test_pairs_come_as_lines_while_they_are_made(service: FakeService, path: str) -> None:
    """A pair has all its fields, what is only progress has one; who leaves stops the work."""
    service.joined = [
        {"after": 4, "path": "/b", "match": "/a", "score": 0.9, "dah": 1.0, "ddh": 0.8, "dfv": None},
        {"after": 5},
        {"after": 6},
    ]
    pairs = Client(path).pairs(0.8, (1, 1, 0), after=4)
    assert service.joined == list(pairs)
    assert service.asked == [("pairs", 0.8, (1.0, 1.0, 0.0), 4)]
    service.closed.clear()
    service.holds = threading.Event()
    connection = connect(path)
    connection.sendall(b"GET /v1/pairs HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(4):
        assert service.working.acquire(timeout=PATIENCE_S)
    connection.close()
    service.holds.set()
    assert service.closed.wait(PATIENCE_S)


def test_metrics_and_health(service: FakeService, path: str) -> None:
    """GET /metrics gives the service's text; GET /healthz is 503 exactly while nothing can be answered."""
    status, head, body = talk(path, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (status, body) == (200, b"shazimd_images 1200\n")
    assert b"content-type: text/plain; version=0.0.4" in head
    answers = {}
    for service.state in ("starting", "baseline", "ready", "draining"):
        answers[service.state] = ask(path, "GET", "/healthz")[0]
    assert answers == {"starting": 503, "baseline": 200, "ready": 200, "draining": 503}


# ---- errors


@pytest.mark.parametrize(
    ("fails", "status"),
    [
        (errors.UsageError("x"), 400),
        (errors.NotAnImage("x"), 415),
        (errors.TooLarge("x"), 413),
        (errors.NotFound("x"), 404),
        (errors.Unreadable("x"), 422),
        (errors.Unavailable("x"), 503),
        (errors.WorkerFailed("x"), 500),
        (errors.StoreFull("x"), 507),
        (errors.StoreDamaged("x"), 500),
        (errors.ShazimdError("x"), 500),
    ],
)
def test_each_error_has_its_code_and_status(
    service: FakeService, path: str, fails: errors.ShazimdError, status: int
) -> None:
    """An error of the service reaches the caller as its code and message, under a fitting status."""
    service.fails = fails
    assert ask(path, "GET", "/v1/status") == (status, {"error": {"code": fails.code, "message": "x"}})


def test_a_bug_is_a_500_that_tells_nothing_of_the_inside(
    service: FakeService, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log, not in the answer, and the next request is served."""
    service.fails = RuntimeError("secret")
    assert error(ask(path, "GET", "/v1/status")) == (500, "internal")
    eventually(lambda: "secret" in caplog.text)
    service.fails = None
    assert ask(path, "GET", "/v1/status")[0] == 200


def test_unknown_routes_and_methods_are_told_apart(path: str) -> None:
    """A path that is not there is a 404, one that does not take the method is a 405 that says which it takes."""
    assert error(ask(path, "GET", "/v2/status")) == (404, "no_such_endpoint")
    assert error(ask(path, "DELETE", "/v1/status")) == (405, "method_not_allowed")
    assert b"allow: POST" in talk(path, b"GET /v1/find HTTP/1.0\r\n\r\n")[1]


def test_openapi_describes_every_route(service: FakeService) -> None:
    """GET /openapi.json has exactly the routes of the app, each with a summary and no dangling reference."""
    app = create_app(service, max_body_bytes=1)
    routes = {(r.path, m) for r in app.routes if isinstance(r, Route) and r.methods for m in r.methods - {"HEAD"}}
    document = openapi.document(ALL_VERBS)
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert described == routes
    assert all(o["summary"] for methods in document["paths"].values() for o in methods.values())
    text = json.dumps(document)
    wanted = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= document["components"]["schemas"].keys()


def test_the_description_is_sent_whole(path: str) -> None:
    """GET /openapi.json is the document, and asked again the same."""
    sent = ask(path, "GET", "/openapi.json")
    assert sent == (200, json.loads(json.dumps(openapi.document(ALL_VERBS))))
    assert ask(path, "GET", "/openapi.json") == sent


def test_the_client_has_every_verb(service: FakeService, path: str) -> None:
    """Each method is a verb, and ``ask`` asks any verb by the table; those for a link are methods of its own."""
    assert {verb.name for verb in CLUSTER_VERBS} == {name for name in vars(LinkClient) if name[0] != "_"}
    assert {name for name in vars(Client) if name[0] != "_"} - {"ask"} <= {verb.name for verb in verbs.VERBS}
    client = Client(path)
    assert client.ask(verbs.HEALTHZ) == {"state": "ready"}
    assert client.ask(verbs.MODELS)["models"] == client.models()
    assert client.ask(verbs.RESCAN, path=b"/srv/p/a.jpg") == {"path": "/srv/p/a.jpg"}


# ---- bad callers


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
    monkeypatch.setattr(bodies.Bodies.__init__, "__defaults__", (0.05, 60.0))
    with serving(service, tmp_path) as path:
        status, _, body = talk(path, b"POST /v1/find HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nimage")
        assert (status, json.loads(body)["error"]["code"]) == (408, "timeout")
        assert ask(path, "POST", "/v1/find", IMAGE)[0] == 200


def test_a_body_that_trickles_is_cut_off(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a byte comes, a body has a total time."""
    monkeypatch.setattr(bodies.Bodies.__init__, "__defaults__", (30.0, 0.2))
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
            eventually(lambda: ask(path, "GET", "/v1/status")[0] == 200)
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
        eventually(lambda: bool(service.asked))
        assert talk(path, b"")[0] == 503
        service.holds.set()
        assert b" 200 " in working.recv(65536)


def test_an_answer_that_nobody_reads_is_cut_off(
    service: FakeService, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that stops reading a long stream loses the connection, and the service's iterator is closed."""
    monkeypatch.setattr(guard, "UNREAD_S", 0.05)
    service.groups = [{"saves_bytes": 1, "members": []}] * 200_000
    with connect(path) as connection:
        connection.sendall(b"GET /v1/duplicates HTTP/1.1\r\nHost: x\r\n\r\n")
        assert service.closed.wait(PATIENCE_S)


# ---- events


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
    eventually(lambda: service.subscribers == 0)


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
    eventually(lambda: service.subscribers == 0)


def test_a_dropped_subscriber_is_hung_up_on(service: FakeService, path: str) -> None:
    """When the service ends a subscription, the stream ends, complete."""
    stream = Client(path).events(since=0)
    service.stored = [alert(1)]
    assert next(stream)["id"] == 1
    service.drop_subscribers()
    assert list(stream) == []


# ---- start and stop


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
    eventually(lambda: not server.alive())


# ---- sockets


def test_the_socket_has_its_mode_and_group(tmp_path: Path) -> None:
    """Mode and group are as asked, whatever the umask."""
    group = grp.getgrgid(os.getegid()).gr_name
    old = os.umask(0o077)
    try:
        with bind_socket(str(tmp_path / "d" / "s"), 0o666, group):
            found = (tmp_path / "d" / "s").stat()
    finally:
        os.umask(old)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o666, os.getegid())


def test_a_dead_socket_is_taken_over_a_live_one_is_not(tmp_path: Path) -> None:
    """What a killed daemon left is replaced; a daemon that lives is named in the error, even without our lock."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(errors.ConfigError, match="another daemon serves it"):
            bind_socket(path)
    with bind_socket(path):
        with pytest.raises(errors.ConfigError, match="another daemon serves it"):
            bind_socket(path)
        connect(path).close()
    assert not Path(path).exists()


def test_only_one_of_many_starts_gets_a_dead_socket(tmp_path: Path) -> None:
    """Daemons that start at once over a dead socket never remove each other's."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    bound: list[socket.socket] = []
    refused: list[errors.ConfigError] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        try:
            bound.append(bind_socket(path))
        except errors.ConfigError as error:
            refused.append(error)

    starts = [threading.Thread(target=start) for _ in range(8)]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join(PATIENCE_S)
    assert (len(bound), len(refused)) == (1, 7)
    connect(path).close()
    bound[0].close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A file, a directory or a link at the path is an error, and stays as it is."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(errors.ConfigError, match="expected a socket or nothing"):
            bind_socket(str(tmp_path / name))
    assert (tmp_path / "file").read_text() == "precious"


def test_closing_leaves_a_path_that_is_no_longer_ours(tmp_path: Path) -> None:
    """A socket that someone else put in our place is not removed."""
    path = str(tmp_path / "s")
    ours = bind_socket(path)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(path)
        ours.close()
        assert Path(path).exists()


@pytest.mark.parametrize(
    ("path", "group", "message"),
    [
        ("s", "no-such-group-here", 'server.group is "no-such-group-here", expected a group of this system'),
        ("x" * 108, None, "expected at most 107"),
        ("file/s", None, "can't listen there"),
    ],
)
def test_a_socket_that_cannot_be_is_refused(tmp_path: Path, path: str, group: str | None, message: str) -> None:
    """An unknown group, a path too long or in no directory is a ConfigError that says so."""
    (tmp_path / "file").touch()
    with pytest.raises(errors.ConfigError, match=message):
        bind_socket(str(tmp_path / path), group=group)


ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
from fake_service import FakeService
from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.sockets import systemd_sockets
os.environ["LISTEN_PID"] = str(os.getpid())
server = Server(create_app(FakeService(), max_body_bytes=100), *systemd_sockets())
assert "LISTEN_FDS" not in os.environ
server.start()
print("started", flush=True)
sys.stdin.read()
server.stop()
"""


def test_a_socket_from_systemd_is_served_and_left(tmp_path: Path) -> None:
    """A passed socket answers requests that came before the daemon, and its path stays when it stops."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(path)
        passed.listen()
        importable = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(passed.fileno())],
            pass_fds=[passed.fileno()],
            env={**os.environ, "LISTEN_FDS": "1", "PYTHONPATH": importable},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        answer = ask(path, "GET", "/v1/status")
        process.communicate()
    assert answer[0] == 200
    assert (process.returncode, Path(path).exists()) == (0, True)


def test_sockets_meant_for_another_process_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_PID of someone else means that there is nothing for us."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert systemd_sockets() == []


# ---- curl

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(path: str, *arguments: str) -> Any:
    command = ["curl", "-sS", "--max-time", str(PATIENCE_S), "--unix-socket", path, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


@needs_curl
def test_curl_can_ask_everything(service: FakeService, path: str, tmp_path: Path) -> None:
    """The endpoints are easy to use by hand: --data-binary for one picture, -F for two."""
    (tmp_path / "a.jpg").write_bytes(b"image a")
    assert len(curl(path, "--data-binary", f"@{tmp_path}/a.jpg", "http://x/v1/find")["matches"]) == 2
    pictures = [f"-F{name}=@{tmp_path}/a.jpg" for name in "ab"]
    assert curl(path, *pictures, "http://x/v1/compare")["verdict"] == "exact"
    assert curl(path, "-X", "POST", "http://x/v1/rescan?path=/srv/p") == {"path": "/srv/p"}
    (tmp_path / "big").write_bytes(b"x" * (MAX_BODY_BYTES + 1))
    # It asks before it sends: else it may be sending when the daemon hangs up, and says that the pipe broke.
    asks = ["-H", "Expect: 100-continue", "--expect100-timeout", str(PATIENCE_S)]
    assert curl(path, *asks, "--data-binary", f"@{tmp_path}/big", "http://x/v1/find")["error"]["code"] == "too_large"
    assert curl(path, "http://x/openapi.json")["openapi"] == "3.1.0"
