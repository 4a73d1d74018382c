"""Every job gives in a confined worker what it gives here: all that it imports and opens is there before."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import pytest
from drawn import encoded, photograph, picture
from file_formats import EXTRA_WRITERS, WRITERS
from PIL import Image

from shazimd.errors import ShazimdError
from shazimd.types import Mapping
from shazimd.workers import jobs
from shazimd.workers.pool import WorkerPool

FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "HEIF", "AVIF", "JXL", "GIF", "TIFF"),
    *("BMP", "DIB", "JPEG2000", "ICO", "PPM", "SGI", "PCX", "TGA", "QOI"),
)
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
MODES = ["1", "L", "P", "LA", "RGBA", "CMYK", "LAB", "I;16", "I", "F"]
PIXELS_MAX = 1_000_000


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=PIXELS_MAX) as pool:
        yield pool


def _pictures() -> list[bytes]:
    """One of each format, with EXIF; one of each mode; and files that are none, whose errors quote them."""
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "Maker", 0x9C9B: "caf\xe9".encode("utf-16-le"), 0x0132: "2024:05:01 12:00:00"})
    drawn = [encoded(photograph(160, 120), name, **{"exif": exif} if name in WITH_EXIF else {}) for name in FORMATS]
    for mode in MODES:
        image = Image.new("LAB", (64, 64), (90, 140, 99)) if mode == "LAB" else picture().convert("L").convert(mode)
        drawn.append(encoded(image, "TIFF"))
    return [*drawn, b"", b"\x1b[2J\n", "\u202e".encode() * 9, drawn[0][:900], encoded(picture(), "PNG")[:-40]]


def test_every_format_is_decoded(pool: WorkerPool) -> None:
    """To the same fingerprint, facts and screen picture, or with the same error."""
    for data in _pictures():
        _same(pool, jobs.query, data, None, PIXELS_MAX, True)
        _same(pool, jobs.query_without_points, data, None, PIXELS_MAX)
        _same(pool, jobs.points, data, PIXELS_MAX)
        _same(pool, jobs.picture_facts, data, PIXELS_MAX)
        _same(pool, jobs.rendition, data, 64, PIXELS_MAX)


def test_every_reader_decodes(pool: WorkerPool) -> None:
    """Files that Pillow refuses need no file and no module that was not there before."""
    extra = EXTRA_WRITERS if importlib.util.find_spec("imagecodecs") else {}
    for write in (WRITERS | extra).values():
        _same(pool, jobs.rendition, write(picture(64, 48)), 64, PIXELS_MAX)


def test_pairs_are_compared(pool: WorkerPool) -> None:
    """Verified, laid on each other for their lineage, and their points matched."""
    original, copy = encoded(photograph(), "PNG"), encoded(photograph().resize((360, 270)), "JPEG")
    asked, known = (jobs.query(data, None, PIXELS_MAX, True).features for data in (copy, original))
    _same(pool, jobs.verify_all, asked, [known])
    _same(pool, jobs.matched_points, copy, original, PIXELS_MAX)
    _same(pool, jobs.lineage, copy, original, Mapping(1.0, 0.0, False, (0.0, 0.0, 1.0, 1.0)), PIXELS_MAX)


def _same(pool: WorkerPool, job: Callable[..., object], *arguments: object) -> None:
    assert _outcome(lambda: job(*arguments)) == _outcome(lambda: pool.submit(job, *arguments).result())


def _outcome(run: Callable[[], object]) -> str:
    try:
        return repr(run())
    except ShazimdError as error:
        return repr(error)
