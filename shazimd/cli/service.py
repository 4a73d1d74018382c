"""`shazimctl service`."""

from __future__ import annotations

import os
import sys

from shazimd.cli import arguments
from shazimd.cli.output import say
from shazimd.paths import SYSTEM_USER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from shazimd.cli.units import Layout
    from shazimd.config import Config
    from shazimd.models.registry import Registry

HELP = "install or uninstall the systemd service"
EXAMPLE = """\
examples:
  sudo shazimctl service install /srv/photos       system-wide, started now and at each boot
  shazimctl service install --user ~/Pictures      for one user, without root
  sudo shazimctl service install                   after an upgrade: units are rewritten, config and store kept
  sudo shazimctl service uninstall                 keeps the config and the store; see --purge

Every file is shown before it is written.
"""

DATA = (
    "/var/lib/shazimd",
    "/var/lib/shazimd-model",
    "/var/lib/private/shazimd-hooks",
    "/var/lib/shazimd-hooks",
    "/var/cache/shazimd",
    "/var/cache/shazimd-model",
    "/run/shazimd",
)
"""Directories created by the units of the system service"""
UNITS_STARTED = ("shazimd.socket", "shazimd.service")


def add_arguments(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    install = verbs.add_parser("install", help="write the units and the configuration, and start the service")
    install.add_argument(
        "dirs",
        nargs="*",
        type=arguments.path,
        metavar="DIR",
        help="a directory to watch, in addition to those of the configuration",
    )
    uninstall = verbs.add_parser("uninstall", help="stop the service and remove the units")
    uninstall.add_argument("--purge", action="store_true", help="remove the configuration and the default store too")
    verbs.add_parser("model", help="download the configured model for the daemon, which has no network access")
    for verb in (install, uninstall):
        verb.add_argument("--user", action="store_true", help="user service instead of the system service")
        verb.add_argument("--dry-run", action="store_true", help="print the files and steps, change nothing")
        verb.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def run(args: Namespace) -> int:
    if args.verb == "model":
        return _fetch_model()
    from shazimd.cli import units

    layout = units.user_layout() if args.user else units.system_layout()
    if not args.user and not args.dry_run and os.geteuid() != 0:
        from shazimd.errors import UsageError

        raise UsageError("the system service requires root: use sudo, or --user for a user service")
    return _install(args, layout) if args.verb == "install" else _uninstall(args, layout)


def _install(args: Namespace, layout: Layout) -> int:
    from shazimd import paths
    from shazimd.cli import units

    if not args.user:
        paths.take_service_environment()
    files, links = units.plan(layout, args.dirs), units.links(layout)
    for path, text in files.items():
        say(f"==> {path}")
        sys.stdout.write(text)
    for path, target in links.items():
        say(f"==> {path} -> {target}")
    steps = _install_steps(args.user, layout.config)
    if not _is_confirmed(args, steps):
        return 0 if args.dry_run else 1
    units.write(files)
    units.link(links)
    _run_steps(steps)
    say("Installed. Check with: shazimctl status, shazimctl doctor")
    return 0


def _fetch_model() -> int:
    from shazimd import config, paths
    from shazimd.models.registry import Registry

    settings = config.found()
    staged = paths.staged_models()
    model = (Registry(staged) if staged else _models(settings)).install(settings.model.handle, say)
    say(f"installed {model.id} from {model.source}")
    return 0


def _install_steps(user: bool, config: str) -> list[list[str]]:
    settings, systemctl = _settings(config), _systemctl(user)
    prepare = [] if user else [["systemd-sysusers", "shazimd.conf"], ["systemd-tmpfiles", "--create", "shazimd.conf"]]
    if not user and (store := settings.store.path) is not None and not os.path.exists(store):
        prepare.append(["install", "-d", "-o", SYSTEM_USER, "-g", SYSTEM_USER, "-m", "0700", store])
    hooks = ["shazimd-hooks.service"] if settings.hook else []
    link = [] if user else [[*systemctl, "try-restart", "shazimd-link.service"]]  # enabled by hand
    # Before the daemon, which then delays its first scan: otherwise every image would be decoded twice.
    fetch = (
        [[*systemctl, "start", "--no-block", "shazimd-model.service"]] if not user and _lacks_model(settings) else []
    )
    return [
        *prepare,
        [*systemctl, "daemon-reload"],
        [*systemctl, "enable", *UNITS_STARTED, *hooks],
        # At an upgrade: systemd does not reopen the socket of a running service. The socket first: a client that waits
        # there, such as a hook, would have the service started again in between.
        [*systemctl, "stop", "shazimd.socket", "shazimd.service"],
        *fetch,
        [*systemctl, "restart", *UNITS_STARTED, *hooks],
        *link,
    ]


def _settings(path: str) -> Config:
    from shazimd import config

    return config.load(path) if os.path.exists(path) else config.Config()


def _lacks_model(settings: Config) -> bool:
    from shazimd.models.provision import NO_MODEL

    return settings.model.handle != NO_MODEL and _models(settings).find(settings.model.handle) is None


def _models(settings: Config) -> Registry:
    from shazimd import paths
    from shazimd.models.registry import Registry

    return Registry(os.path.join(settings.store.path or paths.store_directory(), "models"))


def _uninstall(args: Namespace, layout: Layout) -> int:
    import shutil

    from shazimd.cli import units

    files = units.installed(layout)
    present = [os.path.basename(path) for path in files if os.path.dirname(path) == layout.units]
    data = _data(args.user) if args.purge else []
    if args.purge:
        files += units.administrators(layout)
    for path in [*files, *data]:
        say(f"remove {path}")
    systemctl = _systemctl(args.user)
    steps = [[*systemctl, "disable", "--now", *present]] if present else []
    if not _is_confirmed(args, steps):
        return 0 if args.dry_run else 1
    _run_steps(steps)
    units.remove(files)
    for path in data:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):  # the daemon takes its socket with it
            os.unlink(path)
    _run_steps([[*systemctl, "daemon-reload"]])
    say("Uninstalled." if args.purge else f"Uninstalled. Kept: {layout.config} and the store.")
    return 0


