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

from shazimd.errors import ConfigError
from shazimd.types import DEFAULT_THRESHOLD, DEFAULT_WEIGHTS, Verdict, Weights, check_weights

DEFAULT_MODEL = "bundled"

Positive = Annotated[int, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are errors."""


class WatchConfig(Section, frozen=True, kw_only=True):
    """A root: a directory to watch."""

    path: str
    exclude: tuple[str, ...] = ("@eaDir", "*.part", "*.crdownload", ".*.??????", ".*")
    """Globs on the name of a file or directory: Synology's thumbnails, unfinished files of browsers and rsync, hidden
    files."""
    mode: Literal["auto", "inotify", "poll"] = "auto"
    poll_interval_s: Positive = 60
    settle_ms: Annotated[int, Meta(ge=0, le=60_000)] = 250
    """Debounce: a file counts as complete this long after it was closed or last written. Longer than the gap between
    the writes of a copy, shorter than a person notices."""
    follow_symlinks: bool = False
    reference: bool = False
    """Pictures here are compared with, but raise no alerts themselves."""


class MatchConfig(Section, frozen=True, kw_only=True):
    threshold: Fraction = DEFAULT_THRESHOLD
    weights: Weights = DEFAULT_WEIGHTS
    verify: bool = True
    """Confirm matches by geometry, and tell copies from other shots. Without it only the score counts: add
    "similar" to the verdicts of [alerts]. Pictures get no local features then: four times the pictures a second."""


class AlertsConfig(Section, frozen=True, kw_only=True):
    on_baseline: bool = False
    verdicts: tuple[Verdict, ...] = (Verdict.EXACT, Verdict.COPY)
    """Other verdicts are common among pictures of one template, place or product; the original's behaviour is all."""


class ModelConfig(Section, frozen=True, kw_only=True):
    handle: str = DEFAULT_MODEL
    """The model of the feature vectors: "bundled", in the package; "onnx:FILE"; a TF Hub handle; a SavedModel
    directory; a .tflite file; or "none". FILE is any image embedding as an ONNX file (pip install 'shazimd[onnx]'):
    pictures [n, height, width, 3] or [n, 3, height, width] in, as uint8 levels or as float colours in [0, 1]; vectors
    [n, width] out. FILE#sha256=HEX must have that digest. Without a model, only the same bytes, the same pixels and
    geometry raise alerts, and the default threshold of questions is at least 0.9, since hashes alone resemble those of
    many unrelated pictures."""


class WorkersConfig(Section, frozen=True, kw_only=True):
    processes: Positive = max(1, min(8, os.cpu_count() or 1))
    memory_mb: Annotated[int, Meta(ge=256)] = 2048
    """Memory of a worker: 100 megapixels as RGB are 300 MB, and decoding holds them twice."""
    timeout_s: Positive = 60
    max_pixels: Positive = 200_000_000  # 1.2 GB while decoding, within memory_mb
    max_file_mb: Positive = 512


class StoreConfig(Section, frozen=True, kw_only=True):
    path: str | None = None
    map_size_gb: Positive = 16
    """Initial address space, not disk; grows on demand."""
    keep_deleted: Annotated[str, Meta(pattern="^(0|[0-9]{1,9}[smhd])$")] = "30d"
    """How long fingerprints stay after the last file of a picture was deleted: a picture that comes back meanwhile is
    not decoded again. "0": not at all."""

    @property
    def keep_deleted_s(self) -> int:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
        return 0 if self.keep_deleted == "0" else int(self.keep_deleted[:-1]) * units[self.keep_deleted[-1]]


class ServerConfig(Section, frozen=True, kw_only=True):
    socket: str | None = None
    mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$")] = "0660"  # answers contain paths: not for everybody
    group: str | None = None


class ReconcileConfig(Section, frozen=True, kw_only=True):
    interval_s: Positive = 3600
    """Interval of full scans: the longest delay of a change without a kernel event."""


class HookConfig(Section, frozen=True, kw_only=True):
    """A receiver of alerts: a command or a URL."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]  # part of a file's name
    """Names the file with the hook's position among the alerts: under a new name, a hook starts with new alerts."""
    command: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    """The program and its arguments, without a shell. {path}, {match}, {verdict}, {score} and other fields of the alert
    are replaced, and the whole alert is on standard input as JSON."""
    url: Annotated[str, Meta(pattern="^(https?|http[+]unix)://[^/]+(/.*)?$")] | None = None
    """The alert is posted there as JSON; http+unix://%2Frun%2Fx.sock/path for a Unix socket"""
    verdicts: tuple[Verdict, ...] = tuple(Verdict)
    timeout_s: Positive = 30
    give_up_after_s: Positive = 86_400
    """Time limit for retries of a delivery: by default a day, longer than a receiver's outage overnight."""

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ValueError("it has both or neither of command and url, expected one of them")


class Config(Section, frozen=True, kw_only=True):
    watch: tuple[WatchConfig, ...] = ()
    match: MatchConfig = MatchConfig()
    alerts: AlertsConfig = AlertsConfig()
    model: ModelConfig = ModelConfig()
    workers: WorkersConfig = WorkersConfig()
    store: StoreConfig = StoreConfig()
    server: ServerConfig = ServerConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    hook: tuple[HookConfig, ...] = ()

    def __post_init__(self) -> None:
        names = [hook.name for hook in self.hook]
        if len(set(names)) < len(names):
            raise ValueError(f"hook names are {names}, expected each once")


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
    """Check a parsed file; ``name`` stands for it in errors. Raises ConfigError."""
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), raw, name)) from error
    try:
        check_weights(config.match.weights)
    except ValueError as error:
        raise ConfigError(f"{name}: match.weights: {error}") from error
    return config


def _explain(message: str, raw: dict[str, Any], name: str) -> str:
    """Add the value found to msgspec's message, which has the key's path and the expected type.

    msgspec offers no structured errors; tests/test_config.py pins its messages. A message of another form passes as is.

    >>> _explain("Expected `int`, got `str` - at `$.watch[0].settle_ms`", {"watch": [{"settle_ms": "fast"}]}, "c.toml")
    'c.toml: watch[0].settle_ms is "fast", expected `int`, got `str`'
    """
    reason, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", reason):
        key = f"{where}.{unknown[1]}".lstrip(".")
        return f"{name}: {key} is not a key that is known here; see shazimd.toml(5)"
    found: Any = raw
    try:
        for key, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", where):
            found = found[int(position)] if position else found[key]
    except (LookupError, TypeError):
        return f"{name}: {message}"
    shown = json.dumps(found, default=str)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", reason):
        return f"{name}: {where} is {shown}, expected the key {missing[1]} in it"
    return f"{name}: {where} is {shown}, {reason[0].lower()}{reason[1:]}"
