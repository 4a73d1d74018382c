"""The result of a reader, and the check that each makes before it decodes."""

from __future__ import annotations

from typing import NamedTuple

from PIL import ExifTags, Image

from shazimd.errors import TooLarge
from shazimd.imaging import effort


class NeedsExtra(ValueError):
    """A library that is not installed could decode the file."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} is decoded where this is installed: pip install 'shazimd[formats]'")


class Reading(NamedTuple):
    image: Image.Image
    """in any of Pillow's modes, with ``format`` set, and ``info`` as Pillow's plug-ins fill it"""
    is_whole: bool = False
    """the 8-bit pixels of ``image`` are the whole content of the file"""
    is_damaged: bool = False
    """the file ends early or is broken: a part of the picture is missing or wrong"""


def named(image: Image.Image, format_: str) -> Image.Image:
    """The picture with Pillow's name of its file's format."""
    image.format = format_
    return image


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The picture with an EXIF orientation, as Pillow's plug-ins note it, in place of all other EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.info["exif"] = exif.tobytes()
    return image


def check_size(size: tuple[int, int], max_pixels: int, format_: str | None = None) -> None:
    """Allow the work on a picture of this size and Pillow's name of its format; see ``effort``.

    Raises TooLarge for more pixels than allowed, ValueError for none."""
    width, height = size
    if width <= 0 or height <= 0:
        raise ValueError(f"the picture is {width}x{height}, expected at least 1x1")
    if width * height > max_pixels:
        raise TooLarge(f"the picture is {width}x{height} = {width * height} pixels, expected at most {max_pixels}")
    effort.has_pixels(width * height, format_)
