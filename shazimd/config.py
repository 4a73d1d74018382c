"""The configuration: loaded and checked once, then only read.

Defaults stand beside their reasons. Every fault is a ConfigError that names the file, the key, what was found and
what was expected.
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
from shazimd.types import DEFAULT_THRESHOLD, DEFAULT_WEIGHTS, Weights, check_weights

DEFAULT_MODEL = "https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/feature_vector/5"

Positive = Annotated[int, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Verdicts = Literal["exact", "copy", "scene", "similar"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: unknown keys are refused."""


class WatchConfig(Section, frozen=True, kw_only=True):
    """One root."""

    path: str
    exclude: tuple[str, ...] = ("@eaDir", "*.part", "*.crdownload", ".*.??????", ".*")
    """Globs on the name of a file or directory: thumbnails of Synology, what browsers and rsync are still writing,
    and hidden files."""
    mode: Literal["auto", "inotify", "poll"] = "auto"
    poll_interval_s: Positive = 60
    settle_ms: Annotated[int, Meta(ge=0, le=60_000)] = 250
    """A file is complete once it was closed, or lay unchanged, for this long: more than the gap between the writes
    of one copy, less than a person notices."""
    follow_symlinks: bool = False
    reference: bool = False
    """Known pictures that are compared with, but raise no alert themselves."""


class MatchConfig(Section, frozen=True, kw_only=True):
    threshold: Fraction = DEFAULT_THRESHOLD
    weights: Weights = DEFAULT_WEIGHTS
    verify: bool = True
    """Confirm by geometry, and tell copies from other shots. Without it the score alone decides, and pictures that are
    taken in have no local features: four times the pictures a second, 2 kB of each instead of 9."""


class AlertsConfig(Section, frozen=True, kw_only=True):
    on_baseline: bool = False
    verdicts: tuple[Verdicts, ...] = ("exact", "copy", "scene", "similar")


class ModelConfig(Section, frozen=True, kw_only=True):
    handle: str = DEFAULT_MODEL
    """a TF Hub handle, a SavedModel directory, or "none" """


class WorkersConfig(Section, frozen=True, kw_only=True):
    processes: Positive = max(1, min(8, os.cpu_count() or 1))
    memory_mb: Annotated[int, Meta(ge=256)] = 2048
    """address space of one worker: 100 megapixels as RGB are 300 MB, and are held twice while decoding"""
    timeout_s: Positive = 60
    max_pixels: Positive = 200_000_000
    max_file_mb: Positive = 512


class StoreConfig(Section, frozen=True, kw_only=True):
    path: str | None = None
    map_size_gb: Positive = 16
    """Address space to begin with, not disk; it grows by itself."""
    keep_deleted: Annotated[str, Meta(pattern="^(0|[0-9]{1,9}[smhd])$")] = "30d"
    """How long fingerprints stay after the last file of a picture was deleted: a picture that comes back meanwhile is
    not decoded again. "0": not at all."""

    @property
    def keep_deleted_s(self) -> int:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
        return 0 if self.keep_deleted == "0" else int(self.keep_deleted[:-1]) * units[self.keep_deleted[-1]]


class ServerConfig(Section, frozen=True, kw_only=True):
    socket: str | None = None
    mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$")] = "0660"
    group: str | None = None


class ReconcileConfig(Section, frozen=True, kw_only=True):
    interval_s: Positive = 3600
    """The longest that a change goes unseen when the kernel says nothing of it."""


class HookConfig(Section, frozen=True, kw_only=True):
    """What is told of each alert: a command or a URL."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    """Its position among the alerts is kept under this name: a new name starts with the alerts from then on."""
    command: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    """The program and its arguments, never a shell's line; {path}, {match}, {verdict}, {score} and the other fields of
    the alert are filled in, and the whole alert is on standard input as JSON."""
    url: Annotated[str, Meta(pattern="^(https?|http[+]unix)://[^/]+(/.*)?$")] | None = None
    """Where the alert is posted as JSON; http+unix://%2Frun%2Fx.sock/path for a Unix socket"""
    verdicts: tuple[Verdicts, ...] = ("exact", "copy", "scene", "similar")
    timeout_s: Positive = 30
    give_up_after_s: Positive = 86_400
    """A delivery that fails is tried again for this long: a day outlasts a receiver's night."""

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
    """Check a parsed file; ``name`` is what errors call it. Raises ConfigError."""
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
    """msgspec says what it expected and where; add what was found there.

    >>> _explain("Expected `int`, got `str` - at `$.watch[0].settle_ms`", {"watch": [{"settle_ms": "fast"}]}, "c.toml")
    'c.toml: watch[0].settle_ms is "fast", expected `int`, got `str`'
    """
    reason, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", reason):
        key = f"{where}.{unknown[1]}".lstrip(".")
        return f"{name}: {key} is not a key that is known here; see shazimd.toml(5)"
    found: Any = raw
    for key, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", where):
        found = found[int(position)] if position else found[key]
    shown = json.dumps(found, default=str)
    if missing := re.fullmatch(r"Object missing required field `(.*)`", reason):
        return f"{name}: {where} is {shown}, expected the key {missing[1]} in it"
    return f"{name}: {where} is {shown}, {reason[0].lower()}{reason[1:]}"
