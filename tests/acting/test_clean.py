"""`shazimctl clean`: the plan, the acts and the undo, on real files."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cleaning import CleanTree, files_below, other_file_system, read, reflinks

from shazimd.acting import acts, journal
from shazimd.acting.trash import Trash
from shazimd.errors import StoreError

PACKAGE = Path(__file__).resolve().parents[2] / "shazimd"


def run_id(out: str) -> str:
    found = re.search(r"--undo (\S+)", out)
    assert found is not None, out
    return found[1]


def pair(tree: CleanTree) -> tuple[bytes, bytes]:
    """A group of two files with the same bytes; the first is kept, as it is older."""
    kept, other = tree.file("a.jpg", age=2), tree.file("b.jpg", age=1)
    tree.group(kept, other)
    return kept, other


# ---- the plan


def test_a_dry_run_shows_what_would_happen_and_writes_nothing(tree: CleanTree) -> None:
    """Kept file with the reason, files to act on, totals; no journal, no trash."""
    kept, other = pair(tree)
    before = tree.snapshot()
    assert tree.run() == (
        0,
        f"keep      {kept.decode()}\n          400x300, 7 B: oldest\n"
        f"trash     {other.decode()}\n          400x300, 7 B, exact\n\n"
        "1 group, 1 file to the trash, 7 B to save once the trash is emptied\n"
        "Nothing was changed: act with --apply\n",
        "",
    )
    assert tree.snapshot() == before
    assert sorted(path.name for path in tree.root.parent.iterdir()) == ["root"]


def test_nothing_to_do_is_status_one(tree: CleanTree) -> None:
    """As with grep."""
    edited = "among exact duplicates; --verdict exact,copy has edited copies, too"
    assert tree.run() == (1, f"Nothing to clean up {edited}\n", "")
    assert tree.run("--apply", "--verdict", "exact,copy") == (1, "Nothing to clean up\n", "")


def test_only_exact_by_default_and_copy_when_asked_for(tree: CleanTree) -> None:
    """A copy is left in place unless the verdict is named."""
    tree.group(tree.file("a", b"one", 9), tree.file("b", b"one"), tree.file("c", b"two"), verdicts=["exact", "copy"])
    assert tree.run("--apply").status == 0
    assert tree.names() == ["a", "c"]
    tree.groups.clear()
    tree.group(tree.file("a", b"one", 9), tree.file("c", b"two"), verdicts=["copy"])
    assert tree.run("--apply", "--verdict", "exact,copy").status == 0
    assert tree.names() == ["a"]


@pytest.mark.parametrize("verdict", ["variant", "scene", "similar", "exact,scene", ""])
def test_other_verdicts_are_never_acted_on(tree: CleanTree, verdict: str) -> None:
    """They cannot be asked for, and a group that has them is left alone."""
    assert tree.run("--verdict", verdict).status == 2
    tree.group(tree.file("a", b"one", 9), tree.file("b", b"two"), verdicts=[verdict])
    assert tree.run("--apply", "--verdict", "exact,copy").status == 1
    assert tree.names() == ["a", "b"]


def test_copies_with_the_same_bytes_are_exact_to_each_other(tree: CleanTree) -> None:
    """Both are tied to the first as copies; one of the two is kept, and so is the first."""
    tree.group(tree.file("a", b"1", 9), tree.file("b", b"2", 3), tree.file("c", b"2"), verdicts=["copy", "copy"])
    assert tree.run("--apply").status == 0
    assert tree.names() == ["a", "b"]


def test_two_copies_of_the_first_are_not_related_to_each_other(tree: CleanTree) -> None:
    """Where a copy is kept, the first is acted on; the other copy may show something else of it."""
    paths = tree.file("a", b"1"), tree.file("b", b"2", 9), tree.file("c", b"3")
    tree.group(*paths, verdicts=["copy", "copy"])
    assert tree.run("--apply", "--verdict", "copy").status == 0
    assert tree.names() == ["b", "c"]


def test_a_copy_that_is_larger_than_the_kept_file_is_left_alone(tree: CleanTree) -> None:
    """The kept file may be a crop of it; a turned one has the same size."""
    paths = tree.file("album/a", b"1", 9), tree.file("b", b"2"), tree.file("c", b"3")
    tree.group(paths[1], paths[0], verdicts=["copy"], sizes=[(400, 400), (400, 300)])
    said = tree.run("--apply", "--verdict", "copy", "--prefer", "path:*/album/*")
    assert (said.status, tree.names()) == (1, ["album/a", "b", "c"])
    assert "b: left alone: it is larger than " in said.err
    tree.groups.clear()
    tree.group(paths[2], paths[0], verdicts=["copy"], sizes=[(300, 400), (400, 300)])
    assert tree.run("--apply", "--verdict", "copy").status == 0
    assert tree.names() == ["album/a", "b"]


def test_a_reference_root_is_kept_and_never_acted_on(tree: CleanTree) -> None:
    """Its files are preferred, however they compare; two of them both stay."""
    tree.group(tree.file("a", age=9), tree.file("ref/b"), tree.file("ref/c"))
    said = tree.run("--apply", "--reference", str(tree.root / "ref"))
    assert said.status == 0
    assert "in a reference root" in said.out
    assert tree.names() == ["ref/b", "ref/c"]


def test_a_reference_root_is_known_by_any_name(tree: CleanTree) -> None:
    """A link to its folder leads into it."""
    tree.file("ref/b")
    os.symlink("ref", tree.root / "link")
    tree.group(tree.file("a", age=9), os.fsencode(tree.root / "link/b"))
    assert tree.run("--apply", "--reference", str(tree.root / "ref")).status == 0
    assert tree.names() == ["link", "ref/b"] or tree.names() == ["ref/b"]


def test_only_files_below_a_root_are_acted_on(tree: CleanTree) -> None:
    """The kept file may lie elsewhere; the name of a root is no prefix of a name."""
    tree.group(tree.file("a", age=9), tree.file("in/b"), tree.file("inner/c"))
    assert tree.run("--apply", "--root", str(tree.root / "in")).status == 0
    assert tree.names() == ["a", "inner/c"]


def test_bins_and_snapshots_are_left_alone(tree: CleanTree) -> None:
    """A file in a bin is neither kept nor acted on."""
    tree.group(tree.file("#recycle/a", age=9), tree.file("b"))
    assert tree.run("--apply").status == 1
    assert tree.names() == ["#recycle/a", "b"]


def test_a_symbolic_link_is_never_followed(tree: CleanTree) -> None:
    """It is named and left alone, and is no copy of its target."""
    kept = tree.file("a", age=9)
    os.symlink("a", tree.root / "b")
    tree.group(kept, os.fsencode(tree.root / "b"))
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (4, ["a", "b"])
    assert said.err == f"shazimctl: {tree.root}/b: a symbolic link, left alone\n"


def test_two_names_of_one_file_save_nothing(tree: CleanTree) -> None:
    """Hard links are one file."""
    kept = tree.file("a")
    os.link(kept, tree.root / "b")
    tree.group(kept, os.fsencode(tree.root / "b"))
    assert tree.run("--apply").status == 1
    assert tree.names() == ["a", "b"]


def test_a_folder_under_two_names_saves_nothing(tree: CleanTree) -> None:
    """By a link here; a bind mount has the same inodes."""
    path = tree.file("real/a")
    os.symlink("real", tree.root / "root2")
    tree.group(path, os.fsencode(tree.root / "root2/a"))
    assert tree.run("--apply").status == 1
    assert read(path) == b"picture"


def test_every_name_of_a_file_is_acted_on_or_none(tree: CleanTree) -> None:
    """A file whose other name is unknown would free nothing; one with all names known is acted on whole."""
    kept, other = tree.file("a", age=9), tree.file("b")
    os.link(other, tree.root / "c")
    tree.group(kept, other)
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (1, ["a", "b", "c"])
    assert "b: left alone: it has other names (hard links)" in said.err
    tree.groups.clear()
    tree.group(kept, other, os.fsencode(tree.root / "c"))
    before = tree.snapshot()
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (0, ["a"])
    assert "2 files to the trash, 7 B saved" in said.out
    assert tree.run("--undo").status == 0
    assert tree.snapshot() == before


@pytest.mark.parametrize("how", ["hardlink", "reflink"])
def test_only_files_with_the_same_bytes_are_linked(tree: CleanTree, how: str) -> None:
    """The same pixels in other bytes are exact, too, and may go to the trash only."""
    tree.group(tree.file("a", b"1", 9), tree.file("b", b"2"))
    said = tree.run("--apply", "--how", how)
    assert (said.status, tree.names()) == (1, ["a", "b"])
    assert "but its bytes differ" in said.err
    assert tree.run("--apply").status == 0
    assert tree.names() == ["a"]


def test_a_rule_chooses_the_kept_file(tree: CleanTree) -> None:
    """--prefer, with the reason."""
    tree.group(tree.file("a", age=9), tree.file("album/b"))
    said = tree.run("--apply", "--prefer", "path:*/album/*")
    assert tree.names() == ["album/b"]
    assert "preferred path */album/*" in said.out


def test_the_choice_of_the_daemon_counts(tree: CleanTree) -> None:
    """Its first file is kept for its reason, though headers speak for another; rules of the command are stronger."""
    original, framed = tree.file("original.jpg", b"a"), tree.file("framed.jpg", b"b", age=9)
    tree.group(original, framed)
    tree.groups[0]["reason"] = "original of the framed version"
    said = tree.run()
    assert "original.jpg\n          400x300, 1 B: original of the framed version" in said.out
    said = tree.run("--prefer", "name:framed*")
    assert "framed.jpg\n          400x300, 1 B: preferred name framed*" in said.out
    tree.groups[0]["decision"] = 7
    assert "original.jpg\n          400x300, 1 B: your decision" in tree.run("--prefer", "name:framed*").out


def test_other_names_that_the_daemon_lists_are_names_of_one_file(tree: CleanTree) -> None:
    """All of them are acted on together, as when each was a member."""
    kept, other = tree.file("a.jpg", age=1), tree.file("b.jpg")
    os.link(other, tree.root / "c.jpg")
    tree.group(kept, other)
    tree.groups[0]["members"][1]["also"] = [{"path": str(tree.root / "c.jpg")}]
    assert tree.run("--apply").status == 0
    assert sorted(path.name for path in tree.root.iterdir()) == ["a.jpg"]


def test_json_has_each_plan_and_the_totals(tree: CleanTree) -> None:
    """One object a line; a path that is not UTF-8 is exact in base64."""
    kept, other = tree.file("a", age=9), tree.file(b"b\xff")
    tree.group(kept, other)
    plan, totals = map(json.loads, tree.run("--json").out.splitlines())
    assert plan["keep"] == {"path": kept.decode(), "size_bytes": 7, "reason": "oldest"}
    (act,) = plan["acts"]
    assert journal.exact_path(act) == other
    assert (act["how"], act["verdict"], act["size_bytes"], act["error"]) == ("trash", "exact", 7, None)
    assert totals == {"groups": 1, "files": 1, "saves_bytes": 7, "skipped": 0, "applied": False, "run": None}
    totals = json.loads(tree.run("--json", "--apply").out.splitlines()[-1])
    assert totals["applied"]
    assert [json.loads(line)["state"] for line in tree.run("--list", "--json").out.splitlines()] == ["done"]


# ---- what goes wrong before and during an act


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


def write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


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


# ---- the acts


def test_a_move_keeps_the_tree_and_replaces_nothing(tree: CleanTree, tmp_path: Path) -> None:
    """The whole path is below the folder; a name that is taken gets a number."""
    _, other = pair(tree)
    taken = Path(f"{tmp_path}/moved{other.decode()}")
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"another")
    assert tree.run("--apply", "--how", f"move:{tmp_path}/moved").status == 0
    assert taken.read_bytes() == b"another"
    assert taken.with_name("b (2).jpg").read_bytes() == b"picture"
    assert tree.run("--undo").status == 0
    assert (tree.names(), taken.read_bytes()) == (["a.jpg", "b.jpg"], b"another")


def test_what_was_moved_is_not_acted_on_again(tree: CleanTree) -> None:
    """The folder may be watched, so its files come back in groups."""
    kept, other = tree.file("a", age=9), tree.file("moved/b")
    tree.group(kept, other)
    assert tree.run("--apply", "--how", f"move:{tree.root / 'moved'}").status == 1
    assert tree.names() == ["a", "moved/b"]


def test_a_hard_link_shares_and_an_undo_separates(tree: CleanTree) -> None:
    """The second name leads to the kept file; the undo gives it bytes, time and mode of its own again."""
    kept, other = pair(tree)
    before = tree.snapshot()
    assert tree.run("--apply", "--how", "hardlink").status == 0
    assert os.path.samefile(kept, other)
    assert tree.run("--undo").status == 0
    assert not os.path.samefile(kept, other)
    assert tree.snapshot() == before


def test_a_reflink_keeps_time_and_mode(tree: CleanTree) -> None:
    """A clone is a file of its own."""
    kept, other = tree.file("a", age=9), tree.file("b", mode=0o600)
    tree.group(kept, other)
    before = tree.snapshot()
    with reflinks():
        assert tree.run("--apply", "--how", "reflink").status == 0
    assert tree.snapshot() == before
    assert tree.run("--undo").status == 0
    assert tree.snapshot() == before


def test_a_hard_link_never_crosses_a_reference_root(tree: CleanTree) -> None:
    """An edit of the name outside would change the reference; a reflink and the trash do no such thing."""
    tree.group(tree.file("ref/a", age=9), tree.file("b"))
    said = tree.run("--apply", "--how", "hardlink", "--reference", str(tree.root / "ref"))
    assert said.status == 1
    assert "b: left alone: a hard link would share " in said.err
    with reflinks():
        assert tree.run("--apply", "--how", "reflink", "--reference", str(tree.root / "ref")).status == 0


def test_another_file_system_has_no_hard_link(tree: CleanTree, tmp_path: Path) -> None:
    """It is said before anything is done."""
    folder = other_file_system(tmp_path)
    if folder is None:
        pytest.skip("there is no second file system to write to")
    elsewhere = folder / f"shazimd-test-{os.getpid()}"
    elsewhere.write_bytes(b"picture")
    try:
        tree.group(tree.file("a", age=9), os.fsencode(elsewhere))
        said = tree.run("--apply", "--how", "hardlink")
    finally:
        elsewhere.unlink()
    assert said.status == 1
    assert "left alone: it is on another file system than" in said.err


# ---- the undo


def test_the_latest_run_is_taken_back_by_default(tree: CleanTree) -> None:
    """Then the one before, and then there is none; a run may be named."""
    tree.group(tree.file("a", b"1", 9), tree.file("b", b"1"))
    first = run_id(tree.run("--apply").out)
    tree.groups.clear()
    tree.group(tree.file("c", b"2", 9), tree.file("d", b"2"))
    tree.run("--apply")
    assert tree.run("--undo").status == 0
    assert tree.names() == ["a", "c", "d"]
    assert [line.split()[1] for line in tree.run("--list").out.splitlines()] == ["done", "undone"]
    assert tree.run("--undo", first).status == 0
    assert tree.names() == ["a", "b", "c", "d"]
    assert tree.run("--undo").err == "shazimctl: no run is left to take back\n"
    assert "nothing is left to take back" in tree.run("--undo", first).err
    assert "no such run" in tree.run("--undo", "../../etc/passwd").err


def test_a_path_that_is_taken_is_left_alone(tree: CleanTree) -> None:
    """The undo names it, takes the others back, and may be repeated."""
    paths = [tree.file(name, age=9 - n) for n, name in enumerate("abc")]
    tree.group(*paths)
    tree.run("--apply")
    tree.file("b", b"new")
    said = tree.run("--undo")
    assert said.status == 4
    assert said.err == f"shazimctl: {tree.root}/b: another file is there now; move it away and undo again\n"
    assert "partly undone" in tree.run("--list").out
    assert (tree.names(), read(paths[1])) == (["a", "b", "c"], b"new")
    os.rename(paths[1], paths[1] + b".new")
    assert tree.run("--undo").status == 0
    assert read(paths[1]) == b"picture"


def test_a_folder_that_is_gone_is_made_again(tree: CleanTree) -> None:
    """An undo needs no empty folder to have stayed."""
    tree.group(tree.file("a", age=9), tree.file("sub/b"))
    before = tree.snapshot()
    tree.run("--apply")
    (tree.root / "sub").rmdir()
    assert tree.run("--undo").status == 0
    assert tree.snapshot() == before


def empty_trash(tree: CleanTree) -> None:
    for path in files_below(os.fsencode(tree.trash)):
        os.unlink(path)


def test_an_emptied_trash_is_no_loss_while_a_copy_is_there(tree: CleanTree) -> None:
    """The kept file has the same bytes, so the file is made from it, with its old time and mode."""
    tree.group(tree.file("a", age=9), tree.file("b", mode=0o600))
    before = tree.snapshot()
    tree.run("--apply")
    empty_trash(tree)
    assert tree.run("--undo").status == 0
    assert tree.snapshot() == before


def test_an_emptied_trash_without_such_a_copy_is_said(tree: CleanTree) -> None:
    """The kept file shows the same in other bytes."""
    tree.group(tree.file("a", b"1", 9), tree.file("b", b"2"))
    tree.run("--apply")
    empty_trash(tree)
    said = tree.run("--undo")
    assert said.status == 4
    assert said.err == f"shazimctl: {tree.root}/b: no longer in the trash, and no other file has its bytes\n"


def test_an_edit_after_a_hard_link_is_not_undone(tree: CleanTree) -> None:
    """Both names have the edit; the undo names the file and changes nothing."""
    kept, _ = pair(tree)
    tree.run("--apply", "--how", "hardlink")
    write(kept, b"edited!")
    after = tree.snapshot()
    said = tree.run("--undo")
    assert said.status == 4
    assert "b.jpg: another file is there now" in said.err
    assert tree.snapshot() == after


def test_a_moved_file_that_changed_is_not_taken_for_the_old_one(tree: CleanTree, tmp_path: Path) -> None:
    """An edited file stays where it was moved to; the old bytes come from the kept file."""
    _, other = pair(tree)
    tree.run("--apply", "--how", f"move:{tmp_path / 'moved'}")
    moved = os.fsencode(tmp_path / "moved") + other
    write(moved, b"edited")
    assert tree.run("--undo").status == 0
    assert (read(other), read(moved)) == (b"picture", b"edited")


def test_a_file_that_was_copied_to_the_trash_is_found(tree: CleanTree) -> None:
    """Out of a bind mount the trash can only copy, so the inode differs; bytes, time and mode come back."""
    if subprocess.run(["mount", "--bind", tree.root, tree.root], check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        kept, other = tree.file("a", age=9), tree.file("sub/b \xff", mode=0o600)
        tree.group(kept, other)
        before = tree.snapshot()
        applied = tree.run("--apply")
        names = tree.names()
        undone = tree.run("--undo")
        after = tree.snapshot()
    finally:
        subprocess.run(["umount", tree.root], check=True)
    assert (applied.status, names, undone.status) == (0, ["a"], 0)
    assert after == before
    assert list(files_below(os.fsencode(tree.trash / "files"))) == []  # Send2Trash leaves an info file of its first try


def test_a_trash_of_another_file_system_is_found(tree: CleanTree, tmp_path: Path) -> None:
    """Files there go to the trash at its top, and come back."""
    folder = other_file_system(tmp_path)
    if folder is None:
        pytest.skip("there is no second file system to write to")
    own = folder / f".Trash-{os.getuid()}"
    existed = own.exists()
    tree.root = folder / f"shazimd-test-{os.getpid()}"
    tree.root.mkdir()
    try:
        pair(tree)
        before = tree.snapshot()
        assert tree.run("--apply").status == 0
        assert tree.names() == ["a.jpg"]
        assert tree.run("--undo").status == 0
        assert tree.snapshot() == before
    finally:
        for path in files_below(os.fsencode(tree.root)):
            os.unlink(path)
        tree.root.rmdir()
        if not existed and own.exists():
            subprocess.run(["rm", "-r", own], check=True)


# ---- the journal


def test_a_journal_cut_short_is_read(tree: CleanTree) -> None:
    """The act of a line that is not whole never began; the undo writes on a line of its own."""
    pair(tree)
    run = run_id(tree.run("--apply").out)
    with open(journal.journal_path(run), "ab") as file:
        file.write(b'{"event": "act", "n": 2, "pa')
    assert tree.run("--undo").status == 0
    assert journal.read_run(run).state == "undone"


def test_a_journal_of_a_newer_version_is_refused(tree: CleanTree) -> None:
    """Its acts may be of a kind that is unknown here."""
    with journal.only_one():
        run = journal.Journal.new()
        run.close()
    path = Path(journal.journal_path(run.run))
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    said = tree.run("--undo", run.run)
    assert said.status == 4
    assert "made by a newer version of shazimd" in said.err


@pytest.mark.parametrize("line", ["[]", "{}", '{"event": "act", "n": 1}', "3"])
def test_a_damaged_journal_is_named(tree: CleanTree, line: str) -> None:
    """It is not taken for an empty one."""
    with journal.only_one():
        run = journal.Journal.new()
        run.close()
    with open(journal.journal_path(run.run), "a") as file:
        file.write(line + "\n")
    said = tree.run("--undo", run.run)
    assert said.status == 5
    assert f"{run.run}.jsonl: a line is damaged" in said.err


@pytest.mark.parametrize("words", [("--apply", "--undo"), ("--list", "--undo"), ("--apply", "--list")])
def test_only_one_thing_at_a_time(tree: CleanTree, words: tuple[str, ...]) -> None:
    """The three exclude each other."""
    assert tree.run(*words).status == 2


@pytest.mark.parametrize("how", ["delete", "move", "move:", "trash:x", ""])
def test_an_unknown_way_is_refused(tree: CleanTree, how: str) -> None:
    """The ways that there are, are named."""
    said = tree.run("--how", how)
    assert said.status == 2
    assert "expected trash, move:DIR, hardlink or reflink" in said.err


def test_the_daemon_never_imports_the_acts() -> None:
    """Only the command and the page do, in the user's process: the daemon writes to no watched file."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "shazimd.acting" in path.read_text() and path.parent.name not in ("acting", "web")
    }
    assert users == {"cli/clean.py"}
