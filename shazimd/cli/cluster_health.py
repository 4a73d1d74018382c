"""The part of `shazimctl doctor` about a cluster."""

from __future__ import annotations

from shazimd.text import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from shazimd.cluster.base import HostState
    from shazimd.config import ClusterConfig

SILENCE_S_MAX = 60.0
"""A link is heard of every ten seconds, and tries again after a minute at most."""
START = "systemctl enable --now shazimd-link, and look at journalctl -u shazimd-link"


def cluster_health(settings: ClusterConfig) -> Iterator[tuple[str, str, bool]]:
    """(message, advice, whether it is a warning) of each check; none without a host in the configuration."""
    if settings.host is None:
        return
    if settings.url is None:
        yield "cluster: there is a host, but no url", "set [cluster] url, see docs/how-to-cluster.md", False
        return
    from shazimd.errors import ClusterError

    try:
        from shazimd.cluster import admin

        hosts = admin.hosts(settings.url)
    except ImportError:
        yield "cluster: psycopg is not installed", "install the extra: pip install 'shazimd[cluster]'", False
    except ClusterError as error:
        yield f"cluster: {error}; local work goes on", "", True
    else:
        yield _own(settings.host, hosts)
        yield from _models(hosts)


def _own(host: str, hosts: list[HostState]) -> tuple[str, str, bool]:
    own = next((each for each in hosts if each.name == host), None)
    if own is None:
        return f"cluster: {host} is not there yet", START, False
    if own.seen_s > SILENCE_S_MAX:
        return f"cluster: the link of {host} was last heard of {duration(own.seen_s)} ago", START, False
    return f"cluster: {host} is one of {len(hosts)} hosts", "", False


def _models(hosts: list[HostState]) -> Iterator[tuple[str, str, bool]]:
    """Vectors count only between hosts of one model."""
    if len({each.model for each in hosts}) > 1:
        named = "; ".join(f"{each.name}: {each.model or 'none'}" for each in hosts)
        yield f"cluster: hosts have different models and compare by hashes and local features ({named})", "", True
