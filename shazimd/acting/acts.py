"""Carry out an act, and take an act back. The content survives a crash between any two system calls.

    trash, move   the file is renamed, or to another file system copied whole and then removed; a move renames the
                  file to NAME.old before the copy gets its name: while NAME.old is there, the copy is of this act
    hardlink      old file linked to NAME.old, new link made as NAME.new, renamed over the path, NAME.old removed
    reflink       the same with a clone, given the times, mode and owner of the old file

Taking back looks at the disk, not at how far the act came, and may be repeated.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress

from shazimd.acting.facts import DiskState, read_state, status_now, why
from shazimd.acting.journal import ActRecord, CleanRun, Journal
from shazimd.acting.trash import Trash
from shazimd.errors import BadInput, NotFound, ShazimdError, Unreadable
from shazimd.posix.files import sync
from shazimd.text import readable
from shazimd.types import new_digest

READ_BYTES = 1 << 20
FICLONE = 0x40049409
"""<linux/fs.h>; see ioctl_ficlone(2). Python has the name from 3.14 on."""
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Errors of a path without a file."""
TOO_LONG = {
    "trash": "its name is too long for the trash, which adds .trashinfo",
    "move": "its path, or its name with a number, would be too long below that folder",
}
"""Of another path than the file's own, by which it was read. Links need a temporary name in its directory."""


class NotBegun(Unreadable):
    """An act has changed nothing, and need not be taken back."""


def carry_out(record: ActRecord, journal: Journal) -> None:
    """Check the files, write to the journal, act. Raises BadInput or a subclass when the file was left in place."""
    check(record)
    journal.act(record)
    try:
        perform(record, Trash())
    except NotBegun:
        journal.undone(record.n)
        raise
    except BadInput as error:
        try:
            take_back(record, Trash())
        except BadInput as obstacle:  # stays open in the journal, for --undo
            raise BadInput(f"{error.message}; {obstacle.message}") from error
        journal.undone(record.n)
        raise
    journal.done(record.n)


def check(record: ActRecord) -> None:
    """Raise BadInput, NotFound or Unreadable unless both files are as planned, byte for byte, and two files."""
    for path, planned in ((record.keep, record.keep_state), (record.path, record.state)):
        if read_state(path).version != planned.version:
            raise Unreadable(f"{readable(path)}: changed since it was planned")
    _expect_two_files(record)


def _expect_two_files(record: ActRecord) -> None:
    """Two mounts of one disk differ in the device; the inode and the times are then the same."""
    if record.state.identity == record.keep_state.identity:
        raise BadInput(f"{readable(record.path)}: the same file as {readable(record.keep)}")
    same_inode = record.state.inode == record.keep_state.inode and record.state.mtime_ns == record.keep_state.mtime_ns
    if same_inode and status_now(record.path).st_ctime_ns == status_now(record.keep).st_ctime_ns:
        raise BadInput(
            f"{readable(record.path)}: left in place: the same file as {readable(record.keep)} by its inode and times, "
            "under another mount"
        )


def perform(record: ActRecord, trash: Trash) -> None:
    """Carry out an act after its check and its line in the journal. Raises BadInput, NotFound or Unreadable."""
    try:  # once more: the check has read the kept file first, and then the other for seconds
        kept_ctime_ns = _expect_kept(record.keep, record)
        _expect_unchanged(record.path, record)
    except BadInput as error:
        raise NotBegun(error.message) from error
    try:
        if record.how == "trash":
            trash.put(record.path)
        elif record.how == "move":
            _move(record, record.path, record.to, record.state)
        else:
            _replace(record)
    except OSError as error:
        raise Unreadable(f"{readable(record.path)}: {_reason(record, error)}") from error
    if record.how in ("trash", "move"):
        _expect_untouched(record, kept_ctime_ns)


