"""The small values of the ingest in the store, with a pair of functions for each key.

The store's FORMAT.md lists the keys and their JSON. A value of another shape, which another program wrote, reads as
unset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from shazimd.store.base import Reader, Writer
from shazimd.types import decodable

FIRST_KEPT = 11
"""Version of the local features that a store kept before it noted the version."""


@dataclass(frozen=True, slots=True)
class GuardState:
    """The memory of a root's deletion guard."""

    cursor: bytes | None = None
    """directory at which the last scan was interrupted"""
    known: int = 0
    """number of known files at the end of the last full scan"""
    held_at: int | None = None
    """``Reader.seen_s`` at the first scan whose removals were held"""
    mounts: frozenset[bytes] = frozenset()
    """mount points of known files"""
    identities: Mapping[bytes, str] = field(default_factory=dict)
    """marks of the directories at the root and at the mount points, see ``posix.identity``; by path without symlinks: a
    link that a person turned is no exchange"""
    links: Mapping[bytes, bytes] = field(default_factory=dict)
    """followed symlinks to other disks than the root's: their paths without symlinks"""


class GuardRecord(msgspec.Struct):
    """The JSON of a ``GuardState``; paths are in hex."""

    cursor: str
    known: int
    mounts: list[str]
    held_at: int | None = None
    identities: dict[str, str] = {}
    links: dict[str, str] = {}


def has_baseline(reader: Reader, root: bytes) -> bool:
    """Whether the first scan of a root was completed, and all its files were ingested."""
    return bool(reader.get(_baseline_key(root)))


def set_baseline(writer: Writer, root: bytes) -> None:
    writer.set(_baseline_key(root), True)


def first_scan_began(reader: Reader, root: bytes) -> int | None:
    """``Reader.clock`` at the beginning of a root's first scan; None before it, and in stores of older versions."""
    began: int | None = reader.get(_began_key(root))
    return began


def set_first_scan_began(writer: Writer, root: bytes) -> None:
    writer.set(_began_key(root), writer.clock())


def guard_state(reader: Reader, root: bytes) -> GuardState:
    try:
        kept = msgspec.convert(reader.get(_guard_key(root)), decodable(GuardRecord))
        mounts = frozenset(bytes.fromhex(point) for point in kept.mounts)
        identities = {bytes.fromhex(path): marks for path, marks in kept.identities.items()}
        links = {bytes.fromhex(link): bytes.fromhex(place) for link, place in kept.links.items()}
        return GuardState(bytes.fromhex(kept.cursor) or None, kept.known, kept.held_at, mounts, identities, links)
    except ValueError:  # as of msgspec, and for text that is not hex
        return GuardState()


def set_guard_state(writer: Writer, root: bytes, state: GuardState) -> None:
    value = {
        "cursor": (state.cursor or b"").hex(),
        "known": state.known,
        "held_at": state.held_at,
        "mounts": sorted(point.hex() for point in state.mounts),
        "identities": {path.hex(): marks for path, marks in sorted(state.identities.items())},
        "links": {link.hex(): place.hex() for link, place in sorted(state.links.items())},
    }
    writer.set(_guard_key(root), value)


def last_logged_alert(reader: Reader) -> int:
    """Id of the last alert certainly in the log; 0 for none."""
    last = reader.get("alerts_told")
    return last if isinstance(last, int) else 0


def set_last_logged_alert(writer: Writer, alert: int) -> None:
    writer.set("alerts_told", alert)


def decoders_of_failures(reader: Reader) -> str | None:
    """Versions of the decoders with which all failed files were tried."""
    versions = reader.get("decoders")
    return versions if isinstance(versions, str) else None


def set_decoders_of_failures(writer: Writer, versions: str) -> None:
    writer.set("decoders", versions)


def judge_of_relations(reader: Reader) -> int:
    """Version of the judgement for which the relations of all contents were last to be found; 0 for none."""
    return reader.get("judge") or 0


def set_judge_of_relations(writer: Writer, judge: int) -> None:
    writer.set("judge", judge)


def ignored_paths(reader: Reader) -> frozenset[bytes]:
    """Files and directories that stay out of the index."""
    try:
        return frozenset(bytes.fromhex(path) for path in msgspec.convert(reader.get("ignored") or [], list[str]))
    except ValueError:
        return frozenset()


def set_ignored_paths(writer: Writer, paths: frozenset[bytes]) -> None:
    writer.set("ignored", sorted(path.hex() for path in paths) or None)


def _baseline_key(root: bytes) -> str:
    return f"baseline:{_hashed(root)}"


def _began_key(root: bytes) -> str:
    return f"began:{_hashed(root)}"


def _guard_key(root: bytes) -> str:
    return f"reconcile:{_hashed(root)}"


def _hashed(root: bytes) -> str:
    """A path may be longer than the 511 bytes of an LMDB key, and need not be UTF-8."""
    return hashlib.blake2b(root, digest_size=16).hexdigest()


def followed_hosts(reader: Reader) -> dict[str, str | None]:
    """The other hosts whose files are known, each with the position that was reached; None in the first reading."""
    return dict(reader.get("foreign") or {})


def set_followed_hosts(writer: Writer, hosts: Mapping[str, str | None]) -> None:
    writer.set("foreign", dict(hosts) or None)


def kept_features(reader: Reader) -> int | None:
    """Version of the local features of other hosts' pictures that were kept since the last start; None: none were."""
    version = reader.get("features fetched")
    if version is True:
        return None
    return version if isinstance(version, int) else FIRST_KEPT


def set_kept_features(writer: Writer, version: int | None) -> None:
    writer.set("features fetched", True if version is None else version)
