from __future__ import annotations

import errno
import json
import os
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from patience import wait_for
from structlog.testing import capture_logs

from shazimd import hooks
from shazimd.config import HookConfig, parse
from shazimd.errors import ConfigError, DaemonUnreachable
from shazimd.server.events import SUBSCRIBERS_OF_A_USER_MAX
from shazimd.types import Verdict


def alert(number: int, path: str = "/p/a.jpg", verdict: str = "copy") -> dict[str, Any]:
    return {"id": number, "path": path, "match": "/p/b.jpg", "verdict": verdict, "score": 0.9}


class Daemon:
    """The alerts of a daemon: those that are stored, then silence."""

    def __init__(self, *stored: dict[str, Any]) -> None:
        self.stored = list(stored)
        self.asked: list[int | None] = []
        self.down = 0

    def alerts(self, since: int = 0) -> list[dict[str, Any]]:
        return [a for a in self.stored if a["id"] > since]

    def events(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        self.asked.append(since)
        if self.down:
            self.down -= 1
            raise DaemonUnreachable("no daemon")
        yield from self.alerts(since or 0)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(hooks, "RETRY_MAX_S", 0.01)


@contextmanager
def receiver(path: Path, answers: list[int]) -> Iterator[list[dict[str, Any]]]:
    """A web server on a Unix socket that answers with these statuses, the last one from then on."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.end_headers()

        def log_message(self, *_args: Any) -> None: ...

        def address_string(self) -> str:
            return "unix"

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield got
        finally:
            server.shutdown()
            thread.join()


def unix_url(path: Path) -> str:
    return f"http+unix://{quote(str(path), safe='')}/alert"


def writes_to(path: Path) -> tuple[str, ...]:
    """A command that appends its standard input to a file, a line each."""
    return (sys.executable, "-c", f"import sys; open({str(path)!r}, 'a').write(sys.stdin.read() + chr(10))")


class Running:
    """Hooks that run in a thread until the block ends."""

    def __init__(self, folder: Path, daemon: Daemon, *configs: HookConfig) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=hooks.run, args=[configs, daemon, str(folder), self._stop])
        self._names = {f"hook-{config.name}" for config in configs}

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for hook in threading.enumerate():  # an attempt in hand is not to end in what the test does next
            if hook.name in self._names:
                hook.join()


def wait_for_position(folder: Path, name: str, expected: int) -> None:
    position = folder / f"{name}.position"
    wait_for(
        lambda: position.exists() and position.read_text() == str(expected),
        lambda: {f.name: f.read_text() for f in folder.iterdir()},
    )


def start_at(folder: Path, name: str, position: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.position").write_text(str(position))


def test_a_command_gets_each_alert_once_and_in_order(tmp_path: Path) -> None:
    """The alerts after the position arrive on standard input, and the position follows."""
    start_at(tmp_path / "s", "log", 1)
    config = HookConfig(name="log", command=writes_to(tmp_path / "out"))
    with Running(tmp_path / "s", Daemon(alert(1), alert(2), alert(3)), config):
        wait_for_position(tmp_path / "s", "log", 3)
    assert [json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines()] == [2, 3]


def test_a_new_hook_begins_now(tmp_path: Path) -> None:
    """Alerts from before the hook was configured are not delivered."""
    daemon = Daemon(alert(1), alert(2))
    with Running(tmp_path, daemon, HookConfig(name="new", command=writes_to(tmp_path / "out"))):
        wait_for_position(tmp_path, "new", 2)
        daemon.stored.append(alert(3))
        wait_for_position(tmp_path, "new", 3)
    assert len((tmp_path / "out").read_text().splitlines()) == 1


def test_a_hook_begins_anew_with_another_store(tmp_path: Path) -> None:
    """A position over all ids is of a store that is gone: every alert of the present one is delivered."""
    start_at(tmp_path / "s", "log", 1000)
    config = HookConfig(name="log", command=writes_to(tmp_path / "out"))
    with capture_logs() as log, Running(tmp_path / "s", Daemon(alert(1), alert(2)), config):
        wait_for_position(tmp_path / "s", "log", 2)
    assert [json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines()] == [1, 2]
    assert [(line["event"], line["position"]) for line in log if line["log_level"] == "warning"] == [
        ("hook_begins_anew", 1000)
    ]


def test_a_post_is_tried_until_it_is_taken(tmp_path: Path) -> None:
    """An answer that is no success is followed by the same alert, and nothing is skipped."""
    start_at(tmp_path / "s", "web", 0)
    config = HookConfig(name="web", url=unix_url(tmp_path / "r"))
    daemon = Daemon(alert(1), alert(2))
    with receiver(tmp_path / "r", [503, 500, 200]) as got, Running(tmp_path / "s", daemon, config):
        wait_for_position(tmp_path / "s", "web", 2)
    assert [a["id"] for a in got] == [1, 1, 1, 2]


def test_nothing_is_lost_over_a_restart(tmp_path: Path) -> None:
    """An alert whose delivery failed before a restart is delivered after it."""
    start_at(tmp_path / "s", "web", 0)
    config = HookConfig(name="web", url=unix_url(tmp_path / "r"))
    daemon = Daemon(alert(1))
    with capture_logs() as log, Running(tmp_path / "s", daemon, config):
        wait_for(lambda: any(line["event"] == "hook_failed" for line in log))
    assert (tmp_path / "s" / "web.position").read_text() == "0"
    with receiver(tmp_path / "r", [204]) as got, Running(tmp_path / "s", daemon, config):
        wait_for_position(tmp_path / "s", "web", 1)
    assert [a["id"] for a in got] == [1]


def test_a_hook_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    """Each hook has a position and a thread of its own."""
    folder = tmp_path / "s"
    start_at(folder, "stuck", 0)
    start_at(folder, "fine", 0)
    stuck = HookConfig(name="stuck", command=("sleep", "1000"), timeout_s=1, give_up_after_s=1000)
    with Running(folder, Daemon(alert(1)), stuck, HookConfig(name="fine", command=writes_to(tmp_path / "out"))):
        wait_for_position(folder, "fine", 1)
    assert (folder / "stuck.position").read_text() == "0"


def is_running(pid: str) -> bool:
    """A zombie, which waits for its parent to ask, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """After the time-out nothing of the command is left."""
    pid_file = tmp_path / "pid"
    parent = f"sleep 1000 & echo $! > {pid_file}; wait"
    config = HookConfig(name="x", command=("sh", "-c", parent), timeout_s=1)
    with pytest.raises(hooks.HookFailed, match="took more than 1 s"):
        hooks.deliver(config, alert(1))
    pid = pid_file.read_text().strip() if pid_file.exists() else ""
    if pid:  # a busy machine may not have come so far
        wait_for(lambda: not is_running(pid))


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_command_that_hangs_and_cannot_be_ended_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such is one of another user, as with sudo; the other hooks go on."""
    kill = os.killpg
    tried: list[int] = []

    def killpg(group: int, number: int) -> None:
        kill(group, number)  # no process outlives the test
        tried.append(group)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", killpg)
    folder = tmp_path / "s"
    start_at(folder, "stuck", 0)
    start_at(folder, "fine", 0)
    stuck = HookConfig(name="stuck", command=("sleep", "1000"), timeout_s=1, give_up_after_s=1000)
    daemon = Daemon(alert(1))
    fine = HookConfig(name="fine", command=writes_to(tmp_path / "out"))
    with capture_logs() as log, Running(folder, daemon, stuck, fine):
        wait_for(lambda: len(tried) > 1)
        daemon.stored.append(alert(2))
        wait_for_position(folder, "fine", 2)
    failed = [line["reason"] for line in log if line["event"] == "hook_failed"]
    assert failed[0] == "sleep took more than 1 s, and could not be ended: Operation not permitted"


@pytest.mark.parametrize(
    ("command", "message"),
    [(("false",), "false ended with 1, expected 0"), (("/nowhere",), "/nowhere: No such file or directory")],
)
def test_a_command_that_fails_says_how(command: tuple[str, ...], message: str) -> None:
    """The error names the command and how it ended."""
    with pytest.raises(hooks.HookFailed) as caught:
        hooks.deliver(HookConfig(name="x", command=command), alert(1))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "url", ["http://localhost:1/x?token=s3cret", f"http://{'a' * 64}/s3cret", "http+unix://%2Fgone/s3cret"]
)
def test_a_url_that_fails_keeps_its_secrets(url: str) -> None:
    """The error names the host, not the path or the query, where tokens stand."""
    with pytest.raises(hooks.HookFailed) as caught:
        hooks.deliver(HookConfig(name="x", url=url), alert(1))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("timeout_s", [30 * 86_400, 10**12])
def test_a_timeout_of_months_is_a_timeout(tmp_path: Path, timeout_s: int) -> None:
    """Of a command and of a URL: no time is too long for the system's clocks."""
    hooks.deliver(HookConfig(name="x", command=writes_to(tmp_path / "out"), timeout_s=timeout_s), alert(1))
    assert json.loads((tmp_path / "out").read_text()) == alert(1)
    with receiver(tmp_path / "r", [200]) as got:
        hooks.deliver(HookConfig(name="x", url=unix_url(tmp_path / "r"), timeout_s=timeout_s), alert(2))
    assert got == [alert(2)]


def test_arguments_are_never_a_shell_line() -> None:
    """A hostile file name stays one argument, and is not filled in again."""
    hostile = "/p/$(reboot); {match} `x` 'y'.jpg"
    words = hooks.arguments(("echo", "{path}", "a{verdict}b", "{unknown} {"), alert(1, hostile))
    assert words == [b"echo", hostile.encode(), b"acopyb", b"{unknown} {"]


def test_arguments_carry_paths_exactly() -> None:
    """A path that is not UTF-8 arrives as the bytes it has."""
    given = alert(1, "/p/\ufffd.jpg") | {"path_b64": "L3Av/y5qcGc="}
    assert hooks.arguments(("x", "{path}"), given) == [b"x", b"/p/\xff.jpg"]


def test_arguments_name_the_bank_of_a_match() -> None:
    """Without a bank, and without a signal, the word has nothing in its place."""
    words = ("x", "[{bank}]", "[{dfv}]")
    assert hooks.arguments(words, alert(1) | {"bank": "/srv/bank", "dfv": 0.5}) == [b"x", b"[/srv/bank]", b"[0.5]"]
    assert hooks.arguments(words, alert(1) | {"dfv": None}) == [b"x", b"[]", b"[]"]


def test_only_the_verdicts_asked_for_are_delivered(tmp_path: Path) -> None:
    """The others are passed over, and do not come back."""
    start_at(tmp_path / "s", "v", 0)
    config = HookConfig(name="v", command=writes_to(tmp_path / "out"), verdicts=(Verdict.EXACT,))
    daemon = Daemon(alert(1), alert(2, verdict="exact"), alert(3))
    with Running(tmp_path / "s", daemon, config):
        wait_for_position(tmp_path / "s", "v", 3)
    assert [json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines()] == [2]


def test_an_alert_that_is_never_taken_is_given_up_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is up, one line at error says which alert was given up, and the next one has its turn."""
    monkeypatch.setattr(hooks, "RETRY_FIRST_S", 2.0)
    start_at(tmp_path / "s", "x", 0)
    config = HookConfig(name="x", command=("false",), give_up_after_s=1)
    with capture_logs() as log, Running(tmp_path / "s", Daemon(alert(1)), config):
        wait_for_position(tmp_path / "s", "x", 1)
    given_up = [line for line in log if line["log_level"] == "error"]
    assert [(line["event"], line["alert_id"], line["hook"]) for line in given_up] == [("hook_gave_up", 1, "x")]


def test_a_daemon_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """The hook asks again, from the same position."""
    start_at(tmp_path / "s", "x", 4)
    daemon = Daemon(alert(5))
    daemon.down = 3
    with Running(tmp_path / "s", daemon, HookConfig(name="x", command=("true",))):
        wait_for_position(tmp_path / "s", "x", 5)
    assert daemon.asked[:4] == [4, 4, 4, 4]


@pytest.mark.parametrize(("up_s", "factors"), [(3600.0, [1, 1, 1, 1]), (0.0, [1, 2, 4, 8])])
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_pause_after_restarts_of_the_daemon_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up_s: float, factors: list[int], is_killed: bool
) -> None:
    """Also if there was no alert since the last one. A daemon that ends at once is asked less and less often."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(hooks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    pauses: list[float] = []

    class Restarting(Daemon):
        def events(self, since: int | None = None) -> Iterator[dict[str, Any]]:
            clock.now += up_s
            if is_killed:
                raise DaemonUnreachable("the connection ended")
            yield from ()

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            if len(pauses) == len(factors):
                self.set()
            return self.is_set()

    hooks.Hook(HookConfig(name="x", command=("true",)), Restarting(), str(tmp_path), Stop()).run()
    assert pauses == [factor * hooks.RETRY_FIRST_S for factor in factors]


def test_a_position_that_cannot_be_kept_ends_the_run(tmp_path: Path) -> None:
    """Going on would deliver all again after a restart, so the error is raised."""
    (tmp_path / "x.position").mkdir()
    config = HookConfig(name="x", command=("true",))
    with pytest.raises(IsADirectoryError):
        hooks.run([config], Daemon(alert(1)), str(tmp_path), threading.Event())


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ({"name": "a"}, "both or neither of command and url"),
        ({"name": "a", "command": ["x"], "url": "http://x"}, "both or neither of command and url"),
        ({"name": "a", "command": []}, "hook[0].command is []"),
        ({"name": "a", "command": "rm -rf"}, 'hook[0].command is "rm -rf", expected a list of strings'),
        ({"name": "../a", "command": ["x"]}, 'hook[0].name is "../a"'),
        ({"name": "a", "url": "ftp://x"}, 'hook[0].url is "ftp://x"'),
        ({"name": "a", "url": "http://[x/"}, "its url has no host"),
        ({"name": "a", "url": "http://:80/"}, "its url has no host"),
        ({"name": "a", "url": "https://h:99999/"}, "its url has no host, or a wrong port, expected HOST or HOST:PORT"),
        ({"name": "a", "url": "http://a:b/"}, "its url has no host, or a wrong port"),
    ],
)
def test_a_bad_hook_is_refused(hook: dict[str, Any], message: str) -> None:
    """The error names the key, what was found and what was expected."""
    with pytest.raises(ConfigError) as caught:
        parse({"hook": [hook]}, "c.toml")
    assert message in str(caught.value)


def test_more_hooks_than_streams_are_refused() -> None:
    """The hook one too many would wait for its first alert for ever."""
    some = [{"name": f"a{number}", "command": ["x"]} for number in range(SUBSCRIBERS_OF_A_USER_MAX + 1)]
    assert len(parse({"hook": some[1:]}, "c.toml").hook) == 16
    with pytest.raises(ConfigError, match=r"\[\[hook\]\] is there 17 times, expected at most 16"):
        parse({"hook": some}, "c.toml")


def test_hooks_of_one_name_are_refused() -> None:
    """They would share a position."""
    with pytest.raises(ConfigError, match="hook names are"):
        parse({"hook": [{"name": "a", "command": ["x"]}] * 2}, "c.toml")
