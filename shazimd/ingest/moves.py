"""Renames: known files keep their content and alerts under the new path, without a read."""

from __future__ import annotations

from shazimd.posix.mounts import is_at_or_below
from shazimd.store.base import Writer


def apply_move(writer: Writer, old: bytes, new: bytes) -> None:
    """Move a known file, or a directory with its tree, in the store.

    A file with a pending alert is forgotten instead: its ingest under the new path raises the alert once, under that
    path. Does nothing when ``old`` is unknown."""
    for _, path, _ in list(writer.pending_alerts()):
        if is_at_or_below(path, old):
            writer.remove_file(path)
    writer.move(old, new)
