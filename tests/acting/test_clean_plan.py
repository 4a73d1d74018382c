"""`shazimctl clean` before it acts: the groups and files that it chooses, on real files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cleaning import CleanTree, digest, pair, read, write

from shazimd.acting import plan
from shazimd.acting.facts import read_state
from shazimd.acting.plan import CleanRequest, Planner
from shazimd.errors import UsageError
from shazimd.text import path_bytes

PACKAGE = Path(__file__).resolve().parents[2] / "shazimd"


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


def test_a_file_with_other_bytes_of_the_same_length_is_left_alone(tree: CleanTree) -> None:
    """It was edited, and the daemon has yet to read it again."""
    kept, edited = tree.file("a", b"one", 9), tree.file("b", b"one")
    tree.group(kept, edited, tree.file("c", b"one"))
    for member in tree.groups[0]["members"]:
        member["content"] = digest(b"one")
    write(edited, b"two")
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (4, ["a", "b"])
    assert said.err == f"shazimctl: {edited.decode()}: changed since it was indexed\n"


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


@pytest.mark.parametrize("option", ["--reference", "--root"])
@pytest.mark.parametrize("name", ["~/archive", "no/such", "a", ""])
def test_a_root_that_is_no_directory_is_refused(tree: CleanTree, option: str, name: str) -> None:
    """It would protect nothing; a shell passes on ~ after =."""
    pair(tree)
    (tree.root / "a").write_bytes(b"a file")
    root = name and str(tree.root / name)
    said = tree.run("--apply", f"{option}={root}")
    assert (said.status, tree.names()) == (2, ["a", "a.jpg", "b.jpg"])
    assert (f"{root}: no such directory" if name else f"argument {option}: '' found, expected a path") in said.err


def test_a_reference_root_that_vanishes_protects_the_files_to_come(tree: CleanTree) -> None:
    """Such as by an unmounting: each file is named and left alone."""
    kept, other = pair(tree)
    reference = tree.root / "ref"
    reference.mkdir()
    planner = Planner(CleanRequest(reference=(os.fsencode(reference),)))
    reference.rmdir()
    assert planner.plans(tree.groups[0]) == []
    assert planner.problems == 2 * [f"{reference}: no such directory, so the files below it can't be told from others"]
    with pytest.raises(UsageError, match="no such directory"):
        Planner(planner.request)
    assert (read(kept), read(other)) == (b"picture", b"picture")


def left_beside_a_damaged_reference(tree: CleanTree, *whole: str) -> list[str]:
    """The files left by a clean-up of whole files and a damaged copy, ref/a, with the reference root ref."""
    damaged = tree.file("ref/a", b"cut", age=9)
    same = [tree.file(name, b"whole") for name in whole]
    tree.group(*same, damaged, verdicts=["exact"] * (len(same) - 1) + ["copy"], damaged=[damaged])
    tree.groups[0]["reason"] = "not damaged"
    tree.run("--apply", "--verdict", "exact,copy", "--reference", str(tree.root / "ref"))
    return tree.names()


def test_a_whole_file_stays_beside_a_damaged_one_of_a_reference_root(tree: CleanTree) -> None:
    """The whole file is kept, and the damaged one is not acted on."""
    assert left_beside_a_damaged_reference(tree, "b") == ["b", "ref/a"]


def test_one_of_several_whole_files_stays_beside_a_damaged_one_of_a_reference_root(tree: CleanTree) -> None:
    """The reference root has none of them, so the first of those outside is kept."""
    assert left_beside_a_damaged_reference(tree, "b", "c") == ["b", "ref/a"]


def test_whole_files_outside_go_where_the_reference_root_has_one(tree: CleanTree) -> None:
    """Beside it the damaged file stays, too."""
    assert left_beside_a_damaged_reference(tree, "b", "ref/c") == ["ref/a", "ref/c"]


def damaged_and_whole(tree: CleanTree, **more: Any) -> tuple[bytes, bytes]:
    """A group of a whole file, in/b, and a damaged copy, album/a, which is older."""
    damaged, whole = tree.file("album/a", b"cut", age=9), tree.file("in/b", b"whole")
    tree.group(whole, damaged, verdicts=["copy"], damaged=[damaged], **more)
    tree.groups[0]["reason"] = "not damaged"
    return damaged, whole


@pytest.mark.parametrize("rule", ["path:*/album/*", "name:a", "age:oldest"])
def test_no_rule_keeps_a_damaged_file(tree: CleanTree, rule: str) -> None:
    """The whole file is kept, and the reason says why."""
    _, whole = damaged_and_whole(tree)
    said = tree.run("--apply", "--verdict", "exact,copy", "--prefer", rule)
    assert f"keep      {whole.decode()}\n          400x300, 5 B: not damaged\n" in said.out
    assert tree.names() == ["in/b"]


def test_a_damaged_file_that_is_larger_stays(tree: CleanTree) -> None:
    """It may show more than the whole file, which is kept."""
    damaged_and_whole(tree, sizes=[(400, 300), (800, 600)])
    said = tree.run("--apply", "--verdict", "exact,copy", "--prefer", "name:a")
    assert (said.status, tree.names()) == (1, ["album/a", "in/b"])
    assert "a: left alone: it is larger than " in said.err


def test_a_whole_file_stays_beside_a_damaged_one_outside_the_roots(tree: CleanTree) -> None:
    """Only files below --root are acted on, and the file there is the whole one."""
    damaged_and_whole(tree)
    words = ("--apply", "--verdict", "exact,copy", "--prefer", "name:a", "--root", str(tree.root / "in"))
    assert tree.run(*words).status == 1
    assert tree.names() == ["album/a", "in/b"]


def test_a_damaged_file_that_a_person_chose_is_kept(tree: CleanTree) -> None:
    """The decision is stronger than the damage."""
    damaged, whole = tree.file("a", b"cut"), tree.file("b", b"whole", age=9)
    tree.group(damaged, whole, verdicts=["copy"], damaged=[damaged])
    tree.groups[0] |= {"reason": "your decision", "decision": 7}
    assert tree.run("--apply", "--verdict", "exact,copy").status == 0
    assert tree.names() == ["a"]


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


def test_a_file_seen_through_two_mounts_is_left_alone(tree: CleanTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a pool of disks and one of its disks: each shows the inode with a device of its own."""
    on_disk, in_pool = tree.file("disk/a", age=2), tree.file("pool/a", age=2)
    shown = replace(read_state(on_disk), device=0)
    monkeypatch.setattr(plan, "read_state", lambda path: shown if path == in_pool else read_state(path))
    tree.group(on_disk)
    tree.groups[0]["members"][0]["also"] = [{"path": in_pool.decode()}]
    assert (tree.run("--apply").status, tree.names()) == (1, ["disk/a", "pool/a"])

    tree.groups.clear()
    tree.group(tree.file("kept", age=9), on_disk)
    tree.groups[0]["members"][1]["also"] = [{"path": in_pool.decode()}]
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (1, ["disk/a", "kept", "pool/a"])
    assert f"disk/a: left alone: {in_pool.decode()} may be this file, seen through another mount" in said.err

    assert (tree.run("--apply", "--prefer", "path:*/disk/*").status, tree.names()) == (0, ["disk/a", "pool/a"])


