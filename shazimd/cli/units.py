"""The files of the systemd service: plan, write and remove units, configuration and links.

`shazimctl service` prints the plan before writing. Every file is written under a temporary name before the first
rename, and a full disk therefore changes nothing. Existing lines of the configuration are never changed, only tables
added. Administrators override units with drop-ins (systemctl edit), which are never touched, but for roots.conf: it is
written anew from the configuration.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from shazimd import config, paths
from shazimd.cli.completion import script_path
from shazimd.errors import ConfigError, InternalError, UsageError
from shazimd.posix.mounts import is_at_or_below
from shazimd.watch.filters import normal_path

HIDDEN_BY_THE_SANDBOX = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""ProtectHome= and PrivateTmp= in shazimd.service"""
UNITS = ("shazimd.service", "shazimd.socket", "shazimd-hooks.service")


@dataclass(frozen=True)
class Layout:
    """Paths of the files of a service."""

    config: str
    units: str
    templates: str
    """directory of the unit templates in the package"""
    others: tuple[tuple[str, str], ...]
    """(name in the package, path) of files of the system service only"""
    kept: frozenset[str]
    """files written only if missing: the administrator may edit them"""
    links: tuple[tuple[str, str], ...]
    """(target, absolute or below the virtual environment; path of the symbolic link)"""

    def drop_in(self) -> str:
        return f"{self.units}/shazimd.service.d/roots.conf"


def system_layout(root: str = "") -> Layout:
    """Return the layout of the system service; ``root`` is prepended to every path, for a package or a test."""
    environment, share = f"{root}{paths.SYSTEM_ENVIRONMENT}", f"{root}/usr/local/share"
    return Layout(
        config=f"{root}{paths.SYSTEM_CONFIG}",
        units=f"{root}/etc/systemd/system",
        templates="systemd",
        others=(
            ("shazimd-model.service", f"{root}/etc/systemd/system/shazimd-model.service"),
            ("shazimd-link.service", f"{root}/etc/systemd/system/shazimd-link.service"),
            ("shazimd.sysusers", f"{root}/etc/sysusers.d/shazimd.conf"),
            ("shazimd.tmpfiles", f"{root}/etc/tmpfiles.d/shazimd.conf"),
            ("shazimd.env", environment),
        ),
        kept=frozenset([environment]),
        links=(
            ("bin/shazimd", f"{root}/usr/local/bin/shazimd"),
            ("bin/shazimctl", f"{root}/usr/local/bin/shazimctl"),
            ("bin/shazimd-link", f"{root}/usr/local/bin/shazimd-link"),
            ("share/man/man1/shazimctl.1", f"{share}/man/man1/shazimctl.1"),
            ("share/man/man5/shazimd.toml.5", f"{share}/man/man5/shazimd.toml.5"),
            ("share/man/man8/shazimd.8", f"{share}/man/man8/shazimd.8"),
            (script_path("bash"), f"{share}/bash-completion/completions/shazimctl"),
            (script_path("zsh"), f"{share}/zsh/site-functions/_shazimctl"),
            (script_path("fish"), f"{share}/fish/vendor_completions.d/shazimctl.fish"),
        ),
    )


def user_layout() -> Layout:
    """Return the layout of a user service."""
    home = paths.xdg("XDG_CONFIG_HOME", "~/.config")
    return Layout(
        config=f"{home}/shazimd/config.toml",
        units=f"{home}/systemd/user",
        templates="systemd/user",
        others=(),
        kept=frozenset(),
        links=(),
    )


def plan(layout: Layout, directories: Sequence[str], prefix: str = sys.prefix) -> dict[str, str]:
    """Return the contents of the files to write, by path, for a service in the virtual environment ``prefix``.

    Files with the right contents are left out. Raises UsageError for directories that can't be watched and for a prefix
    hidden from the service, ConfigError for an invalid configuration."""
    system = bool(layout.others)
    if system:
        _expect_visible(prefix)
    wanted = {f"{layout.units}/{name}": _template(layout.templates, name, prefix) for name in UNITS}
    wanted |= {path: _template(layout.templates, name, prefix) for name, path in layout.others}
    wanted[layout.config] = _config(layout.config, directories)
    if system:
        wanted[layout.drop_in()] = _roots_drop_in(wanted[layout.config])
    current = {path: _read(path) for path in wanted}
    return {
        path: text
        for path, text in wanted.items()
        if text != current[path] and not (path in layout.kept and current[path] is not None)
    }


