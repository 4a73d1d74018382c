"""Colours to sRGB: by an ICC profile, by code points (CICP, ITU-T H.273), and from high dynamic range.

The same picture saved in Display P3, Adobe RGB, ProPhoto RGB or CMYK then has the same hashes. A profile that is as
good as sRGB changes nothing.

High dynamic range is shown relative to reference white, 203 cd/m2 (ITU-R BT.2408). The largest of the three colours m
is mapped by (1 + m / w^2) m / (1 + m), extended Reinhard, with w the largest colour of the signal; the other two keep
their ratio to it. The curve is that of Chromium.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFilter

REFERENCE_WHITE = 203.0
"""cd/m2, ITU-R BT.2408."""
SAME = 3
"""Levels of 256: a profile that moves no colour of a coarse cube by more is sRGB in another form."""

_CUBE = 6
_LUT_SIDE = 65  # the most that Pillow takes
_PROFILE_BYTES_MAX = 16 << 20
_KEPT_PROFILE_BYTES_MAX = 2 << 20  # above those of most printers; made of a longer one, a transform takes .1 s
_NCLX = b"colrnclx"
_CICP_CHUNK = b"\0\0\0\x04cICP"
_SRGB_TRANSFERS = frozenset({1, 2, 6, 13, 14, 15})
_PQ, _HLG, _LINEAR = 16, 18, 8
_TO_XYZ = {
    9: ((0.636958, 0.144617, 0.168881), (0.262700, 0.677998, 0.059302), (0.0, 0.028073, 1.060985)),
    12: ((0.486571, 0.265668, 0.198217), (0.228975, 0.691739, 0.079287), (0.0, 0.045113, 1.043944)),
}
"""Linear RGB to XYZ by code point of the primaries: 9 is BT.2020, 12 is Display P3 (SMPTE EG 432-1)."""
_XYZ_TO_SRGB = ((3.240970, -1.537383, -0.498611), (-0.969244, 1.875968, 0.041555), (0.055630, -0.203977, 1.056972))

Floats = NDArray[Any]


def to_srgb(rgb: Image.Image, source: Image.Image, data: bytes) -> Image.Image:
    """An RGB picture in sRGB; ``source`` is the same as decoded, in its own mode and with its profile, from ``data``.
    It may have more rows below.

    A profile that is broken, or of another kind than the picture, changes nothing, as in viewers."""
    profile = source.info.get("icc_profile")
    if isinstance(profile, bytes) and 0 < len(profile) <= _PROFILE_BYTES_MAX:
        mode = source.mode if source.mode in ("CMYK", "L") else "RGB"
        transform = _transform(profile, mode)
        if transform is None:
            return rgb
        if mode == "CMYK":
            samples = source if source.size == rgb.size else source.crop((0, 0, *rgb.size))
        else:
            samples = rgb.getchannel(0) if mode == "L" else rgb
        converted = ImageCms.applyTransform(samples, transform)
        assert converted is not None  # only an in-place conversion returns None
        return converted
    points = _code_points(data, source.format)
    return rgb if points is None else rgb.filter(_table(*points))


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion to sRGB; None where there is none to make. Long profiles are not kept: sixteen of them would take
    the memory that later small pictures may have."""
    return (_kept_transform if len(profile) <= _KEPT_PROFILE_BYTES_MAX else _made_transform)(profile, mode)


def _made_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        made = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return made if mode == "CMYK" or _changes(made, mode) else None