def test_a_file_that_is_to_stay_may_be_kept_and_is_never_acted_on(tree: CleanTree) -> None:
    """By a decision to leave it; another copy of the same picture has come since."""
    left, new, newer = tree.file("left"), tree.file("new", age=9), tree.file("newer")
    tree.group(new, left, newer)
    tree.groups[0]["members"][1]["stays"] = True
    said = tree.run("--apply")
    assert (said.status, tree.names()) == (0, ["left", "new"])
    assert said.err == f"shazimctl: {left.decode()}: left alone: you decided that it is to stay (shazimctl decisions)\n"
    tree.groups.clear()
    tree.group(left, new)
    tree.groups[0]["members"][0]["stays"] = True
    assert (tree.run("--apply", "--prefer", "name:left").status, tree.names()) == (0, ["left"])


def test_json_has_each_plan_and_the_totals(tree: CleanTree) -> None:
    """One object a line; a path that is not UTF-8 is exact in base64."""
    kept, other = tree.file("a", age=9), tree.file(b"b\xff")
    tree.group(kept, other)
    plan, totals = map(json.loads, tree.run("--json").out.splitlines())
    assert plan["keep"] == {"path": kept.decode(), "size_bytes": 7, "reason": "oldest"}
    (act,) = plan["acts"]
    assert path_bytes(act) == other
    assert (act["how"], act["verdict"], act["size_bytes"], act["error"]) == ("trash", "exact", 7, None)
    assert totals == {"groups": 1, "files": 1, "saves_bytes": 7, "skipped": 0, "applied": False, "run": None}
    totals = json.loads(tree.run("--json", "--apply").out.splitlines()[-1])
    assert totals["applied"]
    assert [json.loads(line)["state"] for line in tree.run("--list", "--json").out.splitlines()] == ["done"]


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
    """Only the command and the page do, in the user's process, and the uninstallation, which keeps their journals: the
    daemon writes to no watched file."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "shazimd.acting" in path.read_text() and path.parent.name not in ("acting", "web")
    }
    assert users == {"cli/clean.py", "cli/service.py"}
