"""Alerts: in the store exactly once, in the log at least once, to subscribers as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shazimd.errors import StoreFull
from shazimd.ingest import alerts
from shazimd.ingest.alerts import Alerts, record, stored
from shazimd.protocol import Alert
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.types import Match, Similarities, Verdict

MATCH = Match(b"/r/a\xff.jpg", 3, 0.93456, Similarities(0.95312, None, 0.83649), Verdict.COPY, 640, 480)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "store"), 64 << 20)
    yield opened
    opened.close()


def keep(store: Store, told: Alerts, name: str = "new") -> Alert:
    alert: Alert = store.write(lambda writer: told.keep(writer, record(b"/r/%s.jpg" % name.encode(), [MATCH], 38.24)))
    return alert


def logged(events: list[Any]) -> list[tuple[int, str]]:
    return [(event["alert_id"], event["path"]) for event in events if event["event"] == "near_duplicate"]


def test_the_line_says_what_landed_and_what_it_is_like(store: Store) -> None:
    """One line, as documented; a name that is not UTF-8 is given readably and exactly."""
    told = Alerts(store)
    with capture_logs() as events:
        told.tell(keep(store, told))
    assert [
        {
            "event": "near_duplicate",
            "log_level": "warning",
            "path": "/r/new.jpg",
            "match": "/r/a\ufffd.jpg",
            "match_b64": "L3IvYf8uanBn",
            "score": 0.9346,
            "dah": 0.9531,
            "ddh": None,
            "dfv": 0.8365,
            "verdict": "copy",
            "matches": 1,
            "alert_id": 1,
            "took_ms": 38.2,
        }
    ] == events


def test_what_was_stored_and_not_logged_before_a_crash_is_logged_at_the_next_start(store: Store) -> None:
    """What was logged and noted as such is not repeated."""
    told = Alerts(store)
    told.tell(keep(store, told, "one"))
    keep(store, told, "two")  # the next write notes that the first was logged; then it crashes
    with capture_logs() as events:
        Alerts(store)
    assert [(2, "/r/two.jpg")] == logged(events)


def test_after_an_orderly_stop_nothing_is_repeated(store: Store) -> None:
    """The log is where the store says."""
    told = Alerts(store)
    told.tell(keep(store, told))
    told.close()
    with capture_logs() as events:
        Alerts(store)
    assert [] == events


def test_a_stop_without_room_repeats_rather_than_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no reason for a stop to fail."""
    told = Alerts(store)
    told.tell(keep(store, told))

    def refuse(_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as full, capture_logs() as events:
        full.setattr(store, "write", refuse)
        told.close()
    assert ["alerts_may_repeat"] == [event["event"] for event in events]
    with capture_logs() as events:
        Alerts(store)
    assert [(1, "/r/new.jpg")] == logged(events)


def test_subscribers_get_what_is_told_while_they_listen(store: Store) -> None:
    """In order, with the ids that the store has."""
    told = Alerts(store)
    told.tell(keep(store, told, "before"))
    with told.subscribe() as inbox, told.subscribe() as other:
        for name in ("one", "two"):
            told.tell(keep(store, told, name))
    told.tell(keep(store, told, "after"))
    with store.read() as reader:
        expected = stored(reader, since=1, limit=2)
    assert expected == [inbox.get_nowait(), inbox.get_nowait()] == [other.get_nowait(), other.get_nowait()]
    assert inbox.empty()


def test_a_subscriber_who_does_not_listen_is_dropped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """He is told of the end; the others go on, and nobody waits for him."""
    monkeypatch.setattr(alerts, "SUBSCRIBER_BACKLOG_MAX", 2)
    told = Alerts(store)
    with told.subscribe() as deaf, told.subscribe() as listening:
        heard = []
        for number in range(4):
            told.tell(keep(store, told, f"{number}"))
            heard.append(listening.get_nowait())
        assert 4 == len(heard)
        assert (2, None) == (deaf.get_nowait()["id"], deaf.get_nowait())  # type: ignore[index]  # an alert, then the end
        assert deaf.empty()