def _expect_untouched(record: ActRecord, kept_ctime_ns: int) -> None:
    """Raise Unreadable if the act went to the kept file as well: two paths may lead to the same file, with two
    devices and inodes, through a pool and its disk, two shares or two mounts.

    A stale entry of overlayfs still leads to the file moved below, but shows its new ctime. Not seen are acts
    behind a mount that answers open(2) and fstat(2) from its own cache, as SMB may for a second under a lease."""
    try:
        if _expect_kept(record.keep, record) == kept_ctime_ns:
            return
    except BadInput:
        pass
    raise Unreadable(
        f"{readable(record.path)}: stays: {readable(record.keep)}, which was to be kept, changed or vanished at the "
        "same moment; both may be one file, seen through two mounts"
    )


def _reason(record: ActRecord, error: OSError) -> str:
    place = {"trash": "the trash", "move": readable(record.to)}.get(record.how, "its folder")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"left in place, no room for {place}: {why(error)}"
    if record.how == "move" and error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"left in place: {readable(os.path.dirname(record.to))} can't be made, a file is in its way"
    if error.errno == errno.ENAMETOOLONG:
        return f"left in place: {TOO_LONG.get(record.how, 'its path leaves no room for a temporary name beside it')}"
    if record.how == "reflink" and error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV):
        return "left in place, its file system has no reflinks; try --how hardlink"
    if record.how == "hardlink" and error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK):
        return f"left in place, no hard link can be made here: {why(error)}"
    if record.how == "trash" and error.errno == errno.EACCES and not os.access(record.path, os.W_OK):
        return "left in place: the file or its file system is read-only; Send2Trash moves only what may be written to"
    return f"left in place: {why(error)}"


def _replace(record: ActRecord) -> None:
    """Replace a file by a link to the kept file, or by a clone, with the same bytes."""
    old, new = record.beside(record.path, "old"), record.beside(record.path, "new")
    if record.how == "hardlink":
        os.link(record.keep, new, follow_symlinks=False)
    else:
        _clone(record.keep, new)
        _set_metadata(new, record.path, record.state)
    _expect_kept(record.keep if record.how == "reflink" else new, record)
    os.link(record.path, old, follow_symlinks=False)
    _expect_unchanged(old, record)
    os.replace(new, record.path)
    _expect_unchanged(old, record)  # else written to since the check: the old file goes back
    _expect_kept(record.keep, record)
    os.unlink(old)


def _expect_unchanged(path: bytes, record: ActRecord) -> None:
    if _ctime_ns(path, record.state) is None:
        raise Unreadable(f"{readable(record.path)}: changed at this moment, left in place")


def _expect_kept(path: bytes, record: ActRecord) -> int:
    """The ctime of the kept file. ``path``: its own, or of a new link."""
    ctime_ns = _ctime_ns(path, record.keep_state)
    if ctime_ns is None:
        raise Unreadable(f"{readable(record.path)}: left in place: {readable(record.keep)} changed at this moment")
    return ctime_ns


def _ctime_ns(path: bytes, state: DiskState) -> int | None:
    """The ctime of the file of a state; None if the path has another file, a changed or an unreadable file, or none."""
    try:
        now = status_now(path)
    except BadInput:
        return None
    same = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) == (*state.identity, state.size, state.mtime_ns)
    return now.st_ctime_ns if same else None


def _clone(source: bytes, target: bytes) -> None:
    with open(source, "rb") as shared, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as own:
        fcntl.ioctl(own.fileno(), FICLONE, shared.fileno())
        os.fsync(own.fileno())


