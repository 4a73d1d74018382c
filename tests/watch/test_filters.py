from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from shazimd.config import WatchConfig
from shazimd.text import NAME_BYTES_MAX
from shazimd.watch.filters import EXTENSIONS, Filter, images_below


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.jpg", True),
        (b"a.JPEG", True),
        (b"a.b.HeIc", True),
        (b"\xff\n.png", True),
        (b"a.jpg.part", False),
        (b"a.txt", False),
        (b"jpg", False),
        (b"a.", False),
        (b".hidden.jpg", False),
        (b".a.jpg.Xy12Zq", False),
    ],
)
def test_which_files_may_be_images(name: bytes, expected: bool) -> None:
    """By extension in any case, and not excluded."""
    assert expected == Filter(WatchConfig(path="/r")).takes(name)


def test_excludes_are_globs_on_bytes() -> None:
    """Also where a name or a glob is not ASCII; an empty list excludes nothing."""
    rules = Filter(WatchConfig(path="/r", exclude=("bü*", "x[0-9]")))
    assert [False, False, True] == [rules.enters(n) for n in ("bücher".encode(), b"x7", b"\xffx7")]
    assert Filter(WatchConfig(path="/r", exclude=())).enters(b".git")


def test_names_that_the_store_does_not_take_are_left_out() -> None:
    """NTFS has 255 UTF-16 units, up to 765 bytes. A question about the files of a directory has no such limit."""
    rules = Filter(WatchConfig(path="/r", exclude=("x*",)))
    longest = b"n" * (NAME_BYTES_MAX - 4) + b".jpg"
    assert (True, True, False) == (rules.takes(longest), rules.enters(longest), rules.passes_over(longest))
    assert (False, False, None) == (rules.enters(b"x" + longest), rules.passes_over(b"x" + longest), rules.too_long)
    longer = b"n" + longest
    assert (False, False, True) == (rules.takes(longer), rules.enters(longer), rules.passes_over(longer))
    assert [False, False] == [rules.admits(path) for path in (b"/r/" + longer, b"/r/" + longer + b"/a.jpg")]
    assert longer == rules.too_long
    assert Filter(WatchConfig(path="/r"), name_bytes_max=sys.maxsize).takes(longer)


def test_images_below_a_directory_are_files(tmp_path: Path) -> None:
    """No FIFO, socket or device, also behind a link; a link that leads nowhere stays, for its error to be reported."""
    for name in ("a.jpg", "notes.txt", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"image")
    os.mkfifo(tmp_path / "pipe.jpg")
    links = {"link.jpg": "a.jpg", "to_pipe.jpg": "pipe.jpg", "null.jpg": os.devnull, "x.jpg": "gone"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.jpg"))
    expected = [str(tmp_path / name) for name in ("a.jpg", "link.jpg", "x.jpg", "sub/b.png")]
    assert expected == list(images_below(str(tmp_path), lambda error: pytest.fail(str(error))))


def test_a_path_is_admitted_when_all_its_parts_are() -> None:
    """Every directory between the root and the file counts, the root's own path does not."""
    rules = Filter(WatchConfig(path="/.home//r/../r/"))
    assert b"/.home/r" == rules.root
    paths = (b"/.home/r/a/b.jpg", b"/.home/r/b.jpg", b"/.home/r/.a/b.jpg", b"/.home/r/a/b.txt")
    assert [True, True, False, False] == [rules.admits(path) for path in paths]


def test_the_readme_has_every_name() -> None:
    """The table of formats names each extension once."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("\n## Formats\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| ([a-z0-9 ]+) \| [^|]+ \|$", section, re.MULTILINE)[1:]
    assert sorted(b" ".join(EXTENSIONS).decode().split()) == sorted(" ".join(rows).split())
