"""The merged picture of a Photoshop file: of 16 and 32 bits, with a saved selection, and of the large format (PSB).

The layout is that of Adobe's "Photoshop File Formats Specification". Pillow unpacks the run lengths.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.colour import tone_mapped
from shazimd.imaging.readers.reading import Reading, check_size, named
from shazimd.imaging.rgb import levels

_HEADER = struct.Struct(">4sH6xHIIHH")
_GREY, _INDEXED, _RGB, _CMYK, _DUOTONE = 1, 2, 3, 4, 8
_CHANNELS = {_GREY: 1, _INDEXED: 1, _RGB: 3, _CMYK: 4, _DUOTONE: 1}
_DTYPES = {8: ">u1", 16: ">u2", 32: ">f4"}
_RAW, _PACKED = 0, 1
_ICC_PROFILE = 1039


def is_misread(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow takes a saved selection for transparency, which a negative number of layers alone announces."""
    if image.format != "PSD" or image.mode != "RGBA":
        return False
    at = _HEADER.size
    for _ in range(2):
        _, at = _section(data, at, 4)
    has_layers = int.from_bytes(data[at : at + 4], "big") > 0
    return not has_layers or data[at + 8 : at + 9] < b"\x80"  # the sign of their number, behind two lengths


def read(data: bytes, max_pixels: int) -> Reading | None:
    """The merged picture of a PSD or PSB."""
    if not data.startswith(b"8BPS") or len(data) < _HEADER.size:
        return None
    _, version, channels, height, width, bits, mode = _HEADER.unpack_from(data)
    count = _CHANNELS.get(mode, 0)
    if version not in (1, 2) or not 0 < count <= channels or bits not in _DTYPES:
        return None
    check_size((width, height), max_pixels)
    colours, at = _section(data, _HEADER.size, 4)
    resources, at = _section(data, at, 4)
    layers, at = _section(data, at, 4 if version == 1 else 8)
    planes = _planes(data, at, (width * bits // 8, height), channels, count, is_large=version == 2)
    samples = [np.frombuffer(plane, _DTYPES[bits]).reshape(height, width) for plane in planes]
    image = _image(_eight_bits(samples), mode, colours)
    if bits < 32 and (profile := _resource(resources, _ICC_PROFILE)):  # samples of 32 bits are linear light
        image.info["icc_profile"] = profile
    is_flat = not layers.strip(b"\0")
    return Reading(named(image, "PSD"), is_whole=is_flat and bits == 8 and mode != _CMYK and channels == count)


def _section(data: bytes, at: int, length_bytes: int) -> tuple[bytes, int]:
    """The bytes of a section after its length, and the position behind it."""
    start = at + length_bytes
    length = int.from_bytes(data[at:start], "big")
    return data[start : start + length] if length <= len(data) else b"", start + length


def _planes(data: bytes, at: int, size: tuple[int, int], channels: int, count: int, *, is_large: bool) -> list[bytes]:
    """The bytes of the first ``count`` channels, of rows of ``size`` (bytes, rows). Raises ValueError."""
    width, height = size
    compression = int.from_bytes(data[at : at + 2], "big")
    at += 2
    if compression == _RAW:
        planes = [data[at + n * width * height : at + (n + 1) * width * height] for n in range(count)]
        if len(planes[-1]) < width * height:
            raise ValueError("the merged picture ends early")
        return planes
    if compression != _PACKED:
        raise ValueError(f"the merged picture has compression {compression}, expected 0 or 1")
    lengths = np.frombuffer(data, ">u4" if is_large else ">u2", channels * height, at).astype(np.int64)
    at += lengths.size * (4 if is_large else 2)
    planes = []
    for plane_length in lengths.reshape(channels, height).sum(axis=1)[:count].tolist():
        packed = data[at : at + plane_length]
        planes.append(Image.frombytes("L", size, packed, "packbits", "L").tobytes())
        at += plane_length
    return planes


def _eight_bits(planes: list[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    if planes[0].dtype == np.dtype(">f4"):
        shown = tone_mapped(np.dstack(planes))
        return [shown[..., n] for n in range(len(planes))]
    return [levels(plane.astype(plane.dtype.newbyteorder("="))) for plane in planes]


def _image(planes: list[NDArray[np.uint8]], mode: int, colours: bytes) -> Image.Image:
    if mode == _INDEXED:
        image = Image.fromarray(planes[0]).convert("P")
        table = np.frombuffer(colours[:768], np.uint8).reshape(3, 256)
        image.putpalette(np.ascontiguousarray(table.T).tobytes())
        return image
    if mode == _CMYK:  # full ink is 0 in the file, 255 in Pillow
        return Image.merge("CMYK", [Image.fromarray(255 - plane) for plane in planes])
    return Image.fromarray(planes[0] if len(planes) == 1 else np.dstack(planes))


def _resource(resources: bytes, wanted: int) -> bytes | None:
    at = 0
    while resources[at : at + 4] == b"8BIM":
        number, name_length = struct.unpack_from(">HB", resources, at + 4)
        at += 6 + (name_length + 2) // 2 * 2
        body, end = _section(resources, at, 4)
        if number == wanted:
            return body
        at = end + len(body) % 2
    return None
