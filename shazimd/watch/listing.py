"""One directory level as the disk has it, by a root's rules. Every function here raises the plain OSError."""

from __future__ import annotations

import os
from typing import NamedTuple

from shazimd.watch.filters import Filter


class Entries(NamedTuple):
    files: dict[bytes, os.stat_result | None]
    """what may be images; None where a file is there, but stat fails"""
    directories: list[bytes]
    """sorted"""


def entries(directory: bytes, rules: Filter) -> Entries:
    """Files and directories that the rules admit. Raises OSError when the directory can't be read."""
    follow = rules.follow_symlinks
    files: dict[bytes, os.stat_result | None] = {}
    directories = []
    with os.scandir(directory) as found:
        for entry in found:
            name = entry.name
            if entry.is_dir(follow_symlinks=follow):
                if rules.enters(name) and not _leads_back(entry, rules):
                    directories.append(name)
            elif rules.takes(name) and entry.is_file(follow_symlinks=follow):
                try:
                    files[name] = entry.stat(follow_symlinks=follow)
                except FileNotFoundError:
                    continue
                except OSError:
                    files[name] = None
    return Entries(files, sorted(directories))


def subdirectories(directory: bytes, rules: Filter) -> list[bytes]:
    """The directories that the rules enter, no file being looked at. Raises OSError."""
    with os.scandir(directory) as found:
        return [
            entry.name
            for entry in found
            if entry.is_dir(follow_symlinks=rules.follow_symlinks)
            and rules.enters(entry.name)
            and not _leads_back(entry, rules)
        ]


def _leads_back(entry: os.DirEntry[bytes], rules: Filter) -> bool:
    """Whether a symlink leads to a directory that it lies in: followed, the tree would have no end."""
    if not entry.is_symlink():
        return False
    target = entry.stat()
    above = os.path.dirname(entry.path)
    while len(above) >= len(rules.root):
        if os.path.samestat(os.stat(above), target):
            return True
        above = os.path.dirname(above)
    return False