def _move(record: ActRecord, source: bytes, target: bytes, state: DiskState) -> None:
    """Rename without replacing another file, or copy to another file system.

    rename(2) replaces its target, thus an empty file takes the name first: O_EXCL works on every file system."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if target == record.to or not _is_placeholder(target, state):  # an empty file at the new path is another's
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError as error:
            raise NotBegun(f"{readable(source)}: left in place: a file has taken {readable(target)}") from error
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            os.unlink(target)
            raise
        _move_across(record, source, target, state)


def _move_across(record: ActRecord, source: bytes, target: bytes, state: DiskState) -> None:
    """Copy to another file system, over the empty file at the target; then remove the source."""
    copied, old = record.beside(target, "new"), source
    try:
        copy(source, copied, state)
        if record.how == "move":
            old = record.beside(source, "old")
            os.rename(source, old)
        seen = read_state(old)
        _expect_digest(source, seen.digest, state)
    except BaseException:
        if old != source and os.path.lexists(old):
            _rename_if_free(old, source)
        _discard(copied)
        os.unlink(target)
        raise
    os.replace(copied, target)
    sync(os.fsdecode(os.path.dirname(target)))
    if _ctime_ns(old, seen) is None:
        raise Unreadable(f"{readable(source)}: changed at this moment, left in place")
    os.unlink(old)


def _rename_if_free(source: bytes, target: bytes) -> None:
    if not os.path.lexists(target):
        os.rename(source, target)


def copy(source: bytes, target: bytes, state: DiskState) -> None:
    """A copy with its own bytes and the recorded times, mode and owner, on the disk when this returns.

    ``target`` is a temporary name of our own. Raises Unreadable, and leaves no target, unless the bytes are right."""
    _discard(target)
    try:
        _expect_digest(source, _write_copy(source, target), state)
        _set_metadata(target, source, state)
    except BaseException:
        _discard(target)
        raise


def _write_copy(source: bytes, target: bytes) -> str:
    """Copy and sync the bytes; return their digest."""
    digest = new_digest()
    with (
        open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as old,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as new,
    ):
        while chunk := old.read(READ_BYTES):
            digest.update(chunk)
            new.write(chunk)
        new.flush()
        os.fsync(new.fileno())
    return digest.hexdigest()


def _expect_digest(path: bytes, digest: str, state: DiskState) -> None:
    if digest != state.digest:
        raise Unreadable(f"{readable(path)}: changed, its old bytes are gone")


def _discard(path: bytes) -> None:
    """Remove a temporary file if present. Without the look, a read-only file system would fail for a name not there."""
    if os.path.lexists(path):
        os.unlink(path)


def _set_metadata(path: bytes, like: bytes, state: DiskState) -> None:
    """Extended attributes of ``like`` and the owner as far as allowed; mode and time always."""
    with suppress(OSError):
        shutil.copystat(like, path, follow_symlinks=False)
    with suppress(OSError):
        os.chown(path, state.uid, state.gid)
    os.chmod(path, state.mode)
    os.utime(path, ns=(state.mtime_ns, state.mtime_ns))


def take_back_run(past: CleanRun) -> Iterator[tuple[ActRecord, str | None]]:
    """Take back what is left of a run, the last act first; each with the obstacle, None for an act taken back."""
    trash = Trash()
    with closing(Journal(past.run)) as journal:
        for record in past.left:
            obstacle = None
            try:
                take_back(record, trash)
                journal.undone(record.n)
            except BadInput as error:
                obstacle = error.message
            yield record, obstacle


def take_back(record: ActRecord, trash: Trash) -> None:
    """Have the file at its path again with its bytes and times. Raises ShazimdError with the obstacle."""
    try:
        if record.how in ("hardlink", "reflink"):
            _take_back_replaced(record)
        else:
            _take_back_moved(record, trash)
    except OSError as error:
        raise Unreadable(f"{readable(record.path)}: not taken back: {why(error)}") from error


def _take_back_moved(record: ActRecord, trash: Trash) -> None:
    _discard(record.beside(record.to or record.path, "new"))
    if record.how == "move" and os.path.lexists(record.beside(record.path, "old")):
        _take_back_copied(record)
        return
    undone = record.beside(record.to, "old")  # of an undo that ended before its last step
    if record.how == "move" and os.path.lexists(undone) and not _is_whole(undone, record.state):
        _rename_if_free(undone, record.to)  # changed since: a file of its own
    if _is_back(record):
        # A file of the trash stays there: it may be of an earlier deletion. So does one at the new path: it may be
        # another's, which took the name before the act.
        if record.how == "move":
            if _is_placeholder(record.to, record.state):
                os.unlink(record.to)
            if _is_whole(undone, record.state):
                os.unlink(undone)
        return
    away = _away(record, trash)
    if away is None:
        _copy_back(record)
        return
    _move(record, away, record.path, record.state)
    if record.how == "trash":
        trash.forget(away)


def _take_back_copied(record: ActRecord) -> None:
    """Take back a move to another file system, ended before its last step: the copy there is of this act."""
    old = record.beside(record.path, "old")
    _is_back(record)
    changed = read_state(old).digest != record.state.digest
    copied = _is_whole(record.to, record.state)
    if _is_placeholder(record.to, record.state) or (copied and not changed):
        os.unlink(record.to)
    _put_back(old, record)
    if copied and changed:
        raise BadInput(
            f"{readable(record.path)}: is back, but was changed; its copy of before is {readable(record.to)}"
        )


def _away(record: ActRecord, trash: Trash) -> bytes | None:
    """The path of the moved file, whole; None when there is none."""
    if record.how == "move":  # the second is of an undo that ended before its last step
        paths: Iterable[bytes] = (record.to, record.beside(record.to, "old"))
    else:
        paths = trash.find(record.path, record.state.inode)
    return next((path for path in paths if _is_whole(path, record.state)), None)


def _is_whole(path: bytes, state: DiskState) -> bool:
    """Whether the path has a file with the bytes of a state."""
    with suppress(ShazimdError):
        return read_state(path).digest == state.digest
    return False


def _is_back(record: ActRecord) -> bool:
    """True when the path has the file. Raises BadInput when another file has taken the path."""
    if _is_placeholder(record.path, record.state):
        return False
    try:
        now = read_state(record.path)
    except NotFound:
        return False
    if now.digest != record.state.digest:
        raise BadInput(f"{readable(record.path)}: another file is there now; move it away and undo again")
    return True


def _is_placeholder(path: bytes, state: DiskState) -> bool:
    """True for the empty file of ``_move``, which a crash may leave."""
    try:
        now = os.lstat(path)
    except OSError as error:
        if error.errno in NOWHERE:
            return False
        raise
    return now.st_size == 0 and state.size > 0 and stat.S_ISREG(now.st_mode)


def _take_back_replaced(record: ActRecord) -> None:
    old, new = record.beside(record.path, "old"), record.beside(record.path, "new")
    _discard(new)
    if os.path.lexists(old):
        _put_back(old, record)
    elif not _is_back(record):
        _copy_back(record)
    elif os.lstat(record.path).st_ino != record.state.inode:
        copy(record.path, new, record.state)
        os.replace(new, record.path)


def _put_back(old: bytes, record: ActRecord) -> None:
    """Rename the old file over its path. rename(2) of two names of the same file does nothing: then the
    temporary name is removed. A hard link made by the act is replaced even if the kept file was edited: the kept
    file has the edit."""
    if record.how != "hardlink" or not _is_same_file(record.path, record.keep):
        _is_back(record)
    if _is_same_file(old, record.path):
        os.unlink(old)
    else:
        os.replace(old, record.path)


def _is_same_file(path: bytes, other: bytes) -> bool:
    """Whether both are names of the same file; False when either leads nowhere."""
    with suppress(OSError):
        return os.path.samestat(os.lstat(path), os.lstat(other))
    return False


def _copy_back(record: ActRecord) -> None:
    """Make the file anew from the kept file."""
    if not record.has_same_bytes or read_state(record.keep).digest != record.state.digest:
        gone = {"trash": "in the trash", "move": f"at {readable(record.to)}"}.get(record.how, "there")
        raise NotFound(f"{readable(record.path)}: no longer {gone}, and no other file has its bytes")
    os.makedirs(os.path.dirname(record.path), exist_ok=True)
    copied = record.beside(record.path, "new")
    copy(record.keep, copied, record.state)
    _move(record, copied, record.path, record.state)
