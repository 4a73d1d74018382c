from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from album import PIXELS_MAX
from drawn import encoded, picture
from patience import tick
from PIL import Image

from shazimd.errors import BadInput, NotAnImage, NotFound, Unreadable
from shazimd.web.cache import PictureCache
from shazimd.web.pictures import ScreenPictures
from shazimd.workers.pool import WorkerPool


@pytest.fixture
def pictures(pool: WorkerPool, tmp_path: Path) -> ScreenPictures:
    return ScreenPictures(pool, PictureCache(str(tmp_path / "cache")), PIXELS_MAX)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(800, 600), "PNG"))
    return path


def size(jpeg: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(jpeg)).size


def test_a_picture_is_made_once(pictures: ScreenPictures, file: Path, tmp_path: Path) -> None:
    """Then it comes from the cache, whose files only the user may read."""
    made = pictures.get(os.fsencode(file), "small")
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

    assert ((480, 360), 1) == (size(made.jpeg), len(kept))
    assert 0o600 == stat.S_IMODE(kept[0].stat().st_mode)
    kept[0].write_bytes(b"from the cache")
    assert b"from the cache" == pictures.get(os.fsencode(file), "small").jpeg


def test_a_changed_file_is_shown_as_it_is_now(pictures: ScreenPictures, file: Path) -> None:
    """Also one with the same size and time as before."""
    versions = [encoded(picture(800, 600, seed=seed), "PNG").ljust(1 << 20, b"\0") for seed in (1, 2)]
    file.write_bytes(versions[0])
    before, status = pictures.get(os.fsencode(file), "small"), file.stat()
    tick()  # no program can set the time of a change
    file.write_bytes(versions[1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    after = pictures.get(os.fsencode(file), "small")
    assert (True, True) == (before.key != after.key, before.jpeg != after.jpeg)


def test_a_link_is_good_for_its_file_alone(pictures: ScreenPictures, file: Path) -> None:
    """A changed link, or one of another start of the page, names no file."""
    path = os.fsencode(file)
    link = pictures.link(path)
    name, _, signature = link.rpartition(".")

    assert path == pictures.path_of(link)
    for forged in (
        pictures.link(b"/etc/passwd").rpartition(".")[0] + f".{signature}",
        f"{name}.0",
        "x",
        f"!.{signature}",
    ):
        with pytest.raises(NotFound):
            pictures.path_of(forged)


def test_paths_need_not_be_text(pictures: ScreenPictures, file: Path, tmp_path: Path) -> None:
    """A name of any bytes is linked to, and shown."""
    odd = os.fsencode(tmp_path) + b"/\xff \n'<.png"
    os.rename(file, odd)

    assert (480, 360) == size(pictures.get(pictures.path_of(pictures.link(odd)), "small").jpeg)


def test_what_is_no_picture_is_refused_with_the_reason(pictures: ScreenPictures, file: Path, tmp_path: Path) -> None:
    """Gone, a link, a pipe, another kind of file, no right."""
    link, pipe, text = tmp_path / "link", tmp_path / "pipe", tmp_path / "text"
    link.symlink_to(file)
    os.mkfifo(pipe)
    text.write_text("no picture")
    for path, error in ((tmp_path / "gone", NotFound), (link, Unreadable), (pipe, BadInput), (text, NotAnImage)):
        with pytest.raises(error):
            pictures.get(os.fsencode(path), "small")


def test_the_cache_has_a_bound(tmp_path: Path) -> None:
    """The files used longest ago go first."""
    cache = PictureCache(str(tmp_path), bytes_max=1000)
    for n in range(12):
        cache.put(f"{n:040x}", bytes(90))
        os.utime(tmp_path / f"{n:040x}"[:2] / f"{n:040x}"[2:], (n, n))
    kept = [n for n in range(12) if cache.get(f"{n:040x}") is not None]

    assert 11 in kept
    assert 0 not in kept
    assert len(kept) * 90 <= 1000


def test_a_cache_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    """Pictures are then made each time."""
    (tmp_path / "file").write_text("")
    cache = PictureCache(str(tmp_path / "file"))
    cache.put("00" * 20, b"bytes")

    assert cache.get("00" * 20) is None
