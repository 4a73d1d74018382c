from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from drawn import picture
from file_formats import WRITERS
from patience import PATIENCE_S

from shazimd.config import WatchConfig
from shazimd.watch.filters import Filter
from shazimd.watch.listing import entries
from shazimd.watch.sniff import begins_like_a_picture


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.startswith("TGA")])
def test_every_format_begins_like_a_picture(tmp_path: Path, name: str) -> None:
    """But for TGA, which has no first bytes of its own."""
    file = tmp_path / "x"
    file.write_bytes(WRITERS[name](picture(64, 48)))
    assert begins_like_a_picture(bytes(file), follow_symlinks=False)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM is a good car",
        b"P1 is first",
        b"hello",
        b"%PDF-1.7",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0 ftypisom",
        bytes(99),
    ],
)
def test_other_files_do_not(tmp_path: Path, head: bytes) -> None:
    """Text, sound, films and zeros."""
    file = tmp_path / "x"
    file.write_bytes(head)
    assert not begins_like_a_picture(bytes(file), follow_symlinks=False)


def test_what_is_no_file_does_not_block(tmp_path: Path) -> None:
    """A FIFO without a writer, and a name that is gone; a link counts only where links are followed."""
    os.mkfifo(tmp_path / "pipe")
    found = threading.Thread(target=lambda: begins_like_a_picture(bytes(tmp_path / "pipe"), follow_symlinks=True))
    found.start()
    found.join(PATIENCE_S)
    assert not found.is_alive()
    assert not begins_like_a_picture(bytes(tmp_path / "gone"), follow_symlinks=True)


def test_a_listing_has_files_by_their_first_bytes_and_counts_the_rest(tmp_path: Path) -> None:
    """With ``sniff`` a picture without an extension is taken; excluded files are not passed over."""
    for name, data in (("a.png", b"\x89PNG\r\n\x1a\n"), ("digest", b"\xff\xd8\xff"), ("notes.txt", b"x"), (".x", b"x")):
        (tmp_path / name).write_bytes(data)
    plain, sniffing = (Filter(WatchConfig(path=str(tmp_path), sniff=sniff)) for sniff in (False, True))
    by_name, by_bytes = entries(bytes(tmp_path), plain), entries(bytes(tmp_path), sniffing)
    assert (set(by_name.files), by_name.passed_over) == ({b"a.png"}, 2)
    assert (set(by_bytes.files), by_bytes.passed_over) == ({b"a.png", b"digest"}, 1)
