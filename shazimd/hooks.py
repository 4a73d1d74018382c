"""Hooks: each alert is handed to a command or posted to a URL, by a process that is a client of the socket like any
other and has none of the daemon's rights.

The alerts in the store are the queue: a hook keeps only the id of the last alert that it is done with, and asks for
those after it. So nothing is lost while a hook fails, hangs or is restarted, nothing piles up in memory, and an alert
is delivered in order and at least once; ``id`` tells a receiver what it has had already.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from shazimd.config import HookConfig
from shazimd.errors import InternalError, ShazimdError

log = structlog.get_logger()

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 300.0
"""Pauses double from the first to this: a receiver that is down for a night is not called a thousand times."""

Alert = dict[str, Any]


class HookFailed(InternalError):
    """One try to deliver failed: it will be tried again."""

    code = "hook_failed"


class AlertSource(Protocol):
    """What a hook needs of the daemon (see ``client.Client``)."""

    def alerts(self, since: int = 0) -> Iterable[Any]: ...

    def events(self, since: int | None = None) -> Iterable[Any]: ...


class Hook:
    """One hook's way through the alerts."""

    def __init__(self, config: HookConfig, source: AlertSource, folder: str, stop: threading.Event) -> None:
        """``folder`` keeps the position between runs."""
        self._config = config
        self._source = source
        self._position = os.path.join(folder, f"{config.name}.position")
        self._stop = stop
        self._log = log.bind(hook=config.name)

    def run(self) -> None:
        """Deliver alerts until told to stop. A hook without a position starts with the alerts from now on.

        A daemon that does not answer is waited for. Raises OSError when the position can't be kept: going on would
        deliver everything again after a restart."""
        pause_s = RETRY_FIRST_S
        while not self._stop.is_set():
            try:
                for alert in self._source.events(since=self._begin()):
                    pause_s = RETRY_FIRST_S
                    self._handle(alert)
                    if self._stop.is_set():
                        return
            except ShazimdError as error:
                self._log.warning("hook_waits_for_daemon", reason=str(error), pause_s=pause_s)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _begin(self) -> int:
        """The alert that this hook is done with."""
        try:
            with open(self._position, encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            last = 0
            for alert in self._source.alerts():
                last = alert["id"]
            self._done(last)
            return last

    def _handle(self, alert: Alert) -> None:
        if alert["verdict"] not in self._config.verdicts or self._deliver(alert):
            self._done(alert["id"])

    def _deliver(self, alert: Alert) -> bool:
        """Try until it works or the time is up; False when stopped before."""
        pause_s, end = RETRY_FIRST_S, time.monotonic() + self._config.give_up_after_s
        while not self._stop.is_set():
            try:
                deliver(self._config, alert)
            except HookFailed as error:
                if time.monotonic() + pause_s > end:
                    self._log.error("hook_gave_up", alert_id=alert["id"], reason=str(error))
                    return True
                self._log.warning("hook_failed", alert_id=alert["id"], reason=str(error), pause_s=pause_s)
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
            else:
                self._log.info("hook_delivered", alert_id=alert["id"])
                return True
        return False

    def _done(self, alert_id: int) -> None:
        descriptor, partial = tempfile.mkstemp(dir=os.path.dirname(self._position))
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(str(alert_id))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._position)


def run(hooks: Iterable[HookConfig], source: AlertSource, folder: str, stop: threading.Event) -> None:
    """Run hooks, each in a thread, until ``stop`` is set or one of them breaks; then that error is raised.

    A delivery in hand is not waited for: it is made again at the next start."""
    broken: list[BaseException] = []

    def guarded(hook: Hook) -> None:
        try:
            hook.run()
        except BaseException as error:
            broken.append(error)
            stop.set()

    os.makedirs(folder, mode=0o700, exist_ok=True)
    for config in hooks:
        hook = Hook(config, source, folder, stop)
        threading.Thread(target=guarded, args=[hook], name=f"hook-{config.name}", daemon=True).start()
    stop.wait()
    if broken:
        raise broken[0]


def deliver(config: HookConfig, alert: Alert) -> None:
    """Hand one alert over, once. Raises HookFailed."""
    body = msgspec.json.encode(alert)
    if config.command:
        _run_command(arguments(config.command, alert), body, config.timeout_s)
    else:
        assert config.url is not None
        _post(config.url, body, config.timeout_s)


def arguments(command: Iterable[str], alert: Alert) -> list[bytes]:
    """The command's words, in which ``{path}`` and the other fields of the alert are filled in.

    A word stays one argument whatever a file's name holds, and paths are exact.

    >>> arguments(["notify", "new: {path}", "{verdict}"], {"path": "/p/a b.jpg", "verdict": "copy"})
    [b'notify', b'new: /p/a b.jpg', b'copy']
    """
    fields = {key: _as_bytes(alert, key) for key in alert}
    return [_fill(word.encode(), fields) for word in command]


def _as_bytes(alert: Alert, key: str) -> bytes:
    exact = alert.get(f"{key}_b64")
    return b64decode(exact) if exact else str(alert[key]).encode(errors="surrogateescape")


def _fill(word: bytes, fields: dict[str, bytes]) -> bytes:
    """In one pass, so that what is filled in is never filled in again."""
    head, *parts = word.split(b"{")
    for part in parts:
        name, closed, rest = part.partition(b"}")
        known = fields.get(name.decode(errors="replace")) if closed else None
        head += b"{" + part if known is None else known + rest
    return head


def _run_command(words: list[bytes], body: bytes, timeout_s: float) -> None:
    """A session of its own, so that one that hangs is ended with all that it started."""
    try:
        process = subprocess.Popen(  # noqa: S603 (the words are the configuration's, and no shell reads them)
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise HookFailed(f"{os.fsdecode(words[0])}: {error.strerror}") from error
    try:
        process.communicate(body, timeout_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise HookFailed(f"{os.fsdecode(words[0])} took more than {timeout_s:g} s and was ended") from error
    if process.returncode:
        raise HookFailed(f"{os.fsdecode(words[0])} ended with {process.returncode}, expected 0")


def _post(url: str, body: bytes, timeout_s: float) -> None:
    try:
        connection, target = _connection(url, timeout_s)
        with closing(connection):
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a port or host that can't be
        raise HookFailed(f"{_without_secrets(url)}: {error or type(error).__name__}") from error
    if not 200 <= status < 300:
        raise HookFailed(f"{_without_secrets(url)} answered {status}, expected 200 to 299")


def _connection(url: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http+unix":
        return _UnixConnection(unquote(parts.netloc), timeout_s), target
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    assert parts.hostname is not None
    return kind(parts.hostname, parts.port, timeout=timeout_s), target


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _without_secrets(url: str) -> str:
    """Tokens stand in the path or query of many a web hook; the log needs neither."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or unquote(parts.netloc)}"
