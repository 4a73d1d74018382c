"""`shazimctl clean` where something goes wrong before or during an act, on real files."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cleaning import CleanTree, files_below, pair, read, reflinks, write

from shazimd.acting import acts, journal
from shazimd.acting.facts import DiskState, read_state
from shazimd.acting.trash import Trash
from shazimd.errors import BadInput, StoreError


def test_a_file_that_vanished_or_changed_is_named_and_the_rest_goes_on(tree: CleanTree) -> None:
    """Each is a message, and the exit status is 4."""
    paths = [tree.file(name, age=9 - n) for n, name in enumerate("abcde")]
    tree.group(*paths)
    os.unlink(paths[1])
    tree.file("c", b"another size")
    said = tree.run("--apply")
    assert said.status == 4
    assert said.err.splitlines() == [
        f"shazimctl: {tree.root}/b: no such file",
        f"shazimctl: {tree.root}/c: changed since it was indexed",
    ]
    assert tree.names() == ["a", "c"]
    assert "2 files to the trash, 14 B saved once the trash is emptied; 2 files skipped" in said.out


def edit_other(kept: bytes, other: bytes) -> None:
    write(other, b"PICTURE")


def touch_other(kept: bytes, other: bytes) -> None:
    os.utime(other)


def edit_kept(kept: bytes, other: bytes) -> None:
    write(kept, b"PICTURE")


def remove_kept(kept: bytes, other: bytes) -> None:
    os.unlink(kept)


def make_kept_a_symbolic_link(kept: bytes, other: bytes) -> None:
    os.unlink(kept)
    os.symlink(other, kept)


def make_kept_a_hard_link(kept: bytes, other: bytes) -> None:
    os.unlink(kept)
    os.link(other, kept)


def make_kept_a_fifo(kept: bytes, other: bytes) -> None:
    os.unlink(kept)
    os.mkfifo(kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit_other, "b.jpg: changed since it was planned"),
        (touch_other, "b.jpg: changed since it was planned"),
        (edit_kept, "a.jpg: changed since it was planned"),
        (remove_kept, "a.jpg: no such file"),
        (make_kept_a_symbolic_link, "a.jpg: a symbolic link, left alone"),
        (make_kept_a_hard_link, "a.jpg: changed since it was planned"),
        (make_kept_a_fifo, "a.jpg: not a regular file"),
    ],
)
@pytest.mark.parametrize("how", ["trash", "hardlink"])
def test_a_change_after_the_plan_stops_the_act(
    tree: CleanTree, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes, bytes], None], message: str, how: str
) -> None:
    """Both files are compared again right before the act: the last copy is never acted on."""
    kept, other = pair(tree)
    check = acts.check

    def change_and_check(record: journal.ActRecord) -> None:
        change(kept, other)
        check(record)

    monkeypatch.setattr(acts, "check", change_and_check)
    inode = os.lstat(other).st_ino
    said = tree.run("--apply", "--how", how)
    assert said.status == 4
    assert message in said.err
    assert f"skipped   {other.decode()}" in said.out
    assert os.lstat(other).st_ino == inode
    assert [path for path in os.listdir(tree.root) if path.startswith(".shazimd")] == []


def save_anew(path: bytes) -> None:
    """As most editors do."""
    write(path + b"~", b"PICTURE")
    os.rename(path + b"~", path)


def save_in_place(path: bytes) -> None:
    write(path, b"PICTURE")


@pytest.mark.parametrize("save", [save_anew, save_in_place, os.unlink])
@pytest.mark.parametrize("how", ["trash", "move", "hardlink", "reflink"])
def test_a_kept_file_that_is_saved_during_the_check_stops_the_act(
    tree: CleanTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[bytes], None], how: str
) -> None:
    """The kept file is read first; the last file with the old bytes is left in place."""
    kept, other = pair(tree)

    def save_and_read(path: bytes) -> DiskState:
        if path == other and os.path.exists(kept) and read(kept) == b"picture":
            save(kept)
        return read_state(path)

    inode = os.lstat(other).st_ino
    with reflinks():
        monkeypatch.setattr(acts, "read_state", save_and_read)
        said = tree.run("--apply", "--how", f"move:{tmp_path / 'm'}" if how == "move" else how)
    assert (said.status, read(other), os.lstat(other).st_ino) == (4, b"picture", inode)
    assert f"{other.decode()}: left in place: {kept.decode()} changed at this moment" in said.err
    assert "nothing done" in tree.run("--list").out
    assert [path for path in files_below(os.fsencode(tmp_path)) if b".shazimd" in path] == []


@pytest.mark.parametrize("save", [save_anew, save_in_place])
@pytest.mark.parametrize("step", ["link", "replace"])
@pytest.mark.parametrize("how", ["hardlink", "reflink"])
def test_a_kept_file_that_is_saved_during_the_act_stops_it(
    tree: CleanTree, monkeypatch: pytest.MonkeyPatch, save: Callable[[bytes], None], how: str, step: str
) -> None:
    """The old file goes back to its path, with its bytes; the kept file has what was saved."""
    kept, other = pair(tree)
    inode = os.lstat(other).st_ino
    saved: list[bool] = []
    function = getattr(os, step)

    def act_and_save(*args: Any, **more: Any) -> None:
        function(*args, **more)
        if not saved:
            saved.append(True)
            save(kept)

    with reflinks(), monkeypatch.context() as patch:
        patch.setattr(os, step, act_and_save)
        said = tree.run("--apply", "--how", how)
    assert (said.status, saved) == (4, [True])
    assert (read(kept), read(other), os.lstat(other).st_ino) == (b"PICTURE", b"picture", inode)
    assert (tree.names(), "nothing done" in tree.run("--list").out) == (["a.jpg", "b.jpg"], True)


@pytest.mark.parametrize("content", [b"picture", b"another", b""])
def test_a_file_that_takes_the_new_name_of_a_move_is_left_alone(
    tree: CleanTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Not even one with the same bytes, or an empty one, is removed when the failed move is taken back."""
    _, other = pair(tree)
    taken = Path(f"{tmp_path}/m{other.decode()}")
    taken.parent.mkdir(parents=True)
    check = acts.check

    def check_and_take(record: journal.ActRecord) -> None:
        check(record)
        taken.write_bytes(content)

    monkeypatch.setattr(acts, "check", check_and_take)
    before = tree.snapshot()
    said = tree.run("--apply", "--how", f"move:{tmp_path}/m")
    assert said.status == 4
    assert f"{other.decode()}: left in place: a file has taken {taken}" in said.err
    assert (taken.read_bytes(), tree.snapshot()) == (content, before)
    assert "nothing done" in tree.run("--list").out


