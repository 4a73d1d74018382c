"""Turn the daemon's groups into plans: a file to keep, and the files to act on.

The daemon ties each member of a group to the first, not to each other. A file is acted on only if related to the
kept file: both have the same bytes, both are exact copies of the first, or one is exact and the other a copy. A group
may thus make several plans. Files are compared by inode: a file under two names saves nothing. Two mounts may show one
file on two devices: names that the daemon takes for one file are one here, and left alone where their devices differ.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shazimd.acting.facts import DiskState, read_header, read_state
from shazimd.acting.journal import ActRecord
from shazimd.errors import NotFound, ShazimdError, UsageError
from shazimd.search.keep import Criterion, KeepFacts, choose, criteria, in_bin
from shazimd.text import path_bytes, readable


@dataclass(frozen=True, slots=True)
class CleanRequest:
    how: str = "trash"
    folder: bytes = b""
    """target of a move, absolute"""
    verdicts: frozenset[str] = frozenset({"exact"})
    roots: tuple[bytes, ...] = ()
    """only files below these are acted on; all if empty"""
    reference: tuple[bytes, ...] = ()
    rules: tuple[Criterion, ...] = ()
    seen: bool = False
    """the user has looked at each group, and chosen the kept file though another is larger"""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file under all its names."""

    paths: tuple[bytes, ...]
    state: DiskState
    facts: KeepFacts
    verdict: str
    """against the first of the group; "exact" for the first itself"""
    elsewhere: bytes = b""
    """a path of another device; empty without one"""
    stays: bool = False
    """a person decided that it is to stay"""


@dataclass(frozen=True, slots=True)
class CleanPlan:
    keep: PlannedFile
    reason: str
    acts: tuple[tuple[PlannedFile, str], ...]
    """each with its verdict against the kept file"""

    @property
    def saves_bytes(self) -> int:
        return sum(file.state.size for file, _ in self.acts)


@dataclass(slots=True)
class Planner:
    """Plans for a request, and messages about the files left alone. Raises UsageError for a root that is no
    directory."""

    request: CleanRequest
    problems: list[str] = field(default_factory=list)
    """unreadable and changed files"""
    notes: list[str] = field(default_factory=list)
    """files left alone by a rule"""
    _within: dict[tuple[bytes, tuple[bytes, ...]], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect_directories((*self.request.reference, *self.request.roots))

    def plans(self, group: Mapping[str, Any]) -> list[CleanPlan]:
        """The plans of a group, without those that act on nothing."""
        left = self._files(group)
        if group.get("decision") is not None and not any(file.facts.chosen for file in left):
            kept = readable(path_bytes(group["members"][0]))
            self.notes.append(f"{kept}: left alone with its copies: you chose it, and it is gone or changed")
            return []
        by = criteria(self.request.rules)
        plans = []
        while len(left) > 1:
            choice = choose([file.facts for file in left], by)
            keep = left.pop(choice.position)
            acts = [(file, verdict) for file in left if (verdict := self._verdict(keep, file)) is not None]
            acts = [(file, verdict) for file, verdict in acts if self._may_act(file, keep, verdict)]
            left = [file for file in left if all(file is not acted for acted, _ in acts)]
            if acts:
                plans.append(CleanPlan(keep, choice.reason, tuple(acts)))
        return plans

    def _files(self, group: Mapping[str, Any]) -> list[PlannedFile]:
        files: dict[tuple[int, int], PlannedFile] = {}
        entries: set[tuple[int, int, bytes]] = set()
        first: dict[int, DiskState] = {}
        for number, path, member in _names(group["members"]):
            if in_bin(path):
                continue
            try:
                entry = _entry(path)
                file = self._file(path, member, "exact" if number == 0 else str(member["verdict"]))
                file = _as_the_daemon_chose(file, group, is_first=number == 0)
            except ShazimdError as error:
                self.problems.append(error.message)
                continue
            of_member = first.setdefault(number, file.state)
            identity = (file.state if file.state.device == of_member.device else of_member).identity
            known = files.get(identity)
            files[identity] = file if known is None else _joined(known, file, entry in entries)
            entries.add(entry)
        return list(files.values())

    def _file(self, path: bytes, member: Mapping[str, Any], verdict: str) -> PlannedFile:
        state = read_state(path)
        indexed = member["size_bytes"], member.get("content", state.digest)
        if (state.size, state.digest) != indexed:
            raise NotFound(f"{readable(path)}: changed since it was indexed")
        size = (member["width"], member["height"])
        expect_directories(self.request.reference)  # again: one that is gone, such as a mount, protects nothing
        reference, damaged = self._is_within(path, self.request.reference), bool(member.get("damaged"))
        facts = read_header(path, state.mtime_ns, size, reference=reference, damaged=damaged)
        return PlannedFile((path,), state, facts, verdict, stays=bool(member.get("stays")))

    def _verdict(self, keep: PlannedFile, file: PlannedFile) -> str | None:
        """The verdict of a file against the kept file; None when unrelated or not asked for."""
        if keep.state.digest == file.state.digest or keep.verdict == file.verdict == "exact":
            verdict = "exact"
        elif {keep.verdict, file.verdict} == {"exact", "copy"}:
            verdict = "copy"
        else:
            return None
        return verdict if verdict in self.request.verdicts else None

    def _may_act(self, file: PlannedFile, keep: PlannedFile, verdict: str) -> bool:
        """Whether this file may be acted on; notes the reason if users would ask for it."""
        request = self.request
        if file.facts.reference or (request.roots and not all(self._is_within(p, request.roots) for p in file.paths)):
            return False
        if request.folder and any(path.startswith(request.folder.rstrip(b"/") + b"/") for path in file.paths):
            return False
        if file.stays:
            self._leave(file, "you decided that it is to stay (shazimctl decisions)")
            return False
        if file.elsewhere:
            self._leave(file, f"{readable(file.elsewhere)} may be this file, seen through another mount")
            return False
        if file.state.links != len(file.paths):
            self._leave(file, "it has other names (hard links), so its space would not be freed")
            return False
        if verdict == "copy" and not request.seen and not _is_at_least_as_large(keep, file):
            self._leave(file, f"it is larger than {readable(keep.paths[0])}, which may be a part of it")
            return False
        return request.how not in ("hardlink", "reflink") or self._may_share(file, keep)

    def _may_share(self, file: PlannedFile, keep: PlannedFile) -> bool:
        if keep.state.digest != file.state.digest:
            self._leave(file, f"it shows the same as {readable(keep.paths[0])}, but its bytes differ")
        elif keep.state.device != file.state.device:
            self._leave(file, f"it is on another file system than {readable(keep.paths[0])}")
        elif self.request.how == "hardlink" and keep.facts.reference:
            # One inode would then lie on both sides: an edit outside would change the reference.
            self._leave(file, f"a hard link would share {readable(keep.paths[0])} of a reference root; try reflink")
        else:
            return True
        return False

    def _leave(self, file: PlannedFile, reason: str) -> None:
        self.notes.append(f"{readable(file.paths[0])}: left alone: {reason}")

    def _is_within(self, path: bytes, roots: tuple[bytes, ...]) -> bool:
        """Whether a path lies below a root, by the inodes of the directories above: any of their names will do."""
        if not roots:
            return False
        above = os.path.dirname(os.path.realpath(path))
        key = (above, roots)
        if key not in self._within:
            wanted = {_directory_id(root) for root in roots} - {None}
            self._within[key] = any(_directory_id(directory) in wanted for directory in _upwards(above))
        return self._within[key]


def expect_directories(roots: Iterable[bytes]) -> None:
    """Raise UsageError unless all are directories: below any other path no file would be found."""
    for root in roots:
        if _directory_id(root) is None:
            raise UsageError(f"{readable(root)}: no such directory, so the files below it can't be told from others")


def _names(members: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, bytes, Mapping[str, Any]]]:
    """(position, path, member) of each file, also under its other names."""
    for number, member in enumerate(members):
        for name in (member, *member.get("also", ())):
            yield number, path_bytes(name), member


