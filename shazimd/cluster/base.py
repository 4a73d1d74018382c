"""The promise of a cluster's database, whatever its make.

A host *pushes* the present state of its files with a position of its daemon's feed, in one transaction; pushes of all
hosts have growing numbers, and whoever sees a push sees all before it. A host *follows* the others: it asks for the
files that changed after a position, or reads all where the position is not known there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from shazimd.protocol.cluster import FingerprintMessage
from shazimd.types import Digest

Content: TypeAlias = Mapping[str, Any]
"""A fingerprint with the fields of ``FingerprintMessage``, its bytes as they are."""


class SharedFile(NamedTuple):
    """The present state of a file on its host."""

    path: bytes
    digest: Digest
    made: str
    """see ``protocol.ChangedFile``"""
    size_bytes: int
    mtime_ns: int
    since: int = 0
    """number of the push that first told of its content; 0 for a content that was there before"""


class Push(NamedTuple):
    """Changes of this host's files up to a position of its feed."""

    files: Sequence[SharedFile]
    gone: Sequence[bytes]
    position: str
    is_old: bool = False
    """the files were told of before: their contents count as before all others, as in the host's first reading"""
    begins_reading: bool = False
    """these are the first files of a reading of all"""
    reads: bool = False
    """these are files of a reading of all"""
    ends_reading: bool = False
    """files that the reading did not name are gone"""


class FilesPage(NamedTuple):
    """Files of another host that changed, or a page of all its files."""

    files: Sequence[SharedFile]
    gone: Sequence[bytes]
    position: str
    """the position after this page, or the key of the last file in a page of all"""
    is_last: bool


class HostState(NamedTuple):
    name: str
    n: int
    """number of its last push"""
    position: str | None
    """in its daemon's feed"""
    files: int
    model: str | None
    seen_s: float
    """seconds since its link was last heard of"""
    followers: Mapping[str, int]
    """the hosts that follow it, each with the number of changes that it has still to read"""


class Cluster(Protocol):
    """A connection of one host. Every verb raises ClusterError; a failed one has changed nothing."""

    def join(self, model: str | None) -> str | None:
        """Become this host, for as long as the connection lasts; the position in its feed that the database has.

        Raises HostTaken while another connection is this host, or for the host of another role."""

    def lacking(self, contents: Mapping[Digest, str]) -> list[Digest]:
        """Those of this host's contents that the database lacks, or has as made in another way."""

    def put_contents(self, contents: Sequence[FingerprintMessage]) -> None:
        """Put fingerprints of this host, in place of earlier ones."""

    def push(self, push: Push, renewed: frozenset[Digest]) -> None:
        """Write files of this host, and tell the followers. ``renewed``: contents that were put for this push."""

    def trim(self, model: str | None) -> None:
        """Drop entries that every follower of the last day has read; note that this host is there, and its model."""

    def others(self) -> list[str]:
        """The names of the other hosts."""

    def changes(self, host: str, position: str | None) -> FilesPage | None:
        """The files that changed after a position; None if the position is not known, and all are to be read."""

    def position(self, host: str) -> str | None:
        """The present position; None for a host that never pushed."""

    def count(self, host: str, position: str | None) -> int:
        """The number of changes after a position; of all files without one."""

    def all_files(self, host: str, after: str) -> FilesPage:
        """A page of all files of a host, by key; "" begins. Within the page they are in order of path."""

    def unknown(self, host: str, paths: Sequence[bytes]) -> list[bytes]:
        """Those of these paths that the host does not have."""

    def contents(self, host: str, digests: Sequence[Digest]) -> list[Content]:
        """Fingerprints of a host, with local features if these are kept here; missing ones and such as are larger than
        any picture's are left out. May be called beside another verb, from another thread."""

    def features(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """Local features of contents, of any host that has some."""

    def landed(self, files: Sequence[tuple[bytes, Digest]]) -> list[int | None]:
        """The number of the push that told of each of these files of this host; None for files that were not pushed."""

    def follows(self, host: str, position: str) -> None:
        """Note how far this host follows another, for ``trim``."""

    def wait(self, timeout_s: float) -> None:
        """Wait for a push of any host, or until the time is over."""

    def close(self) -> None: ...
