"""`shazimctl clean`: the acts, the undo and its journal, on real files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from cleaning import CleanTree, files_below, other_file_system, pair, read, reflinks, run_id, write

from shazimd.acting import journal

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


@pytest.mark.parametrize("across", [False, True])
def test_two_moves_get_names_of_their_own(tree: CleanTree, elsewhere: Path, tmp_path: Path, across: bool) -> None:
    """Also where the number that one name gets is the other's name."""
    paths = [tree.file(name, age=age) for name, age in (("kept.jpg", 9), ("a.jpg", 2), ("a (2).jpg", 1))]
    folder = elsewhere if across else tmp_path / "moved"
    below = Path(f"{folder}{tree.root}")
    below.mkdir(parents=True)
    (below / "a.jpg").write_bytes(b"another")
    tree.group(*paths)
    before = tree.snapshot()
    assert tree.run("--apply", "--how", f"move:{folder}").status == 0
    assert {path.name: path.read_bytes() for path in below.iterdir()} == {
        "a.jpg": b"another",
        "a (2).jpg": b"picture",
        "a (2) (2).jpg": b"picture",
    }
    assert tree.run("--undo").status == 0
    assert (tree.snapshot(), [path.name for path in below.iterdir()]) == (before, ["a.jpg"])


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


def test_another_file_system_has_no_hard_link(tree: CleanTree, elsewhere: Path) -> None:
    """It is said before anything is done."""
    (elsewhere / "b").write_bytes(b"picture")
    tree.group(tree.file("a", age=9), os.fsencode(elsewhere / "b"))
    said = tree.run("--apply", "--how", "hardlink")
    assert said.status == 1
    assert "left alone: it is on another file system than" in said.err


# ---- the undo


def test_an_undo_of_an_empty_run_is_not_that_of_the_latest(tree: CleanTree) -> None:
    """The variable of a script may be empty."""
    pair(tree)
    assert tree.run("--apply", "--how", "hardlink").status == 0
    assert (tree.run("--undo", "").status, tree.run("--undo").status) == (4, 0)


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


def test_an_unreadable_journal_stands_in_the_list_of_all(tree: CleanTree) -> None:
    """An undo of the latest run undoes no earlier one in its place, but names it."""
    pair(tree)
    before = tree.snapshot()
    run = run_id(tree.run("--apply").out)
    Path(journal.journal_path("20000101-000000")).write_text("[]\n")
    assert [line.split()[:2] for line in tree.run("--list").out.splitlines()] == [
        ["20000101-000000", "unreadable"],
        [run, "done"],
    ]
    newer = Path(journal.journal_path("29990101-000000"))
    newer.write_text('{"event": "begin", "version": 2}\n')
    said = tree.run("--undo")
    assert (said.status, tree.names()) == (5, ["a.jpg"])
    assert "made by a newer version of shazimd, which can take it back; for the run before" in said.err
    assert said.err.endswith(f": shazimctl clean --undo {run}\n")
    assert json.loads(tree.run("--list", "--json").out.splitlines()[2])["error"] in said.err
    newer.unlink()
    assert tree.run("--undo").status == 0
    assert tree.snapshot() == before
    assert "a line is damaged" in tree.run("--undo").err


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
