"""Commands that ask how things stand, and for pairs and groups."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from asking import PAIRS, group, shazimctl
from fake_service import FakeService, alert, serving
from patience import PATIENCE_S

from shazimd.errors import NotAnImage, StoreError, Unavailable


def test_compare(run: Any) -> None:
    """Score, verdict and similarities; exit status 1 when the images are unrelated; errors name the file."""
    said = run("compare", "ski.jpg", "ski.jpg")
    assert (said.status, said.out) == (0, "100% exact\naverage hash 100%, difference hash 50%, vector none\n")
    said = run("compare", "ski.jpg", "ski2.jpg", "--weights", "1,0,0", "--json")
    assert (said.status, said.json[0]["verdict"], said.json[0]["weights"]) == (1, None, [1, 0, 0])
    assert run("compare", "ski.jpg", "ski2.jpg").out.startswith("31% unrelated\n")
    said = run("compare", "ski.jpg", "gone.jpg")
    assert (said.status, said.err) == (4, "shazimctl: gone.jpg: no such file\n")


@pytest.mark.parametrize(("part", "name"), [("a", "ski.jpg"), ("b", "ski2.jpg")])
def test_compare_names_the_picture_that_the_daemon_cannot_read(
    run: Any, service: FakeService, part: str, name: str
) -> None:
    """The daemon names the part of the form; other errors stay as they are."""
    service.fails = NotAnImage(f"{part}: the file begins with the bytes 78: expected a header")
    said = run("compare", "ski.jpg", "ski2.jpg")
    assert (said.status, said.err) == (4, f"shazimctl: {name}: the file begins with the bytes 78: expected a header\n")
    service.fails = Unavailable("the daemon is busy: ask again")
    assert run("compare", "ski.jpg", "ski2.jpg").err == "shazimctl: the daemon is busy: ask again\n"


def test_status(run: Any, service: FakeService) -> None:
    """A summary for people, the daemon's own object for programs."""
    service.stored = [alert(1)]
    assert run("status").out.splitlines() == [
        "state     ready",
        "images    1,200 files; 1,100 different known, 3 could not be read",
        "folder    /srv/p",
        "          watched, 12 directories",
        "          3 could not be read: shazimctl failed",
        "          last alert: copy 93%, 2026-01-02 03:04 UTC",
        "            /srv/p/new1.jpg",
        "            like /srv/p/ski.jpg",
        "model     https://example.org/model/5 (m-1)",
        "store     /var/lib/shazimd, 5.0 MB",
        "workers   confined",
        "memory    150.0 MB",
        "uptime    1 h 2 min, version 0.1.0",
    ]
    assert run("status", "--json").json == [service.status()]
    service.missing_layers = ["Landlock (this kernel has none)", "seccomp (no)"]
    assert "workers   confined, but without Landlock (this kernel has none); seccomp (no)" in run("status").out


def test_status_during_a_first_scan(run: Any, service: FakeService) -> None:
    """Images done, rate and time left, for each folder; no alert is said to be none."""
    service.state, service.pending = "baseline", 64
    service.progress = {"done": 312, "total": 1600, "per_second": 48.2, "seconds_left": 26.7}
    lines = run("status").out.splitlines()
    assert lines[0] == "state     baseline, 64 files to look at"
    assert lines[3] == "          scanning: 312 of 1,600 images, 48/s, 26 s left"
    assert "alerts    none so far" in lines


def test_status_is_shown_again_until_interrupted(service: FakeService, socket_path: str) -> None:
    """Each time whole, and at once on a pipe."""
    with shazimctl("status", "--watch") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        states = list(islice((line for line in lines if line.startswith("state")), 2))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert states == ["state     ready\n"] * 2


def test_wait_returns_once_ready_with_nothing_pending(service: FakeService, socket_path: str) -> None:
    """Neither ready with images pending, nor done before it is ready, is enough."""
    service.state, service.pending = "baseline", 0
    process = shazimctl("wait", "--timeout", str(PATIENCE_S))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.7)
    service.pending = 5  # first: an answer is made of two looks, and must not have the new state with the old number
    service.state = "ready"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.7)
    service.pending = 0
    assert (process.wait(PATIENCE_S), *process.communicate()) == (0, "", "")


def test_wait_gives_up(run: Any, service: FakeService, tmp_path: Path) -> None:
    """A timeout prints the unfinished work, exit status 5; without a daemon 3."""
    service.pending = 7
    said = run("wait", "--timeout", "0")
    assert (said.status, said.err) == (5, "shazimctl: Timed out after 0 s: ready, 7 images pending\n")
    assert run("--socket", f"{tmp_path}/none", "wait", "--timeout", "0").status == 3
    assert run("--socket", f"{tmp_path}/none", "wait").status == 3


