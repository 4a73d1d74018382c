"""Decode a file's bytes into an upright RGB picture, once and no larger than needed.

Only raster formats decoded in this process are accepted: no EPS or PDF (they start Ghostscript), no SVG. This module
alone turns the exceptions of Pillow and its plug-ins on broken files into NotAnImage.
"""

from __future__ import annotations

import importlib
import io
import warnings
from dataclasses import dataclass

import pillow_heif
from PIL import AvifImagePlugin, ExifTags, Image, ImageFile, UnidentifiedImageError
from pillow_jxl import JpegXLImagePlugin

from shazimd.errors import NotAnImage, ShazimdError, TooLarge
from shazimd.imaging.pixels import name_of_coded_jpeg, name_of_decoded
from shazimd.imaging.rgb import KEEPING_MODES, to_rgb
from shazimd.types import FORMATS

_PLUGINS = "Jpeg Mpo Png WebP Gif Tiff Bmp Jpeg2K Ico Ppm Psd Qoi Sgi Pcx Tga"
for _plugin in _PLUGINS.split():  # Image.open would import all of Pillow's plug-ins if one of FORMATS were missing
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# There is a worker for each processor: threads within a decoder would only compete with them.
pillow_heif.register_heif_opener(decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
JpegXLImagePlugin.DECODE_THREADS = 0

_DEPTH_HIDDEN = frozenset({"AVIF", "JXL", "JPEG2000"})
"""Formats whose decoders reduce deeper samples to 8 bits without a sign of it."""

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition to upright, by EXIF orientation (CIPA DC-008, 4.6.5.1.6)."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    image: Image.Image
    """RGB, upright; a JPEG may be decoded at a reduced scale"""
    width: int
    """pixels at full scale, upright"""
    height: int
    format: str
    """Pillow's name: one of ``FORMATS``, or MPO"""
    pixels: bytes | None
    """see ``Fingerprint.pixels``"""


def decode(data: bytes, *, side_min: int, max_pixels: int) -> Picture:
    """Decode the first frame, upright, with white behind transparent pixels.

    A JPEG is decoded at 1/2, 1/4 or 1/8 scale if its shorter side keeps ``side_min`` pixels. Raises TooLarge, before
    decoding, for a header with more than ``max_pixels``; NotAnImage for a broken picture or another format;
    MemoryError. Not thread-safe: Pillow's limits are global.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses twice this much, also in pictures within pictures (ICO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of corrupt EXIF: the picture decodes all the same
            with _open(data) as image:
                return _picture(image, data, side_min, max_pixels)
    except (ShazimdError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"the header announces far more than the {max_pixels} pixels that are allowed") from error
    except Exception as error:
        raise NotAnImage(f"the picture can't be decoded: {str(error) or type(error).__name__}") from error


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        found = f"begins with the bytes {data[:12].hex(' ')}" if data else "is empty"
        raise NotAnImage(f"the file {found}, expected the header of a picture in a known format") from error
    assert isinstance(image, ImageFile.ImageFile)
    return image


def _picture(image: ImageFile.ImageFile, data: bytes, side_min: int, max_pixels: int) -> Picture:
    _check_size(image.size, max_pixels)
    full = image.size
    drafted = _draft(image, side_min)
    comparable = _is_comparable(image)
    image.load()
    if not drafted:
        full = image.size  # loading turns a TIFF, and finds an ICO's largest picture
        _check_size(full, max_pixels)
    orientation = _orientation(image)
    rgb, alpha = (None if layer is None else _upright(layer, orientation) for layer in to_rgb(image))
    assert rgb is not None
    width, height = reversed(full) if orientation >= 5 else full
    pixels = None
    if drafted:
        pixels = name_of_coded_jpeg(data, orientation)
    elif comparable:
        pixels = name_of_decoded(rgb, alpha)
    return Picture(rgb, width, height, str(image.format), pixels)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(f"the picture is {width}x{height} = {width * height} pixels, expected at most {max_pixels}")


def _draft(image: ImageFile.ImageFile, side_min: int) -> bool:
    """Choose a reduced scale for a large enough JPEG; True if chosen."""
    full = image.size
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (side_min, side_min))
    return image.size != full


def _is_comparable(image: ImageFile.ImageFile) -> bool:
    """True if the first frame's 8-bit pixels are the whole content of the file."""
    rawmodes = [tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in image.tile]
    deep = image.info.get("bit_depth", 8) > 8 or any(";16" in rawmode for rawmode in rawmodes)
    moving = image.format != "MPO" and getattr(image, "is_animated", False)
    return image.mode in KEEPING_MODES and image.format not in _DEPTH_HIDDEN and not deep and not moving


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation to apply, 1 (upright) to 8."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # libjxl has applied its own header; EXIF is to be ignored (ISO 18181-2)
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # unreadable EXIF is ignored, as in every viewer
        return 1
    return value if value in _TURN else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURN[orientation]) if orientation in _TURN else image
