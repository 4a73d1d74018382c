"""Files and trees that are made, changed, moved and removed below a root."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import wait_for
from watch_files import MakeMirror, write

from shazimd.watch.events import FileEvent, Kind, Stage


def write_in_parts(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(5):
            file.write(b"part")


def write_temporary(path: Path) -> None:
    path.with_name("x.jpg.part").write_bytes(b"picture")
    path.with_name("x.jpg.part").rename(path)


def copy(path: Path) -> None:
    path.parent.with_name("source.jpg").write_bytes(b"picture")
    subprocess.run(["cp", "-p", path.parent.with_name("source.jpg"), path], check=True)


def move_in(path: Path) -> None:
    path.parent.with_name("source.jpg").write_bytes(b"picture")
    path.parent.with_name("source.jpg").rename(path)


def link(path: Path) -> None:
    path.parent.with_name("source.jpg").write_bytes(b"picture")
    os.link(path.parent.with_name("source.jpg"), path)


@pytest.mark.parametrize("make", [write, write_in_parts, write_temporary, copy, move_in, link])
@pytest.mark.parametrize("name", [b"a.jpg", b"new\nline.JPEG", b"\xff\xfe.png", b"x" * 251 + b".gif"])
def test_a_new_file_is_given_once(mirror: MakeMirror, root: Path, make: Callable[[Path], None], name: bytes) -> None:
    """However it comes to be there and whatever its name."""
    m = mirror()
    m.clear()
    path = root / os.fsdecode(name)
    with m.in_no_time():
        make(path)
    wait_for(lambda: m.given)
    m.wait_until_true()
    assert [FileEvent(Kind.FILE, os.fsencode(path), stage=Stage.CLOSED)] == m.given


def truncate(path: Path) -> None:
    os.truncate(path, 3)


def touch(path: Path) -> None:
    os.utime(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    path.with_name("new.tmp").write_bytes(b"picture")
    path.with_name("new.tmp").replace(path)


def chmod(path: Path) -> None:
    path.chmod(0o600)


def write_through_a_map(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        pages[0:1] = b"P"


@pytest.mark.parametrize("change", [truncate, touch, append, replace, chmod, write_through_a_map, os.unlink])
def test_a_change_is_given(mirror: MakeMirror, root: Path, change: Callable[[Path], None]) -> None:
    """Whatever changes a file, its content, its stat or who may read it, is heard."""
    m = mirror()
    path = root / "a.jpg"
    write(path)
    m.wait_until_true()
    m.clear()
    change(path)
    wait_for(lambda: os.fsencode(path) in m.given_files())
    m.wait_until_true()


def test_a_file_that_nobody_closes_is_given(mirror: MakeMirror, root: Path) -> None:
    """A sender that pauses for good is not waited for: size and mtime tell."""
    m = mirror()
    with (root / "a.jpg").open("wb", buffering=0) as file:
        file.write(b"part")
        wait_for(lambda: os.fsencode(root / "a.jpg") in m.given_files())
        m.wait_until_true()


def test_reading_makes_no_events(mirror: MakeMirror, root: Path) -> None:
    """Our own work must not feed our own queue."""
    m = mirror()
    write(root / "a.jpg")
    m.wait_until_true()
    m.clear()
    (root / "a.jpg").read_bytes()
    os.listdir(root)
    write(root / "b.jpg")
    m.wait_until_true()
    assert {os.fsencode(root / "b.jpg")} == {event.path for event in m.events}


def test_other_files_make_no_hints(mirror: MakeMirror, root: Path) -> None:
    """What is no image, or is excluded, is not spoken of."""
    m = mirror(exclude=("no*",))
    m.clear()
    for name in ("a.txt", "b", "no.jpg", "jpg", ".jpgg"):
        write(root / name)
    write(root / "yes.jpg")
    m.wait_until_true()
    assert {os.fsencode(root / "yes.jpg")} == {event.path for event in m.events}


def test_excluded_directories_get_no_watch(mirror: MakeMirror, root: Path) -> None:
    """Neither those that were there, nor new ones, nor those renamed to an excluded name."""
    (root / "@eaDir" / "deep").mkdir(parents=True)
    (root / "a").mkdir()
    m = mirror()
    assert 2 == m.status()["watched_dirs"]
    (root / "b" / "@eaDir").mkdir(parents=True)
    wait_for(lambda: m.status()["watched_dirs"] == 3)
    (root / "a").rename(root / ".a")
    wait_for(lambda: m.status()["watched_dirs"] == 2)
    wait_for(lambda: os.fsencode(root / "a") in m.given_trees())


def test_a_deleted_file_is_told_at_once(mirror: MakeMirror, root: Path) -> None:
    """What is gone needs no rest."""
    m = mirror()
    write(root / "a.jpg")
    m.wait_until_true()
    m.clear()
    (root / "a.jpg").unlink()
    wait_for(lambda: m.given)
    assert [FileEvent(Kind.FILE, os.fsencode(root / "a.jpg"), stage=Stage.GONE)] == m.given


@pytest.mark.usefixtures("whole_renames")
def test_a_renamed_file_is_told_as_moved_then_looked_at(mirror: MakeMirror, root: Path) -> None:
    """Both names are images: one MOVED, then FILE for the new name."""
    m = mirror()
    write(root / "a.jpg")
    m.wait_until_true()
    m.clear()
    (root / "a.jpg").rename(root / "b.jpg")
    old, new = os.fsencode(root / "a.jpg"), os.fsencode(root / "b.jpg")
    wait_for(lambda: len(m.given) == 2)
    assert [FileEvent(Kind.MOVED, new, old), FileEvent(Kind.FILE, new, stage=Stage.CLOSED)] == m.given


def test_a_file_moved_out_is_gone(mirror: MakeMirror, root: Path, tmp_path: Path) -> None:
    """A MOVED_FROM without its other half is a deletion."""
    m = mirror()
    write(root / "a.jpg")
    m.wait_until_true()
    m.clear()
    (root / "a.jpg").rename(tmp_path / "a.jpg")
    wait_for(lambda: m.given)
    assert [FileEvent(Kind.FILE, os.fsencode(root / "a.jpg"), stage=Stage.GONE)] == m.given


@pytest.mark.usefixtures("whole_renames")
def test_a_tree_moved_within_is_moved_and_still_watched(mirror: MakeMirror, root: Path) -> None:
    """A directory's rename is one MOVED, and events below it bear its new name."""
    (root / "a" / "deep").mkdir(parents=True)
    write(root / "a" / "deep" / "1.jpg")
    m = mirror()
    m.clear()
    (root / "a").rename(root / "b")
    wait_for(lambda: os.fsencode(root / "b") in m.given_trees())
    assert FileEvent(Kind.MOVED, os.fsencode(root / "b"), os.fsencode(root / "a")) == m.given[0]
    assert 3 == m.status()["watched_dirs"]
    m.clear()
    write(root / "b" / "deep" / "2.jpg")
    wait_for(lambda: os.fsencode(root / "b" / "deep" / "2.jpg") in m.given_files())


