"""TIFF with samples that Pillow refuses or gets wrong: signed, float, of 10 to 14 and of 32 bits, deep with alpha, and
with WebP, JPEG 2000 or JPEG XL inside.

tifffile reads most; OpenCV reads those of its compressions that need the extra ``formats``; Pillow decodes pictures
within the file piece by piece.
"""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from shazimd.imaging.readers.reading import Reading, check_size, named, turned
from shazimd.imaging.rgb import levels

_BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 258, 262, 274, 339
_MIN_IS_WHITE = 0
_COLOURS: dict[int, int] = {tifffile.PHOTOMETRIC.RGB: 3, tifffile.PHOTOMETRIC.SEPARATED: 4}
_PICTURES = {33003, 33005, 34712, 34933, 50001, 50002, 52546}
"""Compressions whose pieces are pictures of their own: JPEG 2000 (3 numbers), PNG, WebP, JPEG XL (2 numbers)."""
_BY_OPENCV = {1, 5, 8, 32773, 32946}
"""Compressions none, LZW, deflate, PackBits: of others OpenCV gives a black picture."""
_INSIDE = ("JPEG2000", "PNG", "WEBP", "JXL")


def is_misread(image: Image.Image) -> bool:
    """Whether Pillow opens a TIFF and would show its samples in the wrong range or inverted."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode[0] not in "IF":
        return False
    tags = image.tag_v2
    kinds = tags.get(_SAMPLE_FORMAT, (1,))[0], tags.get(_BITS, (1,))[0]
    return tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE or kinds not in ((1, 16), (3, 32), (3, 64))


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The first page of a TIFF."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        check_size((page.imagewidth, page.imagelength), max_pixels)
        is_turned = False
        if page.compression in _PICTURES:
            image = _of_pieces(page, data)
        else:
            samples, is_turned = _samples(page, data)
            image = _image(samples, page)
        if profile := page.tags.get(34675):
            image.info["icc_profile"] = bytes(profile.value)
        orientation = page.tags.get(_ORIENTATION)
        if orientation and orientation.value in range(2, 9) and not is_turned:
            turned(image, int(orientation.value))
    return Reading(named(image, "TIFF"))


def _samples(page: tifffile.TiffPage, data: bytes) -> tuple[NDArray[Any], bool]:
    """The samples [h, w] or [h, w, channels], and whether they are upright already: OpenCV turns them. Raises
    ValueError for those that are read by the extra alone."""
    try:
        samples: NDArray[Any] = page.asarray(maxworkers=1)
    except (ValueError, NotImplementedError, ImportError):  # tifffile has codecs of its own for few compressions
        if page.compression == tifffile.COMPRESSION.NONE:
            return _unpacked(page, data), False
        if page.compression not in _BY_OPENCV or page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            raise
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None:
            raise
        if found.ndim == 3 and found.shape[2] > 2:
            found = found[..., [2, 1, 0, *range(3, found.shape[2])]]
        return found, True
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    return samples << (16 - page.bitspersample) if 8 < page.bitspersample < 16 else samples, False


def _unpacked(page: tifffile.TiffPage, data: bytes) -> NDArray[Any]:
    """Samples of any number of bits, packed into rows of whole bytes, as the high bits of 32."""
    planes = page.samplesperpixel if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE else 1
    across, bits = page.imagewidth * (page.samplesperpixel // planes), page.bitspersample
    raw = b"".join(data[at : at + count] for at, count in zip(page.dataoffsets, page.databytecounts, strict=True))
    packed = np.frombuffer(raw, np.uint8).reshape(planes * page.imagelength, -1)
    samples = np.empty((len(packed), across), np.uint32)
    weights = (1 << np.arange(bits - 1, -1, -1, dtype=np.uint64)) << np.uint64(32 - bits)
    for row, row_packed in zip(samples, packed, strict=True):  # of all rows together each bit would be 8 bytes
        row[:] = np.unpackbits(row_packed)[: across * bits].reshape(-1, bits) @ weights
    shape = page.imagelength, page.imagewidth, page.samplesperpixel // planes
    if planes == 1:
        return samples.reshape(shape)
    return np.moveaxis(samples.reshape(planes, *shape[:2]), 0, -1)


def _image(samples: NDArray[Any], page: tifffile.TiffPage) -> Image.Image:
    colours = _COLOURS.get(page.photometric, 1)
    if samples.ndim == 2:
        samples = samples[..., np.newaxis]
    shown = levels(samples[..., :colours])
    if page.photometric == _MIN_IS_WHITE:
        shown = np.uint8(255) - shown
    if colours == 4:
        return Image.merge("CMYK", [Image.fromarray(np.ascontiguousarray(shown[..., n])) for n in range(4)])
    extra = page.extrasamples[0] if page.extrasamples else 0
    if extra not in (1, 2) or samples.shape[2] <= colours:
        return Image.fromarray(np.ascontiguousarray(shown.squeeze(axis=2) if colours == 1 else shown))
    alpha = levels(samples[..., colours])[..., np.newaxis]
    if extra == 1:  # colours are multiplied by alpha
        shown = np.minimum(shown.astype(np.uint16) * 255 // np.maximum(alpha, 1), 255).astype(np.uint8)
    rgb = shown if colours == 3 else shown.repeat(3, axis=2)
    return Image.fromarray(np.dstack([rgb, alpha]))


def _of_pieces(page: tifffile.TiffPage, data: bytes) -> Image.Image:
    """The picture put together from strips or tiles that are pictures themselves."""
    width, height = page.imagewidth, page.imagelength
    wide, high = (page.tilewidth, page.tilelength) if page.is_tiled else (width, page.rowsperstrip or height)
    corners = product(range(0, height, high), range(0, width, wide))
    whole: Image.Image | None = None
    for (top, left), at, length in zip(corners, page.dataoffsets, page.databytecounts, strict=False):
        piece = Image.open(io.BytesIO(data[at : at + length]), formats=_INSIDE)
        check_size(piece.size, wide * high)
        whole = whole or Image.new(piece.mode, (width, height))
        whole.paste(piece, (left, top))
    if whole is None:
        raise ValueError("the picture has no strips or tiles")
    return whole
