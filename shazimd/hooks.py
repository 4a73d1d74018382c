"""Hooks: deliver each alert to a command or a URL, from a process that is an ordinary client of the daemon's socket.

The alerts in the store are the queue. A hook only keeps its position, the id of the last alert done, and requests
later alerts. Hence no alert is lost while a hook fails, hangs or restarts, and none piles up in memory. Delivery is in
order and at least once: a receiver recognises a repeated alert by its ``id``, the ``alert_id`` of the log. No other
alert of the store has this id, also after a restore.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
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
from shazimd.posix import POLL_MAX_S
from shazimd.posix.files import atomic_write

log = structlog.get_logger()

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 300.0
"""Pauses double from the first to the maximum: 100 attempts at a receiver that is down for a night, not thousands."""

AlertFields = dict[str, Any]
"""An alert as JSON says it: a newer daemon may send more than ``protocol.Alert``."""


class HookFailed(InternalError):
    """An attempt to deliver failed; more attempts follow."""

    code = "hook_failed"


class AlertSource(Protocol):
    """The part of ``client.Client`` used here."""

    def alerts(self, since: int = 0) -> Iterable[Any]: ...

    def events(self, since: int | None = None) -> Iterable[Any]: ...


class Hook:
    """Delivers the alerts of a configured hook."""

    def __init__(self, config: HookConfig, source: AlertSource, folder: str, stop: threading.Event) -> None:
        """``folder`` holds the file of the position."""
        self._config = config
        self._source = source
        self._position = os.path.join(folder, f"{config.name}.position")
        self._stop = stop
        self._log = log.bind(hook=config.name)

    def run(self) -> None:
        """Deliver alerts until ``stop`` is set; a new hook starts with new alerts. Retries while the daemon is away.

        Raises OSError when the position can't be written: otherwise a restart would deliver everything again."""
        pause_s = RETRY_FIRST_S
        while not self._stop.is_set():
            begun, fault = time.monotonic(), None
            try:
                for alert in self._source.events(since=self._begin()):
                    pause_s = RETRY_FIRST_S
                    self._handle(alert)
                    if self._stop.is_set():
                        return
            except ShazimdError as error:
                fault = str(error)
            if time.monotonic() - begun > pause_s:  # the daemon was there, perhaps for weeks without an alert
                pause_s = RETRY_FIRST_S
            if fault is not None:
                self._log.warning("hook_waits_for_daemon", reason=fault, pause_s=pause_s)
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _begin(self) -> int:
        """The position; that of the newest alert for a new hook. A position over all ids is of another store, and is
        given up: all alerts of the present store are delivered rather than none."""
        try:
            with open(self._position, encoding="ascii") as file:
                position = int(file.read())
        except FileNotFoundError:
            position = max((int(alert["id"]) for alert in self._source.alerts()), default=0)
            self._done(position)
            return position
        if position and next(iter(self._source.alerts(since=position - 1)), None) is None:
            self._log.warning("hook_begins_anew", position=position, reason="the store has no alert with such an id")
            position = 0
            self._done(position)
        return position

    def _handle(self, alert: AlertFields) -> None:
        if alert["verdict"] not in self._config.verdicts or self._deliver(alert):
            self._done(alert["id"])

    def _deliver(self, alert: AlertFields) -> bool:
        """Retry until success or the time limit; False if stopped earlier."""
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
        atomic_write(self._position, b"%d" % alert_id)


def run(hooks: Iterable[HookConfig], source: AlertSource, folder: str, stop: threading.Event) -> None:
    """Run hooks, each in a thread, until ``stop`` is set or a hook raises; then raise its error.

    A delivery in progress is not awaited: the next start repeats it."""
    errors: list[BaseException] = []

    def guarded(hook: Hook) -> None:
        try:
            hook.run()
        except BaseException as error:
            errors.append(error)
            stop.set()

    os.makedirs(folder, mode=0o700, exist_ok=True)
    for config in hooks:  # a thread each: a receiver that hangs must not delay the others
        hook = Hook(config, source, folder, stop)
        threading.Thread(target=guarded, args=[hook], name=f"hook-{config.name}", daemon=True).start()
    stop.wait()
    if errors:
        raise errors[0]


def deliver(config: HookConfig, alert: AlertFields) -> None:
    """Make one attempt to deliver an alert. Raises HookFailed."""
    body, timeout_s = msgspec.json.encode(alert), min(config.timeout_s, POLL_MAX_S)
    if config.command:
        _run_command(arguments(config.command, alert), body, timeout_s)
    else:
        assert config.url is not None
        _post(config.url, body, timeout_s)


def arguments(command: Iterable[str], alert: AlertFields) -> list[bytes]:
    """The command's words with ``{path}`` and other fields of the alert replaced; without a bank by nothing.

    Each word stays one argument, whatever the file's name, and paths are exact.

    >>> arguments(["notify", "new: {path}", "{verdict}"], {"path": "/p/a b.jpg", "verdict": "copy"})
    [b'notify', b'new: /p/a b.jpg', b'copy']
    """
    fields = {b"bank": b"", **{key.encode(): _as_bytes(alert, key) for key in alert}}
    # One pass for all fields: a value may itself contain braces.
    return [re.sub(rb"\{(\w+)\}", lambda found: fields.get(found[1], found[0]), word.encode()) for word in command]


def _as_bytes(alert: AlertFields, key: str) -> bytes:
    exact = alert.get(f"{key}_b64")
    value = "" if alert[key] is None else str(alert[key])
    return b64decode(exact) if exact else value.encode(errors="surrogateescape")


def _run_command(words: list[bytes], body: bytes, timeout_s: float) -> None:
    """Run in a new session, to end a command that hangs together with its children."""
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise HookFailed(f"{os.fsdecode(words[0])}: {error.strerror}") from error
    try:
        process.communicate(body, timeout_s)
    except subprocess.TimeoutExpired as error:
        late = f"{os.fsdecode(words[0])} took more than {timeout_s:g} s"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError as denied:  # it runs as another user, as with sudo
            raise HookFailed(f"{late}, and could not be ended: {denied.strerror}") from denied
        process.communicate()
        raise HookFailed(f"{late} and was ended") from error
    if process.returncode:
        raise HookFailed(f"{os.fsdecode(words[0])} ended with {process.returncode}, expected 0")


def _post(url: str, body: bytes, timeout_s: float) -> None:
    try:
        connection, target = _connection(url, timeout_s)
        with closing(connection):
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a malformed port or host
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
    """Scheme and host only, for the log: the path or query of a web hook often holds a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or unquote(parts.netloc)}"
