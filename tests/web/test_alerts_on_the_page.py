from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import pytest
from fake_client import FakeClient
from page_serving import ServedPage
from patience import PATIENCE_S, wait_for

from shazimd.client import Client
from shazimd.text import path_fields, path_fields_as
from shazimd.web import live
from shazimd.web.live import LiveHub
from shazimd.web.render import Templates

ALERT: dict[str, Any] = {
    **path_fields(b"/new/a.png"),
    **path_fields_as("match", b"/bank/b.png"),
    "verdict": "copy",
    "matches": 1,
}


def shown(alert: dict[str, Any]) -> str:
    return Templates(lambda path: "link", lambda path: "1").text("_alert.html", alert=alert, fresh=False)


def test_an_alert_names_the_bank_of_its_match() -> None:
    """Also a name that is no text, whose control characters are shown as such."""
    assert "in the bank <b>/bank</b>" in shown({**ALERT, **path_fields_as("bank", b"/bank")})
    assert "in the bank <b>/b\\x07&lt;</b>" in shown({**ALERT, **path_fields_as("bank", b"/b\x07<")})
    assert "bank <b>" not in shown(ALERT)


@pytest.mark.parametrize("how", ["the address", "the header of a browser that connects again"])
def test_an_alert_that_came_before_the_stream_is_sent_by_it(page: ServedPage, how: str) -> None:
    """The list of new arrivals names the last alert that it has; those after it, and later ones, come once each."""
    for number in (1, 2):
        page.client.coming.put({**ALERT, "id": number})
    wait_for(lambda: len(page.page.live.recent()) == 2)
    after = {"Last-Event-ID": "1"} if how.startswith("the header") else {}
    with entered(page, "/live" if after else "/live?after=1", **after) as stream:
        assert next_alert(stream) == 2
        page.client.coming.put({**ALERT, "id": 3})
        assert next_alert(stream) == 3


def test_an_alert_that_comes_while_the_stored_ones_are_read_is_told(
    serve: Callable[[FakeClient], ServedPage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tab may be open by then."""
    client, is_open = FakeClient([]), threading.Event()

    def stored(since: int = 0) -> Iterator[dict[str, Any]]:
        assert is_open.wait(PATIENCE_S)
        yield {**ALERT, "id": since + 1}

    monkeypatch.setattr(client, "alerts", stored)
    page = serve(client)
    with entered(page, "/live") as stream:
        stream.readline()
        is_open.set()
        assert next_alert(stream) == 1


def test_a_slow_tab_misses_no_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream ends after all that waited for it, and begins again after the last alert that it got."""
    monkeypatch.setattr(live, "WAITING_MAX", 2)
    client, is_over = FakeClient([]), threading.Event()
    monkeypatch.setattr(client, "status", lambda: is_over.wait(PATIENCE_S))  # a state would wait for the tab as well
    for number in range(1, 5):
        client.coming.put({**ALERT, "id": number})

    async def shown() -> list[int]:
        hub = LiveHub(cast(Client, client), 0)
        waiting = hub.subscribe()
        hub.start()
        await asyncio.to_thread(wait_for, lambda: len(hub.recent()) == 4)
        ids = []
        while (event := await waiting.get()) is not None:
            ids.append(event[1]["id"])
        hub.end()
        is_over.set()
        return [*ids, *(alert["id"] for alert in hub.since(ids[-1]))]

    assert [1, 2, 3, 4] == asyncio.run(shown())


@contextmanager
def entered(page: ServedPage, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """As ``asked``, with the cookie."""
    with asked(page, page.access.link().removeprefix(page.address)) as answer:
        cookie = str(answer.getheader("Set-Cookie")).partition(";")[0]
    with asked(page, path, Cookie=cookie, **headers) as response:
        yield response


@contextmanager
def asked(page: ServedPage, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            yield response


def next_alert(stream: http.client.HTTPResponse) -> int:
    """The id of the next alert in a stream of events."""
    while stream.readline() != b"event: alert\n":
        pass
    number = int(stream.readline().removeprefix(b"id: "))
    assert "html" in json.loads(stream.readline().removeprefix(b"data: "))
    return number
