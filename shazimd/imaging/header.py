"""Facts in a picture's header, parsed by Pillow without decoding pixels: camera, capture date, compression."""

from __future__ import annotations

import warnings
from functools import cache
from typing import IO, Any

from shazimd.types import FORMATS, PictureFacts

LOSSLESS_FORMATS = {"PNG", "BMP", "PPM", "QOI", "TGA"}
EXIF_MAKE, EXIF_MODEL, EXIF_IFD, EXIF_CAPTURED = 0x010F, 0x0110, 0x8769, 0x9003
TEXT_MAX = 100

# fmt: off
IJG_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
# fmt: on
"""ITU-T T.81, table K.1: the luminance table, scaled by libjpeg with its quality setting."""


def header_facts(file: IO[bytes]) -> PictureFacts:
    """The facts in the header of an open file; empty ones when Pillow cannot parse it."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(file, formats=_formats()) as image:
            warnings.simplefilter("ignore")  # odd EXIF, many pixels: nothing is decoded here
            exif = image.getexif()
            captured = exif.get_ifd(EXIF_IFD).get(EXIF_CAPTURED)
            return PictureFacts(
                camera=_camera(exif.get(EXIF_MAKE), exif.get(EXIF_MODEL)),
                # "0000" is unset
                captured=captured[:TEXT_MAX] if isinstance(captured, str) and "19" < captured[:4] < "9999" else "",
                jpeg_quality=jpeg_quality(getattr(image, "quantization", None) or {}),
                lossless=_is_lossless(image),
                grey=image.mode in ("1", "L", "LA", "I;16"),
            )
    except Exception:  # a hostile header may raise anything; the picture is judged by other facts then
        return PictureFacts()


def _formats() -> list[str]:
    """Those of ``FORMATS`` that Pillow knows here; its other plug-ins start programs for some files."""
    from PIL import Image

    if not set(FORMATS) <= Image.OPEN.keys():  # a worker knows all, and can import no more
        Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _camera(make: Any, model: Any) -> str:
    words = [str(word).strip("\0 ") for word in (make, model) if word]
    if len(words) == 2 and words[1].lower().startswith(words[0].lower()):
        words = words[1:]
    return " ".join(words)[:TEXT_MAX]


def _is_lossless(image: Any) -> bool:
    kind = getattr(image, "format", "")
    return kind in LOSSLESS_FORMATS or (kind == "TIFF" and getattr(image, "info", {}).get("compression") != "jpeg")


def jpeg_quality(tables: dict[int, list[int]]) -> int:
    """The libjpeg quality setting whose luminance table is nearest, 1 to 100; 0 without tables.

    Sums are compared: the order of the values (zigzag or not) does not matter."""
    if not tables:
        return 0
    total = sum(tables[min(tables)])
    return min(range(1, 101), key=lambda quality: abs(_table_sum(quality) - total))


@cache
def _table_sum(quality: int) -> int:
    """The sum of the table as libjpeg scales it, see jpeg_quality_scaling and jpeg_add_quant_table in jcparam.c."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((value * scale + 50) // 100, 1), 255) for value in IJG_LUMINANCE)