def _expect_visible(prefix: str) -> None:
    """Raise UsageError for a program, or the Python that it runs with, that the service could not see."""
    if _is_hidden(_place(prefix)):
        raise UsageError(
            f"shazimd is installed in {prefix}, which is hidden from the service; install it in /opt/shazimd"
        )
    if _is_hidden(_place(sys.base_prefix)):
        raise UsageError(
            f"the Python of {prefix} is in {sys.base_prefix}, which is hidden from the service; make the environment"
            " anew with a Python elsewhere, such as /usr/bin/python3"
        )


def installed(layout: Layout, prefix: str = sys.prefix) -> list[str]:
    """Return the existing files and links of the service, except the administrator's."""
    paths = [f"{layout.units}/{name}" for name in UNITS] + [path for _, path in layout.others] + [layout.drop_in()]
    ours = [path for _, path in layout.links if _is_ours(path, prefix)]
    return [path for path in paths if os.path.lexists(path) and path not in layout.kept] + ours


def administrators(layout: Layout) -> list[str]:
    """Return the configuration and other files removed by --purge only."""
    return [path for path in (layout.config, *sorted(layout.kept)) if os.path.lexists(path)]


def links(layout: Layout, prefix: str = sys.prefix) -> dict[str, str]:
    """Return the symbolic links to create, target by path. Files of others are never replaced."""
    wanted = {path: os.path.join(prefix, place) for place, path in layout.links}
    return {
        path: target
        for path, target in wanted.items()
        if os.path.exists(target) and (not os.path.lexists(path) or _is_ours(path, prefix))
    }


def link(targets_by_path: dict[str, str]) -> None:
    """Create or replace symbolic links. Raises InternalError with the path."""
    for path, target in targets_by_path.items():
        try:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            if os.path.lexists(path):
                os.unlink(path)
            os.symlink(target, path)
        except OSError as error:
            raise InternalError(f"{path}: {error.strerror}") from error


def _is_ours(path: str, prefix: str) -> bool:
    return os.path.islink(path) and os.readlink(path).startswith(prefix.rstrip("/") + "/")


def write(files_by_path: dict[str, str]) -> None:
    """Write all files, or none. Raises InternalError with the path."""
    temporaries: dict[str, str] = {}
    path = ""
    try:
        for path, text in files_by_path.items():
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            temporaries[path] = _write_temporary(path, text)
        for path, partial in temporaries.items():
            os.replace(partial, path)
    except OSError as error:
        for partial in temporaries.values():
            if os.path.lexists(partial):
                os.unlink(partial)
        raise InternalError(f"{path}: {error.strerror}; the service was not installed") from error


def remove(paths: Sequence[str]) -> None:
    """Remove files, and shazimd directories left empty. Raises InternalError with the path."""
    for path in paths:
        folder = os.path.dirname(path)
        try:
            os.unlink(path)
            if os.path.basename(folder).startswith("shazimd") and not os.listdir(folder):
                os.rmdir(folder)
        except OSError as error:
            raise InternalError(f"{path}: {error.strerror}") from error


def _template(folder: str, name: str, prefix: str) -> str:
    """The text of a unit for this virtual environment and this version of systemd."""
    text = files("shazimd").joinpath(folder, name).read_text("utf-8")
    text = "".join(_for_version(text.splitlines(keepends=True), _systemd_version()))
    places = sorted({prefix, sys.base_prefix, "/usr", "/lib", "/lib64"})
    executable = " ".join(f"-{place}" for place in places)  # "-": Debian on ARM has no /lib64
    return text.replace("@BIN@", f"{prefix}/bin").replace("@EXECUTABLE@", executable)


