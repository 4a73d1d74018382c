from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from patience import PATIENCE_S, wait_for
from running import Daemon, draw

from shazimd.config import Config, ModelConfig, StoreConfig, WatchConfig, WorkersConfig
from shazimd.daemon.app import App
from shazimd.errors import ConfigError, Unavailable


def roots(daemon: Daemon) -> list[str]:
    return [root["path"] for root in daemon.client.status()["roots"]]


def errors(daemon: Daemon) -> list[str]:
    return [line for line in daemon.events() if '"level":"error"' in line]


def decoded(daemon: Daemon) -> list[bytes]:
    """The metric of how many pictures were decoded."""
    lines = daemon.client.metrics().splitlines()
    return [line for line in lines if line.startswith(b'shazimd_image_duration_seconds_count{decoded="yes"}')]


def test_a_root_is_added_and_another_removed(daemon: Daemon, tmp_path: Path) -> None:
    """After a reload the new root's pictures are known, and the old root is no longer watched."""
    draw(tmp_path / "new.png", 8)
    daemon.configure(roots=(tmp_path,))
    assert daemon.client.reload() == {"roots": [str(tmp_path)], "restart_needed": []}
    daemon.wait_ready()
    assert roots(daemon) == [str(tmp_path)]
    found = daemon.client.find((tmp_path / "new.png").read_bytes())["matches"]
    assert [match["path"] for match in found if match["verdict"] == "exact"] == [str(tmp_path / "new.png")]


def test_what_is_known_stays_known_without_a_decode(daemon: Daemon) -> None:
    """A reload compares the roots with the store and looks inside no picture."""
    before = (daemon.client.status()["images"], decoded(daemon))
    daemon.client.reload()
    daemon.wait_ready()
    assert (daemon.client.status()["images"], decoded(daemon)) == before


def test_a_threshold_counts_from_then_on(daemon: Daemon) -> None:
    """find without a threshold uses the one of the reloaded config."""
    picture = (daemon.photos / "0.png").read_bytes()
    assert daemon.client.find(picture)["threshold"] == 0.75
    daemon.configure("[match]\nthreshold = 0.95")
    daemon.client.reload()
    assert daemon.client.find(picture)["threshold"] == 0.95


def test_what_lands_after_a_reload_raises_an_alert(daemon: Daemon) -> None:
    """The new run watches as the old one did."""
    daemon.client.reload()
    daemon.wait_ready()
    (daemon.photos / "copy.png").write_bytes((daemon.photos / "1.png").read_bytes())
    wait_for(lambda: [alert for alert in daemon.client.alerts() if alert["path"].endswith("copy.png")])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("[[watch", "not a TOML file"),
        ('[match]\nthreshold = "high"', 'match.threshold is "high", expected a number from 0 to 1'),
        ("[model]\nhandle = 'none'", "no directory to watch"),
    ],
)
def test_a_broken_config_changes_nothing(daemon: Daemon, broken: str, message: str) -> None:
    """The error says what is wrong, and the settings from before stay in force."""
    daemon.config.write_text(broken)
    with pytest.raises(ConfigError) as caught:
        daemon.client.reload()
    assert message in str(caught.value)
    assert roots(daemon) == [str(daemon.photos)]
    assert daemon.client.status()["state"] == "ready"


def test_sighup_reloads(daemon: Daemon, tmp_path: Path) -> None:
    """The signal does what the command does; a broken config is one error in the log."""
    before = errors(daemon)
    daemon.configure(roots=(tmp_path,))
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: roots(daemon) == [str(tmp_path)])
    daemon.config.write_text("broken")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: errors(daemon) != before)
    (error,) = errors(daemon)[len(before) :]
    assert '"reload_failed"' in error
    assert roots(daemon) == [str(tmp_path)]


def test_what_takes_a_restart_is_named(daemon: Daemon) -> None:
    """A table whose change can't count yet is told."""
    text = daemon.config.read_text().replace("processes = 1", "processes = 2")
    daemon.config.write_text(text)
    assert daemon.client.reload()["restart_needed"] == ["workers"]


def test_changed_hooks_are_named_once(daemon: Daemon) -> None:
    """Their process is restarted by itself: the daemon can't know of it."""
    daemon.configure('[[hook]]\nname = "mail"\ncommand = ["true"]')
    assert [daemon.client.reload()["restart_needed"] for _ in range(2)] == [["hook"], []]


