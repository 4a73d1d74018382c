"""The configuration: loaded and checked once, then only read.

Defaults stand beside their reasons. Each fault raises a ConfigError with the file, the key, the value found and the
value expected. The docstrings of keys are also their text in shazimd.toml(5).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shazimd import paths
from shazimd.config.faults import explain
from shazimd.errors import ConfigError
from shazimd.text import all_weights
from shazimd.types import DEFAULT_THRESHOLD, DEFAULT_WEIGHTS, Verdict, Weights, check_weights, decodable

DEFAULT_MODEL = "bundled"

HOOKS_MAX = 16
"""Each hook holds a stream of alerts, of those that ``server/events`` allows a user."""

Positive = Annotated[int, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Duration = Annotated[
    str, Meta(pattern="^(0|[0-9]{1,9}[smhd])$", description='a whole number and s, m, h or d, such as "30d", or "0"')
]
Permissions = Annotated[str, Meta(pattern="^0?[0-7]{3}$", description='permissions in octal, such as "0660"')]
KeepRule = Annotated[
    str,
    Meta(
        pattern="^(path:.+|name:.+|age:oldest|age:newest)$",
        description="path:GLOB, name:GLOB, age:oldest or age:newest",
    ),
]
HookName = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$", description="up to 64 letters, digits, underscores and hyphens")
]
HostName = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9][a-z0-9.-]{0,62}$",
        description="up to 63 lower-case letters, digits, dots and hyphens, a letter or digit first",
    ),
]
HookUrl = Annotated[
    str,
    Meta(
        pattern="^(https?|http[+]unix)://[^/]+(/.*)?$",
        description="a URL with the scheme http, https or http+unix",
    ),
]


def _has_host(url: str) -> bool:
    """Whether a URL names a host, or a Unix socket, and no port that can't be."""
    from urllib.parse import urlsplit  # 6 ms, for a hook alone

    try:
        parts = urlsplit(url)
        return parts.scheme == "http+unix" or (bool(parts.hostname) and parts.port != 0)
    except ValueError:  # half a bracket, or a port that is no number up to 65535
        return False


