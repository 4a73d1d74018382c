"""The daemon's verbs, as the server calls them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from queue import Queue
from typing import Protocol

from shazimd.posix.sealed import SealedBytes
from shazimd.protocol import (
    Alert,
    CompactReply,
    CompareReply,
    ExportedFile,
    FailedFile,
    FindReply,
    ForgetReply,
    PairLine,
    PathFields,
    ReloadReply,
    RescanReply,
)
from shazimd.protocol.cluster import BehindReply, ChangesPage, FingerprintMessage, ForeignReply, ForeignStatus
from shazimd.protocol.groups import DecisionMessage, DuplicateGroup, GroupsPage
from shazimd.protocol.status import InstalledModel, InstallProgress, Status
from shazimd.types import Digest, Verdict, Weights


class Service(Protocol):
    """Verbs are called from several threads at once, may block, and raise only ShazimdError.

    None for a threshold or weights means the configured value; the reply has the values used. Verbs not available while
    starting or draining raise Unavailable."""

    def find(self, data: SealedBytes, threshold: float | None, weights: Weights | None, limit: int | None) -> FindReply:
        """The known images matching the picture in these bytes, best first, at most ``limit``."""

    def compare(self, a: SealedBytes, b: SealedBytes, weights: Weights | None) -> CompareReply:
        """Compare two pictures."""

    def status(self) -> Status:
        """The daemon's state and counts, in every state; cheap, never waits for other work."""

    def alerts(self, since: int, limit: int) -> list[Alert]:
        """The oldest ``limit`` alerts with id > ``since``, in order."""

    def subscribe(self) -> AbstractContextManager[Queue[Alert | None]]:
        """While entered, a bounded queue of the alerts stored from now on, in order of id; None is the end. A full
        queue is ended rather than waited for. Entering and leaving do not block."""

    def rescan(self, path: bytes | None, deep: bool = False) -> RescanReply:
        """Compare this file or directory, or every root, with the disk soon; ``deep`` reads every file. Raises NotFound
        outside the roots."""

    def forget(
        self, path: bytes | None, *, deleted: bool = False, content: bytes | None = None, ignore: bool = False
    ) -> ForgetReply:
        """Forget a file or a directory with its subtree, or all contents without files, or the content with this digest
        and its files. With ``ignore`` the path stays out; raises NotFound outside the roots then."""

    def ignored(self) -> list[PathFields]:
        """The paths that stay out."""

    def unignore(self, path: bytes) -> RescanReply:
        """Let an ignored path in again, and scan it soon. Raises NotFound for a path that is not ignored."""

    def duplicates(self, threshold: float | None, weights: Weights | None) -> Iterator[DuplicateGroup | None]:
        """Every group of duplicates, computed lazily; None now and then while there is none yet. Invalid arguments
        raise in the call itself, before the first group. An iterator with ``close`` is closed when the client
        disconnects."""

    def group_page(
        self,
        under: bytes | None,
        verdict: Verdict | None,
        after: tuple[int, int] | None,
        limit: int,
        *,
        decided: bool,
        modified: tuple[float | None, float | None] = (None, None),
    ) -> GroupsPage:
        """At most ``limit`` groups, largest saving first, from a position on: with a file below a directory, with a
        file of a verdict, with or without a decision about the file to keep, and with a file that was modified from
        the first time on and before the second, in seconds since 1970."""

    def group(self, centre: bytes) -> GroupsPage:
        """The group with this id. Raises NotFound."""

    def decisions(self, after: int, limit: int) -> list[DecisionMessage]:
        """The oldest ``limit`` decisions with id > ``after``, in order."""

    def decide(self, body: bytes, uid: int | None, *, accept_unknown: bool) -> list[int]:
        """Store the decisions in JSON lines, all or none, by the user with this id; ``accept_unknown`` imports
        decisions. Raises BadInput with the line, NotFound for an unknown content."""

    def undo(self, number: int) -> DecisionMessage:
        """Take a decision back. Raises NotFound."""

    def export(self, *, vectors: bool) -> Iterator[ExportedFile]:
        """The fingerprints of all files, read lazily; with the present model's vectors if wanted."""

    def failed(self) -> Iterator[FailedFile]:
        """The files that could not be read or decoded, read lazily."""

    def retry_failed(self, path: bytes | None) -> int:
        """Read failed files, all or those at or below a path, again soon; their number."""

    def pairs(self, threshold: float | None, weights: Weights | None, after: int) -> Iterator[PairLine]:
        """Every pair of image files at or over the threshold, of contents with id > ``after``, computed lazily; a line
        at least every second, and at the end. Closed when the client disconnects."""

    def models(self) -> list[InstalledModel]:
        """The installed models."""

    def install_model(self, handle: str, data: bytes | None) -> Iterator[InstallProgress]:
        """Convert and keep a model, and yield each step; the last step has the model. Closing cancels.

        ``data`` is a flatbuffer or the tar.gz of a SavedModel, kept under the handle. Without it the handle must be the
        configured one or a URL: no path is opened on a client's behalf. Raises Forbidden otherwise."""

    def reload(self) -> ReloadReply:
        """Read the configuration again. Raises ConfigError, and then nothing has changed."""

    def compact(self) -> CompactReply:
        """Give the space of removed rows back to the disk; questions go on meanwhile, writes wait."""

    def changes(self, after: str | None, limit: int) -> ChangesPage:
        """The present state of the files changed after a position; all files without a position, or for a position of
        another store. Raises BadInput; Unavailable if nothing is shared."""

    def file_changes(self) -> int:
        """A number that grows with each change of this host's files; never waits."""

    def wait_for_file_change(self, after: int, timeout_s: float) -> None:
        """Wait until the number is greater, the time is over, or waits are ended."""

    def end_waits(self) -> None:
        """Let no request wait any more; never waits."""

    def fingerprints(self, contents: list[bytes]) -> list[FingerprintMessage]:
        """The fingerprints of those of these contents that are known."""

    def foreign(self) -> ForeignStatus:
        """The other hosts that are known, and the files to be decided once all files before them are."""

    def foreign_paths(self, host: str, after: bytes | None, limit: int) -> list[PathFields]:
        """The files of another host after a path, in order. Raises BadInput for a bad name."""

    def missing_contents(self, host: str, body: bytes, *, packed: bool) -> list[str]:
        """Contents of files that are neither known nor given. Raises BadInput."""

    def put_foreign(
        self, host: str, body: bytes, position: str | None, *, complete: bool, packed: bool
    ) -> ForeignReply:
        """Put and remove files of another host, durable and with the position, all at once; bad rows are refused.
        Raises BadInput."""

    def link_is_behind(self, changes: int) -> BehindReply:
        """Note how many changes of other hosts are known to the link, and not here yet."""

    def forget_foreign(self, host: str) -> ForgetReply:
        """Remove all files of another host. Raises BadInput."""

    def decide_foreign(self, number: int, order: int, content: Digest) -> None:
        """Decide on the alert about other hosts of a file; an unknown one is passed over. Raises WorkerLost, and
        Unavailable while features are missing that a link is to bring."""

    def wanted_features(self, timeout_s: float) -> list[str]:
        """Contents whose local features searches wait for, at most ``DIGESTS_MAX``. Waits for some, until the time is
        over or waits are ended."""

    def put_features(self, body: bytes) -> None:
        """Hand local features to the searches that wait for them. Raises BadInput."""

    def metrics(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
