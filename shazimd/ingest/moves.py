"""A rename is taken over: what was known at the old place is known at the new one, and nothing is read."""

from __future__ import annotations

from shazimd.posix.mounts import is_at_or_below
from shazimd.store.base import Writer


def apply_move(writer: Writer, old: bytes, new: bytes) -> None:
    """Move a known file, or a directory with all below it, in the store.

    A file whose alert is still to be decided is forgotten instead: it lands where it turns up, and is told once, under
    the name that it has then. Does nothing when ``old`` is unknown."""
    for _, path, _ in list(writer.pending_alerts()):
        if is_at_or_below(path, old):
            writer.remove_file(path)
    writer.move(old, new)
