"""Renames: known files keep their content and alerts under the new path, without a read."""

from __future__ import annotations

from shazimd.posix.mounts import is_at_or_below
from shazimd.store.base import Writer


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
