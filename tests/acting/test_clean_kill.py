"""A clean-up that is killed at any system call is taken back whole; and so is one whose undo is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from cleaning import CleanTree, contents, reflinks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CALLS_MAX = 400


def populate(tree: CleanTree) -> None:
    """Two groups: one of three files with the same bytes, one of two with others and an odd name."""
    tree.file("unrelated.jpg", b"unrelated")
    tree.group(tree.file("a.jpg", b"one", 9), tree.file("b/a.jpg", b"one", 5, 0o640), tree.file("c.jpg", b"one", 1))
    tree.group(tree.file("d.jpg", b"two", 9), tree.file(b"odd \xff\n.jpg", b"two"))


def check_every_kill(tree: CleanTree, how: str, *places: Path) -> None:
    for at in range(1, CALLS_MAX):
        shutil.rmtree(tree.root)
        tree.groups.clear()
        populate(tree)
        before = tree.snapshot()
        known = contents(tree.root)
        killed = tree.killed(at, "--apply", "--how", how)
        assert known <= contents(tree.root, *(place for place in places if place.exists())), f"lost at call {at}"
        tree.killed(at * 7 % 23 + 1, "--undo")
        undone = tree.run("--undo")
        assert undone.status == 0 or "no run is left" in undone.err, f"call {at}: {undone.err}"
        assert tree.snapshot() == before, f"killed at call {at}"
        if not killed:
            return
    pytest.fail(f"there are more than {CALLS_MAX} calls")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["trash", "hardlink", "reflink"])
def test_a_kill_at_any_call_is_taken_back(tree: CleanTree, how: str) -> None:
    """Every file is at its path again, with its bytes, time and mode, and no temporary file is left."""
    with ExitStack() as stack:
        if how == "reflink":
            stack.enter_context(reflinks())
        check_every_kill(tree, how, tree.trash)
    assert not any((tree.trash / "files").iterdir()) if tree.trash.exists() else True


@pytest.mark.slow
def test_a_kill_in_a_move_is_taken_back(tree: CleanTree, tmp_path: Path) -> None:
    """On one file system a move is a rename."""
    check_every_kill(tree, f"move:{tmp_path / 'moved'}", tmp_path / "moved")
    assert contents(tmp_path / "moved") == set()


@pytest.mark.slow
def test_a_kill_in_a_move_to_another_file_system_is_taken_back(tree: CleanTree, elsewhere: Path) -> None:
    """A move across file systems is a copy and a removal."""
    check_every_kill(tree, f"move:{elsewhere}", elsewhere)
    assert contents(elsewhere) == set()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), how=st.sampled_from(["trash", "move", "hardlink", "reflink"]), at=st.integers(1, 120))
def test_any_tree_is_taken_back(data: st.DataObject, how: str, at: int) -> None:
    """Random trees, with hard links, symbolic links and odd names, and a kill anywhere: all is there again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tree = CleanTree(folder, stack.enter_context(pytest.MonkeyPatch.context()))
        stack.enter_context(reflinks())
        draw_groups(tree, data)
        before = tree.snapshot()
        words = ["--how", f"move:{folder / 'moved'}" if how == "move" else how]
        tree.killed(at, "--apply", "--verdict", "exact,copy", *words)
        places = [place for place in (tree.root, tree.trash, folder / "moved") if place.exists()]
        assert {content for content, *_ in before.values()} - links(before) <= contents(*places)
        tree.killed(data.draw(st.integers(1, 120)), "--undo")
        undone = tree.run("--undo")
        assert undone.status == 0 or "no run is left" in undone.err, undone.err
        assert tree.snapshot() == before


NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))


def draw_groups(tree: CleanTree, data: st.DataObject) -> None:
    taken: set[bytes] = set()
    for number in range(data.draw(st.integers(1, 3))):
        paths: list[bytes] = []
        for name in data.draw(
            st.lists(NAMES.filter(lambda name: name not in taken), min_size=2, max_size=5, unique=True)
        ):
            taken.add(name)
            path = os.path.join(os.fsencode(tree.root), b"d%d" % number, name)
            kind = data.draw(st.sampled_from(["same", "same", "other", "hard link", "symbolic link"]))
            if kind in ("same", "other") or not paths:
                own = name if kind == "other" else b""
                tree.file(path, b"picture %d" % number + own, data.draw(st.integers(0, 9)))
            elif kind == "hard link":
                os.link(paths[0], path)
            else:
                os.symlink(paths[0], path)
            paths.append(path)
        tree.group(*paths, verdicts=data.draw(st.lists(VERDICTS, min_size=len(paths) - 1, max_size=len(paths) - 1)))


VERDICTS = st.sampled_from(["exact", "exact", "copy"])


def links(snapshot: dict[bytes, tuple[bytes, int, int]]) -> set[bytes]:
    """The targets of the symbolic links, which are no contents."""
    return {content for path, (content, *_) in snapshot.items() if os.path.islink(path)}
