"""Signs, by the pixels of a verified pair, of which picture was made from the other.

- *Area*: one picture shows more than the other (``areas``).
- *JPEG*: a copy bears the marks of the JPEG that it was made from (``jpeg_steps``).
- *Detail*: lost detail, upscaling, noise and additions (``detail``).
- *Tones*: a picture that is clipped where the other has shades was made brighter or richer in contrast (``levels``);
  one that falls off in brightness to its edges has a vignette (``shading``).
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.areas import area_sign
from shazimd.imaging.decode import decode
from shazimd.imaging.detail import compare_detail
from shazimd.imaging.header import header_facts
from shazimd.imaging.jpeg_steps import Steps, made_from_other
from shazimd.imaging.laying import (
    Grey,
    PixelMap,
    inverted_map,
    laid_on_each_other,
    map_of,
)
from shazimd.imaging.levels import Rgb, with_lost_levels
from shazimd.imaging.shading import with_darkened_edges
from shazimd.types import Evidence, Mapping, PictureFacts

JPEG_START = b"\xff\xd8\xff"
SIDE_MIN = 1024
"""Pixels of the shorter side: enough to tell detail; a 24-megapixel JPEG is decoded at half its scale."""
GREY_SIDE = 128
GREY_CHROMA = 8.0
"""Levels between the channels, after JPEG."""
DETAIL_MARGIN, DETAIL_MARGIN_ALONE = 0.1, 0.03
"""Difference in detail that is a sign: beside a sign in the JPEG's steps, and without."""
BESIDE_AREA = ("crop", "frame", "corners", "blur", "upscaled")
"""Signs that count where the areas differ."""


class _PairPicture(NamedTuple):
    rgb: Rgb
    luma: Grey
    steps: Steps | None
    """quantisation steps of a JPEG's luma; None for another format, or at a reduced scale"""


def lineage(asked: bytes, known: bytes, mapping: Mapping, max_pixels: int) -> Evidence:
    """The signs between two files; ``mapping`` leads from the asked picture to the known one.

    Raises NotAnImage, TooLarge, MemoryError like ``decode``."""
    a, b = _read(asked, max_pixels), _read(known, max_pixels)
    there = map_of(mapping, a.luma, b.luma)
    own: dict[str, None] = {}  # as sets that keep their order
    other: dict[str, None] = {}
    for mine, theirs, onward, signs, signs_of_theirs in (
        (a, b, there, own, other),
        (b, a, inverted_map(there), other, own),
    ):
        area = area_sign(mine.luma, theirs.luma, onward)
        if area is not None:
            (signs if area == "crop" else signs_of_theirs)[area] = None
    by_area = len(own), len(other)
    made = made_from_other(a.luma, a.steps, b.luma, b.steps, there)
    if made:
        (own if made > 0 else other)["recompressed"] = None
    laid = laid_on_each_other(a.luma, b.luma, there)
    shaded = with_darkened_edges(laid)
    if shaded:
        (own if shaded > 0 else other)["darkened"] = None
    detail = compare_detail(laid, DETAIL_MARGIN if made else DETAIL_MARGIN_ALONE)
    is_blurred = "blur" in (detail.asked, detail.known)  # which takes pixels from the ends of the scale
    other_signs = made or shaded or any(by_area) or is_blurred or detail.recoloured
    stretched = 0 if other_signs else _with_stretched_tones(a, b, there)
    if stretched:
        (own if stretched > 0 else other)["colours"] = None
    else:
        own.update(dict.fromkeys([detail.asked] if detail.asked else []))
        other.update(dict.fromkeys([detail.known] if detail.known else []))
    # An area is beyond doubt, and disturbs the comparison of detail; so are a JPEG's steps, next.
    sure = (by_area[0] > 0) - (by_area[1] > 0) or made or shaded
    if any(by_area):
        own, other = ({sign: None for sign in each if sign in BESIDE_AREA} for each in (own, other))
    if sure:
        own, other = (own, {}) if sure > 0 else ({}, other)
    return Evidence(tuple(own), tuple(other), detail.ratio)


def picture_facts(data: bytes, max_pixels: int) -> PictureFacts:
    """The facts in a file's header; a picture without colour is grey, whatever its mode. Errors as for ``lineage``."""
    facts = header_facts(io.BytesIO(data))
    picture = decode(data, side_min=GREY_SIDE, max_pixels=max_pixels, is_named=False).image
    picture.thumbnail((GREY_SIDE, GREY_SIDE))
    chroma = _chroma(np.asarray(picture, np.float32))
    tinted = chroma - np.median(chroma)  # sepia is grey with one tint
    return replace(facts, grey=facts.grey or bool(np.percentile(np.abs(tinted), 99) < GREY_CHROMA))


def _read(data: bytes, max_pixels: int) -> _PairPicture:
    picture = decode(data, side_min=SIDE_MIN, max_pixels=max_pixels, is_named=False)
    rgb = np.asarray(picture.image)
    is_whole = (picture.width, picture.height) == picture.image.size
    return _PairPicture(rgb, np.asarray(picture.image.convert("L"), np.float32), _steps(data) if is_whole else None)


def _chroma(rgb: NDArray[Any]) -> NDArray[Any]:
    """The difference between the channels of each pixel; along the last axis numpy takes twenty times as long."""
    red, green, blue = (rgb[..., channel] for channel in range(3))
    highest, lowest = (of(of(red, green), blue) for of in (np.maximum, np.minimum))
    return np.asarray(highest - lowest)


def _steps(data: bytes) -> Steps | None:
    if not data.startswith(JPEG_START):
        return None  # and Pillow may not open it: see ``imaging.readers``
    with Image.open(io.BytesIO(data)) as image:
        table = getattr(image, "quantization", {}).get(0)
        turned = image.getexif().get(0x0112, 1) in range(2, 9)  # its blocks lie elsewhere once upright
    return None if table is None or turned else np.asarray(table, np.float32).reshape(8, 8)


def _with_stretched_tones(a: _PairPicture, b: _PairPicture, there: PixelMap) -> int:
    """1 if the asked picture was made brighter or richer in contrast, -1 if the other was, else 0. A grey picture has
    fewer channels that can be clipped."""
    chroma = [float(_chroma(each.rgb).mean()) for each in (a, b)]
    if min(chroma) < GREY_CHROMA / 2 <= max(chroma):
        return 0
    return with_lost_levels(a.rgb, b.rgb, there)
