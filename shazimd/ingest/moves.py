"""Renames: known files keep their content and alerts under the new path, without a read.

An event tells of a rename; a scan finds one where a file is missing at one path and found at another, with the same
size, mtime and inode."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shazimd.ingest.scan import Scan
from shazimd.posix.mounts import is_at_or_below
from shazimd.posix.reach import within_reach
from shazimd.store.base import Writer
from shazimd.types import Stat


class FoundMove(NamedTuple):
    """A rename found by a scan."""

    stat: Stat
    old: bytes
    new: bytes


def leave_out(writer: Writer, path: bytes) -> None:
    """Remove the rows of a path with all below it: it is ignored, or was moved to where files are."""
    writer.remove_tree(path)
    writer.remove_file(path)


def apply_move(writer: Writer, old: bytes, new: bytes) -> None:
    """Move a known file, or a directory with its tree, in the store.

    A file with a pending alert is forgotten instead: its ingest under the new path raises the alert once, under that
    path. Rows below ``new`` stay unless a file is moved there: a scan may have moved files of the directory before the
    event of its rename is handled. Does nothing when ``old`` is unknown."""
    for _, path, _ in list(writer.pending_alerts()):
        if is_at_or_below(path, old):
            writer.remove_file(path)
    ahead = list(writer.walk(new))
    writer.move(old, new)
    for path, row in ahead:
        if writer.file(path) is None:
            writer.put_file(path, row)


def moves_to(scans: Sequence[Scan], directory: bytes, changed: Mapping[bytes, os.stat_result]) -> list[FoundMove]:
    """Files missed before by one of ``scans``, the present ones of all roots, and found here. The old path must be
    missing: else they are hard links."""
    missing = [scan for scan in scans if scan.gone]
    moves = []
    for name, found in changed.items() if missing else ():
        stat = Stat.of(found).without_ctime
        gone = (path for scan in missing for path in scan.gone.get(stat, ()) if not os.path.lexists(path))
        if (old := next(gone, None)) is not None:
            moves.append(_explained(scans, FoundMove(stat, old, os.path.join(directory, name))))
    return moves


def moves_from(scans: Sequence[Scan], scan: Scan, missed: Sequence[tuple[Stat, bytes]]) -> list[FoundMove]:
    """Files missed by ``scan`` here, and found elsewhere before."""
    finding = [each for each in scans if each.found]
    moves = []
    for stat, old in missed if finding else ():
        found = (path for each in finding for path in each.found.get(stat, ()) if _is_there(path, stat))
        if old in scan.gone.get(stat, ()) and not os.path.lexists(old) and (new := next(found, None)) is not None:
            moves.append(_explained(scans, FoundMove(stat, old, new)))
    return moves


def apply_found(writer: Writer, moves: Sequence[FoundMove]) -> dict[bytes, Stat]:
    """Move the rows that are as they were found; the stat in each row by its new path."""
    arrived = {}
    for stat, old, new in moves:
        row = writer.file(old)
        if row is not None and row.stat.without_ctime == stat:
            apply_move(writer, old, new)
            if writer.file(new) == row:
                arrived[new] = row.stat
    return arrived


def _explained(scans: Sequence[Scan], move: FoundMove) -> FoundMove:
    """Note the move in all scans: none of several hard links is taken for two files."""
    for scan in scans:
        scan.explain(*move)
    return move


def _is_there(path: bytes, stat: Stat) -> bool:
    try:
        with within_reach(path) as near:
            return Stat.of(os.lstat(near)).without_ctime == stat
    except OSError:
        return False
