"""Messages about the state of the daemon and its models."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from shazimd.protocol import Alert, PathFields

State = Literal["starting", "baseline", "ready", "draining"]


class WatchStatus(TypedDict):
    """State of the watch on a root."""

    mode: Literal["inotify", "poll"]
    state: Literal["starting", "watching", "unavailable", "held", "failed", "stopped"]
    watched_dirs: int
    unwatched_dirs: int
    """directories over the inotify limit: polled, with all below them"""
    unreadable_dirs: int
    overflows: int
    """times the kernel dropped events; each is followed by a scan"""


class ScanStatus(TypedDict):
    """Progress of a root's scans."""

    state: Literal["idle", "scanning", "unavailable", "held"]
    """``held``: the deletion guard waits for a confirmation"""
    directories_done: int
    directories_pending: int
    known_files: int | None
    """as of the last full scan; null before the first"""
    passed_over: NotRequired[int | None]
    """files that were left out since their names are not those of images; likewise, of this run"""


class BaselineProgress(TypedDict):
    """Progress of a root's first scan."""

    done: int
    """files handled, those that failed included"""
    total: int | None
    """files that are there; null until they are counted"""
    per_second: float
    seconds_left: float | None


class RootState(PathFields, WatchStatus):
    """A watched directory."""

    reconcile: ScanStatus
    baseline_complete: bool
    progress: BaselineProgress | None
    """null once the first scan is complete"""
    compared_at: float | None
    """end of this run's last full scan, in seconds since 1970; null before the first"""
    silent_s: int
    """seconds left in which new pictures raise no alerts, by ``silent_for``"""


class RootStatus(RootState):
    """A watched directory, with its failed files and its last alert."""

    failed: int
    """files that could not be read or decoded"""
    last_alert: Alert | None


class ModelStatus(TypedDict):
    """The model in use, or the reason for having none."""

    state: Literal["installed", "installing", "missing", "none"]
    handle: str
    id: str | None
    width: NotRequired[int]
    """length of its vectors; only while installed"""
    reason: NotRequired[str | None]
    """error of the last attempt to install; absent while installed"""


class StoreInfo(PathFields):
    """A store and its size on the disk."""

    schema: int
    size_bytes: int
    map_size_bytes: int


class StoreStatus(StoreInfo):
    """The daemon's store."""

    fault: str | None
    """reason for failing writes; null while writes succeed"""
    outdated: int
    """contents whose vector or features the backfill has still to make"""


class WorkersStatus(TypedDict):
    """The processes that decode pictures."""

    missing_layers: list[str] | None
    """layers of their confinement that could not be had, each with the reason; null until a worker has started"""


class ClusterStatus(TypedDict):
    """The exchange with other hosts that is still to come."""

    owed: int | None
    """changes of this host's files that the link has not told yet, at most; null before it asked"""
    tell_lag_s: float | None
    """seconds since all was told; null before that"""
    behind: int | None
    """changes of other hosts' files that the link has not brought yet, at most; null before it said so"""
    follow_lag_s: float | None
    """seconds since all was brought; the link looks each 10 s at least. Null before that"""
    undecided: int
    """alerts that are still to be decided, those about other hosts with them"""


class Status(TypedDict):
    """State and counts of the daemon."""

    cluster: NotRequired[ClusterStatus]
    """absent without a [cluster] host"""

    version: str
    state: State
    images: int
    foreign: NotRequired[int]
    """files of other hosts"""
    contents: int
    pending: int
    failed: int
    roots: list[RootStatus]
    model: ModelStatus
    store: StoreStatus
    workers: NotRequired[WorkersStatus]
    last_alert: Alert | None
    relations: NotRequired[RelationsStatus]
    uptime_s: float
    rss_bytes: int


class RelationsStatus(TypedDict):
    """Progress of the comparison of all pictures with each other, in the background."""

    done: int
    left: int
    """pictures whose copies are still to be found"""
    seconds_left: float | None
    """an estimate; null when unknown"""


class InstalledModel(TypedDict):
    """An installed model."""

    id: str
    source: str
    output_width: int
    size_bytes: int
    licence: str | None
    active: bool


class ModelsReply(TypedDict):
    models: list[InstalledModel]


class InstallProgress(TypedDict):
    """A line of an installation: the present stage, and the model in the last line."""

    stage: str
    model: NotRequired[InstalledModel]


class Health(TypedDict):
    state: State
