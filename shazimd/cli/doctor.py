"""`shazimctl doctor`: check configuration, systemd units and daemon, and suggest fixes."""

from __future__ import annotations

import os
import shlex

from shazimd.cli import add_json
from shazimd.cli.output import duration, say_folded, say_json, size
from shazimd.cli.situation import Situation
from shazimd.cli.status import confinement
from shazimd.errors import ShazimdError
from shazimd.paths import CONFIG_HELP, SYSTEM_USER, take_service_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from shazimd.cluster.base import HostState
    from shazimd.config import ClusterConfig
    from shazimd.protocol.status import ModelStatus, RootStatus, Status, StoreStatus

HELP = "check the installation, and suggest fixes"
EXAMPLE = """\
examples:
  shazimctl doctor
  sudo shazimctl doctor            also checks the permissions of the service's user

exit status: 5 if there is a problem; a warning needs no action
"""

USER = GROUP = SYSTEM_USER
UNITS = "/etc/systemd/system"
SHOWN = "ActiveState,Result,NRestarts,NeedDaemonReload,SupplementaryGroups"
"""Properties of a unit to ask for"""
FREE_BYTES_MIN = 1 << 30
WATCHES_SHARE_MAX = 0.8
SILENCE_S_MAX = 60.0
"""A link is heard of every ten seconds, and tries again after a minute at most."""
START_LINK = "systemctl enable --now shazimd-link, and look at journalctl -u shazimd-link"


class Finding:
    """Result of a check: ok, a warning, or a problem, which comes with advice."""

    def __init__(self, message: str, advice: str = "", *, warning: bool = False) -> None:
        self.level = "problem" if advice else "warning" if warning else "ok"
        self.message = message
        self.advice = advice


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=f"also asks at its socket; {CONFIG_HELP}")
    add_json(parser)


def run(args: Namespace) -> int:
    status = 0
    for finding in _findings(args):
        if finding.level == "problem":
            status = 5
        if args.json:
            advice = finding.advice
            say_json({"well": finding.level == "ok", "level": finding.level, "what": finding.message, "advice": advice})
        else:
            say_folded(f"{finding.level:7}  ", finding.message)
            if finding.advice:
                say_folded(" " * 9, finding.advice)
    return status


def _findings(args: Namespace) -> Iterator[Finding]:
    situation = Situation(args.config)
    if situation.kind == "system":
        take_service_environment()
    yield from _config(args, situation)
    states = _unit_states(situation)
    yield from _units(situation, states)
    failed = any(shown.get("ActiveState") == "failed" for shown in states.values())
    yield from _daemon(args, situation, failed=failed)


def _config(args: Namespace, situation: Situation) -> Iterator[Finding]:
    from shazimd import config, paths
    from shazimd.errors import ConfigError

    path = args.config or paths.config_file()
    if path is None:
        yield Finding("config: none; only the directories on the daemon's command line are watched")
        return
    try:
        loaded = config.load(path)
    except ConfigError as error:
        yield Finding(f"config: {error}", f"correct the file, then: {situation.reload()}")
        return
    yield Finding(f"config: {path}")
    for watch in loaded.watch:
        yield from _readable(watch.path)
    if loaded.store.path is not None:
        yield from _writable(loaded.store.path)
    yield from _cluster(loaded.cluster)


def _cluster(settings: ClusterConfig) -> Iterator[Finding]:
    """Check this host's place in its cluster; no check without a host in the configuration."""
    if settings.host is None:
        return
    if settings.url is None:
        yield Finding("cluster: there is a host, but no url", "set [cluster] url, see docs/how-to-cluster.md")
        return
    from shazimd.errors import ClusterError

    try:
        from shazimd.cluster import admin

        hosts = admin.hosts(settings.url)
    except ImportError:
        yield Finding("cluster: psycopg is not installed", "install the extra: pip install 'shazimd[cluster]'")
    except ClusterError as error:
        yield Finding(f"cluster: {error}; local work goes on", warning=True)
    else:
        yield _own_host(settings.host, hosts)
        if len({each.model for each in hosts}) > 1:  # vectors count only between hosts of one model
            named = "; ".join(f"{each.name}: {each.model or 'none'}" for each in hosts)
            different = f"hosts have different models and compare by hashes and local features ({named})"
            yield Finding(f"cluster: {different}", warning=True)


def _own_host(host: str, hosts: list[HostState]) -> Finding:
    own = next((each for each in hosts if each.name == host), None)
    if own is None:
        return Finding(f"cluster: {host} is not there yet", START_LINK)
    if own.seen_s > SILENCE_S_MAX:
        return Finding(f"cluster: the link of {host} was last heard of {duration(own.seen_s)} ago", START_LINK)
    return Finding(f"cluster: {host} is one of {len(hosts)} hosts")


