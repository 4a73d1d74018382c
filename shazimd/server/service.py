"""What the server asks of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from queue import Queue
from typing import Protocol

from shazimd.protocol import (
    Alert,
    CompactReply,
    CompareReply,
    DuplicateGroup,
    FindReply,
    InstalledModel,
    InstallProgress,
    PairLine,
    ReloadReply,
    Status,
)
from shazimd.types import Weights


class Service(Protocol):
    """Plain verbs. They are called from several threads at once, may block, and raise ShazimdError only.

    None for a threshold or weights means the configured ones; the reply says which counted. Raise Unavailable while
    starting or draining from what can't be answered then."""

    def find(self, data: bytes, threshold: float | None, weights: Weights | None, limit: int | None) -> FindReply:
        """What the picture in these bytes matches, best first, at most ``limit``."""

    def compare(self, a: bytes, b: bytes, weights: Weights | None) -> CompareReply:
        """What two pictures are to each other."""

    def status(self) -> Status:
        """How the daemon is, in every state; cheap, never waits for work in hand."""

    def alerts(self, since: int, limit: int) -> list[Alert]:
        """The oldest ``limit`` alerts with id > ``since``, in order."""

    def subscribe(self) -> AbstractContextManager[Queue[Alert | None]]:
        """While entered, a bounded queue of the alerts stored from now on, in order of id; None is the end. Who does
        not empty it is dropped, and nobody waits for him. Entering and leaving do not block."""

    def rescan(self, path: bytes | None) -> None:
        """Compare this file or directory, or every root, with the disk soon. Raises NotFound outside the roots."""

    def forget(self, path: bytes | None, *, deleted: bool = False, content: bytes | None = None) -> int:
        """Forget a file or a directory with its subtree, or all contents without files, or the content with this digest
        and its files. The number of files forgotten, or of contents."""

    def duplicates(self, threshold: float | None, weights: Weights | None) -> Iterator[DuplicateGroup]:
        """Every group of duplicates, made as it is read. What can be refused is refused by the call itself, before
        the first group. An iterator with ``close`` is closed when the reader has gone."""

    def pairs(self, threshold: float | None, weights: Weights | None, after: int) -> Iterator[PairLine]:
        """Every pair of image files at or over the threshold, made as it is read, of contents with id > ``after``; at
        least once a second a line, and one at the end. Closed when the reader has gone."""

    def models(self) -> list[InstalledModel]:
        """The installed models."""

    def install_model(self, handle: str) -> Iterator[InstallProgress]:
        """Fetch and convert a model, told step by step; the last step has the model. Closing it gives up."""

    def reload(self) -> ReloadReply:
        """Read the config again. Raises ConfigError for a broken one, and then nothing has changed."""

    def compact(self) -> CompactReply:
        """Give the disk back what removed rows of the store took; everything else waits meanwhile."""

    def metrics(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