@pytest.mark.parametrize("step", ["fsync", "rename", "replace"])
def test_a_file_that_is_saved_while_it_moves_to_another_disk_stays(
    tree: CleanTree, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It is at its path with what was saved, and the copy of its old bytes is not removed without a word."""
    kept, other = pair(tree)
    file = os.open(other, os.O_WRONLY)
    perform, function = acts.perform, getattr(os, step)

    def perform_and_save(record: journal.ActRecord, trash: Trash) -> None:
        def act_and_save(*args: Any, **more: Any) -> None:
            function(*args, **more)
            os.pwrite(file, b"PICTURE", 0)

        with monkeypatch.context() as patch:
            patch.setattr(os, step, act_and_save)
            perform(record, trash)

    monkeypatch.setattr(acts, "perform", perform_and_save)
    said = tree.run("--apply", "--how", f"move:{elsewhere}")
    left = [read(path) for path in files_below(os.fsencode(elsewhere))]
    os.close(file)
    assert (said.status, read(kept), read(other)) == (4, b"picture", b"PICTURE")
    assert (tree.names(), left) == (["a.jpg", "b.jpg"], [b"picture"] if step == "replace" else [])
    assert ("b.jpg: is back, but was changed" in said.err) == (step == "replace")


def test_a_name_that_is_too_long_for_the_trash_is_said(tree: CleanTree) -> None:
    """It is not its path that is too long: the file was read by it."""
    kept, other = tree.file("a", age=9), tree.file("b" * 246)
    tree.group(kept, other)
    said = tree.run("--apply")
    message = "left in place: its name is too long for the trash, which adds .trashinfo"
    assert (said.status, said.err) == (4, f"shazimctl: {other.decode()}: {message}\n")
    assert read(other) == b"picture"
    assert "nothing done" in tree.run("--list").out


@pytest.mark.parametrize("at", ["m", "m/root", "m/root/sub"])
def test_a_move_below_a_file_is_said(tree: CleanTree, tmp_path: Path, at: str) -> None:
    """Nothing was moved: the run is not left open."""
    kept, other = tree.file("a", age=9), tree.file("sub/b")
    tree.group(kept, other)
    in_the_way = tmp_path / at.replace("/", f"{tmp_path}/", 1)
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_bytes(b"a file")
    said = tree.run("--apply", "--how", f"move:{tmp_path}/m")
    message = f"left in place: {tmp_path}/m{tree.root}/sub can't be made, a file is in its way"
    assert (said.status, said.err) == (4, f"shazimctl: {other.decode()}: {message}\n")
    assert (read(other), in_the_way.read_bytes()) == (b"picture", b"a file")
    assert "nothing done" in tree.run("--list").out


@pytest.mark.parametrize("name", ["b" * 255, "/".join(["b" * 200] * 19)])
def test_a_new_path_that_is_too_long_is_said(tree: CleanTree, tmp_path: Path, name: str) -> None:
    """By its name, which gets a number, or as a whole."""
    kept, other = tree.file("a", age=9), tree.file(name)
    tree.group(kept, other)
    folder = tmp_path / ("m" * 250)
    taken = Path(f"{folder}{other.decode()}")
    if "/" not in name:
        taken.parent.mkdir(parents=True)
        taken.write_bytes(b"another")
    said = tree.run("--apply", "--how", f"move:{folder}")
    message = "left in place: its path, or its name with a number, would be too long below that folder"
    assert (said.status, said.err) == (4, f"shazimctl: {other.decode()}: {message}\n")
    assert read(other) == b"picture"
    assert "nothing done" in tree.run("--list").out


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_moved_file_that_is_saved_during_an_undo_stays(
    tree: CleanTree, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The file is back at its path; what was saved is below the folder, under its name there."""
    _, other = pair(tree)
    assert tree.run("--apply", "--how", f"move:{elsewhere}").status == 0
    moved = f"{elsewhere}{other.decode()}".encode()
    file, function = os.open(moved, os.O_WRONLY), getattr(os, step)

    def act_and_save(*args: Any, **more: Any) -> None:
        function(*args, **more)
        os.pwrite(file, b"PICTURE", 0)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, act_and_save)
        said = tree.run("--undo")
    again = tree.run("--undo")
    left = {path: read(path) for path in files_below(os.fsencode(elsewhere))}
    os.close(file)
    assert (said.status, again.status) == (4, 0)
    assert (read(other), left) == (b"picture", {moved: b"PICTURE"})


