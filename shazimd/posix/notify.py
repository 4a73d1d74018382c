"""Messages to the service manager by the protocol of sd_notify(3): starting, ready, status, watchdog, stopping.

A message is a datagram of ``KEY=value`` lines to the socket named by $NOTIFY_SOCKET. Without the variable, every call
does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from shazimd.text import printable


class Notifier:
    """Sends messages to the service manager. Removes the protocol's variables from ``environ``: children must not send.

    Failures to send are ignored: the manager has time limits of its own for a silent service.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, watchdog_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        for_us = not watchdog_pid or int(watchdog_pid) == os.getpid()
        self.watchdog_interval_s = int(watchdog_us) / 1e6 / 3 if watchdog_us and for_us else None
        """How often to call ``alive``, a third of the watchdog's timeout; None without a watchdog."""

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={printable(status)}")

    def starting(self, status: str, more_s: float) -> None:
        """Set the status line, and ask for at least ``more_s`` more until ``ready``."""
        self._send(f"STATUS={printable(status)}", f"EXTEND_TIMEOUT_USEC={int(more_s * 1e6)}")

    def status(self, status: str) -> None:
        """Set the status line of ``systemctl status``."""
        self._send(f"STATUS={printable(status)}")

    def alive(self) -> None:
        """Reset the watchdog; only after a check of the daemon's health."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={printable(status)}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address  # @: abstract, unix(7)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto("\n".join(lines).encode(), address)
        except OSError:
            return
