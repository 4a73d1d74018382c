"""The command `shazimd-link`: joins this host's daemon to a cluster, until it is stopped.

Threads with a connection each, one telling, one following, and one fetching features where they are not kept, are
independent: while one waits for a full disk, the others go on. The link keeps nothing of its own, so it may be killed
at any time.
"""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in shazimd: NumPy comes with the settings, and computes nothing

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import structlog

from shazimd import __version__, config, paths
from shazimd.cluster.base import Cluster
from shazimd.cluster.daemon import LinkClient
from shazimd.cluster.follow import FeatureFetcher, Follower
from shazimd.cluster.publish import Publisher
from shazimd.config import ClusterConfig
from shazimd.errors import ConfigError, ShazimdError
from shazimd.posix.signals import set_at
from shazimd.posix.streams import open_closed_streams
from shazimd.telemetry import log as logs

log = structlog.get_logger()

RETRY_FIRST_S, RETRY_MAX_S = 1.0, 60.0
"""Pauses double from the first to the last."""
EXAMPLES = """\
examples:
  shazimd-link --config /etc/shazimd/config.toml

Runs until it is stopped; shazimd-link.service runs this command. It needs the socket of the daemon, as an admin, and
the network of the database.
"""

Work = Callable[[Callable[[], bool], Callable[[], None]], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status: 0 stopped as asked, 2 for a wrong configuration."""
    gc.freeze()  # modules stay: neither collections nor the end look through them
    open_closed_streams()
    options = parser().parse_args(arguments)
    logs.configure(options.log_format, options.log_level)
    try:
        settings = cluster_settings(options.config)
        connect = connector(settings)
    except ShazimdError as error:
        log.critical("stopped", code=error.code, reason=str(error))
        return error.exit_status
    stop = threading.Event()
    set_at(stop, signal.SIGTERM, signal.SIGINT)
    run(settings, connect, LinkClient(options.socket), stop)
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shazimd-link",
        description="Tells other hosts of this host's pictures, and this host's daemon of theirs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help=paths.CONFIG_HELP)
    parser.add_argument("--socket", metavar="PATH", help="socket of the daemon")
    logs.add_arguments(parser)
    parser.add_argument("--version", action="version", version=f"shazimd {__version__}")
    return parser


def cluster_settings(path: str | None) -> ClusterConfig:
    """The table [cluster] with a host and a URL. Raises ConfigError."""
    path, settings = config.required(path)
    found = settings.cluster
    if found.host is None or found.url is None:
        raise ConfigError(f"{path}: [cluster] has no {'url' if found.host else 'host'}, expected host and url")
    return found


def connector(settings: ClusterConfig) -> Callable[[], Cluster]:
    """Opens a connection. Raises ConfigError without the extra."""
    try:
        from shazimd.cluster.postgres import PostgresCluster
    except ImportError as error:
        raise ConfigError("psycopg is not installed, expected the extra: pip install 'shazimd[cluster]'") from error
    url, host, keeps_features = settings.url, settings.host, settings.features == "keep"
    assert url is not None
    assert host is not None
    return lambda: PostgresCluster(url, host, keeps_features=keeps_features)


def run(settings: ClusterConfig, connect: Callable[[], Cluster], daemon: LinkClient, stop: threading.Event) -> None:
    """Tell and follow until ``stop`` is set."""
    joined = threading.Event()
    works: dict[str, Work] = {
        "tell": Publisher(connect, daemon, joined.set).run,
        "follow": once(joined, Follower(connect, daemon, settings.follow).run),
    }
    if settings.features == "fetch":
        works["fetch"] = once(joined, FeatureFetcher(connect, daemon).run)
    log.info("link_started", host=settings.host, follow=list(settings.follow), pid=os.getpid())
    for name, work in works.items():
        threading.Thread(target=keep, args=(work, stop, name), name=name, daemon=True).start()
    stop.wait()
    log.info("link_stopped")


def once(joined: threading.Event, work: Work) -> Work:
    """The work, begun when this host has joined: the database keeps no position for a host that it does not know, and
    a second machine of the same name is not to follow in the first one's place."""

    def begin(is_stopped: Callable[[], bool], working: Callable[[], None]) -> None:
        joined.wait()
        work(is_stopped, working)

    return begin


def keep(work: Work, stop: threading.Event, name: str) -> None:
    """Do a work again and again until stopped, with growing pauses while it fails. A fault is logged once, and its
    end."""
    pause_s, fault = RETRY_FIRST_S, ""

    def working() -> None:
        nonlocal pause_s, fault
        if fault:
            log.info("cluster_works_again", work=name)
        pause_s, fault = RETRY_FIRST_S, ""

    while not stop.is_set():
        try:
            work(stop.is_set, working)
        except ShazimdError as error:
            if str(error) != fault:
                log.warning("cluster_waits", work=name, code=error.code, reason=str(error))
            fault = str(error)
        except Exception:
            log.exception("link_failed", work=name)
            fault = "an internal error"
        stop.wait(pause_s)
        pause_s = min(2 * pause_s, RETRY_MAX_S)


if __name__ == "__main__":
    sys.exit(main())