def _as_the_daemon_chose(file: PlannedFile, group: Mapping[str, Any], *, is_first: bool) -> PlannedFile:
    """The file, with the daemon's choice among its facts: a person's decision, or signs in the pixels. References and
    rules of this request are stronger than the latter."""
    facts = replace(file.facts, chosen=is_first and group.get("decision") is not None)
    if (reason := group.get("reason")) is not None:
        facts = replace(facts, made_from=int(not is_first), proof=str(reason))
    return replace(file, facts=facts)


def _is_at_least_as_large(keep: PlannedFile, file: PlannedFile) -> bool:
    """Compares the longer sides and the shorter sides: a copy may be turned."""
    sides = zip(*(sorted((f.facts.width, f.facts.height)) for f in (keep, file)), strict=True)
    return all(kept >= other for kept, other in sides)


def _joined(known: PlannedFile, file: PlannedFile, same_entry: bool) -> PlannedFile:
    """A file with two paths; of two verdicts the weaker counts. ``same_entry``: both lead to the same directory entry,
    as by a bind mount."""
    elsewhere = known.elsewhere or (file.paths[0] if file.state.device != known.state.device else b"")
    paths = known.paths if same_entry else (*known.paths, file.paths[0])
    facts = known.facts if known.facts.reference or not file.facts.reference else file.facts
    facts = replace(facts, chosen=known.facts.chosen or file.facts.chosen)
    verdict = known.verdict if known.verdict != "exact" else file.verdict
    return PlannedFile(paths, known.state, facts, verdict, elsewhere, known.stays or file.stays)


def _entry(path: bytes) -> tuple[int, int, bytes]:
    """The directory entry of a path, the same for every path of the directory."""
    directory = _directory_id(os.path.dirname(path))
    if directory is None:
        raise NotFound(f"{readable(path)}: no such file")
    return *directory, os.path.basename(path)


def _directory_id(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in a path of the page's form
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _upwards(directory: bytes) -> Iterator[bytes]:
    while True:
        yield directory
        if directory == b"/":
            return
        directory = os.path.dirname(directory)


def records(plan: CleanPlan, request: CleanRequest, run: str, first: int) -> Iterator[ActRecord]:
    """The acts of a plan, numbered from ``first``, with an act for each name of a file.

    Carry each out before the next is asked for: until then its new name may be free."""
    named = [(file, path) for file, _ in plan.acts for path in file.paths]
    for n, (file, path) in enumerate(named, first):
        to = _free_name(request.folder + path) if request.how == "move" else b""
        yield ActRecord(run, n, request.how, path, file.state, plan.keep.paths[0], plan.keep.state, to)


def _free_name(path: bytes) -> bytes:
    """The path, with a number before its extension if a file has the path already."""
    stem, extension = os.path.splitext(path)
    number = 1
    while os.path.lexists(path):
        number += 1
        path = stem + b" (%d)" % number + extension
    return path