_kept_transform = lru_cache(maxsize=16)(_made_transform)  # a folder has pictures of a few cameras and programs


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform moves a colour of a coarse cube, or a grey, by more than ``SAME``."""
    steps = np.linspace(0, 255, _CUBE).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    before = Image.fromarray(cube if mode == "RGB" else cube[..., 0])
    after = ImageCms.applyTransform(before, transform)
    assert after is not None
    return bool(np.abs(np.asarray(after, np.int16) - np.asarray(before.convert("RGB"), np.int16)).max() > SAME)


def _code_points(data: bytes, format_: str | None) -> tuple[int, int] | None:
    """Code points (primaries, transfer) of a picture that is neither in sRGB nor without them."""
    if format_ == "PNG" and (at := data.find(_CICP_CHUNK, 0, data.find(b"IDAT"))) >= 0:
        primaries, transfer = data[at + 8 : at + 10]
    elif format_ in ("AVIF", "HEIF") and 0 <= (at := data.find(_NCLX)) < len(data) - 12:
        primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    else:
        return None
    is_known = transfer in _SRGB_TRANSFERS | {_PQ, _HLG, _LINEAR} and primaries in {1, 2, *_TO_XYZ}
    is_srgb = transfer in _SRGB_TRANSFERS and primaries not in _TO_XYZ
    return (primaries, transfer) if is_known and not is_srgb else None


@lru_cache(maxsize=8)
def _table(primaries: int, transfer: int) -> ImageFilter.Color3DLUT:
    """The conversion as a table of 65 steps a colour, which Pillow interpolates: far faster than the formulas."""
    steps = np.linspace(0.0, 1.0, _LUT_SIDE)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    coded = np.stack([red, green, blue], axis=-1)
    linear = _LIGHT.get(transfer, _srgb_light)(coded)
    if primaries in _TO_XYZ:
        linear = linear @ (np.array(_XYZ_TO_SRGB) @ np.array(_TO_XYZ[primaries])).T
    if transfer in (_PQ, _HLG):
        linear = _toned(np.maximum(linear, 0.0), float(_LIGHT[transfer](np.ones((1, 3))).max()))
    return ImageFilter.Color3DLUT(_LUT_SIDE, _coded(linear).astype(np.float32).reshape(-1))


def tone_mapped(linear: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Linear light, 1 for reference white, as 8-bit sRGB."""
    light = np.maximum(np.nan_to_num(linear.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    rank = light.size * 999 // 1000  # beyond the few specks of a sun; np.quantile would import more modules
    brightest = max(float(np.partition(light, rank, axis=None)[rank]), 1.0)
    shown: NDArray[np.uint8] = np.rint(_coded(_toned(light, brightest)) * 255).astype(np.uint8)
    return shown


def _toned(light: Floats, white: float) -> Floats:
    """``light`` [..., 3] with ``white`` mapped to 1; unchanged where nothing is brighter than reference white."""
    if white <= 1.0:
        return light
    largest = light.max(axis=-1, keepdims=True)
    toned: Floats = light * (1 + largest / white**2) / (1 + largest)
    return toned


def _coded(linear: Floats) -> Floats:
    """sRGB's transfer function, IEC 61966-2-1."""
    light = np.clip(linear, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def _srgb_light(coded: Floats) -> Floats:
    return np.where(coded <= 0.04045, coded / 12.92, np.power((coded + 0.055) / 1.055, 2.4))


def _pq_light(coded: Floats) -> Floats:
    """ITU-R BT.2100, relative to reference white."""
    root = np.power(coded, 1 / 78.84375)
    light = np.maximum(root - 0.8359375, 0.0) / (18.8515625 - 18.6875 * root)
    return np.power(light, 1 / 0.1593017578125) * (10_000 / REFERENCE_WHITE)


def _hlg_light(coded: Floats) -> Floats:
    """ITU-R BT.2100 on a display of 1,000 cd/m2, whose system gamma is 1.2; relative to reference white."""
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luminance = scene @ np.array((0.2627, 0.6780, 0.0593))
    shown: Floats = scene * np.power(np.maximum(luminance, 1e-9), 0.2)[..., np.newaxis] * (1000 / REFERENCE_WHITE)
    return shown


_LIGHT: dict[int, Callable[[Floats], Floats]] = {_PQ: _pq_light, _HLG: _hlg_light, _LINEAR: lambda coded: coded}