def _data(user: bool) -> list[str]:
    """Directories that --purge removes. The user's store has the journals of clean-ups beside it, which stay: without
    them no run could be taken back."""
    from shazimd.acting.journal import journals
    from shazimd.paths import store_directory

    if not user:
        return [folder for folder in DATA if os.path.isdir(folder)]
    store, kept = store_directory(), journals()
    if not os.path.isdir(store):
        return []
    if os.path.dirname(kept) != store or not os.path.isdir(kept):
        return [store]
    say(f"keep {kept}: shazimctl clean --undo needs it")
    return [path for name in sorted(os.listdir(store)) if (path := os.path.join(store, name)) != kept]


def _systemctl(user: bool) -> list[str]:
    return ["systemctl", "--user"] if user else ["systemctl"]


def _is_confirmed(args: Namespace, steps: Sequence[Sequence[str]]) -> bool:
    for words in steps:
        say("$ " + " ".join(words))
    if args.dry_run:
        return False
    if args.yes:
        return True
    if not sys.stdin.isatty():
        from shazimd.errors import UsageError

        raise UsageError("standard input is not a terminal: check with --dry-run, then give --yes")
    try:
        return input("Continue? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        say("")
        return False


def _run_steps(steps: Sequence[Sequence[str]]) -> None:
    import subprocess

    from shazimd.errors import InternalError

    for words in steps:
        try:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        except OSError as error:
            raise InternalError(f"{words[0]}: {error.strerror}; systemd is required") from error
        if done.returncode:
            output = done.stdout.decode(errors="replace").strip()
            raise InternalError(f"{' '.join(words)} failed with exit status {done.returncode}: {output}")
