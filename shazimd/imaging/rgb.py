"""Convert any of Pillow's modes to 8-bit RGB, as a viewer shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

BACKGROUND = (255, 255, 255)
"""Background of transparent pixels: white, as converters to JPEG use. The colours hidden below alpha depend on the
program that wrote the file."""

KEEPING_MODES = frozenset({"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBX"})
"""Modes with a lossless conversion to RGB and alpha, unlike CMYK, LAB and deeper samples."""

_ALPHA_UNUSED = frozenset({"BMP", "DDS", "TGA"})
"""Formats whose fourth byte is often unused, and 0: in one that is 0 everywhere, the colours are meant to be seen."""
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
"""Modes of colours multiplied by alpha, and the modes that they are converted to."""
_EMPTY_MIN = 230
"""Grey levels: on white, lighter ones show nothing."""
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture as RGB over ``BACKGROUND``, and its alpha (mode L) unless all pixels are opaque."""
    kind = image.format
    if image.mode in _DEEP_MODES:
        return _eight_bits(image).convert("RGB"), None
    if image.mode == "LAB":
        return _from_lab(image), None
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")  # to convert RGBA would copy it
        return _flatten(rgba, is_unused=kind in _ALPHA_UNUSED)
    return image if image.mode == "RGB" else image.convert("RGB"), None  # converting RGB to RGB copies it


def _flatten(rgba: Image.Image, *, is_unused: bool) -> tuple[Image.Image, Image.Image | None]:
    """``is_unused``: an alpha of 0 everywhere does not count."""
    alpha = rgba.getchannel("A")
    if alpha.getextrema() in ([(255, 255), (0, 0)] if is_unused else [(255, 255)]):
        return rgba.convert("RGB"), None
    canvas = Image.new("RGB", rgba.size, BACKGROUND)
    canvas.paste(rgba, (0, 0), alpha)
    return canvas, alpha


def shows_nothing(rgb: Image.Image) -> bool:
    """Whether a picture over ``BACKGROUND`` is an empty page, as a white logo is."""
    darkest, _ = rgb.convert("L").getextrema()
    return isinstance(darkest, int | float) and darkest >= _EMPTY_MIN


def over_black(rgb: Image.Image, clear: Image.Image) -> Image.Image:
    """A picture over ``BACKGROUND`` as it is over black; ``clear`` is its alpha inverted."""
    return ImageChops.subtract(rgb, Image.merge("RGB", [clear] * 3))


def _from_lab(image: Image.Image) -> Image.Image:
    """Convert by colour management, Pillow's only way for LAB."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # only an in-place conversion returns None
    return converted


def levels(samples: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale samples of any type to 8 bits. Integers have the range of their type, signed ones its upper half; floats
    the smallest usual range around them."""
    kind = samples.dtype
    if kind == np.uint8:
        return samples.astype(np.uint8)
    if kind == np.bool_:
        return np.where(samples, np.uint8(255), np.uint8(0))
    if np.issubdtype(kind, np.integer):
        bits = kind.itemsize * 8 - (1 if np.issubdtype(kind, np.signedinteger) else 0)
        scaled: NDArray[np.uint64] = np.maximum(samples, kind.type(0)).astype(np.uint64) << np.uint64(64 - bits)
        high: NDArray[np.uint8] = (scaled >> np.uint64(56)).astype(np.uint8)
        return high
    values = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    black, white = _range(values)
    shown: NDArray[np.uint8] = np.clip(np.rint((values - black) * (255 / (white - black))), 0, 255).astype(np.uint8)
    return shown


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale deep grey to 8 bits: Pillow's own conversion clips at 255, mostly to white. Pillow's 32-bit integers hold
    samples of fewer bits, hence their values tell the range, as those of floats."""
    values = np.asarray(image)
    return Image.fromarray(levels(values.astype(np.float32) if values.dtype == np.int32 else values))


def _range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Guess the values of black and white, which the format does not define: the smallest usual range around all
    values, else their minimum and maximum."""
    low, high = float(values.min()), float(values.max())
    for white in (1.0, 255.0, 65535.0):
        if low >= 0 and high <= white:
            return 0.0, white
    return (low, high) if high > low else (low, low + 1)