def _readable(root: str) -> Iterator[Finding]:
    """Check a directory, and as root the permissions of the service's user."""
    if not os.path.isdir(root):
        yield Finding(f"directory {root}: not found", "mount or create it; its indexed images are kept until then")
        return
    may_read = _may("-r", root, "-a", "-x", root)
    if may_read is None:
        return
    if not may_read:
        access = f"`setfacl -R -m u:{USER}:rX -m d:u:{USER}:rX {shlex.quote(root)}`"
        advice = f"{access}, and x for it on the directories above"
        yield Finding(f"directory {root}: user {USER} may not read it", advice)
    else:
        yield Finding(f"directory {root}: user {USER} may read it")


def _writable(store: str) -> Iterator[Finding]:
    """Check as root a directory for the store that is not the unit's own."""
    if _may("-w", store, "-a", "-x", store) is False:
        if not os.path.isdir(store):
            yield Finding(f"store {store}: not found", "`shazimctl service install` makes it")
            return
        advice = f"`chown -R {USER}:{GROUP} {shlex.quote(store)}`, and x for it on the directories above"
        yield Finding(f"store {store}: user {USER} may not write to it", advice)


def _may(*words: str) -> bool | None:
    """Whether the service's user passes a test(1); None without root or a system service."""
    if os.geteuid() != 0 or not _group_exists() or not os.path.exists(f"{UNITS}/shazimd.service"):
        return None
    import subprocess

    test = ["test", *words]
    return subprocess.run(test, user=USER, group=GROUP, extra_groups=_groups(), check=False).returncode == 0


def _groups() -> list[int]:
    """The groups in which the unit starts its user: those of the group database, and of SupplementaryGroups=."""
    import grp
    from contextlib import suppress

    groups = os.getgrouplist(USER, grp.getgrnam(GROUP).gr_gid)
    for word in _show("shazimd.service", user=False).get("SupplementaryGroups", "").split():
        with suppress(KeyError):  # systemd refuses such a unit, and names the group
            groups.append(int(word) if word.isdecimal() else grp.getgrnam(word).gr_gid)
    return groups


def _unit_states(situation: Situation) -> dict[str, dict[str, str]]:
    """The states of the service's units by name; none without a service."""
    if situation.kind not in ("system", "user"):
        return {}
    return {unit: _show(unit, user=situation.kind == "user") for unit in ("shazimd.service", "shazimd.socket")}


def _units(situation: Situation, states: dict[str, dict[str, str]]) -> Iterator[Finding]:
    if situation.kind == "system" and not _group_exists():
        lacking = f"group {GROUP}: not found, and the socket can't be opened without it"
        yield Finding(lacking, "`systemd-sysusers shazimd.conf`")
    for unit, shown in states.items():
        yield _unit(unit, shown, situation)


def _unit(unit: str, shown: dict[str, str], situation: Situation) -> Finding:
    if shown.get("NeedDaemonReload") == "yes":
        changed = f"{unit}: the unit file has changed since systemd read it"
        return Finding(changed, situation.systemd("daemon-reload"))
    if situation.kind == "system" and (complaint := _complaint(unit)):
        return Finding(
            f"{unit}: {complaint}", f"{situation.systemd(f'edit {unit}')}, or remove {UNITS}/{unit}.d/*.conf"
        )
    if shown.get("ActiveState") == "failed":
        return Finding(f"{unit}: failed, {_failure(shown)}", f"the cause: {situation.logs(unit)}")
    return Finding(f"{unit}: {shown.get('ActiveState') or 'state unknown; systemd does not answer'}")


def _failure(shown: dict[str, str]) -> str:
    restarts = shown.get("NRestarts", "0")
    gave_up = "" if restarts == "0" else f"; systemd gave up after {restarts} restarts"
    return f"with the result {shown.get('Result')}{gave_up}"


def _show(unit: str, *, user: bool) -> dict[str, str]:
    manager = ["--user"] if user else []
    output = _ask_systemd("systemctl", *manager, "show", "-p", SHOWN, unit)
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def _complaint(unit: str) -> str:
    """Return the first fault that systemd reports in a unit and its drop-ins, else an empty string."""
    output = _ask_systemd("systemd-analyze", "verify", "--man=no", f"{UNITS}/{unit}")
    return next((line for line in output.splitlines() if "shazimd" in line), "")


def _ask_systemd(*words: str) -> str:
    import subprocess

    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError:
        return ""  # no systemd: no units to check
    return done.stdout.decode(errors="replace")


