"""Convert any of Pillow's modes to 8-bit RGB, as a viewer shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

BACKGROUND = (255, 255, 255)
"""Background of transparent pixels: white, as converters to JPEG use. The colours hidden below alpha depend on the
program that wrote the file."""

KEEPING_MODES = frozenset({"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBX"})
"""Modes with a lossless conversion to RGB and alpha, unlike CMYK, LAB and deeper samples."""

_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture as RGB over ``BACKGROUND``, and its alpha (mode L) unless all pixels are opaque."""
    if image.mode in _DEEP_MODES:
        return _eight_bits(image).convert("RGB"), None
    if image.mode == "LAB":
        return _from_lab(image), None
    if image.has_transparency_data:
        return _flatten(image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB"), None  # converting RGB to RGB copies it


def _flatten(rgba: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return rgba.convert("RGB"), None
    canvas = Image.new("RGB", rgba.size, BACKGROUND)
    canvas.paste(rgba, (0, 0), alpha)
    return canvas, alpha


def _from_lab(image: Image.Image) -> Image.Image:
    """Convert by colour management, Pillow's only way for LAB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # only an in-place conversion returns None
    return converted


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep grey to 8 bits: Pillow's own conversion clips at 255, mostly to white."""
    values = np.asarray(image)
    if values.dtype == np.uint16:
        return Image.fromarray((values >> 8).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    black, white = _range(values)
    scaled = (values - black) * np.float32(255 / (white - black))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Guess the values of black and white, which the format does not define: the smallest usual range around all
    values, else their minimum and maximum."""
    low, high = float(values.min()), float(values.max())
    for white in (1.0, 255.0, 65535.0):
        if low >= 0 and high <= white:
            return 0.0, white
    return (low, high) if high > low else (low, low + 1)
