"""Default paths of the socket, the store and the configuration.

In the daemon, systemd's directories come first (systemd.exec(5), RuntimeDirectory=). Otherwise root uses the system's
directories, and a user those of the XDG Base Directory Specification, which ignores relative paths. A user without a
usable runtime directory (containers, su, cron) has the socket in the directory of the store.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

SYSTEM_SOCKET = "/run/shazimd/shazimd.sock"
SYSTEM_STORE = "/var/lib/shazimd"
SYSTEM_USER = "shazimd"
SYSTEM_UNIT = "/etc/systemd/system/shazimd.service"
SOCKET_NAME = "shazimd.sock"
SYSTEM_CONFIG = "/etc/shazimd/config.toml"
SYSTEM_ENVIRONMENT = "/etc/default/shazimd"
CONFIG_HELP = f"default: $SHAZIMD_CONFIG, else ~/.config/shazimd/config.toml of a user, else {SYSTEM_CONFIG}"


def listening_socket() -> str:
    """Socket path of the daemon."""
    if given := _systemd_directory("RUNTIME_DIRECTORY"):
        return os.path.join(given, SOCKET_NAME)
    return _sockets_by_hand()[0]


def asking_socket() -> str:
    """Socket path for a client: $SHAZIMD_SOCKET, else the first that exists of the user's own daemon, of the path in
    the configuration, and of the system's daemon; else where the user's own daemon would listen. One that a dead daemon
    left counts only if there is no other."""
    if given := os.environ.get("SHAZIMD_SOCKET"):
        return given
    own = _sockets_by_hand()
    left = []
    for path in _sockets(own):
        if os.path.exists(path):
            if not _is_left(path):
                return path
            left.append(path)
    return (left or own)[0]


def _sockets(own: list[str]) -> Iterator[str]:
    yield from own
    if given := socket_in(config_file()):
        yield given
    yield SYSTEM_SOCKET


def _is_left(path: str) -> bool:
    """Whether nobody listens at a socket."""
    import _socket

    client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    client.setblocking(False)  # a full backlog is a daemon, too
    try:
        client.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    finally:
        client.close()
    return False


def socket_in(config: str | None) -> str | None:
    """The socket path in a configuration, if it has one. A faulty file is left to the daemon, which names it."""
    if config is None:
        return None
    import tomllib  # 10 ms, for these cases alone

    try:
        with open(config, "rb") as file:
            given = tomllib.load(file)["server"]["socket"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return expanded(given) if isinstance(given, str) else None


def store_directory() -> str:
    """Directory of the store."""
    if given := _systemd_directory("STATE_DIRECTORY"):
        return given
    if os.geteuid() == 0:
        return SYSTEM_STORE
    return _user_state()


def staged_models() -> str | None:
    """Directory in which shazimd-model.service leaves models for the daemon: $SHAZIMD_STAGED_MODELS, set by both
    units."""
    return os.environ.get("SHAZIMD_STAGED_MODELS") or None


def hooks_directory() -> str:
    """Directory of the hooks' positions."""
    given = _systemd_directory("STATE_DIRECTORY")
    return given or os.path.join(os.path.dirname(store_directory()), "shazimd-hooks")


def service_kind() -> Literal["system", "user"] | None:
    """The kind of service that is installed, by its unit file; a user's own comes first."""
    own = os.path.join(xdg("XDG_CONFIG_HOME", "~/.config"), "systemd/user/shazimd.service")
    if os.geteuid() != 0 and os.path.exists(own):
        return "user"
    return "system" if os.path.exists(SYSTEM_UNIT) else None


def config_file() -> str | None:
    """$SHAZIMD_CONFIG, else the first that exists of the user's own file and the system's, else None."""
    if given := os.environ.get("SHAZIMD_CONFIG"):
        return given
    own = os.path.join(xdg("XDG_CONFIG_HOME", "~/.config"), "shazimd/config.toml")
    candidates = [SYSTEM_CONFIG] if os.geteuid() == 0 else [own, SYSTEM_CONFIG]
    return next(filter(os.path.exists, candidates), None)


def take_service_environment() -> None:
    """Set the variables that the units of the system service read from their environment file: the configuration may
    name them. Of the syntax of systemd.exec(5) only lines NAME=value are read, the value in quotes or without."""
    try:
        with open(SYSTEM_ENVIRONMENT, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        name, is_given, value = line.strip().partition("=")
        if is_given and name.isidentifier():
            value = value.strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            os.environ[name] = value[1:-1] if is_quoted else value


def expanded(path: str) -> str:
    """A path with a leading ~ and $VARIABLES replaced, but for one that exists under its very name. Unknown users and
    variables stay."""
    return path if os.path.lexists(path) else os.path.expandvars(os.path.expanduser(path))


def _sockets_by_hand() -> list[str]:
    """Possible socket paths of a daemon that was started by hand, the likeliest first. The daemon may have had a
    runtime directory that its client lacks, or the reverse, so a client looks at all."""
    if os.geteuid() == 0:
        return [SYSTEM_SOCKET]
    # Never /tmp: there another user could create a socket under this name.
    runtime = (xdg("XDG_RUNTIME_DIR"), f"/run/user/{os.geteuid()}")
    usable = [directory for directory in runtime if directory and os.access(directory, os.W_OK | os.X_OK)]
    return [os.path.join(directory, SOCKET_NAME) for directory in (*usable, _user_state())]


def _user_state() -> str:
    return os.path.join(xdg("XDG_STATE_HOME", "~/.local/state"), "shazimd")


def _systemd_directory(variable: str) -> str:
    """The first of systemd's directories, which are separated by colons, or an empty string."""
    return os.environ.get(variable, "").partition(":")[0]


def xdg(variable: str, default: str = "") -> str:
    """A directory of the XDG Base Directory Specification, which ignores relative paths; else the default, where ~ is
    replaced."""
    given = os.environ.get(variable, "")
    return given if os.path.isabs(given) else os.path.expanduser(default)
