"""The picture in a camera's raw file: its embedded preview, else, with the extra ``formats``, by LibRaw.

Every maker's format holds a JPEG as the camera would have saved it, in full size or for its screen. The reader takes
the largest, and turns it as the outer file says.
"""

from __future__ import annotations

import importlib
import io

from PIL import ContainerIO, ExifTags, Image, UnidentifiedImageError

from shazimd.imaging.readers.reading import NeedsExtra, Reading, check_size, named, turned

try:
    import rawpy
except ImportError:  # the extra is not installed
    rawpy = None
else:
    importlib.import_module("multiprocessing.reduction")  # rawpy imports it at its first use

SIDE_MIN = 512
"""Pixels: a preview with a shorter side is a thumbnail, and the raw samples are developed instead where they can be."""

_TIFF_HEADS = (b"II*\0", b"MM\0*")
_LIKE_TIFF = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""First bytes of Olympus' and Panasonic's files, otherwise TIFF."""
_DNG_VERSION, _SUBFILE_TYPE, _SUB_IFDS, _MAKE = 50706, 254, 330, 271
_JPEG = b"\xff\xd8\xff"
_CANDIDATES_MAX = 64
_EXIF_BYTES = 1 << 20
"""The first directory stands near the start of the file; a copy of the rest would cost memory."""


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The preview of a raw file."""
    if not _is_raw(data):
        return None
    found = _largest_preview(data, max_pixels)
    if found is None or min(found.size) < SIDE_MIN:
        found = _developed(data, max_pixels) or found
    if found is None:
        raise NeedsExtra("a raw file without a preview")
    return Reading(named(found, "RAW"))


def _developed(data: bytes, max_pixels: int) -> Image.Image | None:
    """The picture by LibRaw, at half of its size; None without LibRaw, or for a file that it does not know."""
    if rawpy is None:
        return None
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            check_size((raw.sizes.width, raw.sizes.height), max_pixels)
            return Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))
    except rawpy.LibRawError:
        return None


def _is_raw(data: bytes) -> bool:
    if data.startswith((b"FUJIFILMCCD-RAW", *_LIKE_TIFF)) or data[4:12] == b"ftypcrx ":
        return True
    if not data.startswith(_TIFF_HEADS):
        return False
    if data[8:10] == b"CR":
        return True
    tags = _tags(data)
    return _DNG_VERSION in tags or (_SUB_IFDS in tags and _MAKE in tags and tags.get(_SUBFILE_TYPE, 0) == 1)


def _tags(data: bytes) -> Image.Exif:
    tags = Image.Exif()
    if data.startswith(_LIKE_TIFF):
        data = _TIFF_HEADS[data.startswith(b"MM")] + data[4:_EXIF_BYTES]
    elif data[4:12] == b"ftypcrx ":  # Canon's box of the first directory
        data = data[data.find(b"CMT1") + 4 :][:_EXIF_BYTES]
    try:
        tags.load(data[:_EXIF_BYTES])
    except Exception:  # a broken directory names no orientation, as in ``decode``
        tags.clear()
    return tags


def _largest_preview(data: bytes, max_pixels: int) -> Image.Image | None:
    """The preview, not loaded yet, so that it can be decoded at a reduced scale."""
    best, at = None, data.find(_JPEG)
    for _ in range(_CANDIDATES_MAX):
        if at < 0:
            break
        if (size := _size_of_preview(data, at)) and (best is None or size[0] * size[1] > best[0]):
            best = size[0] * size[1], at
        at = data.find(_JPEG, at + 1)
    if best is None:
        return None
    with _jpeg_at(data, best[1]) as header:
        check_size(header.size, max_pixels)
        tags = header.getexif()
    orientation = tags.get(ExifTags.Base.Orientation) or _tags(data).get(ExifTags.Base.Orientation, 1)
    return turned(_jpeg_at(data, best[1]), orientation)


def _size_of_preview(data: bytes, at: int) -> tuple[int, int] | None:
    """None where no colour JPEG begins: samples look like its first bytes by chance, or are a lossless one of grey."""
    try:
        with _jpeg_at(data, at) as image:
            return image.size if image.mode == "RGB" else None
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None


def _jpeg_at(data: bytes, at: int) -> Image.Image:
    return Image.open(ContainerIO.ContainerIO(io.BytesIO(data), at, len(data) - at), formats=["JPEG"])