@pytest.mark.usefixtures("whole_renames")
def test_a_tree_moved_between_roots_is_moved(mirror: MakeMirror, tmp_path: Path) -> None:
    """One inotify instance serves all roots, so a rename between them is seen whole."""
    one, two = tmp_path / "one", tmp_path / "two"
    m = mirror(one, two)
    (one / "a").mkdir()
    write(one / "a" / "1.jpg")
    m.wait_until_true()
    m.clear()
    (one / "a").rename(two / "b")
    wait_for(lambda: os.fsencode(two / "b") in m.given_trees())
    assert FileEvent(Kind.MOVED, os.fsencode(two / "b"), os.fsencode(one / "a")) in m.given
    write(two / "b" / "2.jpg")
    m.wait_until_true()
    assert [1, 2] == [each.status()["watched_dirs"] for each in m.watchers]


def test_a_tree_moved_in_is_told_and_watched(mirror: MakeMirror, root: Path, tmp_path: Path) -> None:
    """One TREE event, after the watches are set."""
    (tmp_path / "a" / "deep").mkdir(parents=True)
    write(tmp_path / "a" / "deep" / "1.jpg")
    m = mirror()
    (tmp_path / "a").rename(root / "a")
    m.wait_until_true()
    assert os.fsencode(root / "a") in m.given_trees()
    write(root / "a" / "deep" / "2.jpg")
    wait_for(lambda: os.fsencode(root / "a" / "deep" / "2.jpg") in m.given_files())


def test_a_tree_moved_out_is_told_and_watched_no_more(mirror: MakeMirror, root: Path, tmp_path: Path) -> None:
    """No watch stays behind that would speak of a path that is gone."""
    (root / "a" / "deep").mkdir(parents=True)
    m = mirror()
    m.clear()
    (root / "a").rename(tmp_path / "a")
    wait_for(lambda: os.fsencode(root / "a") in m.given_trees())
    assert 1 == m.status()["watched_dirs"]
    m.clear()
    write(tmp_path / "a" / "deep" / "1.jpg")
    write(root / "b.jpg")
    wait_for(lambda: os.fsencode(root / "b.jpg") in m.given_files())
    assert {os.fsencode(root / "b.jpg")} == {event.path for event in m.events}


CHAOS = """
import os, random, shutil, sys
root, seed = sys.argv[1], int(sys.argv[2])
os.makedirs(root + "-out")
random.seed(seed)
for i in range(120):
    deep = os.path.join(root, *(random.choice("abc") for _ in range(random.randint(1, 8))))
    os.makedirs(deep, exist_ok=True)
    open(os.path.join(deep, f"{i}.jpg"), "wb").close()
    there = [os.path.join(root, name) for name in os.listdir(root)]
    act = random.random()
    if act < 0.1:
        shutil.rmtree(random.choice(there))
    elif act < 0.2 and len(there) > 1:
        os.rename(random.choice(there), os.path.join(root, f"m{i}"))
    elif act < 0.3:
        os.rename(random.choice(there), os.path.join(root + "-out", str(i)))
"""


def test_nothing_is_missed_in_deep_trees_made_in_haste(mirror: MakeMirror, root: Path) -> None:
    """Trees made, moved, moved out and removed by three other processes, as fast as they can."""
    m = mirror()
    makers = [subprocess.Popen([sys.executable, "-c", CHAOS, str(root / name), name]) for name in "123"]
    assert [0, 0, 0] == [maker.wait() for maker in makers]
    m.wait_until_true()
    directories = 1 + sum(len(names) for _, names, _ in os.walk(root))
    wait_for(lambda: m.status()["watched_dirs"] == directories)