def _for_version(lines: Sequence[str], version: int) -> Iterator[str]:
    """The lines that this version knows: it would warn of others.

    >>> list(_for_version(["@systemd>=254@RestartSteps=8", "@systemd<254@RestartSec=5", "Nice=5"], 252))
    ['RestartSec=5', 'Nice=5']
    """
    for line in lines:
        marked = re.match(r"@systemd(>=|<)([0-9]+)@", line)
        if marked is None:
            yield line
        elif (version >= int(marked[2])) == (marked[1] == ">="):
            yield line[marked.end() :]


def _systemd_version() -> int:
    """The version of systemd here; 0 without one."""
    try:
        done = subprocess.run(["systemctl", "--version"], stdout=subprocess.PIPE, text=True, check=False)  # noqa: S607
    except OSError:
        return 0
    found = re.match(r"systemd ([0-9]+)", done.stdout)
    return int(found[1]) if found else 0


def _config(path: str, directories: Sequence[str]) -> str:
    """Return the present configuration with the missing directories added."""
    from shazimd.daemon.roots import configured_roots  # 0.2 s

    text = _read(path)
    if text is None:
        text = "# See shazimd.toml(5); `systemctl reload shazimd` applies changes.\n"
    known = {os.path.realpath(watch.path) for watch in config.parse(_parsed(text, path), path).watch}
    for directory in map(_watchable, directories):
        if (real := os.path.realpath(directory)) not in known:
            known.add(real)
            text += f"\n[[watch]]\npath = {_toml_string(directory)}\n"
    watched = config.parse(_parsed(text, path), path).watch
    if not watched:
        raise UsageError("no directory to watch, expected at least one")
    configured_roots(watched)  # the daemon would refuse them after the present one was stopped
    return text


def _parsed(text: str, name: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not a TOML file: {error}") from error


def _watchable(word: str) -> str:
    directory = os.fsdecode(normal_path(word))
    if not os.path.isdir(directory):
        raise UsageError(f"{directory}: not a directory")
    if not directory.isprintable():
        raise UsageError(f"{directory}: a name that is not printable UTF-8 can't be written to a configuration file")
    return directory


def _toml_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _roots_drop_in(config_text: str) -> str:
    settings = config.parse(tomllib.loads(config_text), "config")
    roots = [_place(watch.path) for watch in settings.watch]
    lines = [f'BindReadOnlyPaths="-{_unit_string(root)}"\n' for root in roots if _is_hidden(root)]
    if settings.store.path is not None:
        lines += _store_lines(_place(settings.store.path))
    return files("shazimd").joinpath("systemd/roots.conf").read_text("utf-8") + "".join(lines)


def _place(path: str) -> str:
    """The directory to open for a path: a link may lead into a home."""
    normal = os.fsdecode(normal_path(path))
    return normal if _is_hidden(normal) else os.path.realpath(normal)


def _store_lines(store: str) -> list[str]:
    """Lines for a store elsewhere than StateDirectory=, where the unit may already write and not execute."""
    if is_at_or_below(os.fsencode(store), os.fsencode(paths.SYSTEM_STORE)):
        return []
    opened = "BindPaths" if _is_hidden(store) else "ReadWritePaths"
    return [f'{key}="-{_unit_string(store)}"\n' for key in (opened, "NoExecPaths")]


def _unit_string(text: str) -> str:
    """Quote for systemd.syntax(7): % begins a specifier, and : ends a path."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace(":", "\\:")


def _is_hidden(path: str) -> bool:
    places = {*HIDDEN_BY_THE_SANDBOX, *map(os.path.realpath, HIDDEN_BY_THE_SANDBOX)}  # /home may be a link
    return any(is_at_or_below(os.fsencode(path), os.fsencode(place)) for place in places)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InternalError(f"{path}: {error}") from error


def _write_temporary(path: str, text: str) -> str:
    descriptor, partial = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".shazimd-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            _copy_mode_and_owner(file.fileno(), path)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(partial)
        raise
    return partial


def _copy_mode_and_owner(descriptor: int, path: str) -> None:
    """Copy mode and owner of the replaced file: a configuration with a hook's token may be private."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
    else:
        os.fchmod(descriptor, old.st_mode & 0o777)
        os.fchown(descriptor, old.st_uid, old.st_gid)