def _daemon(args: Namespace, situation: Situation, *, failed: bool) -> Iterator[Finding]:
    from shazimd.client import Client

    client = Client(args.socket or _socket(args.config, situation), timeout_s=10)
    try:
        status = client.status()
    except ShazimdError as error:
        yield Finding(f"daemon: {error}", _to_reach(error, situation, failed=failed))
        return
    yield Finding(f"daemon: {status['state']}, version {status['version']}, socket {client.socket_path}")
    for root in status["roots"]:
        yield from _root(root, situation)
    yield from _watches(status, situation)
    yield _model(status["model"], situation)
    yield from _store(status["store"])
    workers = status.get("workers")
    lacking = bool(workers and workers["missing_layers"])
    yield Finding(f"workers: {confinement(workers)}", warning=lacking)
    if status["failed"]:
        yield Finding(f"images: {status['failed']} could not be read: `shazimctl failed` names them", warning=True)


def _socket(config: str | None, situation: Situation) -> str | None:
    """The socket in a configuration that was named; None for the default one, also of a service whose daemon has its
    socket from a unit."""
    from shazimd.paths import socket_in

    given = socket_in(config)
    by_unit = situation.kind in ("system", "user")
    return given if given and (os.path.exists(given) or not by_unit) else None


def _to_reach(error: ShazimdError, situation: Situation, *, failed: bool) -> str:
    if isinstance(error.__cause__, PermissionError):
        group = "join the group that is named, and log in again"
        return f"{group}: `sudo usermod -aG {GROUP} $USER`" if situation.kind == "system" else group
    return situation.start(failed=failed)


def _root(root: RootStatus, situation: Situation) -> Iterator[Finding]:
    name = f"directory {root['path']}"
    if root["state"] not in ("watching", "starting"):
        remedy = "check that it is mounted; its indexed images are kept meanwhile"
        if root["state"] == "failed":
            remedy = f"restart the daemon; the fault is in the log: {situation.logs()}"
        yield Finding(f"{name}: {root['state']}", remedy)
    if unreadable := root["unreadable_dirs"]:
        yield Finding(f"{name}: {unreadable} directories can't be read", "give the daemon's user r and x on them")
    if unwatched := root["unwatched_dirs"]:
        cause = "since inotify watches have run out"
        yield Finding(f"{name}: {unwatched} directories are polled, {cause}", _more_watches(situation))
    if root["mode"] == "poll":
        cause = "its file system reports no changes, or the configuration says so"
        yield Finding(f"{name}: polled, since {cause}", warning=True)


def _watches(status: Status, situation: Situation) -> Iterator[Finding]:
    watched = sum(root["watched_dirs"] for root in status["roots"] if root["mode"] == "inotify")
    if (limit := _watches_max()) is not None:
        message = f"inotify: {watched} of {limit} watches used"
        yield Finding(message, _more_watches(situation) if watched > WATCHES_SHARE_MAX * limit else "")


def _watches_max() -> int | None:
    """None if the kernel has no inotify."""
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return None


def _more_watches(situation: Situation) -> str:
    return situation.kernel_limit("max_user_watches", 4 * (_watches_max() or 0))


def _model(model: ModelStatus, situation: Situation) -> Finding:
    if model.get("state") == "missing":
        why = model.get("reason") or "not downloaded yet"
        return Finding(f"model: {why}; only the hashes are compared", _model_fix(model["handle"], why, situation))
    if model.get("state") == "installing":
        return Finding(f"model: {model['handle']} is being installed; only the hashes are compared", warning=True)
    return Finding(f"model: {model.get('id') or 'none (by configuration)'}")


def _model_fix(handle: str, why: str, situation: Situation) -> str:
    if handle == "bundled":
        return "install shazimd again: its package is damaged"
    if "install it with: " in why:
        return f"run that command, then {situation.restart()}"
    if handle.startswith(("http://", "https://")):
        return situation.model(handle)
    return f'correct [model] handle in the configuration, or set it to "bundled", then {situation.restart()}'


def _store(store: StoreStatus) -> Iterator[Finding]:
    if store.get("fault"):
        yield Finding(f"store: {store['fault']}", "free space on its disk; no image is lost meanwhile")
    try:
        found = os.statvfs(store["path"])
    except OSError:
        yield Finding(f"store: {store['path']}, {size(store['size_bytes'])}")
        return
    free = found.f_bavail * found.f_frsize
    message = f"store: {store['path']}, {size(store['size_bytes'])}, {size(free)} free on its disk"
    yield Finding(message, "free space on its disk" if free < FREE_BYTES_MIN else "")


def _group_exists() -> bool:
    import grp

    try:
        grp.getgrnam(GROUP)
    except KeyError:
        return False
    return True
