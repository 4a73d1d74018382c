"""`shazimctl hooks`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from shazimd.paths import CONFIG_HELP

HELP = "run the hooks of the configuration"
EXAMPLE = """\
examples:
  shazimctl hooks --config ~/.config/shazimd/config.toml

Runs until it is stopped; shazimd-hooks.service runs this command. The only permission needed is access to the daemon's
socket.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=CONFIG_HELP)
    parser.add_argument("--state", metavar="DIR", help="directory for the position of each hook")


def run(args: Namespace) -> int:
    import signal
    import threading

    from shazimd import config, hooks, paths
    from shazimd.client import Client
    from shazimd.errors import ConfigError, InternalError
    from shazimd.posix.signals import set_at
    from shazimd.telemetry import log

    path, settings = config.required(args.config)
    if not settings.hook:
        raise ConfigError(f"{path}: has no [[hook]], expected at least one")
    log.configure()
    stop = threading.Event()
    set_at(stop, signal.SIGTERM, signal.SIGINT)
    state = args.state or paths.hooks_directory()
    try:
        hooks.run(settings.hook, Client(args.socket), state, stop)
    except OSError as error:
        raise InternalError(
            f"{error.filename or state}: {error.strerror}: the positions of the hooks can't be saved"
        ) from error
    return 0
