"""The verbs and the errors of the server on a real Unix socket, asked over raw bytes and by curl."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fake_service import MAX_BODY_BYTES, FakeService, alert
from patience import PATIENCE_S, wait_for
from raw_http import FORM, IMAGE, ask, connect, error, form, talk
from starlette.routing import Route

from shazimd import errors
from shazimd.client import Client
from shazimd.cluster.daemon import LinkClient
from shazimd.server import openapi, parameters, verbs
from shazimd.server.app import ALL_VERBS, create_app
from shazimd.server.cluster_verbs import CLUSTER_VERBS


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
        ("weights=1,2", 'weights is "1,2", expected 3 numbers AH,DH,FV that are >= 0 and not all zero'),
        ("weights=0,0,0", 'weights is "0,0,0", expected 3 numbers AH,DH,FV that are >= 0 and not all zero'),
        ("weights=1,1,inf", 'weights is "1,1,inf", expected 3 numbers AH,DH,FV that are >= 0 and not all zero'),
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


def test_an_error_may_name_what_is_not_utf8(service: FakeService, path: str) -> None:
    """As the directory of the store, which its errors name."""
    service.fails = errors.StoreFull("/srv/\udcff: no room")
    assert ask(path, "GET", "/v1/status") == (507, {"error": {"code": "store_full", "message": "/srv/\\xff: no room"}})


def test_a_bug_is_a_500_that_tells_nothing_of_the_inside(
    service: FakeService, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log, not in the answer, and the next request is served."""
    service.fails = RuntimeError("secret")
    assert error(ask(path, "GET", "/v1/status")) == (500, "internal")
    wait_for(lambda: "secret" in caplog.text)
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


def test_limits_have_a_default_and_a_maximum() -> None:
    """A page without a limit has the number that the description names, and none has more than the maximum."""
    (limit,) = (each for each in verbs.GROUPS.parameters if each.name == "limit")
    described = openapi.document([verbs.GROUPS])["paths"]["/v1/groups"]["get"]["parameters"]
    schema = next(each["schema"] for each in described if each["name"] == "limit")
    assert {"limit": schema["default"]} == parameters.parse(b"", [limit]) == {"limit": 50}
    assert [3, 500] == [parameters.parse(b"limit=%d" % n, [limit])["limit"] for n in (3, 501)]


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