def test_wait_with_a_time_waits_for_the_daemon_too(service: FakeService, tmp_path: Path) -> None:
    """A daemon that comes up within the time is waited for."""
    process = shazimctl("--socket", f"{tmp_path}/s", "wait", "--timeout", str(PATIENCE_S))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    with serving(service, tmp_path):
        assert (process.wait(PATIENCE_S), *process.communicate()) == (0, "", "")


def test_wait_with_a_time_waits_for_a_daemon_that_cannot_start(
    service: FakeService, socket_path: str, run: Any
) -> None:
    """As before its disk is mounted, when systemd starts it for each question; without a time it is an error."""
    service.fails = Unavailable("the daemon can't start: /mnt/photos is missing")
    assert (run("wait").status, run("wait", "--timeout", "0").status) == (5, 5)
    process = shazimctl("wait", "--timeout", str(PATIENCE_S))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    service.fails = None
    assert (process.wait(PATIENCE_S), *process.communicate()) == (0, "", "")


@pytest.mark.parametrize("plain", [False, True])
def test_wait_shows_progress_on_a_terminal(service: FakeService, socket_path: str, plain: bool) -> None:
    """On a terminal a bar shows indexed and total images, without colours if NO_COLOR is set."""
    service.state, service.pending = "baseline", 800
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **({"NO_COLOR": "1"} if plain else {})}
    ours, theirs = os.openpty()
    process = shazimctl("wait", "--timeout", str(PATIENCE_S), stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while b"1203/2003" not in shown:
        shown += os.read(ours, 65536)
    service.state, service.pending = "ready", 0
    assert process.wait(PATIENCE_S) == 0
    assert b"baseline" in shown
    assert bool(re.search(rb"\x1b\[[0-9;]*3[0-8]", shown)) is not plain
    process.communicate()
    os.close(ours)


def test_duplicates(run: Any, service: FakeService) -> None:
    """Groups with the saved space, the first member to keep; 1 when there is none."""
    said = run("duplicates")
    assert (said.status, said.out, said.err) == (1, "", "shazimctl: no duplicates found\n")
    service.groups = [group(1), group(2)]
    said = run("duplicates", "--limit", "1", "--threshold", "0.9", "--weights", "1,1,1")
    assert said.out == "2 images, 2.1 MB to save\n  /srv/1a  64x48, 3.0 kB, keep\n  /srv/1b  32x24, 999 B, 90% copy\n"
    assert service.asked[-1] == ("duplicates", 0.9, (1.0, 1.0, 1.0))
    said = run("duplicates", "--json")
    assert (said.status, said.json) == (0, [group(1), group(2)])


def test_all_pairs(run: Any, service: FakeService) -> None:
    """Each pair on a line, no progress among them; --after goes on, --limit ends it; 1 when there is none."""
    said = run("duplicates", "--all")
    assert (said.status, said.out, said.err) == (1, "", "shazimctl: no pairs found\n")
    service.joined = PAIRS
    said = run("duplicates", "--all", "--threshold", "0.7", "--weights", "1,1,1", "--after", "0")
    assert (said.status, said.err) == (0, "")
    assert said.out == "/srv/b: 84% like /srv/a\n/srv/c: 80% like /srv/a\n"
    assert service.asked[-1] == ("pairs", 0.7, (1.0, 1.0, 1.0), 0)
    assert run("duplicates", "--all", "--json").json == PAIRS[1:3]
    assert run("duplicates", "--all", "--json", "--limit", "1").json == PAIRS[1:2]
    assert run("duplicates", "--all", "--json", "--after", "2").json == PAIRS[2:3]


def test_a_join_that_breaks_off_says_how_to_go_on(run: Any, service: FakeService) -> None:
    """What was told stays told, and the last "after" is on standard error."""
    service.joined, service.fails = PAIRS, StoreError("the store can't be read")
    said = run("duplicates", "--all")
    assert (said.status, len(said.out.splitlines())) == (5, 2)
    assert said.err == "shazimctl: interrupted; continue with --after 3\nshazimctl: the store can't be read\n"


def test_after_alone_is_refused(run: Any) -> None:
    """There is nothing to go on with but a join."""
    said = run("duplicates", "--after", "3")
    assert (said.status, said.err) == (2, "shazimctl: --after requires --all\n")
