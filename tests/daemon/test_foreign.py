"""Files of other hosts in a daemon: the feed for them, answers that name them, and alerts about them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
from daemon_process import drawing
from drawn import encoded, photograph
from host_pair import Host, body, decide, png, told
from patience import wait_for
from PIL import Image
from structlog.testing import capture_logs

from shazimd.errors import BadInput, Unavailable, WorkerFailed, WorkerLost


def test_another_hosts_files_are_found_and_forgotten(two: tuple[Host, Host]) -> None:
    """A copy on one host is found on the other, under the name of its host; nothing of it is listed, exported or
    counted as a file of this host; once forgotten it is not found."""
    a, b = two
    image = png(a.root, 1)
    drawing(1).resize((200, 150), Image.Resampling.LANCZOS).save(a.root / "small.jpg")
    a.known(2)
    assert told(a, b, "a", since=5) == {"missing": [], "refused": []}
    assert set(b.find(image)) == {f"a:{a.root}/1.png", f"a:{a.root}/small.jpg"}
    status = b.service.status()
    assert (status["images"], status["foreign"]) == (0, 2)
    assert list(b.service.export(vectors=False)) == []
    assert list(b.service.duplicates(None, None)) == []
    assert b.service.foreign()["hosts"] == [{"host": "a", "position": "p1"}]
    assert {each["path"] for each in b.service.foreign_paths("a", None, 10)} == {
        f"{a.root}/1.png",
        f"{a.root}/small.jpg",
    }
    assert b.app.store.check() == []
    assert b.service.forget_foreign("a")["forgotten"] == 2
    assert b.find(image) == []
    assert b.service.foreign()["hosts"] == []
    assert b.app.store.check() == []


def test_a_host_that_takes_the_name_of_another_forgets_that_ones_files(tmp_path: Path) -> None:
    """Its own files stay, and others that take its name write none here."""
    with closing(Host(tmp_path / "a", "a")) as a, closing(Host(tmp_path / "b", "b")) as b:
        png(a.root, 1)
        own = png(b.root, 2)
        a.known(1)
        b.known(1)
        told(a, b, "a")
    with closing(Host(tmp_path / "b", "a")) as b:
        assert b.service.forget_foreign("a") == {"forgotten": 1, "comes_back": False}
        assert b.service.foreign()["hosts"] == []
        assert b.find(own) == [f"{b.root}/2.png"]
        assert b.app.store.check() == []
        with pytest.raises(BadInput, match='host is "a", which is this host'):
            b.service.put_foreign("a", b"", "p1", complete=True, packed=False)


def test_a_damaged_file_is_damaged_on_every_host(two: tuple[Host, Host]) -> None:
    """In answers about the other host's file, and in the alert when its bytes land here, whose fingerprint is known."""
    a, b = two
    whole = encoded(photograph(), "PNG")
    cut = whole[: len(whole) * 7 // 10]
    (a.root / "cut.png").write_bytes(cut)
    (b.root / "whole.png").write_bytes(whole)
    a.known(1)
    b.known(1)
    told(a, b, "a")
    told(b, a, "b")
    matches = [(match["path"], match.get("damaged", False)) for match in b.ask(whole)["matches"]]
    assert sorted(matches) == [(f"{b.root}/whole.png", False), (f"a:{a.root}/cut.png", True)]
    (b.root / "landed.png").write_bytes(cut)
    wait_for(lambda: b.service.alerts(0, 10))
    (alert,) = b.service.alerts(0, 10)
    assert (alert["path"], alert["match"]) == (f"{b.root}/landed.png", f"{b.root}/whole.png")
    assert alert["damaged"]
    (a.root / "landed.png").write_bytes(whole)
    wait_for(lambda: a.service.alerts(0, 10))
    assert "damaged" not in a.service.alerts(0, 10)[0]


def test_a_file_of_another_host_that_is_renewed_there_is_known_as_damaged(two: tuple[Host, Host]) -> None:
    """A daemon of an earlier version did not say so; after its upgrade it tells of its local features anew."""
    a, b = two
    whole = encoded(photograph(), "PNG")
    (a.root / "cut.png").write_bytes(whole[: len(whole) * 7 // 10])
    a.known(1)
    (state,) = a.service.changes(None, 10)["changes"]
    (now,) = a.service.fingerprints([bytes.fromhex(state["content"] or "")])
    before = {**{name: value for name, value in now.items() if name != "damaged"}, "features": ""}
    for content in (before, now):
        sent = body(put=[{**state, "since": 0}], contents=[content])
        b.service.put_foreign("a", sent, "p1", complete=True, packed=False)
    assert [match.get("damaged") for match in b.ask(whole)["matches"]] == [True]


def test_a_deletion_and_a_rename_reach_the_other_host(two: tuple[Host, Host]) -> None:
    """The feed after a position has only the changes since then, each path once."""
    a, b = two
    image = png(a.root, 1)
    (a.root / "deep").mkdir()
    png(a.root / "deep", 2)
    a.known(2)
    told(a, b, "a")
    position = a.feed()[1]
    (a.root / "deep").rename(a.root / "moved")
    (a.root / "1.png").unlink()
    a.known(1)
    wait_for(lambda: f"{a.root}/moved/2.png" in a.feed(position)[0])
    files, after, pages = a.feed(position)
    assert {path: bool(content) for path, content in files.items()} == {
        f"{a.root}/moved/2.png": True,
        f"{a.root}/deep/2.png": False,
        f"{a.root}/1.png": False,
    }
    assert not any(page["restarted"] for page in pages)
    assert a.service.status()["cluster"]["owed"] == 1
    assert a.feed(after)[0] == {}
    assert a.service.status()["cluster"]["owed"] == 0
    metrics = a.service.metrics()
    assert b"shazimd_cluster_owed 0.0" in metrics
    assert b"shazimd_cluster_tell_lag_seconds " in metrics
    assert b"shazimd_cluster_follow_lag_seconds NaN" in metrics
    told(a, b, "a", after=position)
    assert b.find(image) == []
    assert [each["path"] for each in b.service.foreign_paths("a", None, 10)] == [f"{a.root}/moved/2.png"]


def test_a_position_of_another_time_begins_anew(tmp_path: Path) -> None:
    """Without a position, with that of another store, and with that of a daemon that did not share meanwhile, all
    files are read; after a restart the position still holds."""
    with closing(Host(tmp_path, "a")) as a:
        for seed in range(5):
            png(a.root, seed)
        a.known(5)
        files, after, pages = a.feed()
        assert len(files) == 5
        assert [page["restarted"] for page in pages] == [True, False, False, False]
        assert [page["reading"] for page in pages] == [True, True, True, False]
        assert [page["ended"] for page in pages] == [False, False, True, False]
        assert a.service.changes("7.0123456789abcdef", 2)["restarted"]
        with pytest.raises(BadInput, match="after is"):
            a.service.changes("yesterday", 2)
    with closing(Host(tmp_path, "a")) as a:
        png(a.root, 9)
        a.known(6)
        files, after, pages = a.feed(after)
        assert ([*files], pages[0]["restarted"]) == ([f"{a.root}/9.png"], False)
    with closing(Host(tmp_path, None)) as a, pytest.raises(Unavailable, match="cluster"):
        a.service.changes(after, 2)
    with closing(Host(tmp_path, "a")) as a:
        assert a.service.changes(after, 2)["restarted"]


def test_a_match_on_another_host_is_told_once(two: tuple[Host, Host]) -> None:
    """Of two copies on two hosts the later, by the cluster's number, is told; the earlier is not, and no alert comes
    again. Matches on the own host are told without waiting."""
    a, b = two
    drawing(1).save(a.root / "original.png")
    drawing(1).save(b.root / "copy.jpg", quality=90)
    a.known(1)
    b.known(1)
    told(a, b, "a", since=10)
    told(b, a, "b", since=11)
    (first,), (second,) = a.service.foreign()["undecided"], b.service.foreign()["undecided"]
    assert (first["path"], second["gone"]) == (f"{a.root}/original.png", False)
    assert a.service.alerts(0, 10) == []
    b.service.decide_foreign(second["id"], 11, bytes(32))  # another file's, from before a restore
    assert b.service.alerts(0, 10) == []
    decide(a, first, 10)
    decide(b, second, 11)
    decide(b, second, 11)
    assert a.service.alerts(0, 10) == []
    (alert,) = b.service.alerts(0, 10)
    assert (alert["path"], alert["match"]) == (f"{b.root}/copy.jpg", f"a:{a.root}/original.png")
    assert (alert["verdict"], alert["matches"]) == ("copy", 1)
    assert a.service.foreign()["undecided"] == b.service.foreign()["undecided"] == []
    (b.root / "again.jpg").write_bytes((b.root / "copy.jpg").read_bytes())
    wait_for(lambda: len(b.service.alerts(0, 10)) == 2)
    assert b.service.alerts(0, 10)[1]["match"] == f"{b.root}/copy.jpg"


def test_a_picture_that_no_worker_can_compare_keeps_no_other_waiting(tmp_path: Path) -> None:
    """Its alert about other hosts is decided after the next start of the daemon."""
    with closing(Host(tmp_path / "a", "a")) as a, closing(Host(tmp_path / "b", "b")) as b:
        drawing(1).save(a.root / "original.png")
        a.known(1)
        told(a, b, "a", since=10)
        drawing(1).save(b.root / "copy.jpg", quality=90)
        b.known(1)
        (waiting,) = b.service.foreign()["undecided"]
        with pytest.MonkeyPatch.context() as failing, capture_logs() as logs:
            decider = b.app.run.ingest.across._decider
            failing.setattr(decider, "by_search", Mock(side_effect=WorkerLost("killed")))
            with pytest.raises(WorkerLost):
                decide(b, waiting, 0)
            assert b.service.foreign()["undecided"] == [waiting]
            failing.setattr(decider, "by_search", Mock(side_effect=WorkerFailed("it ended its worker")))
            decide(b, waiting, 0)
        assert [each["reason"] for each in logs if each["event"] == "foreign_matches_not_found"] == [
            "it ended its worker"
        ]
        assert b.service.foreign()["undecided"] == []
    with closing(Host(tmp_path / "b", "b")) as b:
        assert b.service.foreign()["undecided"] == [waiting]
        decide(b, waiting, 0)
        assert [alert["match"] for alert in b.service.alerts(0, 10)] == [f"a:{a.root}/original.png"]


def test_a_file_that_is_renamed_before_the_decision_is_told_under_its_new_name(two: tuple[Host, Host]) -> None:
    """A file that is gone altogether is told of no more."""
    a, b = two
    drawing(1).save(a.root / "original.png")
    a.known(1)
    told(a, b, "a", since=10)
    drawing(1).save(b.root / "copy.jpg", quality=90)
    drawing(2).save(b.root / "other.jpg")
    b.known(2)
    (b.root / "copy.jpg").rename(b.root / "renamed.jpg")
    (b.root / "other.jpg").unlink()
    b.known(1)
    wait_for(lambda: {each["path"] for each in b.service.foreign()["undecided"]} >= {f"{b.root}/renamed.jpg"})
    for each in b.service.foreign()["undecided"]:
        decide(b, each, 0)
    assert [alert["path"] for alert in b.service.alerts(0, 10)] == [f"{b.root}/renamed.jpg"]
    assert b.service.foreign()["undecided"] == []


def test_a_file_that_is_renamed_before_its_own_alert_is_told_once(
    two: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ingested anew under the new name, and both notes lead to it."""
    a, b = two
    drawing(1).save(a.root / "original.png")
    a.known(1)
    told(a, b, "a", since=10)
    with monkeypatch.context() as held:
        held.setattr(b.app.library, "awaits_vectors", lambda _model=None: True)
        drawing(1).save(b.root / "copy.jpg", quality=90)
        wait_for(lambda: f"{b.root}/copy.jpg" in b.feed()[0])
        (b.root / "copy.jpg").rename(b.root / "renamed.jpg")
        wait_for(lambda: f"{b.root}/renamed.jpg" in b.feed()[0])
    b.known(1)
    notes = b.service.foreign()["undecided"]
    assert {each["path"] for each in notes} == {f"{b.root}/renamed.jpg"}
    for each in notes:
        decide(b, each, 0)
    assert [alert["path"] for alert in b.service.alerts(0, 10)] == [f"{b.root}/renamed.jpg"]
    assert b.service.foreign()["undecided"] == []


def test_a_content_stays_while_any_host_has_a_file_of_it(two: tuple[Host, Host]) -> None:
    """A local deletion leaves it findable, by the other host's name; its relations count once it is here."""
    a, b = two
    image = png(a.root, 1)
    a.known(1)
    told(a, b, "a")
    (b.root / "same.png").write_bytes(image)
    b.known(1)
    assert set(b.find(image)) == {f"a:{a.root}/1.png", f"{b.root}/same.png"}
    (b.root / "same.png").unlink()
    b.known(0)
    b.service.forget(None, deleted=True)
    assert b.find(image) == [f"a:{a.root}/1.png"]
    assert b.app.store.check() == []
