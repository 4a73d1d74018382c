"""Choose the file of a group to keep, by a list of criteria, and give the reason in words.

Each criterion in turn leaves the members with its highest rank, until one member is left. The reason names the criteria
by which members were ruled out. Size in bytes is no criterion: an export at a higher quality has more bytes than its
original and shows less.

A person's decision comes first, then whole pictures before damaged ones, then places and the person's rules, then the
evidence of the aligned pictures (crop, frame, turn, detail), which is stronger than any header, then facts of headers
and paths.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shazimd.errors import UsageError
from shazimd.types import PictureFacts

BINS = re.compile(
    rb"/(#recycle|@Recycle|#snapshot|@Recently-Snapshot|\$RECYCLE\.BIN|\.Trash[^/]*|lost\+found|Trash/files)/"
)
"""Trash folders and snapshots of NAS systems, Windows and freedesktop.org; their content may vanish at any time."""

COPY_MARK = re.compile(rb"(?i)(\(\d+\)|[ _-]copy([ _-]?\d+)?|[ _-]kopie|^copy of .*|~\d*)(\.[^.]*)?$")
"""Names given to a second copy by browsers and file managers: "a (1).jpg", "a copy.jpg", "Copy of a.jpg"."""

MINUTE_NS = 60 * 10**9
"""Files written within a minute have the same age: a batch copy gives its files times in any order."""

NEVER = "9999"


NO_FACTS = PictureFacts()


@dataclass(frozen=True, slots=True)
class KeepFacts:
    """Facts about a file of a group, as far as they are known."""

    path: bytes
    mtime_ns: int = 0
    width: int = 0
    height: int = 0
    picture: PictureFacts = NO_FACTS
    reference: bool = False
    """in a reference root"""
    damaged: bool = False
    """the picture ends early or has broken parts"""
    chosen: bool = False
    """a person decided to keep it"""
    made_from: int = 0
    """number of signs that the picture was made from another of the group"""
    proof: str = ""
    """signs that others were made from it, in words"""


class Criterion(NamedTuple):
    """A rank, larger is better, and the words for a member with the highest rank."""

    words: str
    rank: Callable[[KeepFacts], float | str | bytes]


class Choice(NamedTuple):
    position: int
    reason: str


def in_bin(path: bytes) -> bool:
    """True for a file in a trash folder or snapshot.

    >>> in_bin(b"/srv/p/#recycle/a.jpg"), in_bin(b"/srv/p/recycle/a.jpg")
    (True, False)
    """
    return BINS.search(path) is not None


def _older(date: str) -> str:
    """The complement of each digit, which sorts as text in reverse order of the date."""
    return (date or NEVER).translate(str.maketrans("0123456789", "9876543210"))


CHOSEN = Criterion("your decision", lambda f: f.chosen)
EVIDENCE = Criterion("{0.proof}", lambda f: -f.made_from)
WHOLE = Criterion("not damaged", lambda f: not f.damaged)
PLACE = [
    Criterion("in a reference root", lambda f: f.reference),
    Criterion("not in a bin or snapshot", lambda f: not in_bin(f.path)),
]
PICTURE = [
    Criterion("in colour", lambda f: not f.picture.grey),
    # A PNG made from a camera's JPEG is lossless and no original, so the camera comes first.
    Criterion("has camera metadata", lambda f: bool(f.picture.camera)),
    Criterion("largest ({0.width}x{0.height})", lambda f: f.width * f.height),
    Criterion("lossless", lambda f: f.picture.lossless),
    Criterion("earliest capture date", lambda f: _older(f.picture.captured)),
    # Before the quality: a later export at quality 95 of an original at 80 has lost more than the original.
    Criterion("oldest", lambda f: -(f.mtime_ns // MINUTE_NS)),
    Criterion("least compressed (JPEG quality {0.picture.jpeg_quality})", lambda f: f.picture.jpeg_quality),
    Criterion("name without a copy mark", lambda f: COPY_MARK.search(os.path.basename(f.path)) is None),
    Criterion("shortest path", lambda f: -len(f.path)),
]


def parse_rule(text: str) -> Criterion:
    """A criterion from a rule of the user: ``path:GLOB``, ``name:GLOB``, ``age:oldest`` or ``age:newest``.

    Raises UsageError."""
    kind, _, value = text.partition(":")
    pattern = os.fsencode(value)
    if kind == "path" and value:
        return Criterion(f"preferred path {value}", lambda f: fnmatch.fnmatchcase(f.path, pattern))
    if kind == "name" and value:
        return Criterion(f"preferred name {value}", lambda f: fnmatch.fnmatchcase(os.path.basename(f.path), pattern))
    if kind == "age" and value in ("oldest", "newest"):
        sign = 1 if value == "newest" else -1
        return Criterion(f"{value} (preferred)", lambda f: sign * f.mtime_ns)
    raise UsageError(f"rule {text!r} found, expected path:GLOB, name:GLOB, age:oldest or age:newest")


def criteria(rules: Sequence[Criterion] = ()) -> list[Criterion]:
    """The criteria in order, with the rules of the user after the places."""
    return [CHOSEN, WHOLE, *PLACE, *rules, EVIDENCE, *PICTURE]


class KeepRules(NamedTuple):
    """The criteria of a configuration."""

    by: Sequence[Criterion]
    is_reference: Callable[[bytes], bool]
    """whether a path lies in a reference root"""
    need_paths: bool
    """whether any criterion of the configuration looks at directories"""

    @classmethod
    def of(cls, prefer: Sequence[str], references: Sequence[bytes]) -> KeepRules:
        """The rules of ``[keep] prefer``, and the reference roots. Raises UsageError."""
        roots = tuple(root.rstrip(b"/") + b"/" for root in references)
        by = criteria([parse_rule(rule) for rule in prefer])
        return cls(by, lambda path: path.startswith(roots), bool(roots or prefer))

    def rank(self, facts: KeepFacts) -> tuple[float | str | bytes, ...]:
        """Larger is better; all ranks of these rules can be compared."""
        return tuple([criterion.rank(facts) for criterion in self.by])


def choose(members: Sequence[KeepFacts], by: Sequence[Criterion]) -> Choice:
    """The member to keep. The same for any order of the members, as no two have the same path."""
    left = list(range(len(members)))
    reasons = []
    for criterion in by:
        if len(left) == 1:
            break
        best = max(criterion.rank(members[index]) for index in left)
        ahead = [index for index in left if criterion.rank(members[index]) == best]
        if len(ahead) < len(left):
            reasons.append(_words(criterion, members[ahead[0]]))
        left = ahead
    if len(left) > 1:
        left = [min(left, key=lambda index: members[index].path)]
        reasons.append("first by name")
    return Choice(left[0], ", ".join(reasons) or "the only one")


def _words(criterion: Criterion, facts: KeepFacts) -> str:
    return criterion.words.format(facts) if "{0." in criterion.words else criterion.words