def test_a_read_only_file_is_not_trashed(tree: CleanTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says so; "Permission denied" alone would send the user to look at the trash."""
    _, other = pair(tree)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != other and access(path, mode))
    said = tree.run("--apply")
    assert said.status == 4
    assert f"{other.decode()}: left in place: the file or its file system is read-only" in said.err
    assert os.path.exists(other)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("how", ["trash", "move", "hardlink", "reflink"])
def test_an_act_that_fails_leaves_the_file_in_place(
    tree: CleanTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, error: int
) -> None:
    """A full disk, a read-only one, lost rights: named, skipped, nothing left behind."""
    _, other = pair(tree)
    before = tree.snapshot()

    def failing(*_args: object, **_more: object) -> None:
        raise OSError(error, os.strerror(error), "somewhere")

    with monkeypatch.context() as patch, reflinks():
        patch.setattr(os, "rename", failing)
        patch.setattr(os, "link", failing)
        said = tree.run("--apply", "--how", f"move:{tmp_path / 'm'}" if how == "move" else how)
    assert said.status == 4
    assert f"{other.decode()}: left in place" in said.err
    assert os.strerror(error) in said.err
    assert ("no room for" in said.err) == (error == errno.ENOSPC)
    assert "Take it back" not in said.out
    assert tree.snapshot() == before
    assert "nothing done" in tree.run("--list").out
    assert list(files_below(os.fsencode(tmp_path / "m"))) == []


def test_a_file_system_without_reflinks_is_said(tree: CleanTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays, and another way is named."""
    pair(tree)

    def unsupported(*_args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "ioctl", unsupported)
    before = tree.snapshot()
    said = tree.run("--apply", "--how", "reflink")
    assert said.status == 4
    assert "its file system has no reflinks; try --how hardlink" in said.err
    assert tree.snapshot() == before


def test_a_journal_that_cannot_be_synced_at_the_end_is_named(tree: CleanTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a share over its quota: not as a fault of the terminal."""
    pair(tree)
    close = journal.Journal.close

    def failing(self: journal.Journal) -> None:
        def sync(_file: int) -> None:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", sync)
            close(self)

    monkeypatch.setattr(journal.Journal, "close", failing)
    said = tree.run("--apply")
    assert "the journal cannot be written: Disk quota exceeded" in said.err


def test_a_full_disk_is_met_in_truth(tree: CleanTree) -> None:
    """A move to a small file system that has no room: the file stays, and no part of it is left there."""
    kept, other = tree.file("a", b"x" * 3_000_000, 9), tree.file("b", b"x" * 3_000_000)
    target = tree.root.parent / "small"
    target.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", target], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        tree.group(kept, other)
        said = tree.run("--apply", "--how", f"move:{target}")
        left = list(files_below(os.fsencode(target)))
    finally:
        subprocess.run(["umount", target], check=True)
    assert (said.status, tree.names(), left) == (4, ["a", "b"], [])
    assert "left in place, no room for" in said.err


@pytest.mark.parametrize("how", ["trash", "move", "hardlink"])
def test_a_read_only_file_system_is_named(tree: CleanTree, tmp_path: Path, how: str) -> None:
    """The file system itself refuses; the message has its reason."""
    _, other = pair(tree)
    before = tree.snapshot()
    if subprocess.run(["mount", "--bind", tree.root, tree.root], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", tree.root], check=True)
        said = tree.run("--apply", "--how", f"move:{tmp_path / 'm'}" if how == "move" else how)
    finally:
        subprocess.run(["umount", tree.root], check=True)
    assert said.status == 4
    reason = "the file or its file system is read-only" if how == "trash" else "Read-only file system"
    assert said.err.startswith(f"shazimctl: {other.decode()}: left in place: {reason}")
    assert tree.snapshot() == before
    assert "nothing done" in tree.run("--list").out


def test_a_bind_mount_saves_nothing(tree: CleanTree) -> None:
    """A file under two paths is one directory entry; a reference root is known by the other path."""
    path = tree.file("real/a")
    (tree.root / "bound").mkdir()
    if subprocess.run(["mount", "--bind", tree.root / "real", tree.root / "bound"], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        tree.group(path, os.fsencode(tree.root / "bound/a"))
        alone = tree.run("--apply")
        tree.groups.clear()
        tree.group(tree.file("b", age=9), os.fsencode(tree.root / "bound/a"))
        reference = tree.run("--apply", "--reference", str(tree.root / "real"))
        names = tree.names()
    finally:
        subprocess.run(["umount", tree.root / "bound"], check=True)
    assert (alone.status, reference.status, names) == (1, 0, ["bound/a", "real/a"])


@pytest.fixture
def pool(tree: CleanTree) -> Iterator[tuple[bytes, bytes]]:
    """A file of a disk, and the same file through an overlay of the disk: with another device."""
    try:
        subprocess.run(["mount", "-t", "tmpfs", "none", tree.root], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pytest.skip("needs the right to mount")
    try:
        on_disk = tree.file("disk/a.jpg")
        for name in ("lower", "work", "pool"):
            (tree.root / name).mkdir()
        options = f"lowerdir={tree.root}/lower,upperdir={tree.root}/disk,workdir={tree.root}/work"
        mount = ["mount", "-t", "overlay", "-o", options, "none", str(tree.root / "pool")]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("needs overlayfs")
        yield on_disk, os.fsencode(tree.root / "pool/a.jpg")
        subprocess.run(["umount", tree.root / "pool"], check=True)
    finally:
        subprocess.run(["umount", tree.root], check=True)


def carry_out_error(path: bytes, keep: bytes, how: str, to: bytes = b"") -> str:
    """The message of an act that leaves the file in place."""
    with journal.only_one():
        run = journal.Journal.new()
        record = journal.ActRecord(run.run, 1, how, path, read_state(path), keep, read_state(keep), to)
        try:
            with pytest.raises(BadInput) as error:
                acts.carry_out(record, run)
        finally:
            run.close()
    assert journal.read_run(run.run).left == []
    return error.value.message


@pytest.mark.parametrize("how", ["trash", "move"])
@pytest.mark.parametrize("kept", ["disk", "pool"])
def test_a_file_under_another_mount_is_left_in_place(
    tree: CleanTree, pool: tuple[bytes, bytes], kept: str, how: str
) -> None:
    """Both paths have one inode and the same times."""
    path, keep = pool if kept == "pool" else pool[::-1]
    ctime_ns = os.lstat(pool[0]).st_ctime_ns
    message = carry_out_error(path, keep, how, os.fsencode(tree.root / "moved"))
    assert message.endswith("the same file as " + keep.decode() + " by its inode and times, under another mount")
    assert os.lstat(pool[0]).st_ctime_ns == ctime_ns


@pytest.mark.parametrize("target", ["", "disk", "pool"])
@pytest.mark.parametrize("kept", ["disk", "pool"])
def test_an_act_that_removes_the_kept_file_is_taken_back(
    tree: CleanTree, pool: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch, kept: str, target: str
) -> None:
    """Pools such as mergerfs have inodes of their own. Through overlayfs the kept file is still seen: by its ctime
    the act is known to have gone there."""
    monkeypatch.setattr(acts, "_expect_two_files", lambda record: None)
    path, keep = pool if kept == "pool" else pool[::-1]
    assert read(keep) == b"picture"
    how, to = ("move", os.fsencode(tree.root / target / "moved/a")) if target else ("trash", b"")
    message = carry_out_error(path, keep, how, to)
    assert f"stays: {keep.decode()}, which was to be kept, changed or vanished at the same moment" in message
    assert (read(pool[0]), os.path.exists(to)) == (b"picture", False)


def test_a_journal_that_cannot_be_written_stops_the_run(tree: CleanTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a journal there is no act."""
    pair(tree)
    (tree.root.parent / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tree.root.parent / "file"))
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (5, ["a.jpg", "b.jpg"])
    assert "no journal can be written" in said.err


def test_two_runs_at_once_are_refused(tree: CleanTree) -> None:
    """Each could remove the copy that the other keeps."""
    pair(tree)
    with journal.only_one():
        said = tree.run("--apply")
        undo = tree.run("--undo")
    assert (said.status, undo.status, tree.names()) == (5, 5, ["a.jpg", "b.jpg"])
    assert "another `shazimctl clean` is running" in said.err


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (StoreError("full"), 5)])
def test_a_run_that_is_broken_off_says_how_to_take_it_back(
    tree: CleanTree, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    """By Ctrl-C, or by a journal that cannot be written; the run counts as interrupted and is taken back."""
    tree.group(*[tree.file(name, age=9 - n) for n, name in enumerate("abc")])
    before = tree.snapshot()
    perform = acts.perform

    def perform_once(record: journal.ActRecord, trash: Trash) -> None:
        if record.n == 2:
            raise error
        perform(record, trash)

    monkeypatch.setattr(acts, "perform", perform_once)
    said = tree.run("--apply")
    assert said.status == status
    assert said.err.startswith("shazimctl: interrupted; undo with: shazimctl clean --undo ")
    assert tree.names() == ["a", "c"]
    assert tree.run("--list").out.split()[1:] == ["interrupted", "2", "files,", "14", "B,", "trash"]
    assert tree.run("--undo").status == 0
    assert tree.snapshot() == before