def test_switching_verification_takes_a_restart(daemon: Daemon) -> None:
    """The workers extract local features, or not, from their start."""
    daemon.configure("[match]\nverify = false")
    assert daemon.client.reload()["restart_needed"] == ["match.verify"]


def test_files_that_failed_are_tried_again_once_other_limits_count(daemon: Daemon) -> None:
    """A reload leaves the workers' limits as they are: after the restart that it asks for the files are read again."""
    daemon.configure()
    lower = daemon.config.read_text().replace("processes = 1", "processes = 1\nmax_pixels = 10000")
    daemon.stop()
    daemon.config.write_text(lower)
    draw(daemon.photos / "large.png", 12)
    daemon.start()
    failed = [str(daemon.photos / "large.png")]
    assert [each["path"] for each in daemon.client.failed()] == failed
    daemon.configure()
    assert daemon.client.reload()["restart_needed"] == ["workers"]
    daemon.wait_ready()
    assert [each["path"] for each in daemon.client.failed()] == failed
    daemon.stop()
    daemon.start()
    assert list(daemon.client.failed()) == []


def test_no_question_is_dropped(daemon: Daemon) -> None:
    """Questions asked without a pause over several reloads are all answered."""
    picture = (daemon.photos / "2.png").read_bytes()
    stop, answers, failures = threading.Event(), [0], list[Exception]()

    def ask() -> None:
        while not stop.is_set():
            try:
                answers[0] += bool(daemon.client.find(picture)["matches"])
            except Exception as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(3):
        daemon.client.reload()
        enough = answers[0] + 2
        wait_for(partial(lambda enough: answers[0] >= enough, enough))
    stop.set()
    asking.join()
    assert failures == []


def test_a_reload_leaks_nothing(daemon: Daemon) -> None:
    """Descriptors and threads of the old run are given back: their numbers do not grow from reload to reload."""
    process = psutil.Process(daemon.process.pid)

    def reloaded() -> tuple[int, int]:
        daemon.client.reload()
        daemon.wait_ready()
        return process.num_fds(), process.num_threads()

    first = reloaded()
    for _ in range(5):
        reloaded()
    wait_for(lambda: max(process.num_fds() - first[0], process.num_threads() - first[1]) <= 2)  # 5 with a leak


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """A daemon in this process, not yet started."""
    (tmp_path / "p").mkdir()
    config = Config(
        watch=(WatchConfig(path=str(tmp_path / "p")),),
        model=ModelConfig(handle="none"),
        workers=WorkersConfig(processes=1),
        store=StoreConfig(path=str(tmp_path / "store")),
    )
    with closing(App(config, lambda: config)) as app:
        yield app
        app.stop()


def test_a_run_that_is_still_starting_is_stopped_whole(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two reloads in a row: the second finds a run amid the start of its watchers, and the next run watches."""
    starting, start = threading.Event(), threading.Thread.start

    def start_slowly(thread: threading.Thread) -> None:
        if thread.name == "watcher" and not starting.is_set():
            first = app.run
            starting.set()
            wait_for(lambda: first.state == "draining")  # the reload stops it
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    app.start()
    assert starting.wait(PATIENCE_S)
    app.reload()
    wait_for(lambda: app.run.state == "ready")
    assert app.alive()


def test_a_fault_while_stopping_leaves_a_run_that_watches(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reload fails, and the run that was to follow is started all the same."""
    app.start()
    wait_for(lambda: app.run.state == "ready")
    old = app.run
    monkeypatch.setattr(old._collector, "stop", Mock(side_effect=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        app.reload()
    wait_for(lambda: app.run is not old and app.run.state == "ready")
    assert app.alive()


def test_a_reload_during_the_stop_is_refused(app: App) -> None:
    """It would start a run that nobody stops."""
    app.start()
    wait_for(lambda: app.run.state == "ready")
    last = app.run
    app.stop()
    with pytest.raises(Unavailable, match="the daemon stops"):
        app.reload()
    assert app.run is last
    assert not last.alive()


def test_a_reload_does_not_wait_for_the_model(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that waits for its model ends its wait at once; the next one waits on."""
    app.provision.first_try.clear()
    monkeypatch.setattr(app.provision, "start", lambda _use: None)
    app.start()
    wait_for(lambda: app.run.alive())
    app.reload()
    assert app.run.state == "starting"
    app.provision.first_try.set()
    wait_for(lambda: app.run.state == "ready")
