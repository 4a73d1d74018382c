"""`shazimctl web` with a real daemon, in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import Browser
from daemon_process import SCRIPTS, DaemonProcess, daemon_process
from patience import PATIENCE_S
from scenery import EDITS, landscape, write_album
from selenium.webdriver.common.keys import Keys

from shazimd.errors import DaemonUnreachable, Unavailable, UsageError

SIZE = (600, 400)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that has compared an album of four scenes."""
    with daemon_process(tmp_path_factory.mktemp("daemon")) as daemon:
        write_album(daemon.root, 4)
        daemon.start()
        daemon.settled()
        daemon.wait_until(lambda: daemon.status()["relations"]["left"] == 0)
        yield daemon


@contextmanager
def web(daemon: DaemonProcess, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and its link."""
    command = [str(SCRIPTS / "shazimctl"), "--socket", daemon.socket, "web", "--no-browser", *options]
    homes = {f"XDG_{name}_HOME": str(folder / name) for name in ("CACHE", "STATE", "DATA")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | homes) as process:
        try:
            assert process.stdout is not None
            yield process, first_link(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)


def first_link(line: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
    assert found is not None, line
    return found[0]


def test_see_decide_clean_up_and_take_back(daemon: DaemonProcess, chrome: Browser, tmp_path: Path) -> None:
    """The whole way, on files of the disk: the decision is the daemon's, the clean-up can be undone."""
    before = {path: path.read_bytes() for path in daemon.root.rglob("*.jpg")}
    with web(daemon, tmp_path) as (_, link):
        chrome.begin()
        chrome.open(link)
        chrome.until("return document.querySelectorAll('.js .card').length === 4")
        chrome.pictures_shown()
        chrome.type(Keys.ARROW_RIGHT, "1")
        chrome.until("return document.querySelectorAll('.card.done').length === 1")
        (decision,) = (json.loads(line) for line in daemon.ctl("decisions", "--json").stdout.splitlines())
        assert ("keep", os.getuid()) == (decision["kind"], decision["uid"])

        chrome.click("nav a[href='/clean']")
        chrome.click("form.rule > button")
        chrome.has_text("Nothing was changed so far")
        chrome.pictures_shown()  # those of files that are gone would be complained about
        chrome.click("form[action='/clean/apply'] button")
        chrome.has_text("cleaned up")
        left = {path for path in before if path.exists()}
        assert len(before) - 5 <= len(left) < len(before)
        chrome.click(".outcome form button")
        chrome.has_text("taken back")
        assert before == {path: path.read_bytes() for path in before}
        assert [] == chrome.complaints()


def test_news_and_answers_come_from_the_daemon(daemon: DaemonProcess, chrome: Browser, tmp_path: Path) -> None:
    """A copy that lands is shown at once; a picture that is asked about is found."""
    daemon.settled()  # the page shows three alerts at a time, and files that were taken back make some
    with web(daemon, tmp_path) as (_, link):
        chrome.begin()
        chrome.open(link)
        chrome.until("return document.querySelector('.js #state:not([hidden])') !== null")
        chrome.keep_messages()
        picture = tmp_path / "picture.jpg"
        EDITS["mirrored"](landscape(0).resize(SIZE)).save(picture)
        shutil.copy(picture, daemon.root / "landed.jpg")
        chrome.has_text("landed.jpg", "#toasts")

        chrome.click("nav a[href='/ask']")
        chrome.until("return document.querySelector('.js input[type=file]') !== null")
        chrome.driver.find_element("css selector", "input[type=file]").send_keys(str(picture))
        chrome.has_text("Yes:")
        chrome.has_text("landed.jpg", ".matches")


def test_the_command_ends_with_ctrl_c(daemon: DaemonProcess, tmp_path: Path) -> None:
    """And leaves no process behind."""
    with web(daemon, tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) in (0, 130)


def test_a_taken_port_is_told(daemon: DaemonProcess) -> None:
    """With what to do about it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = daemon.ctl("web", "--no-browser", "--port", str(taken.getsockname()[1]))

    assert (Unavailable.exit_status, True) == (done.returncode, "Choose another with --port" in done.stderr)


def test_without_a_daemon_nothing_is_served(tmp_path: Path) -> None:
    """The command says how to start one."""
    command = [str(SCRIPTS / "shazimctl"), "--socket", str(tmp_path / "none"), "web", "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    assert DaemonUnreachable.exit_status == done.returncode
    assert "the daemon is not running" in done.stderr


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_a_port_is_a_number(port: str) -> None:
    command = [str(SCRIPTS / "shazimctl"), "web", f"--port={port}"]
    assert UsageError.exit_status == subprocess.run(command, capture_output=True, check=False).returncode
