"""The messages of the HTTP API, version 1, as JSON.

Within a version, fields are added, never renamed or removed; clients must ignore unknown fields. A path has two fields:
``path`` is readable, and ``path_b64``, present only for paths that are not UTF-8, has the exact bytes.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

VERSION = "v1"

Verdict = Literal["exact", "copy", "variant", "scene", "similar"]
DecisionKind = Literal["not_duplicates", "keep", "leave"]
State = Literal["starting", "baseline", "ready", "draining"]


class PathFields(TypedDict):
    path: str
    path_b64: NotRequired[str]


class Scores(TypedDict):
    """The score and the similarities of the signals, in [0, 1]: 1 means same, null a missing signal."""

    score: float
    dah: float | None
    ddh: float | None
    dfv: float | None


class Placement(TypedDict):
    """Position of the query in the match."""

    scale: float
    rotation_deg: float
    mirrored: bool
    region: tuple[float, float, float, float]
    """left, top, right, bottom of the query in the match, as fractions of the match's size"""


class Region(TypedDict):
    """A region with different content, in each picture: left, top, right, bottom as fractions of its size."""

    query: tuple[float, float, float, float]
    match: tuple[float, float, float, float]


class DiffersMessage(TypedDict):
    """Different content of a variant."""

    share: float
    """of the overlap of the two pictures, in [0, 1]"""
    regions: list[Region]


class Geometry(TypedDict, total=False):
    """The result of verification; empty without verification."""

    inliers: int
    agreement: float | None
    mapping: Placement | None
    differs: DiffersMessage | None
    """of a variant: the regions with different content"""


class FoundImage(PathFields, Scores, Geometry):
    """A known image file in the reply to a query."""

    verdict: Verdict
    width: int
    height: int
    damaged: NotRequired[bool]
    """true for a file that ends early or has broken parts; absent otherwise"""


class FindReply(TypedDict):
    """The matches of a picture, best first, at most 10,000; and the parameters in force, defaults filled in."""

    threshold: float
    weights: tuple[float, float, float]
    model: str | None
    complete: bool
    """false before the end of the first scan of every reachable root: matches may be missing"""
    known_images: int
    """image files known at the time of the answer"""
    took_ms: float
    damaged: NotRequired[bool]
    """true where the picture asked about ends early or has broken parts; absent otherwise"""
    matches: list[FoundImage]


class CompareReply(Scores, Geometry):
    """The comparison of two pictures; ``verdict`` is null without a relation."""

    verdict: Verdict | None
    weights: tuple[float, float, float]
    model: str | None
    took_ms: float


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


class StoreInfo(TypedDict):
    """A store and its size on the disk."""

    path: str
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


class Alert(PathFields, Scores):
    """A new file has matches; ``match`` is the best of them. Told at least once: ``id`` recognises a repeat."""

    id: int
    """Grows, with gaps; no other alert ever has it, also after a restore. The log names it ``alert_id``."""
    time: NotRequired[str]
    """RFC 3339, UTC"""
    match: str
    match_b64: NotRequired[str]
    verdict: Verdict
    matches: int
    took_ms: float
    differs: NotRequired[DiffersMessage | None]
    """of a variant: the regions with different content"""
    bank: NotRequired[str]
    """the directory of ``only_against`` that has the match; absent for a root without"""
    bank_b64: NotRequired[str]
    damaged: NotRequired[bool]
    """true where the new file ends early or has broken parts; absent otherwise"""


class AlertsReply(TypedDict):
    """Oldest first. Ask again with ``since`` of the last ``id`` until the list is empty."""

    alerts: list[Alert]


class FactsMessage(TypedDict):
    """Facts about a picture, read from its file."""

    camera: str | None
    captured: str | None
    """EXIF capture date, such as "2024:05:01 12:00:00" """
    jpeg_quality: int | None
    """estimated from the quantisation tables"""
    lossless: bool
    grey: bool


class GroupMember(PathFields, Geometry):
    """A file of a group of duplicates. Score, verdict and geometry are against the group's first: the query is this
    file, the match the first. They are null in the first itself."""

    also: NotRequired[list[PathFields]]
    """other names of the same file (hard links, bind mounts); they take no space"""
    content: NotRequired[str]
    """BLAKE2b-256 digest of the file's bytes, hexadecimal"""
    width: int
    height: int
    size_bytes: int
    mtime: NotRequired[float]
    """seconds since 1970"""
    format: NotRequired[str]
    damaged: NotRequired[bool]
    """true for a file that ends early or has broken parts; absent otherwise"""
    score: float | None
    dah: NotRequired[float | None]
    ddh: NotRequired[float | None]
    dfv: NotRequired[float | None]
    verdict: Verdict | None
    facts: NotRequired[FactsMessage | None]
    """null until they were read in the background"""


class KeepPath(TypedDict, total=False):
    """The file to keep among several with the same bytes, for the kind "keep"; any of them without it."""

    keep_path: str
    keep_path_b64: str


class DecisionMessage(KeepPath):
    """A person's decision about contents."""

    id: int
    kind: DecisionKind
    contents: list[str]
    """digests, hexadecimal"""
    keep: str | None
    """digest of the content to keep, for the kind "keep" """
    uid: int | None
    """user id of the peer that decided; null when unknown"""
    time: str
    """RFC 3339, UTC"""
    files: list[DecidedFile]
    """files of these contents at present, at most 100"""


class DecidedFile(PathFields):
    content: str


class DecisionsPage(TypedDict):
    """Oldest first. Ask again with ``after`` of the last ``id`` until the list is empty."""

    decisions: list[DecisionMessage]


class DecisionsMade(TypedDict):
    ids: list[int]
    """one for each line of the request, in order; a decision made before keeps its id"""


