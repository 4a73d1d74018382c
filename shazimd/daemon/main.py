"""The command `shazimd`: its arguments, signals, and the watchdog of the service manager."""

from __future__ import annotations

import gc
import os

gc.disable()  # until all modules are loaded, see below
# OpenBLAS reads this when numpy loads it. Searches have threads of their own; its idle ones would take 40 MB of address
# space for each processor, and make a search on a busy machine wait for all of them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import faulthandler
import pwd
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import NoReturn

import msgspec
import structlog

from shazimd import __version__, config, paths
from shazimd.config import Config, WatchConfig
from shazimd.daemon.app import App
from shazimd.daemon.service import DaemonService
from shazimd.daemon.start import Patience, Stopped, exit_status
from shazimd.daemon.terminal import shown_baseline
from shazimd.errors import ShazimdError, UsageError
from shazimd.posix import memory
from shazimd.posix.notify import Notifier
from shazimd.posix.process import has_terminal
from shazimd.posix.signals import StopSignals
from shazimd.posix.streams import open_closed_streams
from shazimd.protocol.status import Status
from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.sockets import bind_socket, refuse_waiting, systemd_sockets
from shazimd.server.users import Admins
from shazimd.telemetry import log
from shazimd.text import counted, printable
from shazimd.watch.filters import normal_path

# Modules stay. Not to look through their 100,000 objects while they load, in each full collection, and at the end saves
# a quarter of the start, two thirds of the stop, and a pause of 30 ms now and then.
gc.freeze()
gc.enable()

logger = structlog.get_logger()

ANSWER_TIMEOUT_S = 10.0
"""Longest turn of the server's event loop; a third of WatchdogSec in the unit."""

STATUS_TIMEOUT_S = 1.0

LINK_USER = "shazimd-link"

EXAMPLES = """\
examples:
  shazimd ~/Pictures                      watch a folder, log to the terminal
  shazimd --config /etc/shazimd/config.toml

Ask it with shazimctl; stop it with Ctrl-C or SIGTERM, or close the terminal.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 stopped as asked, else as in ``start``."""
    open_closed_streams()
    faulthandler.enable()  # a crash of a library leaves the stacks of all threads in the journal
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:
        if end.code:
            refuse_waiting(systemd_sockets(), UsageError("its command line is wrong"))
        raise
    log.configure(options.log_format, options.log_level)
    passed: list[socket.socket] = []
    try:
        passed += systemd_sockets()
        run(lambda: settings(options), passed)
    except ShazimdError as error:
        logger.critical("stopped", code=error.code, reason=str(error))
        refuse_waiting(passed, error)
        return exit_status(error)
    return 0


