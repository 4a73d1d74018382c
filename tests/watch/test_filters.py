from __future__ import annotations

import re
from pathlib import Path

import pytest

from shazimd.config import WatchConfig
from shazimd.watch.filters import EXTENSIONS, Filter


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
