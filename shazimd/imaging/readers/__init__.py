"""Readers of pictures that Pillow alone refuses, gets wrong or takes too much memory for. Most are tried in turn once
Pillow has failed.

    reading.py   the result of a reader             cut.py       JPEG cut short, PNG cut short or with odd chunks
    tiff.py      deep, signed, float samples        raw.py       the preview in a camera's raw file
    photoshop.py PSD of 16 and 32 bits, PSB         bitmap.py    BMP with other bit fields, or cut short
    targa.py     TGA from every corner, with maps   floats.py    PFM and PAM; radiance.py  HDR
    webp.py      still WebP, in half the memory
    avif.py, jp2.py  pictures within broken boxes  codecs.py    12-bit JPEG, JPEG-LS, JPEG XR and others, by an extra

A reader takes (bytes, max_pixels) and returns a ``Reading``, or None for a file of another kind; it checks the size
before it decodes. All that the readers need is imported with this package: a worker gives up opening files before its
first job, so a later import would fail there.
"""

from __future__ import annotations

from collections.abc import Callable

from shazimd.imaging.readers import avif, bitmap, codecs, cut, floats, jp2, photoshop, radiance, raw, targa, tiff, webp
from shazimd.imaging.readers.reading import Reading

Reader = Callable[[bytes, int], Reading | None]

BEFORE_PILLOW: tuple[Reader, ...] = (raw.read, codecs.first_frame_of_jxl, webp.read)
AFTER_PILLOW: tuple[Reader, ...] = (
    *(photoshop.read, bitmap.read, tiff.read, floats.read, radiance.read, avif.read, jp2.read, codecs.read),
    *(cut.read_png, cut.read_jpeg, targa.read),
)
"""Strict readers first; then those that decode as far as they can; TGA last, since it has no signature."""
