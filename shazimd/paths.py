"""Default paths of the socket, the store and the configuration.

In the daemon, systemd's directories come first (systemd.exec(5), RuntimeDirectory=). Otherwise root uses the system's
directories, and a user those of the XDG Base Directory Specification, which ignores relative paths.
"""

from __future__ import annotations

import os

SYSTEM_SOCKET = "/run/shazimd/shazimd.sock"
SYSTEM_STORE = "/var/lib/shazimd"
SYSTEM_CONFIG = "/etc/shazimd/config.toml"


def listening_socket() -> str:
    """Socket path of the daemon."""
    if given := _systemd_directory("RUNTIME_DIRECTORY"):
        return os.path.join(given, "shazimd.sock")
    return _socket_by_hand()


def asking_socket() -> str:
    """Socket path for a client: $SHAZIMD_SOCKET, the user's own daemon, or the system's if only that exists."""
    if given := os.environ.get("SHAZIMD_SOCKET"):
        return given
    own = _socket_by_hand()
    return SYSTEM_SOCKET if not os.path.exists(own) and os.path.exists(SYSTEM_SOCKET) else own


def store_directory() -> str:
    """Directory of the store."""
    if given := _systemd_directory("STATE_DIRECTORY"):
        return given
    if os.geteuid() == 0:
        return SYSTEM_STORE
    return os.path.join(_xdg("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "shazimd")


def hooks_directory() -> str:
    """Directory of the hooks' positions."""
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
    # Never /tmp: there another user could create a socket under this name.
    return os.path.join(_xdg("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "shazimd.sock")


def _systemd_directory(variable: str) -> str:
    """The first of systemd's directories, which are separated by colons, or an empty string."""
    return os.environ.get(variable, "").partition(":")[0]


def _xdg(variable: str) -> str:
    given = os.environ.get(variable, "")
    return given if os.path.isabs(given) else ""
