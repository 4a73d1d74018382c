"""The page is kept from everyone but the user's own browser."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

import pytest
from page_serving import ServedPage
from patience import PATIENCE_S

from shazimd.web.browse import tag_of
from shazimd.web.guard import is_of_this_user


class Visitor:
    """A program that speaks HTTP to the page, with the headers it likes."""

    def __init__(self, page: ServedPage) -> None:
        self.port = page.port
        self.host = f"127.0.0.1:{page.port}"
        self.cookie = ""

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> http.client.HTTPResponse:
        """A response, read; ``text`` of the last one is kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        sent = {"Host": self.host, "Content-Type": "application/x-www-form-urlencoded"}
        sent |= {"Cookie": self.cookie} if self.cookie else {}
        connection.request(method, path, body, sent | {name.replace("_", "-"): v for name, v in headers.items()})
        response = connection.getresponse()
        self.text = response.read().decode(errors="replace")
        connection.close()
        return response

    def enter(self, page: ServedPage) -> None:
        response = self.ask(page.access.link().removeprefix(page.address))
        self.cookie = str(response.getheader("Set-Cookie")).partition(";")[0]


@pytest.fixture
def visitor(page: ServedPage) -> Visitor:
    return Visitor(page)


@pytest.fixture
def guest(visitor: Visitor, page: ServedPage) -> Visitor:
    """A visitor with the cookie."""
    visitor.enter(page)
    assert 200 == visitor.ask("/").status
    return visitor


def test_a_link_opens_the_page_once(visitor: Visitor, page: ServedPage) -> None:
    """The second use of the same link is refused with the way to a new one; the new link works."""
    link = page.access.link().removeprefix(page.address)
    first = visitor.ask(link)
    again = visitor.ask(link)

    assert (200, 401) == (first.status, again.status)
    assert "This link was used already" in visitor.text
    assert 200 == visitor.ask(page.access.link().removeprefix(page.address)).status


def test_the_cookie_is_strict_and_hidden_from_scripts(visitor: Visitor, page: ServedPage) -> None:
    """And its name tells the port, since browsers share cookies between ports."""
    cookie = str(visitor.ask(page.access.link().removeprefix(page.address)).getheader("Set-Cookie"))

    assert cookie.startswith(f"shazimd-{page.port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize("path", ["/", "/group/00", "/picture/small/x.y", "/live", "/failed", "/?token=wrong"])
def test_nothing_is_shown_without_the_cookie(visitor: Visitor, path: str) -> None:
    """Whoever comes without is told how to enter."""
    assert 401 == visitor.ask(path).status
    assert "shazimctl web" in visitor.text


def test_a_wrong_cookie_is_none(guest: Visitor, page: ServedPage) -> None:
    """Of another start of the page, or another page."""
    assert 401 == guest.ask("/", Cookie=f"shazimd-{page.port}=of-an-earlier-start").status
    assert 401 == guest.ask("/", Cookie='shazimd="').status


def seen(page: ServedPage, body: str) -> str:
    """The body of a form that shows the first group."""
    return body.replace("SEEN", f"seen={tag_of(page.client.every[0]['members'])}")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "169.254.169.254", "", "[::1", "127.0.0.1.nip.io"])
def test_a_foreign_host_name_is_refused(guest: Visitor, host: str) -> None:
    """A name that someone else has made resolve to this computer (DNS rebinding)."""
    assert 403 == guest.ask("/", Host=host).status
    assert "expected 127.0.0.1 or localhost" in guest.text


def test_the_page_may_be_reached_through_a_tunnel(guest: Visitor) -> None:
    """Under the name localhost, with another port."""
    assert 200 == guest.ask("/", Host="localhost:9000").status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1"])
def test_a_change_from_another_site_is_refused(guest: Visitor, page: ServedPage, origin: str) -> None:
    """Even with the cookie; nothing is decided (CSRF)."""
    body = seen(page, f"group={page.client.every[0]['id']}&kind=leave&SEEN")
    headers = {"Origin": origin} if origin else {}

    assert 403 == guest.ask("/decide", "POST", body, **headers).status
    assert {} == page.client.made

    assert 303 == guest.ask("/decide", "POST", body, Origin=page.address).status
    assert 1 == len(page.client.made)


def test_another_site_gets_no_part_of_the_page(guest: Visitor) -> None:
    """A picture or script of the page within another site is refused; a plain visit is not."""
    assert 403 == guest.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status
    assert 200 == guest.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/nowhere", "/picture/small/x.y"])
