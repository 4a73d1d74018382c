"""What the service manager is told: ready, how it is, still alive, stopping.

The protocol of sd_notify(3): one datagram of ``KEY=value`` lines to the socket named by $NOTIFY_SOCKET. Without that
variable nobody listens, and every call does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from shazimd.text import printable


class Notifier:
    """Speaks to the service manager. Takes the protocol's variables out of ``environ``, so that no child speaks too.

    A datagram that can't be sent is dropped: the manager has limits of its own for a service that stays silent.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, watchdog_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        for_us = not watchdog_pid or int(watchdog_pid) == os.getpid()
        self.watchdog_interval_s = int(watchdog_us) / 1e6 / 3 if watchdog_us and for_us else None
        """How often to call ``alive``, a third of the manager's patience; None when it does not ask."""

    def ready(self, status: str) -> None:
        """Started."""
        self._send("READY=1", f"STATUS={printable(status)}")

    def status(self, status: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={printable(status)}")

    def alive(self) -> None:
        """The watchdog's answer: call it only when the work really goes on."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={printable(status)}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
                speaker.sendto("\n".join(lines).encode(), address)
        except OSError:
            return
