"""Decode a file's bytes into an upright sRGB picture, once and no larger than needed.

Pillow comes first; the package ``readers`` has what Pillow refuses or gets wrong. Only raster formats decoded in this
process are accepted: no EPS or PDF (they start Ghostscript), no SVG. This module alone turns the exceptions of
libraries on broken files into NotAnImage.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
from contextlib import nullcontext
from dataclasses import dataclass

import pillow_heif
from PIL import (
    AvifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
)
from pillow_jxl import JpegXLImagePlugin

from shazimd.errors import NotAnImage, ShazimdError, TooLarge
from shazimd.imaging import effort
from shazimd.imaging.bounds import JpegStructure, check_density, check_png, jpeg_structure
from shazimd.imaging.colour import to_srgb
from shazimd.imaging.frames import CUT_IN_HEADER
from shazimd.imaging.orientation import orientation, upright
from shazimd.imaging.pixels import name_of_coded_jpeg, name_of_decoded
from shazimd.imaging.readers import AFTER_PILLOW, BEFORE_PILLOW, jxl, photoshop, tiff
from shazimd.imaging.readers.cut import as_far_as_it_goes
from shazimd.imaging.readers.reading import NeedsExtra, Reading, check_size
from shazimd.imaging.rgb import KEEPING_MODES, over_black, shows_nothing, to_rgb
from shazimd.types import FORMATS

_PLUGINS = "Jpeg Mpo Png WebP Gif Tiff Bmp Jpeg2K Ico Ppm Psd Qoi Sgi Pcx Dds Icns Tga"
for _plugin in _PLUGINS.split():  # Image.open would import all of Pillow's plug-ins if one of FORMATS were missing
    importlib.import_module(f"PIL.{_plugin}ImagePlugin")

# There is a worker for each processor: threads within a decoder would only compete with them.
pillow_heif.register_heif_opener(decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
JpegXLImagePlugin.DECODE_THREADS = 0
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # profiles and texts above 1 MiB occur; all texts together have 64 MiB

_DOCUMENTS = {
    re.compile(rb"%PDF-"): "a PDF document",
    re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"): "a PostScript document",
    re.compile(
        rb"(?s)\s*(?:\xef\xbb\xbf)?(?:<\?xml.{0,1000}?|<!--.{0,1000}?|<!DOCTYPE svg.{0,1000}?)?<svg[\s>]"
    ): "an SVG drawing",
}
"""Documents by their first bytes. To draw them would need programs that read files and scripts."""

_JPEG_PIECE_BYTES = 1 << 24
"""Pillow hands a file to its decoder in pieces of 64 KiB, each with what is left of the one before. A photograph of
2 MB in one piece takes .4 ms of 18 less."""
_DEPTH_HIDDEN = frozenset({"AVIF", "JXL", "JPEG2000"})
"""Formats whose decoders reduce deeper samples to 8 bits without a sign of it."""

_SEVERAL_SIZES = frozenset({"ICO", "ICNS"})
"""Formats of one picture in several sizes, each of which may be another drawing."""

_FILLED_MAX = 3
"""Levels of 256 by which rows without data may differ within: upsampled chroma ends in a short gradient."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    image: Image.Image
    """RGB, upright; a JPEG may be decoded at a reduced scale"""
    width: int
    """pixels at full scale, upright; of a damaged picture, those that are there"""
    height: int
    format: str
    """Pillow's name: one of ``FORMATS``, or MPO"""
    pixels: bytes | None
    """see ``Fingerprint.pixels``"""
    damaged: bool = False
    """a part of the picture is missing or wrong"""
    clear: Image.Image | None = None
    """mode L, 255 for a pixel that does not show at all; None for a picture without transparent pixels"""
    on_black: bool = False
    """transparent pixels are black, and not white"""