def _seconds(duration: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    return 0 if duration == "0" else int(duration[:-1]) * units[duration[-1]]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are errors."""


class WatchConfig(Section, frozen=True, kw_only=True):
    """A root: a directory to watch."""

    path: str
    """The directory, with everything below it. In the paths of [[watch]], [store] and [server], ~ and $VARIABLES are
    replaced; they must be absolute then. Elsewhere write the whole path.
    Example: path = "/srv/photos" """
    exclude: tuple[str, ...] = (
        *("@eaDir", "*.part", "*.crdownload", ".*.??????", ".*"),
        *("#recycle", "@Recycle", "#snapshot", "@Recently-Snapshot", "$RECYCLE.BIN", "lost+found"),
    )
    """Globs on the name of a file or directory: Synology's thumbnails, unfinished files of browsers and rsync, hidden
    files, recycle bins and snapshots. A list given here replaces the default.
    Example: exclude = ["@eaDir", "*.part", ".*", "thumbs"]"""
    mode: Literal["auto", "inotify", "poll"] = "auto"
    """How changes are found: from the kernel's events, or by a comparison every poll_interval_s. "auto" polls where the
    file system gives no events, such as NFS and CIFS.
    Example: mode = "poll" """
    poll_interval_s: Positive = 60
    """Seconds between two comparisons of a polled directory.
    Example: poll_interval_s = 300"""
    settle_ms: Annotated[int, Meta(ge=0, le=60_000)] = 250
    """Debounce, in milliseconds: how long a file must have been left alone before it is read. Raise it for slow card
    readers.
    Example: settle_ms = 2000"""
    follow_symlinks: bool = False
    """Whether symbolic links to image files and directories are followed, but for a link to a directory above itself.
    Example: follow_symlinks = true"""
    sniff: bool = False
    """Whether a file without an image's extension counts as an image if its first bytes are those of one: the caches of
    browsers and messengers, and files that are named by their digests. Each scan then reads 32 bytes of every such
    file, and copies that programs make meanwhile are taken in too. TGA has no first bytes of its own.
    Example: sniff = true"""
    reference: bool = False
    """Pictures here are compared with, but raise no alerts themselves.
    Example: reference = true"""
    verdicts: tuple[Verdict, ...] | None = None
    """The matches of new pictures here that raise an alert, instead of those of [alerts].
    Example: verdicts = ["exact"]"""
    threshold: Fraction | None = None
    """The threshold for new pictures here, instead of that of [match].
    Example: threshold = 0.9"""
    only_against: tuple[str, ...] = ()
    """Directories, each a watched one or below one: pictures here raise alerts only for matches in these, such as a
    bank of banned images, and not for each other. An empty list: for all matches.
    Example: only_against = ["/srv/bank"]"""
    on_baseline: bool | None = None
    """Whether the pictures of the first scan here raise alerts, instead of what [alerts] says.
    Example: on_baseline = true"""
    silent_for: Duration = "0"
    """How long new pictures here raise no alerts, from the beginning of the first scan on: for an import that takes
    hours. They are known meanwhile, and shazimctl duplicates shows them. "0": until the first scan is complete.
    Example: silent_for = "12h" """

    @property
    def silent_for_s(self) -> int:
        return _seconds(self.silent_for)


class MatchConfig(Section, frozen=True, kw_only=True):
    """How pictures are compared."""

    threshold: Fraction = DEFAULT_THRESHOLD
    """How alike, from 0 to 1, two pictures must be to count as "similar". Copies, variants and scenes, which a detailed
    comparison confirms, count whatever their score. A question may give its own threshold.
    Example: threshold = 0.8"""
    weights: Weights = DEFAULT_WEIGHTS
    """Weights in the score, 3 numbers: of the average hash, of the difference hash and of the model's feature vector.
    Example: weights = [1.0, 1.0, 3.0]"""
    verify: bool = True
    """Confirm matches by geometry, and tell copies from other shots. Without it only the score counts: add
    "similar" to the verdicts of [alerts]. Pictures get no local features then: two and a half times the pictures a
    second.
    Example: verify = false"""


class AlertsConfig(Section, frozen=True, kw_only=True):
    """Which matches raise an alert."""

    on_baseline: bool = False
    """Whether the pictures of a first scan raise alerts too.
    Example: on_baseline = true"""
    verdicts: tuple[Verdict, ...] = (Verdict.EXACT, Verdict.COPY)
    """Other verdicts are common among pictures of one template, place or product: if the picture raises no alert, the
    best of them that stands out is a line of the log, related_image. The original's behaviour is all:
    ["exact", "copy", "variant", "scene", "similar"].
    Example: verdicts = ["exact", "copy", "variant"]"""


class KeepConfig(Section, frozen=True, kw_only=True):
    """Which file of a group to keep."""

    prefer: tuple[KeepRule, ...] = ()
    """Rules, the first with priority. A file that you chose comes first, then undamaged files, then reference
    directories, then files outside trash folders and snapshots, then these rules, then all other signs.
    Example: prefer = ["path:/srv/photos/albums/*", "age:oldest"]"""


class ModelConfig(Section, frozen=True, kw_only=True):
    """The model of the feature vectors."""

    handle: str = DEFAULT_MODEL
    """"bundled", in the package; "onnx:FILE"; a TF Hub handle; a SavedModel directory; a .tflite file; or "none". FILE
    is any image embedding as an ONNX file (with the extra onnx, see docs/operations.md): pictures [n, height, width, 3]
    or [n, 3, height, width] in, as uint8 levels or as float colours in [0, 1]; vectors [n, width] out. FILE#sha256=HEX
    must have that digest. Without a model, only the same bytes, the same pixels and geometry raise alerts. Scores are
    higher in general then, and the threshold is raised by itself: 0.75 means 0.84.
    While a model is being installed, only identical files raise alerts; all other alerts wait for its vectors.
    Example: handle = "none" """


class WorkersConfig(Section, frozen=True, kw_only=True):
    """The processes that decode and compare pictures, and their limits."""

    processes: Positive = max(1, min(8, os.cpu_count() or 1))
    """Number of processes; one more is started for a question that finds all of them at work.
    Example: processes = 12"""
    memory_mb: Annotated[int, Meta(ge=256)] = 2048
    """Memory of a worker, of which a small picture may take a part: 256 MB and 128 bytes a pixel besides what a worker
    has at its start. 100 megapixels as RGB are 300 MB, and decoding holds them twice.
    Example: memory_mb = 4096"""
    timeout_s: Positive = 60
    """Longest time for one picture; a worker that takes longer is ended, and the file counts as failed. Small pictures
    get a tenth of this time of the processor, larger ones more. The whole time goes to pictures of 12 megapixels
    (JPEG: 200) or 50 MB.
    Example: timeout_s = 120"""
    max_pixels: Positive = 200_000_000  # 1.2 GB while decoding, within memory_mb
    """Pictures with more pixels are not decoded.
    Example: max_pixels = 400_000_000"""
    max_file_mb: Positive = 512
    """Larger files are not read, and larger questions are refused; with little memory, smaller ones, too.
    Example: max_file_mb = 1024"""


class StoreConfig(Section, frozen=True, kw_only=True):
    """The store of the fingerprints."""

    path: str | None = None
    """The directory, on a local disk. Without the key: /var/lib/shazimd, of a user ~/.local/state/shazimd. For the
    system service, run shazimctl service install after a change: it may write nowhere else.
    Example: path = "/var/lib/shazimd" """
    map_size_gb: Positive = 16
    """Initial address space, not disk; grows on demand.
    Example: map_size_gb = 64"""
    keep_deleted: Duration = "30d"
    """How long fingerprints stay after the last file of a picture was deleted: a picture that comes back meanwhile is
    not decoded again. "0": not at all.
    Example: keep_deleted = "7d" """

    @property
    def keep_deleted_s(self) -> int:
        return _seconds(self.keep_deleted)


class ServerConfig(Section, frozen=True, kw_only=True):
    """The socket at which shazimctl asks. Under systemd the socket unit decides its path, mode and group; admins counts
    there, too."""

    socket: str | None = None
    """Its path. Without the key: see FILES in shazimd(8).
    Example: socket = "/run/shazimd/shazimd.sock" """
    mode: Permissions = "0660"  # answers contain paths: not for everybody
    """Permissions of the socket: who may ask.
    Example: mode = "0600" """
    group: str | None = None
    """Group of the socket. Without the key: the daemon's group.
    Example: group = "shazimd" """
    admins: tuple[str, ...] = ()
    """Users who may change something: rescan, forget, reload, compact, install a model, retry failed files, and decide
    about duplicates (shazimctl ignore and undo, the page); "@name" is a group. Root and the daemon's own user always
    may; shazimd-link may where [cluster] host is set. All others who can connect may only ask.
    Example: admins = ["ann", "@photo-editors"] """


class ReconcileConfig(Section, frozen=True, kw_only=True):
    """Comparisons of the store with the disk, beside the kernel's events."""

    interval_s: Positive = 3600
    """Interval of full scans: the longest delay of a change without a kernel event.
    Example: interval_s = 86_400"""


class HookConfig(Section, frozen=True, kw_only=True):
    """A receiver of alerts: a command or a URL; at most 16 of them. Each holds a stream of alerts, and the daemon
    allows a user 16, those of `shazimctl alerts --follow` and of the page included."""

    name: HookName  # part of a file's name
    """Names the file with the hook's position among the alerts: under a new name, a hook starts with new alerts.
    Example: name = "mail" """
    command: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    """The program and its arguments, without a shell. {path}, {match}, {verdict}, {score} and other fields of the alert
    are replaced, and the whole alert is on standard input as JSON.
    Example: command = ["/usr/local/bin/tell-me", "{verdict}", "{path}", "{match}"]"""
    url: HookUrl | None = None
    """The alert is posted there as JSON; http+unix://%2Frun%2Fx.sock/path for a Unix socket.
    Example: url = "https://chat.example.org/hook/0123" """
    verdicts: tuple[Verdict, ...] = tuple(Verdict)
    """The alerts that the hook receives, of those that [alerts] verdicts raises.
    Example: verdicts = ["exact"]"""
    timeout_s: Positive = 30
    """Longest time for one delivery.
    Example: timeout_s = 10"""
    give_up_after_s: Positive = 86_400
    """Time limit for retries of a delivery: by default a day, longer than a receiver's outage overnight.
    Example: give_up_after_s = 3600"""

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ValueError("it has both or neither of command and url, expected one of them")
        if self.url is not None and not _has_host(self.url):
            raise ValueError("its url has no host, or a wrong port, expected HOST or HOST:PORT after the slashes")


class ClusterConfig(Section, frozen=True, kw_only=True):
    """Other hosts whose pictures are known here, and this host's there. The tables are in PostgreSQL; the program
    shazimd-link exchanges them with the daemon, which has no network."""

    host: HostName | None = None
    """The name of this host in the cluster. Without the key the daemon shares nothing.
    Example: host = "nas1" """
    url: str | None = None
    """The database, as libpq takes it. Its password belongs into /etc/shazimd/pgpass, see docs/how-to-cluster.md.
    Example: url = "postgresql://nas1@db.example.org/shazim?sslmode=verify-full" """
    follow: Annotated[tuple[str, ...], Meta(min_length=1)] = ("*",)
    """The hosts whose pictures are known here: names, or "*" for all.
    Example: follow = ["nas2", "nas3"]"""
    features: Literal["keep", "fetch"] = "keep"
    """Local features of other hosts' pictures, 14 of the 18 kB that each takes: kept here, or fetched from the database
    when a picture must be verified. Then crops that neither hashes nor vector propose are not found, and an answer
    says how many pictures were not verified, where the database does not answer in 2 s.
    Example: features = "fetch" """


class Config(Section, frozen=True, kw_only=True):
    watch: tuple[WatchConfig, ...] = ()
    match: MatchConfig = MatchConfig()
    alerts: AlertsConfig = AlertsConfig()
    keep: KeepConfig = KeepConfig()
    model: ModelConfig = ModelConfig()
    workers: WorkersConfig = WorkersConfig()
    store: StoreConfig = StoreConfig()
    server: ServerConfig = ServerConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    hook: tuple[HookConfig, ...] = ()
    cluster: ClusterConfig = ClusterConfig()

    def __post_init__(self) -> None:
        names = [hook.name for hook in self.hook]
        if len(set(names)) < len(names):
            raise ValueError(f"hook names are {names}, expected each once")
        if len(names) > HOOKS_MAX:
            raise ValueError(f"[[hook]] is there {len(names)} times, expected at most {HOOKS_MAX}")


def found(path: str | None = None) -> Config:
    """The config in a file, by default that of ``paths.config_file``; the defaults without any. Raises ConfigError."""
    path = path or paths.config_file()
    return load(path) if path else Config()


def required(path: str | None) -> tuple[str, Config]:
    """As ``found``, with the path of the file. Raises ConfigError without any."""
    path = path or paths.config_file()
    if path is None:
        raise ConfigError("no configuration file: give --config FILE or $SHAZIMD_CONFIG")
    return path, load(path)


def load(path: str) -> Config:
    """Read and check a config file. Raises ConfigError."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    return parse(raw, name=path)


def parse(raw: dict[str, Any], name: str) -> Config:
    """Check a parsed file, and expand its paths; ``name`` stands for it in errors. Raises ConfigError."""
    try:
        config = msgspec.convert(raw, decodable(Config))
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {explain(str(error), raw, Config)}") from error
    weights = all_weights(config.match.weights)
    try:
        check_weights(weights)
    except ValueError as error:
        raise ConfigError(f"{name}: match.weights: {error}") from error
    replace = msgspec.structs.replace
    watch = tuple(_expanded(root, f"{name}: watch[{position}]") for position, root in enumerate(config.watch))
    store, socket = config.store.path, config.server.socket
    return replace(
        config,
        watch=watch,
        match=replace(config.match, weights=weights),
        store=replace(config.store, path=store and _path(store, f"{name}: store.path")),
        server=replace(config.server, socket=socket and _path(socket, f"{name}: server.socket")),
    )


def _expanded(root: WatchConfig, name: str) -> WatchConfig:
    banks = [
        _path(bank, f"{name}.only_against[{position}]", is_watched=True)
        for position, bank in enumerate(root.only_against)
    ]
    path = _path(root.path, f"{name}.path", is_watched=True)
    return msgspec.structs.replace(root, path=path, only_against=tuple(banks))


def unset_variable(path: str) -> str | None:
    """The first variable that is left in a path."""
    found = re.search(r"\$(\w+|\{\w+\})", path)
    return found[1].strip("{}") if found else None


def _path(given: str, name: str, *, is_watched: bool = False) -> str:
    """An absolute path, with ~ and $VARIABLES replaced. Raises ConfigError; ``name`` stands for the key.

    A watched directory with a $ in its name may be on a disk that is mounted later: the store knows its path."""
    if "\0" in given:
        raise ConfigError(f"{name} is {json.dumps(given)}, expected a path without a NUL character")
    path = paths.expanded(given)
    is_allowed = os.path.lexists(path) or (is_watched and os.path.isabs(path))
    if not is_allowed and (unset := unset_variable(path)):
        raise ConfigError(f"{name} is {json.dumps(given)}, but the variable {unset} is not set")
    if not os.path.isabs(path):
        raise ConfigError(f"{name} is {json.dumps(given)}, expected an absolute path; ~ and $VARIABLES are replaced")
    return path
