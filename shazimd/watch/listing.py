"""A directory's entries on the disk, filtered by a root's rules. Functions raise the plain OSError."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from shazimd.posix.reach import within_reach
from shazimd.watch.filters import Filter
from shazimd.watch.sniff import begins_like_a_picture

_LEADS_NOWHERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


class Entries(NamedTuple):
    files: dict[bytes, os.stat_result | None]
    """possible images; None for a file whose stat fails"""
    directories: list[bytes]
    """sorted"""
    passed_over: int = 0
    """number of files that are no images by their names, nor by their first bytes where these are read"""


def entries(directory: bytes, rules: Filter) -> Entries:
    """Files and directories that the rules admit. A followed symlink out of reach may be either, and is listed as both:
    known files below it are not missing. Raises OSError for an unreadable directory."""
    follow = rules.follow_symlinks
    files: dict[bytes, os.stat_result | None] = {}
    directories = []
    passed_over = 0
    with within_reach(directory) as near, os.scandir(near) as found:
        for entry in found:
            if _is_entered(entry, directory, rules):
                directories.append(entry.name)
                if rules.takes(entry.name) and _is_out_of_reach(entry):
                    files[entry.name] = None
            elif _is_taken(entry, rules):
                try:
                    files[entry.name] = entry.stat(follow_symlinks=follow)
                except FileNotFoundError:
                    continue
                except OSError:
                    files[entry.name] = None
            else:
                passed_over += rules.passes_over(entry.name) and _is_file(entry, rules)
    return Entries(files, sorted(directories), passed_over)


def subdirectories(directory: bytes, rules: Filter) -> list[bytes]:
    """Directories that the rules enter, without a stat of any file. Raises OSError for an unreadable directory."""
    with within_reach(directory) as near, os.scandir(near) as found:
        return [entry.name for entry in found if _is_entered(entry, directory, rules)]


def count_files(root: bytes, rules: Filter, is_stopping: Callable[[], bool]) -> int:
    """The number of files that the rules admit, without a stat of those named like images; unreadable directories count
    as empty."""
    count, waiting = 0, [root]
    while waiting and not is_stopping():
        directory = waiting.pop()
        with suppress(OSError), within_reach(directory) as near, os.scandir(near) as found:
            for entry in found:
                if _is_entered(entry, directory, rules):
                    waiting.append(os.path.join(directory, entry.name))
                elif _is_taken(entry, rules):
                    count += 1
    return count


def _is_taken(entry: os.DirEntry[bytes], rules: Filter) -> bool:
    if not rules.takes(entry.name) or not _is_file(entry, rules):
        return False
    return not rules.needs_sniff(entry.name) or begins_like_a_picture(entry.path, follow_symlinks=rules.follow_symlinks)


def _is_entered(entry: os.DirEntry[bytes], directory: bytes, rules: Filter) -> bool:
    return _is_directory(entry, rules) and rules.enters(entry.name) and not _is_cycle(entry, directory, rules)


def _is_directory(entry: os.DirEntry[bytes], rules: Filter) -> bool:
    """Whether an entry is a directory, or a followed link out of reach."""
    try:
        return entry.is_dir(follow_symlinks=rules.follow_symlinks)
    except OSError:
        if not entry.is_symlink():
            raise
        return _is_out_of_reach(entry)


def _is_file(entry: os.DirEntry[bytes], rules: Filter) -> bool:
    try:
        return entry.is_file(follow_symlinks=rules.follow_symlinks)
    except OSError:
        if not entry.is_symlink():
            raise
        return False


def _is_out_of_reach(entry: os.DirEntry[bytes]) -> bool:
    """Whether an entry is a symlink whose target may exist, but can't be asked: a directory on the way may not be
    entered, or a server does not answer."""
    if not entry.is_symlink():
        return False
    try:
        entry.stat()
    except OSError as error:
        return error.errno not in _LEADS_NOWHERE
    return False


def _is_cycle(entry: os.DirEntry[bytes], directory: bytes, rules: Filter) -> bool:
    """Whether a symlink in a directory leads to a directory above itself: the tree would have no end."""
    if not entry.is_symlink():
        return False
    try:
        target, above = entry.stat(), directory
    except OSError:  # out of reach
        return False
    while len(above) >= len(rules.root):
        with within_reach(above) as near:
            if os.path.samestat(os.stat(near), target):
                return True
        above = os.path.dirname(above)
    return False
