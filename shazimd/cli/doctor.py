"""`shazimctl doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import os
from typing import cast

from shazimd.cli.output import say, say_json, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from shazimd.protocol import ModelStatus, RootStatus, Status, StoreStatus

EXAMPLE = """\
examples:
  shazimctl doctor
  sudo shazimctl doctor            sees more: what the service's own user may read

exit status: 5 if something is wrong
"""

USER = GROUP = "shazimd"
UNITS = "/etc/systemd/system"
ROOM_BYTES_MIN = 1 << 30
WATCHES_SHARE_MAX = 0.8


class Finding:
    """One look at one thing; what to do where it is not well."""

    def __init__(self, what: str, advice: str = "") -> None:
        self.what = what
        self.advice = advice


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="default: $SHAZIMD_CONFIG, else /etc/shazimd/config.toml")
    parser.add_argument("--json", action="store_true", help="answer in JSON, one object a line")


def run(args: Namespace) -> int:
    wrong = False
    for finding in _findings(args):
        wrong |= bool(finding.advice)
        if args.json:
            say_json({"well": not finding.advice, "what": finding.what, "advice": finding.advice})
        else:
            say(f"{'WRONG' if finding.advice else 'well '}  {finding.what}")
            if finding.advice:
                say(f"       {finding.advice}")
    return 5 if wrong else 0


def _findings(args: Namespace) -> Iterator[Finding]:
    yield from _config(args)
    yield from _units()
    yield from _daemon(args)


def _config(args: Namespace) -> Iterator[Finding]:
    from shazimd import config, paths
    from shazimd.errors import ConfigError

    path = args.config or paths.config_file()
    if path is None:
        yield Finding("config: none, so only the directories on the daemon's command line are watched")
        return
    try:
        loaded = config.load(path)
    except ConfigError as error:
        yield Finding(f"config: {error}", "correct it, then: systemctl reload shazimd")
        return
    yield Finding(f"config: {path}")
    for watch in loaded.watch:
        yield from _readable(watch.path)


def _readable(root: str) -> Iterator[Finding]:
    """Whether the service's user may read a directory; only root can find out."""
    if not os.path.isdir(root):
        yield Finding(f"directory {root}: is not there", "mount it or make it; what is known of it is kept until then")
        return
    if os.geteuid() != 0 or not _group_exists() or not os.path.exists(f"{UNITS}/shazimd.service"):
        return
    import subprocess

    test = ["test", "-r", root, "-a", "-x", root]
    done = subprocess.run(test, user=USER, group=GROUP, extra_groups=[], check=False)  # noqa: S603 (our own words)
    if done.returncode:
        advice = f"setfacl -R -m u:{USER}:rX -m d:u:{USER}:rX '{root}', and x on the directories above it"
        yield Finding(f"directory {root}: the user {USER} may not read it", advice)
    else:
        yield Finding(f"directory {root}: the user {USER} may read it")


def _units() -> Iterator[Finding]:
    if not os.path.exists(f"{UNITS}/shazimd.service"):
        return
    if not _group_exists():
        yield Finding(f"group {GROUP}: is not there, so the socket can't be opened", "systemd-sysusers shazimd.conf")
    for unit in ("shazimd.service", "shazimd.socket"):
        yield _unit(unit)


def _unit(unit: str) -> Finding:
    shown = _show(unit)
    if shown.get("NeedDaemonReload") == "yes":
        return Finding(f"{unit}: its file has changed since it was read", "systemctl daemon-reload")
    if complaint := _complaint(unit):
        return Finding(f"{unit}: {complaint}", f"systemctl edit {unit}, or remove {UNITS}/{unit}.d/*.conf")
    if shown.get("ActiveState") == "failed":
        return Finding(f"{unit}: failed ({shown.get('Result')})", f"journalctl -u {unit} -p warning -n 20")
    return Finding(f"{unit}: {shown.get('ActiveState', 'unknown')}")


