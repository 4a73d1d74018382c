"""Local features of other hosts that are fetched when a search wants them."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon_process import drawing
from host_pair import TOO_MANY, FeatureLink, Host, body, bomb, decide, told

from shazimd.daemon import app
from shazimd.errors import BadInput, Unavailable
from shazimd.ingest import foreign_rows, sharing
from shazimd.words.packing import VERSION


def stored_features(host: Host) -> list[int]:
    """The bytes of the local features of each content."""
    with host.app.store.read() as reader:
        return [len(reader.features(content)) for content, *_ in reader.hashes()]


def copy_of(seed: int) -> bytes:
    buffer = io.BytesIO()
    drawing(seed).resize((200, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_features_that_are_not_kept_are_fetched(fetching_pair: tuple[Host, Host]) -> None:
    """Without a link an answer goes by hashes and vector, and says so; with one it is that of a host that keeps all."""
    a, b = fetching_pair
    assert stored_features(b) == [0]
    reply = b.ask(copy_of(1))
    assert ([match["verdict"] for match in reply["matches"]], reply["unverified"]) == (["similar"], 1)
    with closing(FeatureLink(a, b)) as link:
        reply = b.ask(copy_of(1))
        assert ([match["verdict"] for match in reply["matches"]], reply.get("unverified")) == (["copy"], None)
        b.ask(copy_of(1))
    assert len(link.brought) == 1
    assert stored_features(b) == [0]


def test_an_alert_waits_for_features(fetching_pair: tuple[Host, Host]) -> None:
    """Its note stays until the picture can be verified; a copy on this host is told without."""
    a, b = fetching_pair
    (b.root / "copy.jpg").write_bytes(copy_of(1))
    b.known(1)
    (note,) = b.service.foreign()["undecided"]
    with pytest.raises(Unavailable, match="1 pictures of other hosts"):
        decide(b, note, 9)
    with closing(FeatureLink(a, b)):
        decide(b, note, 9)
    assert [alert["verdict"] for alert in b.service.alerts(0, 10)] == ["copy"]
    assert b.service.foreign()["undecided"] == []


def test_a_picture_that_lands_here_too_gets_features(fetching_pair: tuple[Host, Host]) -> None:
    """Its bytes were known, but nothing that verifies it."""
    a, b = fetching_pair
    (b.root / "same.png").write_bytes((a.root / "original.png").read_bytes())
    b.known(1)
    (size,) = stored_features(b)
    assert size > 0
    reply = b.ask(copy_of(1))
    assert {match["verdict"] for match in reply["matches"]} == {"copy"}
    assert "unverified" not in reply
    assert b.app.store.check() == []


def test_features_that_cannot_be_compared_count_as_none(fetching_pair: tuple[Host, Host]) -> None:
    """Whatever the database hands out costs no answer; another body is refused."""
    b = fetching_pair[1]
    digest = (b.service.wanted_features(0), "ab" * 32)[1]
    for features in (bomb(), TOO_MANY, ""):
        b.service.put_features(body(contents=[{"content": digest, "features": features}]))
        assert b.app.wanted.get([bytes.fromhex(digest)], 0) == {bytes.fromhex(digest): b""}
    with pytest.raises(BadInput, match="no batch of features"):
        b.service.put_features(b"[]")


@pytest.mark.parametrize("without", [{"features": "fetch"}, {"verify": False}])
def test_a_host_that_keeps_features_again_reads_all_anew(tmp_path: Path, without: dict[str, Any]) -> None:
    """The positions of its hosts are forgotten at the start, and the features come with the files."""
    with closing(Host(tmp_path / "a", "a")) as a:
        drawing(1).save(a.root / "original.png")
        a.known(1)
        with closing(Host(tmp_path / "b", "b", **without)) as b:
            told(a, b, "a")
        with closing(Host(tmp_path / "b", "b", **without)) as b:
            assert b.service.foreign()["hosts"] == [{"host": "a", "position": "p1"}]
        with closing(Host(tmp_path / "b", "b")) as b:
            assert b.service.foreign()["hosts"] == [{"host": "a", "position": None}]
            told(a, b, "a")
            assert min(stored_features(b)) > 0
            assert b.ask(copy_of(1))["matches"][0]["verdict"] == "copy"


def test_a_host_that_is_upgraded_after_others_reads_all_anew(tmp_path: Path) -> None:
    """It dropped their features of a version that it did not know, and passed over these files for good."""
    with closing(Host(tmp_path / "a", "a")) as a:
        drawing(1).save(a.root / "original.png")
        a.known(1)
        with pytest.MonkeyPatch.context() as patch:
            for module in (app, foreign_rows, sharing):
                patch.setattr(module, "VERSION", VERSION - 1)
            with closing(Host(tmp_path / "b", "b")) as b:
                told(a, b, "a")
                assert stored_features(b) == [0]
        with closing(Host(tmp_path / "b", "b")) as b:
            assert b.service.foreign()["hosts"] == [{"host": "a", "position": None}]
            told(a, b, "a")
            assert b.ask(copy_of(1))["matches"][0]["verdict"] == "copy"
        with closing(Host(tmp_path / "b", "b")) as b:
            assert b.service.foreign()["hosts"] == [{"host": "a", "position": "p1"}]
