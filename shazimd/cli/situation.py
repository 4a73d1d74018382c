"""How the daemon is run here (a service of the system or of a user, in a container, by hand), and commands that fit."""

from __future__ import annotations

import os
import shlex

from shazimd.paths import service_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["system", "user", "container", "by hand"]

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
"""Made by Docker and by Podman."""
IMAGE_VARIABLE = "SHAZIMD_IMAGE"
"""Set in our container image. In another container the daemon is started by hand."""


class Situation:
    """Commands are in backticks, ready to be run as they are; a sentence without has none."""

    def __init__(self, config: str | None) -> None:
        """``config`` is the configuration given to the command, None for the default one."""
        self._config = config
        self.kind = _kind()
        """the way in which the daemon is run"""

    def start(self, *, failed: bool = False) -> str:
        """Advice to start the daemon; ``failed``: its unit is, and a start may be refused until that is reset."""
        if self.kind == "container":
            return "start the container again, with the images mounted"
        if self.kind == "by hand":
            return f"start it with {self._by_hand()}"
        control = self._systemctl()
        reset = f"{control} reset-failed shazimd.service shazimd.socket && " if failed else ""
        return f"`{reset}{control} start shazimd.socket shazimd.service`"

    def restart(self) -> str:
        """Advice to restart a running daemon, as a part of a sentence."""
        if self.kind in ("container", "by hand"):
            return "restart the container" if self.kind == "container" else f"stop the daemon and {self.start()}"
        return self.systemd("restart shazimd.service")

    def logs(self, unit: str = "shazimd.service") -> str:
        """Advice to read the log, as a part of a sentence."""
        if self.kind == "container":
            return "the container's log"
        if self.kind == "by hand":
            return "the terminal or file to which shazimd logs"
        sudo, user = (_sudo(), "") if self.kind == "system" else ("", "--user ")
        return f"`{sudo}journalctl --no-pager {user}-u {unit} -p warning -n 20`"

    def reload(self) -> str:
        """Advice to reload the configuration, which any running daemon does on request."""
        return "`shazimctl reload`"

    def systemd(self, words: str) -> str:
        return f"`{self._systemctl()} {words}`"

    def kernel_limit(self, name: str, value: int) -> str:
        """Advice to set a limit of inotify, now and at each boot."""
        setting = f"echo fs.inotify.{name}={value} | {_sudo()}tee /etc/sysctl.d/60-shazimd.conf"
        command = f"`{setting} && {_sudo()}sysctl --system`"
        return f"on the host, since a container has the limits of its host: {command}" if self.is_contained else command

    @property
    def is_contained(self) -> bool:
        return any(map(os.path.exists, CONTAINER_MARKS))

    def model(self, handle: str) -> str:
        """Advice to fetch the model now."""
        if self.kind == "system":
            return f"with network access: {self.systemd('start shazimd-model')}"
        return f"with network access: `shazimctl model install {shlex.quote(handle)}`"

    def _systemctl(self) -> str:
        return "systemctl --user" if self.kind == "user" else f"{_sudo()}systemctl"

    def _by_hand(self) -> str:
        from shazimd import config
        from shazimd.errors import ConfigError

        try:
            has_roots = bool(config.found(self._config).watch)
        except ConfigError:
            has_roots = False
        words = ["shazimd", *(["--config", self._config] if self._config else [])]
        return f"`{shlex.join(words)}`" if has_roots else f"`{shlex.join(words)} DIR`, where DIR is a folder of images"


def _kind() -> Kind:
    kind = service_kind()
    if kind is not None:
        return kind
    return "container" if IMAGE_VARIABLE in os.environ else "by hand"


def _sudo() -> str:
    return "" if os.geteuid() == 0 else "sudo "
