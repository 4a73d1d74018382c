"""The watched roots: validation of the configured ones, and the settings of the root around a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from shazimd.config import WatchConfig, unset_variable
from shazimd.errors import ConfigError, NotFound
from shazimd.ingest.rules import MatchSettings
from shazimd.ingest.values import first_scan_began, has_baseline, set_first_scan_began
from shazimd.posix.mounts import is_at_or_below, point_around
from shazimd.store.base import Store, Writer
from shazimd.text import readable
from shazimd.watch.filters import Filter, normal_path


class RootConfig(NamedTuple):
    config: WatchConfig
    rules: Filter


def configured_roots(watch: Sequence[WatchConfig]) -> list[RootConfig]:
    """The roots of a configuration. Raises ConfigError for none, for no directory, for a root given twice, and for one
    inside another, symlinks followed."""
    if not watch:
        raise ConfigError("no directory to watch: give one on the command line, or [[watch]] path in the config")
    roots: dict[bytes, RootConfig] = {}
    for rules, config in ((Filter(config), config) for config in watch):
        if rules.root in roots:
            raise ConfigError(f"{readable(rules.root)}: is watched by two [[watch]] tables, expected one")
        roots[rules.root] = RootConfig(config, rules)
    for root in roots:
        if os.path.exists(root) and not os.path.isdir(root):
            raise ConfigError(f"{readable(root)}: not a directory")
        for outer in roots:
            if root != outer and is_at_or_below(os.path.realpath(root), os.path.realpath(outer)):
                raise ConfigError(f"{readable(root)}: lies in {readable(outer)}, expected roots side by side")
    for config in watch:
        for bank in _banks(config):
            if not any(is_at_or_below(bank, root) for root in roots):
                message = f"only_against has {readable(bank)}, expected a watched directory or one below it"
                raise ConfigError(f"{config.path}: {message}")
    return list(roots.values())


def _banks(config: WatchConfig) -> tuple[bytes, ...]:
    return tuple(map(normal_path, config.only_against))


def check_presence(roots: Sequence[RootConfig], store: Store) -> None:
    """Raise ConfigError for a root that is absent, or a link to nothing, and of which the store knows nothing: a
    mistake in its name, while a known root may be on a disk that is mounted later."""
    with store.read() as reader:
        for path in (root.rules.root for root in roots):
            known = has_baseline(reader, path) or next(iter(reader.walk(path)), None)
            if not known and not os.path.exists(path):
                unset = unset_variable(os.fsdecode(path))
                remedy = f"set the variable {unset}, or " if unset else ""
                raise ConfigError(
                    f"{readable(path)}: no such directory; {remedy}create or mount it before its first scan"
                )


class Roots:
    """The roots by path, and the ones without a complete baseline."""

    def __init__(
        self,
        roots: Sequence[RootConfig],
        store: Store,
        *,
        alert_on_baseline: bool,
        ignores: Callable[[bytes], bool] = lambda _: False,
        stalling: Callable[[bytes, bytes], bytes | None] = lambda *_: None,
    ) -> None:
        """``ignores`` tells the paths that a person has taken out; ``stalling`` the directory around a path of a root
        whose file system may hang."""
        self.ignores = ignores
        self._store = store
        prefixes = [(root.rules.root.rstrip(b"/") + b"/", root) for root in roots]
        self._by_length = sorted(prefixes, key=lambda each: -len(each[0]))
        self._alert_on_baseline = alert_on_baseline
        self._stalling = stalling
        self._silent_for_s = {root.rules.root: root.config.silent_for_s for root in roots if root.config.silent_for_s}
        with store.read() as reader:
            paths = [root.rules.root for root in roots]
            self.without_baseline = {path for path in paths if not has_baseline(reader, path)}
            self.unbegun = {path for path in self.without_baseline if first_scan_began(reader, path) is None}

    def of(self, path: bytes) -> RootConfig | None:
        """The innermost root around a path."""
        below = path + b"/"
        for prefix, root in self._by_length:
            if below.startswith(prefix):
                return root
        return None

    def expect(self, path: bytes) -> None:
        """Raises NotFound for a path outside the roots."""
        if self.of(path) is None:
            raise NotFound(f"{readable(path)}: lies in none of the watched directories")

    def comes_back(self, path: bytes) -> bool:
        """Whether a forgotten path would be indexed again, since it still lies in a root."""
        in_root = self.admits(path) if os.path.isfile(path) else self.of(path) is not None
        return in_root and os.path.lexists(path)

    def known_path(self, path: bytes) -> bytes:
        """The path by the name of its root, if it is in one by another name: a root or the path may be a symlink."""
        if self.of(path) is not None:
            return path
        real = os.path.realpath(path)
        for root in (each.rules.root for _, each in self._by_length):
            if is_at_or_below(real, real_root := os.path.realpath(root)):
                return root + real[len(real_root) :]
        return path

    def admits(self, path: bytes) -> bool:
        root = self.of(path)
        return root is not None and root.rules.admits(path) and not self.ignores(path)

    def silent(self, path: bytes) -> bool:
        """Whether a new file raises no alert: in a reference root, in a baseline, in the time of ``silent_for``, and
        outside the roots."""
        root = self.of(path)
        if root is None or root.config.reference:
            return True
        own = root.config.on_baseline
        alerts = self._alert_on_baseline if own is None else own
        return (root.rules.root in self.without_baseline and not alerts) or self.silent_s(root.rules.root) > 0

    def silent_s(self, root: bytes) -> int:
        """Seconds that are left of a root's ``silent_for``."""
        if (silent_for_s := self._silent_for_s.get(root)) is None:
            return 0
        with self._store.read() as reader:
            began = first_scan_began(reader, root)
            if began is None and root in self.unbegun:
                return silent_for_s
            left = 0 if began is None else max(0, began + silent_for_s - reader.clock())
        if not left:
            self._silent_for_s.pop(root, None)
        return left

    def begin(self, writer: Writer) -> None:
        """Note that the first scans begin; of a scan that goes on after a restart, the first beginning stays."""
        writer.advance_clock()
        for root in self.unbegun:
            set_first_scan_began(writer, root)

    def only_against(self, path: bytes) -> tuple[bytes, ...]:
        """Directories to which matches of a file are limited; none: all match."""
        root = self.of(path)
        return () if root is None else _banks(root.config)

    def may_stall(self, path: bytes) -> bool:
        return self.stalling(path) is not None

    def stalling(self, path: bytes) -> bytes | None:
        """The directory around a path whose file system may hang, if any. Outside the roots, as in a removed root, any
        may: the mount point."""
        root = self.of(path)
        return point_around(path) if root is None else self._stalling(root.rules.root, path)

    def follows_symlinks(self, path: bytes) -> bool:
        root = self.of(path)
        return root is not None and root.config.follow_symlinks

    def needs_sniff(self, path: bytes) -> bool:
        root = self.of(path)
        return root is not None and root.rules.needs_sniff(os.path.basename(path))

    def matching(self, path: bytes, general: MatchSettings) -> MatchSettings:
        root = self.of(path)
        if root is None:
            return general
        own = root.config
        if own.threshold is None and own.verdicts is None:
            return general
        return replace(
            general,
            threshold=general.threshold if own.threshold is None else own.threshold,
            verdicts=general.verdicts if own.verdicts is None else frozenset(own.verdicts),
        )
