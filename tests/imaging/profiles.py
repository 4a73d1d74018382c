"""ICC profiles for tests, made from numbers: RGB spaces of three primaries and a gamma, greys, and an ideal CMYK."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

D50 = (0.9642, 1.0, 0.8249)
SRGB = ((0.4360, 0.3851, 0.1431), (0.2225, 0.7169, 0.0606), (0.0139, 0.0971, 0.7141))
DISPLAY_P3 = ((0.5151, 0.2920, 0.1571), (0.2412, 0.6922, 0.0666), (-0.0011, 0.0419, 0.7841))
ADOBE_RGB = ((0.6097, 0.2053, 0.1492), (0.3111, 0.6257, 0.0632), (0.0195, 0.0609, 0.7446))
PROPHOTO = ((0.7977, 0.1352, 0.0313), (0.2880, 0.7119, 0.0001), (0.0000, 0.0000, 0.8249))
"""Linear RGB to XYZ below D50, as profiles have it (brucelindbloom.com, Bradford-adapted)."""


def rgb_profile(primaries: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    columns = [
        struct.pack(">4s4xiii", b"XYZ ", *(_fixed(v) for v in column)) for column in zip(*primaries, strict=True)
    ]
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    white = struct.pack(">4s4xiii", b"XYZ ", *map(_fixed, D50))
    names = (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"wtpt")
    return _profile(b"RGB ", b"XYZ ", dict(zip(names, [*columns, curve, curve, curve, white], strict=True)))


def grey_profile(gamma: float) -> bytes:
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": struct.pack(">4s4xiii", b"XYZ ", *map(_fixed, D50))})


def cmyk_profile() -> bytes:
    """Inks that each take their own light away entirely: R = (1 - C)(1 - K) and so on, in sRGB."""
    steps = np.linspace(0, 1, 9)
    c, m, y, k = np.meshgrid(steps, steps, steps, steps, indexing="ij")
    lab = _lab(np.stack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)], axis=-1).reshape(-1, 3))
    coded = np.column_stack([lab[:, 0] * 2.55, lab[:, 1] + 128, lab[:, 2] + 128])
    identity = bytes(range(256))
    unit = b"".join(struct.pack(">i", v << 16) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 9) + unit + identity * 4
    lut += np.clip(np.rint(coded), 0, 255).astype(np.uint8).tobytes() + identity * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": lut, b"wtpt": struct.pack(">4s4xiii", b"XYZ ", *map(_fixed, D50))})


def in_space(picture: Image.Image, primaries: tuple[tuple[float, ...], ...], gamma: float) -> Image.Image:
    """The samples that show an sRGB picture in another RGB space."""
    to_other = np.linalg.inv(np.array(primaries)) @ np.array(SRGB)
    linear = np.clip(_light(np.asarray(picture) / 255) @ to_other.T, 0, 1)
    return Image.fromarray(np.rint(linear ** (1 / gamma) * 255).astype(np.uint8))


def in_cmyk(picture: Image.Image) -> Image.Image:
    """The inks of ``cmyk_profile`` that show an sRGB picture, with as much black as there can be."""
    rgb = np.asarray(picture) / 255
    white = np.maximum(rgb.max(axis=-1, keepdims=True), 1e-6)
    inks = np.concatenate([1 - rgb / white, 1 - white], axis=-1)
    return Image.merge("CMYK", [Image.fromarray(np.rint(inks[..., n] * 255).astype(np.uint8)) for n in range(4)])


def _fixed(value: float) -> int:
    return round(value * 65536)


def _light(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    xyz = _light(rgb) @ np.array(SRGB).T / np.array(D50)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.column_stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])])


def _profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2.1 (ICC.1:2001-04, clause 6)."""
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table += name + struct.pack(">II", at, len(tag))
        body, at = body + padded, at + len(padded)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", at, b"none", 0x02100000, kind, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">3i", *map(_fixed, D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
