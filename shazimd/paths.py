"""Where things lie when nobody says otherwise: the socket, the store, the configuration.

systemd's directories win in the daemon (systemd.exec(5), RuntimeDirectory=); root has the system's places; a user has
those of the XDG Base Directory Specification, which says that a relative path there is ignored.
"""

from __future__ import annotations

import os

SYSTEM_SOCKET = "/run/shazimd/shazimd.sock"
SYSTEM_STORE = "/var/lib/shazimd"
SYSTEM_CONFIG = "/etc/shazimd/config.toml"


def listening_socket() -> str:
    """Where the daemon listens."""
    if given := _systemd_directory("RUNTIME_DIRECTORY"):
        return os.path.join(given, "shazimd.sock")
    return _socket_by_hand()


def asking_socket() -> str:
    """Where a client asks: $SHAZIMD_SOCKET; a user's own daemon when it is there, else the system's when it is."""
    if given := os.environ.get("SHAZIMD_SOCKET"):
        return given
    own = _socket_by_hand()
    return SYSTEM_SOCKET if not os.path.exists(own) and os.path.exists(SYSTEM_SOCKET) else own


def store_directory() -> str:
    """Where the daemon keeps its store."""
    if given := _systemd_directory("STATE_DIRECTORY"):
        return given
    if os.geteuid() == 0:
        return SYSTEM_STORE
    return os.path.join(_xdg("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "shazimd")


def hooks_directory() -> str:
    """Where the hooks' positions are kept."""
    given = _systemd_directory("STATE_DIRECTORY")
    return given or os.path.join(os.path.dirname(store_directory()), "shazimd-hooks")


def config_file() -> str | None:
    """$SHAZIMD_CONFIG, else the system's file if it exists, else None."""
    if given := os.environ.get("SHAZIMD_CONFIG"):
        return given
    return SYSTEM_CONFIG if os.path.exists(SYSTEM_CONFIG) else None


def _socket_by_hand() -> str:
    if os.geteuid() == 0:
        return SYSTEM_SOCKET
    # Never /tmp: there another user could lie in wait under our name.
    return os.path.join(_xdg("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "shazimd.sock")


def _systemd_directory(variable: str) -> str:
    """The first of the directories that systemd passes, separated by colons; empty when there is none."""
    return os.environ.get(variable, "").partition(":")[0]


def _xdg(variable: str) -> str:
    given = os.environ.get(variable, "")
    return given if os.path.isabs(given) else ""