class DuplicateGroup(TypedDict):
    """Files with the same picture. The first is to keep; the others are duplicates of the first, not of each other."""

    id: NotRequired[str]
    """a digest that names the group while its central file exists"""
    saves_bytes: int
    files: NotRequired[int]
    """number of files, also of those not listed"""
    reason: NotRequired[str]
    """for keeping the first, in words"""
    decision: NotRequired[int | None]
    """id of the decision that names the file to keep"""
    members: list[GroupMember]


class RelationsStatus(TypedDict):
    """Progress of the comparison of all pictures with each other, in the background."""

    done: int
    left: int
    """pictures whose copies are still to be found"""
    seconds_left: float | None
    """an estimate; null when unknown"""


class GroupsPage(TypedDict):
    """Groups of duplicates, largest saving first."""

    groups: list[DuplicateGroup]
    """members are at most 200 of each group"""
    after: str | None
    """parameter for the next page; null after the last"""
    total: int
    saves_bytes: int
    """of all groups that pass the filter, like ``total``"""
    relations: RelationsStatus


class ExportedFile(PathFields):
    """A file and its fingerprint."""

    content: str
    """BLAKE2b-256 digest of the file's bytes, hexadecimal"""
    size_bytes: int
    mtime: float
    width: int
    height: int
    format: str
    ah: str | None
    """average hash, 16 hexadecimal digits"""
    dh: str | None
    pixels: str | None
    """hash of the pixels, hexadecimal; null when unknown"""
    low_information: bool
    model: str | None
    vector: str | None
    """feature vector: base64 of float32, little-endian; null unless asked for"""


class FailedFile(PathFields):
    """A file that could not be read or decoded."""

    code: str
    reason: str
    size_bytes: int | None
    since: float | None
    """seconds since 1970; null when not recorded"""


class RetryReply(TypedDict):
    retried: int
    """number of failed files that are tried again"""


class PairLine(TypedDict):
    """A line of a self-join: a pair, smaller content id second; or, with only ``after``, the progress."""

    after: int
    """parameter to resume from here: all pairs of contents up to this id are in earlier lines"""
    path: NotRequired[str]
    path_b64: NotRequired[str]
    match: NotRequired[str]
    match_b64: NotRequired[str]
    score: NotRequired[float]
    dah: NotRequired[float | None]
    ddh: NotRequired[float | None]
    dfv: NotRequired[float | None]


class ChangedFile(PathFields):
    """The present state of a file that changed."""

    content: str | None
    """BLAKE2b-256 digest of the file's bytes, hexadecimal; null for a file that is gone or can't be decoded"""
    made: str
    """how its fingerprint was made: another value for another version or model"""
    size_bytes: int
    mtime_ns: int


class ChangesPage(TypedDict):
    """Changes of this host's files, oldest first, or all files where ``after`` is not of this store or too old."""

    changes: list[ChangedFile]
    after: str
    """parameter for the next page"""
    restarted: bool
    """this page begins a reading of all files: files that it does not name are gone"""
    reading: bool
    """this page is of a reading of all files"""
    ended: bool
    """and the last of it"""
    complete: bool
    """there are no more changes at present"""


class FingerprintMessage(TypedDict):
    """A fingerprint. Bytes are in base64."""

    content: str
    made: str
    width: int
    height: int
    format: str
    ah: str | None
    """average hash, 16 hexadecimal digits"""
    dh: str | None
    pixels: str | None
    """hash of the pixels"""
    low_information: bool
    turned: str
    """average and difference hash of the 7 other orientations, 8 bytes each, most significant first"""
    features: str
    """local features, see FORMAT.md"""
    model: str | None
    vector: str | None
    """float16, little-endian"""


class FingerprintsReply(TypedDict):
    """Contents that are not known are left out."""

    fingerprints: list[FingerprintMessage]


class ForeignHost(TypedDict):
    """Another host whose files are known here."""

    host: str
    position: str | None
    """given with its last files; null in the first reading of all of them"""


class UndecidedFile(PathFields):
    """A new file whose matches on other hosts are still to be looked for."""

    id: int
    content: str
    gone: bool
    """no file has this content any more"""


class ForeignStatus(TypedDict):
    hosts: list[ForeignHost]
    undecided: list[UndecidedFile]
    """the oldest 100"""


class ForeignPaths(TypedDict):
    """Files of another host. Ask again with ``after`` of the last until the list is empty."""

    paths: list[PathFields]


class RefusedRow(TypedDict):
    """A file or content of another host that is not taken."""

    row: str
    reason: str


class ForeignReply(TypedDict):
    missing: list[str]
    """digests of contents that are needed: nothing was written, send all again with these contents"""
    refused: list[RefusedRow]


class DecidedReply(TypedDict):
    decided: int
    """id of the file"""


class RescanReply(TypedDict):
    """The path to be compared with the disk; null for every root."""

    path: str | None
    path_b64: NotRequired[str]


class ReloadReply(TypedDict):
    """The configuration was read again and is in force."""

    roots: list[str]
    restart_needed: list[str]
    """changed tables of the configuration not applied before a restart"""


class CompactReply(TypedDict):
    """Sizes of the store on the disk."""

    before_bytes: int
    after_bytes: int


class ForgetReply(TypedDict):
    forgotten: int
    """number of image files forgotten"""
    comes_back: bool
    """the path still lies in a root: it is indexed, and told of, again after its next change or scan"""


class IgnoredReply(TypedDict):
    """Files and directories that were forgotten and stay out."""

    ignored: list[PathFields]


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


class ErrorDetail(TypedDict):
    code: str
    message: str


class ErrorReply(TypedDict):
    """Every response with a status of 400 or more; also the last line of a stream after an error."""

    error: ErrorDetail