def test_every_answer_has_the_headers(guest: Visitor, path: str) -> None:
    """Nothing from elsewhere, nothing inline, no frame around it, no guessed types."""
    response = guest.ask(path)

    policy = str(response.getheader("Content-Security-Policy"))
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert ("nosniff", "same-origin") == (
        response.getheader("X-Content-Type-Options"),
        response.getheader("Cross-Origin-Resource-Policy"),
    )


def test_the_files_of_the_page_load_nothing_from_elsewhere() -> None:
    """No address of another host in a template, a script or the style sheet."""
    import shazimd.web

    folder = Path(shazimd.web.__file__).parent
    files = [path for name in ("templates", "static") for path in (folder / name).iterdir()]
    text = "".join(path.read_text() for path in files).replace("http://www.w3.org/2000/svg", "")
    assert (True, False) == (len(files) > 10, "://" in text)


def test_only_programs_of_this_user_may_use_a_link(tmp_path: Path) -> None:
    """By the kernel's table: a link on a browser's command line is seen by every user of the machine."""
    line = "   0: 0100007F:{port:04X} 0100007F:1F90 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 77 1"
    table = tmp_path / "tcp"
    rows = [
        line.format(port=5000, state="01", uid=os.geteuid()),
        line.format(port=5001, state="01", uid=os.geteuid() + 1),
        line.format(port=5002, state="0A", uid=os.geteuid()),
        line.format(port=5003, state="01", uid=0),
    ]
    table.write_text(
        "\n".join(["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid", *rows])
    )

    found = {port: is_of_this_user(("127.0.0.1", port), str(table)) for port in (5000, 5001, 5002, 5003, 5004)}

    assert {5000: True, 5001: False, 5002: False, 5003: True, 5004: False} == found
    assert not is_of_this_user(None)


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/decide", "group=00&kind=keep&keep=0&SEEN", 404, "there is none with this id"),
        ("/decide", "group=FIRST&kind=burn", 400, "expected one of: keep, not_duplicates, leave"),
        ("/decide", "group=FIRST&kind=keep&keep=99&SEEN", 400, "expected the tag of a file"),
        ("/decide", "group=FIRST&kind=keep&SEEN", 400, "expected the tag of a file"),
        ("/decide", "group=FIRST&kind=not_duplicates&with=0&SEEN", 400, "expected the tag of a file"),
        ("/decide", "group=FIRST&kind=leave", 400, "has changed since it was shown"),
        ("/undo", "", 404, "Nothing to undo"),
        ("/undo", "id=x", 400, "expected the number of a decision"),
        ("/undo", "id=77", 404, "no such decision"),
        ("/rules", "plan=old", 404, "no longer known"),
        ("/clean/apply", "", 400, "make one first"),
        ("/clean/undo", "run=../../x", 404, "no such run"),
        ("/clean/plan", "how=burn", 400, "expected one of: trash"),
        ("/clean/plan", "how=move&folder=rel", 400, "expected a path that starts with /"),
        ("/clean/plan", "reference=archive", 400, "expected a path that starts with / or ~/"),
        ("/clean/plan", "reference=~nobody-here/a", 400, "expected a path that starts with / or ~/"),
        ("/clean/plan", "reference=/srv%0A/no/such", 400, "/no/such: no such directory"),
        ("/clean/plan", "reference=/no%00such", 400, "no such directory"),
        ("/failed/retry", "file=bad.link", 404, "from an earlier start"),
        ("/ask", "", 400, "No picture was given"),
    ],
)
def test_a_bad_request_is_told_clearly(
    guest: Visitor, page: ServedPage, path: str, body: str, status: int, said: str
) -> None:
    """Each names the value found and the value expected, and changes nothing."""
    body = seen(page, body.replace("FIRST", page.client.every[0]["id"]))

    assert status == guest.ask(path, "POST", body, Origin=page.address).status
    assert said in guest.text.replace("&#39;", "'")
    assert {} == page.client.made


@pytest.mark.parametrize(
    "query", ["?verdict=maybe", "?since=yesterday", "?offset=-1", "?under=relative", "?offset=99999999999"]
)
def test_a_bad_filter_is_told_clearly(guest: Visitor, query: str) -> None:
    """With the expectation."""
    assert 400 == guest.ask("/" + query).status
    assert "expected" in guest.text
