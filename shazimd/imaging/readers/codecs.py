"""Pictures that only imagecodecs reads, where the extra ``formats`` is installed: JPEG of 12 bits, JPEG-LS, JPEG XR,
the first frame of an animated JPEG XL, and TIFF and AVIF that the other readers refuse.

imagecodecs is 80 MB on the disk, so it is an extra. Its codecs are extension modules that are loaded at their first
use; those named here are loaded at once.
"""

from __future__ import annotations

import re
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.bounds import jpeg_structure
from shazimd.imaging.readers import jxl
from shazimd.imaging.readers.reading import NeedsExtra, Reading, check_size, named
from shazimd.imaging.rgb import levels

_CODECS = (
    *("jpeg8", "jpegls", "jpegxr", "jpegxl", "jpeg2k", "webp", "png", "zstd", "lzw", "packints", "floatpred", "delta"),
    "lerc",
)
"""The codecs that this module and tifffile may use."""

try:
    import imagecodecs
except ImportError:  # the extra is not installed
    imagecodecs = None
else:
    for _codec in _CODECS:
        getattr(imagecodecs, f"{_codec}_decode")

_FRAME_OF_JPEG = re.compile(rb"\xff([\xc0-\xc3\xc9\xca\xf7])..(.)(....)", re.DOTALL)
_JPEG_LS = b"\xf7"
_APP1, _APP2, _ICC_PROFILE = 0xE1, 0xE2, b"ICC_PROFILE\0"
_JXR = b"II\xbc\x01"
_JXR_SIZE = {0xBC80: 0, 0xBC81: 1}
_KINDS = {"jpeg8": "a JPEG of 12 bits", "jpegls": "JPEG-LS", "jpegxr": "JPEG XR"}


def read(data: bytes, max_pixels: int) -> Reading | None:
    """JPEG of 12 bits, JPEG-LS, JPEG XR or AVIF. Raises NeedsExtra without the extra."""
    if data.startswith(_JXR):
        size, bits, format_, name = _size_of_jxr(data), 8, "JXR", "jpegxr"
    elif data.startswith(b"\xff\xd8\xff") and (found := _FRAME_OF_JPEG.search(data)):
        high, wide = struct.unpack(">HH", found[3])
        size, bits = (wide, high), found[2][0]
        format_, name = ("JLS", "jpegls") if found[1] == _JPEG_LS else ("JPEG", "jpeg8")
        if name == "jpeg8" and bits <= 8:
            return None
    else:
        return None
    check_size(size, max_pixels)
    if imagecodecs is None:
        raise NeedsExtra(_KINDS[name])
    samples = getattr(imagecodecs, f"{name}_decode")(data)
    image = named(_image(samples, bits), format_)
    image.info.update(_metadata(data))
    return Reading(image)


def _metadata(data: bytes) -> dict[str, bytes]:
    """The EXIF and the ICC profile of a JPEG, as Pillow names them."""
    found: dict[str, bytes] = {}
    pieces: list[bytes] = []
    structure = jpeg_structure(data)
    for marker, start, end in structure.segments if structure else ():
        body = data[start + 4 : end] if marker in (_APP1, _APP2) else b""
        if marker == _APP1 and body.startswith(b"Exif\0\0"):
            found.setdefault("exif", body)
        elif marker == _APP2 and body.startswith(_ICC_PROFILE):
            pieces.append(body.removeprefix(_ICC_PROFILE))
    if pieces:  # each after its number and their count
        found["icc_profile"] = b"".join(piece[2:] for piece in sorted(pieces))
    return found


def first_frame_of_jxl(data: bytes, max_pixels: int) -> Reading | None:
    """The first frame of an animated JPEG XL; pillow-jxl-plugin shows the last."""
    if imagecodecs is None or not jxl.is_animated(data):
        return None
    jxl.check(data, max_pixels)
    samples = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    return Reading(named(_image(samples, 8), "JXL"))


def _image(samples: NDArray[np.generic], bits: int) -> Image.Image:
    if samples.dtype == np.uint16 and 8 < bits < 16:
        samples = samples.astype(np.uint16) << (16 - bits)
    return Image.fromarray(np.ascontiguousarray(levels(samples)))


def _size_of_jxr(data: bytes) -> tuple[int, int]:
    """From the directory of its container, ITU-T T.832 annex A. Raises struct.error, ValueError."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    size = [0, 0]
    for entry in range(min(count, 64)):
        tag, kind, _, value = struct.unpack_from("<HHII", data, at + 2 + 12 * entry)
        if tag in _JXR_SIZE:
            size[_JXR_SIZE[tag]] = value & 0xFFFF if kind == 3 else value
    return size[0], size[1]