class DaemonParser(argparse.ArgumentParser):
    """A parser whose errors repeat words of the command line with control characters escaped."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def parser() -> argparse.ArgumentParser:
    parser = DaemonParser(
        prog="shazimd",
        description="Watches directories and tells, the moment an image lands, whether you have had it before.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dirs", metavar="DIR", nargs="*", help="a directory to watch, besides those of the config")
    parser.add_argument("--config", metavar="FILE", help=paths.CONFIG_HELP)
    parser.add_argument("--store", metavar="DIR", help="where fingerprints are kept")
    parser.add_argument("--socket", metavar="PATH", help="where shazimctl asks")
    parser.add_argument("--model", metavar="HANDLE", help="see [model] handle in shazimd.toml(5)")
    log.add_arguments(parser)
    parser.add_argument("--version", action="version", version=f"shazimd {__version__}")
    return parser


def settings(options: argparse.Namespace) -> Config:
    """The config file, with the options of the command line. Raises ConfigError, UsageError.

    A directory that both have keeps its table of the file."""
    loaded = config.found(options.config)
    if "" in options.dirs:  # such as an unset variable of a shell: it would be taken for the working directory
        raise UsageError('DIR is "", expected a directory')
    known = {normal_path(root.path) for root in loaded.watch}
    given = {normal_path(directory): WatchConfig(path=directory) for directory in options.dirs}
    watched = (*loaded.watch, *(root for path, root in given.items() if path not in known))
    replace = msgspec.structs.replace
    return replace(
        loaded,
        watch=watched,
        store=replace(loaded.store, path=options.store or loaded.store.path or paths.store_directory()),
        server=replace(loaded.server, socket=options.socket or loaded.server.socket),
        model=replace(loaded.model, handle=options.model or loaded.model.handle),
    )


def run(read_settings: Callable[[], Config], passed: Sequence[socket.socket]) -> None:
    """Run the daemon until SIGTERM or SIGINT, on the sockets passed by the service manager or one of its own.

    SIGHUP reloads, but on a terminal stops: it says that the terminal has closed. Raises ShazimdError if the start
    fails, by a fault that can't pass or did not pass in time."""
    memory.return_freed_memory()
    settings = read_settings()
    stops_on_hangup = has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # nohup(1) ignores it
    stop = StopSignals(signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if stops_on_hangup else []))
    notifier = Notifier()
    admins = Admins([*settings.server.admins, *_link_users(settings)])
    patience = Patience(stop.wait, notifier, partial(refuse_waiting, passed))
    with suppress(Stopped), ExitStack() as opened:
        app = opened.enter_context(closing(patience.until_done(lambda: App(settings, read_settings))))
        service = DaemonService(app)
        listeners = passed or [patience.until_done(lambda: _bind(settings))]
        api = create_app(service, max_body_bytes=settings.workers.max_file_mb << 20, admins=admins)
        server = Server(api, *listeners)
        opened.callback(server.stop)
        server.start()
        opened.callback(app.stop)
        app.start()
        if not stops_on_hangup:
            _reload_on_hangup(app)
        logger.info(
            "started",
            version=__version__,
            socket=listeners[0].getsockname(),
            store=settings.store.path,
            roots=[root["path"] for root in app.run.root_states()],
        )
        notifier.ready(_status_line(service.status()))
        with shown_baseline(lambda: app.run.root_states(), log.live_line()):
            _watch_health(stop, notifier, service, app, server)
        notifier.stopping("finishing the work in hand")
        logger.info("stopping")
    logger.info("stopped")


def _watch_health(stop: StopSignals, notifier: Notifier, service: DaemonService, app: App, server: Server) -> None:
    """Until stopped, report the status to the service manager, and answer its watchdog while the daemon is healthy: its
    threads are alive, and the server's event loop turns.

    All of that is asked in process: clients that use up the connections must not have the daemon restarted. Nor must a
    status that waits, as while the store grows: it is made in another thread and reported later."""
    status: Future[Status] | None = None
    with ThreadPoolExecutor(1, "status") as pool:
        while not stop.wait(notifier.watchdog_interval_s):
            if fault := _fault(app, server):
                logger.error("unresponsive", reason=fault)
                continue
            notifier.alive()
            status = status or pool.submit(service.status)
            with suppress(TimeoutError):
                notifier.status(_status_line(status.result(STATUS_TIMEOUT_S)))
                status = None


def _fault(app: App, server: Server) -> str | None:
    if not server.responds(ANSWER_TIMEOUT_S):
        return f"the server's event loop took no turn for {ANSWER_TIMEOUT_S:g} s"
    return None if app.alive() else "a thread that watches or follows has ended"


def _status_line(status: Status) -> str:
    """The status in a line, for `systemctl status`."""
    waiting = f", {status['pending']} waiting" if status["pending"] else ""
    directories = counted(len(status["roots"]), "directory")
    return f"{status['state']}: {counted(status['images'], 'image')} in {directories}{waiting}"


def _link_users(settings: Config) -> list[str]:
    """The user of shazimd-link.service, if this host is of a cluster and has this user."""
    with suppress(KeyError):
        return [pwd.getpwnam(LINK_USER).pw_name] if settings.cluster.host else []
    return []


def _bind(settings: Config) -> socket.socket:
    path = settings.server.socket or paths.listening_socket()
    return bind_socket(path, int(settings.server.mode, 8), settings.server.group)


def _reload_on_hangup(app: App) -> None:
    def reload() -> None:
        try:
            app.reload()
        except ShazimdError as error:
            reason = str(error)
        else:
            return
        logger.error("reload_failed", reason=reason, in_force="the settings from before")

    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=reload, name="reload").start())


if __name__ == "__main__":
    sys.exit(main())
