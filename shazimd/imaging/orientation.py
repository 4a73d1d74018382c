"""The EXIF orientation of a picture, and the turn that makes it upright."""

from __future__ import annotations

from PIL import ExifTags, Image

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


def orientation(image: Image.Image) -> int:
    """The EXIF orientation to apply to a loaded picture, 1 (upright) to 8. To load a TIFF turns it."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # libjxl has applied its own header; EXIF is to be ignored (ISO 18181-2)
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in _TURN else 1  # programs also write a rational or a float
    except Exception:  # unreadable EXIF is ignored, as in every viewer
        return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture turned by its EXIF orientation."""
    return image.transpose(_TURN[orientation]) if orientation in _TURN else image
