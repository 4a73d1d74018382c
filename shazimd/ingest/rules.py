"""The settings of the ingest, which a reload replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shazimd.types import Match, Verdict, Weights


class RootPolicy(Protocol):
    """Settings of the root around a path."""

    def silent(self, path: bytes) -> bool:
        """Whether a new file raises no alert: the root's baseline is incomplete, or the root is a reference."""
        ...

    def follows_symlinks(self, path: bytes) -> bool: ...

    def needs_sniff(self, path: bytes) -> bool:
        """Whether the first bytes of a file tell if it is an image, since its name does not."""
        ...

    def only_against(self, path: bytes) -> tuple[bytes, ...]:
        """Directories to which the matches of a file are limited; none: all known files may match."""
        ...

    def stalling(self, path: bytes) -> bytes | None:
        """The directory around a path whose file system may hang, as network mounts do; None if none may."""
        ...

    def matching(self, path: bytes, general: MatchSettings) -> MatchSettings:
        """The criteria for the matches of a file: the general ones, but for those that its root has of its own."""
        ...


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Criteria for a match to raise an alert."""

    threshold: float
    weights: Weights
    verdicts: frozenset[Verdict]

    def alert_on(self, match: Match) -> bool:
        """Without a vector a score means little, and only bytes, pixels or geometry raise an alert: of 500 photos, 4
        in 10 have an unrelated one among the rest at or over the default threshold by hashes alone."""
        confirmed = match.verdict is not Verdict.SIMILAR or match.similarities.dfv is not None
        return confirmed and match.verdict in self.verdicts


@dataclass(frozen=True, slots=True)
class IngestRules:
    """Limits and settings of the ingest."""

    roots: RootPolicy
    match: MatchSettings
    max_file_bytes: int

    def matching(self, path: bytes) -> MatchSettings:
        """The criteria for the matches of a file."""
        return self.roots.matching(path, self.match)
