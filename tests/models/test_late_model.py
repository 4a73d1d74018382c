"""Alerts are decided with vectors, also if their model comes late; hashes decide only where none comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess, daemon_process
from drawn import photograph
from installing import installing_elsewhere
from PIL import Image

TINY = Path(__file__).parent / "data" / "tiny_float32.tflite"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A stopped daemon that knows one photograph, fingerprinted without a model."""
    with daemon_process(tmp_path) as process:
        photograph().save(process.root / "known.png")
        process.start()
        process.settled()
        assert process.stop() == 0
        yield process


def start_without_model(daemon: DaemonProcess, handle: Path) -> None:
    daemon.start("--model", str(handle))
    daemon.wait_for("root_watched")
    assert daemon.status()["model"]["state"] == "installing"


def add_copy(daemon: DaemonProcess) -> None:
    """An edited copy of the known photograph, which is stored, and its alert held."""
    photograph().save(daemon.root / "copy.jpg", quality=60)
    daemon.wait_for("image_indexed", path=str(daemon.root / "copy.jpg"))
    daemon.wait_for("alerts_held")


def test_an_alert_waits_for_a_model_that_comes_late(daemon: DaemonProcess) -> None:
    """It survives a kill, waits for the vectors of both pictures, and says what they are worth."""
    with installing_elsewhere(daemon.store / "models"):
        start_without_model(daemon, TINY)
        add_copy(daemon)
        daemon.kill()
        start_without_model(daemon, TINY)
        daemon.wait_for("alerts_held")
        daemon.wait_until(lambda: daemon.status()["pending"] == 1)
        assert daemon.events("near_duplicate") == []
    alert = daemon.wait_for("near_duplicate")
    assert (alert["path"], alert["match"]) == (str(daemon.root / "copy.jpg"), str(daemon.root / "known.png"))
    assert alert["dfv"] == pytest.approx(1, abs=0.1)
    daemon.settled()
    assert len(daemon.events("near_duplicate")) == 1


def test_equal_bytes_are_told_at_once(daemon: DaemonProcess) -> None:
    """No vector is needed for that."""
    with installing_elsewhere(daemon.store / "models"):
        start_without_model(daemon, TINY)
        (daemon.root / "same.png").write_bytes((daemon.root / "known.png").read_bytes())
        assert daemon.wait_for("near_duplicate")["verdict"] == "exact"
        assert daemon.events("alerts_held") == []


def test_hashes_decide_where_the_model_can_not_be_had(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The reason is said, and the alert has no cosine."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with installing_elsewhere(daemon.store / "models"):
        start_without_model(daemon, broken)
        add_copy(daemon)
        assert daemon.events("near_duplicate") == []
    assert "broken.tflite" in daemon.wait_for("model_missing")["reason"]
    alert = daemon.wait_for("near_duplicate")
    assert (alert["path"], alert["verdict"], alert["dfv"]) == (str(daemon.root / "copy.jpg"), "copy", None)
    assert daemon.wait_for("alerts_released")["model"] is None


def test_a_file_that_comes_back_has_a_vector_of_the_present_model(daemon: DaemonProcess) -> None:
    """Though it was away when the vectors of all others were made; an edited copy then has its cosine."""
    known = daemon.root / "known.png"
    data = known.read_bytes()
    Image.new("RGB", (64, 64), "white").save(daemon.root / "other.png")  # an empty root may be a disk that is away
    daemon.start()
    daemon.settled()
    known.unlink()
    daemon.wait_for("image_gone")
    assert daemon.stop() == 0
    daemon.start("--model", str(TINY))
    daemon.wait_for("backfill_complete", model=daemon.wait_for("model_in_use")["model"])
    known.write_bytes(data)
    daemon.wait_for("image_indexed", path=str(known))
    daemon.settled()
    photograph().save(daemon.root / "copy.jpg", quality=60)
    assert daemon.wait_for("near_duplicate")["dfv"] == pytest.approx(1, abs=0.1)


def test_a_root_that_was_away_has_vectors_once_it_is_there(daemon: DaemonProcess) -> None:
    """The status counts its pictures as outdated until then; no restart is needed."""
    away = daemon.root.with_name("away")
    daemon.root.rename(away)
    daemon.start("--model", str(TINY))
    assert daemon.wait_for("backfill_incomplete")["contents"] == 1
    assert daemon.status()["store"]["outdated"] == 1
    assert daemon.events("backfill_complete") == []
    away.rename(daemon.root)
    daemon.wait_for("backfill_complete")
    assert daemon.status()["store"]["outdated"] == 0
