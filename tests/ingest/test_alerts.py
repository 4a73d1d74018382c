"""Alerts: in the store exactly once, in the log at least once, to subscribers as they come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from shazimd.errors import StoreFull
from shazimd.ingest import alerts
from shazimd.ingest.alerts import AlertRecord, Alerts, as_wire, stored
from shazimd.ingest.commit import Committer
from shazimd.protocol import Alert
from shazimd.store.base import Store
from shazimd.types import Differences, Match, Similarities, Verdict, Verification

MATCH = Match(b"/r/a\xff.jpg", 3, 0.93456, Similarities((0.95312, None, 0.83649)), Verdict.COPY, 640, 480)


def keep(store: Store, told: Alerts, name: str = "new") -> Alert:
    record = AlertRecord.of(b"/r/%s.jpg" % name.encode(), MATCH, 1, 38.24)
    return store.write(lambda writer: told.keep(writer, record))


def logged(events: list[Any]) -> list[tuple[int, str]]:
    return [(event["alert_id"], event["path"]) for event in events if event["event"] == "near_duplicate"]


def test_the_line_says_what_landed_and_what_it_is_like(store: Store, committer: Committer) -> None:
    """One line, as documented; a name that is not UTF-8 is given readably and exactly."""
    told = Alerts(store, committer)
    with capture_logs() as events:
        told.publish(keep(store, told))
    assert [
        {
            "event": "near_duplicate",
            "log_level": "warning",
            "path": "/r/new.jpg",
            "match": "/r/a\\xff.jpg",
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


def test_a_stored_record_is_read_as_it_was_written() -> None:
    """Paths are exact, and clients get the same values."""
    for bank in (None, b"/srv/bank", b"/srv/\xfe"):
        record = AlertRecord.of(b"/r/\xfe.jpg", MATCH, 1, 38.24, bank)
        raw = json.loads(json.dumps(record.encode()))
        assert record == AlertRecord.decode(raw)
    assert {"id": 7, **raw} == dict(as_wire(7, record))


def test_the_alert_of_a_variant_names_the_regions_and_its_line_their_share(store: Store, committer: Committer) -> None:
    """Clients can draw the regions; the log has one number."""
    differs = Differences(0.031, (((0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)),))
    match = replace(MATCH, verdict=Verdict.VARIANT, verification=Verification(Verdict.VARIANT, 40, 0.9, None, differs))
    record = AlertRecord.of(b"/r/form.png", match, 1, 38.24)
    alert = as_wire(1, AlertRecord.decode(json.loads(json.dumps(record.encode()))))
    expected = {"share": 0.031, "regions": [{"query": [0.1, 0.2, 0.3, 0.4], "match": [0.5, 0.6, 0.7, 0.8]}]}
    assert alert["differs"] == expected
    with capture_logs() as events:
        Alerts(store, committer).publish(alert)
    assert [event["differs"] for event in events] == [0.031]


def test_what_was_stored_and_not_logged_before_a_crash_is_logged_at_the_next_start(
    store: Store, committer: Committer
) -> None:
    """What was logged and noted as such is not repeated."""
    told = Alerts(store, committer)
    told.publish(keep(store, told, "one"))
    keep(store, told, "two")  # the next write notes that the first was logged; then it crashes
    with capture_logs() as events:
        Alerts(store, committer)
    assert [(2, "/r/two.jpg")] == logged(events)


def test_after_an_orderly_stop_nothing_is_repeated(store: Store, committer: Committer) -> None:
    """The log is where the store says."""
    told = Alerts(store, committer)
    told.publish(keep(store, told))
    told.close()
    with capture_logs() as events:
        Alerts(store, committer)
    assert [] == events


def test_a_stop_without_room_repeats_rather_than_fails(
    store: Store, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no reason for a stop to fail."""
    told = Alerts(store, committer)
    told.publish(keep(store, told))

    def refuse(_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as full, capture_logs() as events:
        full.setattr(store, "write", refuse)
        told.close()
    assert ["store_not_writable", "alerts_may_repeat"] == [event["event"] for event in events]
    with capture_logs() as events:
        Alerts(store, committer)
    assert [(1, "/r/new.jpg")] == logged(events)


def test_subscribers_get_what_is_told_while_they_listen(store: Store, committer: Committer) -> None:
    """In order, with the ids that the store has."""
    told = Alerts(store, committer)
    told.publish(keep(store, told, "before"))
    with told.subscribe() as inbox, told.subscribe() as other:
        for name in ("one", "two"):
            told.publish(keep(store, told, name))
    told.publish(keep(store, told, "after"))
    with store.read() as reader:
        expected = stored(reader, since=1, limit=2)
    assert expected == [inbox.get_nowait(), inbox.get_nowait()] == [other.get_nowait(), other.get_nowait()]
    assert inbox.empty()


def test_a_subscriber_who_does_not_listen_is_dropped(
    store: Store, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was in the queue stays, then comes the end: read on from the last id, no alert is missed. The others go
    on, and nobody waits for this one."""
    monkeypatch.setattr(alerts, "SUBSCRIBER_BACKLOG_MAX", 2)
    told = Alerts(store, committer)
    with told.subscribe() as deaf, told.subscribe() as listening:
        heard = []
        for number in range(4):
            told.publish(keep(store, told, f"{number}"))
            heard.append(listening.get_nowait())
        assert 4 == len(heard)
        got = [deaf.get_nowait() for _ in range(3)]
        assert deaf.empty()
    assert got.pop() is None
    with store.read() as reader:
        assert heard == got + stored(reader, since=2)


def test_a_subscriber_with_the_end_of_the_server_in_a_full_queue_is_dropped_too(
    store: Store, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends its streams while alerts are still published."""
    monkeypatch.setattr(alerts, "SUBSCRIBER_BACKLOG_MAX", 2)
    told = Alerts(store, committer)
    with told.subscribe() as deaf:
        for number in range(2):
            told.publish(keep(store, told, f"{number}"))
        deaf.put_nowait(None)
        told.publish(keep(store, told, "2"))
        assert [1, 2, None] == [each and each["id"] for each in (deaf.get_nowait() for _ in range(3))]