def _show(unit: str) -> dict[str, str]:
    said = _ask_systemd("systemctl", "show", "-p", "ActiveState,Result,NeedDaemonReload", unit)
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _complaint(unit: str) -> str:
    """The first that systemd says against a unit and its drop-ins."""
    said = _ask_systemd("systemd-analyze", "verify", "--man=no", f"{UNITS}/{unit}")
    return next((line for line in said.splitlines() if "shazimd" in line), "")


def _ask_systemd(*words: str) -> str:
    import subprocess

    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)  # noqa: S603 (our own words)
    except OSError:
        return ""  # no systemd here: then there is nothing of it to be well or wrong
    return done.stdout.decode(errors="replace")


def _daemon(args: Namespace) -> Iterator[Finding]:
    from shazimd.client import Client
    from shazimd.errors import ShazimdError

    client = Client(args.socket, timeout_s=10)
    try:
        status = client.status()
    except ShazimdError as error:
        yield Finding(f"daemon: {error}", "systemctl status shazimd, or start one: shazimd DIR")
        return
    yield Finding(f"daemon: {status['state']}, version {status['version']}, asked at {client.socket_path}")
    for root in status["roots"]:
        yield from _root(root)
    yield from _watches(status)
    yield _model(status["model"])
    yield from _store(status["store"])
    if status["failed"]:
        yield Finding(f"images: {status['failed']} could not be taken in; journalctl -u shazimd says which and why")


def _root(root: RootStatus) -> Iterator[Finding]:
    name = f"directory {root['path']}"
    if root["state"] not in ("watching", "starting"):
        yield Finding(f"{name}: {root['state']}", "is it mounted? What is known of it is kept until it is back")
    if unreadable := _number(root, "unreadable_dirs"):
        yield Finding(f"{name}: {unreadable} directories in it can't be read", "give the daemon's user r and x on them")
    if unwatched := _number(root, "unwatched_dirs"):
        yield Finding(
            f"{name}: {unwatched} directories are polled for want of inotify watches", _raise("max_user_watches")
        )
    if root["mode"] == "poll":
        yield Finding(f"{name}: is polled, since its file system does not tell of changes (or the config says so)")


def _watches(status: Status) -> Iterator[Finding]:
    watched = sum(root["watched_dirs"] for root in status["roots"] if root["mode"] == "inotify")
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", encoding="ascii") as file:
            most = int(file.read())
    except OSError:
        return
    what = f"inotify: {watched} of at most {most} watches"
    yield Finding(what, _raise("max_user_watches") if watched > WATCHES_SHARE_MAX * most else "")


def _raise(limit: str) -> str:
    path = f"/proc/sys/fs/inotify/{limit}"
    with open(path, encoding="ascii") as file:
        more = 4 * int(file.read())
    return f"echo fs.inotify.{limit}={more} > /etc/sysctl.d/60-shazimd.conf && sysctl --system"


def _model(model: ModelStatus) -> Finding:
    if model.get("state") == "missing":
        why = model.get("reason") or "not fetched yet"
        return Finding(f"model: {why}; only the hashes are compared", "systemctl start shazimd-model, with a network")
    return Finding(f"model: {model.get('id') or 'none, as the config says'}")


def _store(store: StoreStatus) -> Iterator[Finding]:
    if store.get("fault"):
        yield Finding(f"store: {store['fault']}", "make room on its disk; nothing is lost meanwhile")
    try:
        found = os.statvfs(store["path"])
    except OSError:
        yield Finding(f"store: {store['path']}, {size(store['size_bytes'])}")
        return
    room = found.f_bavail * found.f_frsize
    what = f"store: {store['path']}, {size(store['size_bytes'])}, {size(room)} free on its disk"
    yield Finding(what, "make room on its disk" if room < ROOM_BYTES_MIN else "")


def _number(root: RootStatus, key: str) -> int:
    return int(cast("dict[str, int | None]", root).get(key) or 0)


def _group_exists() -> bool:
    import grp

    try:
        grp.getgrnam(GROUP)
    except KeyError:
        return False
    return True