def decode(data: bytes, *, side_min: int, max_pixels: int, is_named: bool = True) -> Picture:
    """Decode the first frame, upright, in sRGB, with white behind transparent pixels; black if nothing shows on white.

    A JPEG is decoded at 1/2, 1/4 or 1/8 scale if its shorter side keeps ``side_min`` pixels. A JPEG or PNG that ends
    early is decoded as far as it goes, and ``damaged``. Without ``is_named`` its ``pixels`` are None, for a tenth less
    time. Raises TooLarge, before decoding, for a header with more than ``max_pixels`` and for a structure beyond
    ``bounds``; NotAnImage for a broken picture or another format; MemoryError. Not thread-safe: Pillow's limits are
    global.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses twice this much, also in pictures within pictures (ICO)
    failures: list[Exception] = []
    effort.begin_picture(len(data))
    check_png(data)
    structure = jpeg_structure(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as of corrupt EXIF: the picture decodes all the same
        for read in (_refuse_documents, *BEFORE_PILLOW, _by_pillow, *AFTER_PILLOW):
            try:
                if (reading := read(data, max_pixels)) is not None:
                    wanted = reading if is_named else reading._replace(is_whole=False)
                    return _picture(wanted, data, structure, side_min, max_pixels)
            except (ShazimdError, MemoryError):
                raise
            except Image.DecompressionBombError as error:
                raise TooLarge(
                    f"the header announces far more than the {max_pixels} pixels that are allowed"
                ) from error
            except Exception as error:  # the next reader may know more; else the file is told by the first failure
                failures.append(error)
    raise _not_an_image(data, failures)


def _refuse_documents(data: bytes, _max_pixels: int) -> None:
    for signature, kind in _DOCUMENTS.items():
        if signature.match(data):
            raise NotAnImage(f"the file is {kind}, expected a raster picture: only those are decoded; export it as PNG")


def _by_pillow(data: bytes, max_pixels: int) -> Reading | None:
    """A picture that is not loaded yet, or a JPEG XL; None for one that Pillow gets wrong."""
    jxl.check(data, max_pixels)  # its plug-in decodes a picture to open it
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if tiff.is_misread(image) or photoshop.is_misread(image, data):
        return None
    return Reading(image, is_whole=_is_comparable(image))


def _not_an_image(data: bytes, failures: list[Exception]) -> NotAnImage:
    """The error of a file that no reader takes, by the first failure, or by a missing extra."""
    if not failures:  # Pillow gets it wrong, and no reader knows its header
        return NotAnImage("the picture can't be decoded: no decoder reads its samples")
    failure = next((each for each in failures if isinstance(each, NeedsExtra)), failures[0])
    if isinstance(failure, UnidentifiedImageError):
        found = f"begins with the bytes {data[:12].hex(' ')}" if data else "is empty"
        error = NotAnImage(f"the file {found}, expected the header of a picture in a known format")
    else:
        error = NotAnImage(f"the picture can't be decoded: {str(failure) or type(failure).__name__}")
    error.__cause__ = failure
    return error


def _picture(reading: Reading, data: bytes, structure: JpegStructure | None, side_min: int, max_pixels: int) -> Picture:
    image = reading.image
    check_size(image.size, max_pixels, image.format)
    check_density(str(image.format), image.size, len(data))
    full = image.size
    drafted = _draft(image, side_min)
    with as_far_as_it_goes() if reading.is_damaged else nullcontext():
        image.load()
    if not drafted:
        full = image.size  # loading turns a TIFF, and finds an ICO's largest picture
        check_size(full, max_pixels)
    turn = orientation(image)
    rgb, alpha = to_rgb(image)
    if reading.is_damaged:
        rows = _rows_there(rgb)
        full = full[0], max(1, round(full[1] * rows / rgb.height))
        rgb, alpha = rgb.crop((0, 0, rgb.width, rows)), alpha and alpha.crop((0, 0, rgb.width, rows))
    shown, opaque = upright(to_srgb(rgb, image, data), turn), alpha and upright(alpha, turn)
    pixels = None
    is_clear = opaque is not None and opaque.getextrema() == (0, 0)  # all such pictures of a size would have one name
    if reading.is_whole and not drafted and not is_clear:
        pixels = name_of_decoded(upright(rgb, turn), opaque)
    elif reading.is_whole and structure:
        pixels = name_of_coded_jpeg(data, structure, turn)
    width, height = reversed(full) if turn >= 5 else full
    clear = opaque and ImageChops.invert(opaque)
    on_black = clear is not None and shows_nothing(shown)
    shown = over_black(shown, clear) if clear and on_black else shown
    return Picture(shown, width, height, str(image.format), pixels, reading.is_damaged, clear, on_black)


def _rows_there(rgb: Image.Image) -> int:
    """The number of rows above those of the last pixel's colour alone, which decoders put in place of missing ones.

    Two pictures that are mostly missing would else look alike. Raises NotAnImage for none."""
    filled = Image.new("RGB", rgb.size, rgb.getpixel((rgb.width - 1, rgb.height - 1)))
    differs = ImageChops.difference(rgb, filled).point(lambda level: level > _FILLED_MAX and 255).getbbox()
    if differs is None:
        raise NotAnImage("the picture can't be decoded: it ends before its first row")
    return differs[3]


def _draft(image: Image.Image, side_min: int) -> bool:
    """Choose a reduced scale for a large enough JPEG; True if chosen."""
    full = image.size
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, (side_min, side_min))
        image.decodermaxblock = _JPEG_PIECE_BYTES
    return image.size != full


def _is_comparable(image: ImageFile.ImageFile) -> bool:
    """True if the first frame's 8-bit pixels are the whole content of the file."""
    rawmodes = [tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in image.tile]
    deep = image.info.get("bit_depth", 8) > 8 or any(";16" in rawmode for rawmode in rawmodes) or _hides_depth(image)
    several = _is_moving(image) or (image.format in _SEVERAL_SIZES and len(image.info.get("sizes", ())) > 1)
    return image.mode in KEEPING_MODES and image.format not in _DEPTH_HIDDEN and not deep and not several


def _is_moving(image: ImageFile.ImageFile) -> bool:
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except CUT_IN_HEADER:
        if image.format != "GIF":
            raise
        return True  # cut within the header of the second frame; the first can be decoded


def _hides_depth(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow's decoder of PPM or SGI reduces 16 bits to 8."""
    if image.format == "PPM":
        return any(isinstance(tile.args, tuple) and tile.args[-1] not in (1, 255) for tile in image.tile)
    return any(tile.codec_name == "SGI16" for tile in image.tile)
