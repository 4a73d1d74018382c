"""Signs, by the pixels of a verified pair, of which picture was made from the other.

- *Area*: one picture shows more than the other. If the picture goes on across the border of the shared part, the
  smaller one is a crop; if there is a seam along that border, the larger one is framed, captioned or a collage.
- *JPEG*: a copy bears the marks of the JPEG that it was made from (``jpeg_steps``).
- *Detail*: lost detail, upscaling, noise and additions (``detail``).
- *Tones*: a picture with far more pixels at the ends of the scale was made brighter or richer in contrast.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.decode import decode
from shazimd.imaging.detail import compare_detail
from shazimd.imaging.header import header_facts
from shazimd.imaging.jpeg_steps import Steps, made_from_other
from shazimd.imaging.laying import TURN_MIN, Affine, Grey, affine_of, inverted_affine, laid_on_each_other
from shazimd.types import Evidence, Mapping, PictureFacts

SIDE_MIN = 1024
"""Pixels of the shorter side: enough to tell detail; a 24-megapixel JPEG is decoded at half its scale."""
AREA_MIN = 0.03
"""Share of a picture's area beyond the other's, from which the areas differ."""
SEAM_MIN = 2.5
"""Contrast across a border, as a multiple of the contrast beside it, from which the border is a seam."""
SEAM_LEVELS = 4.0
"""Grey levels across a seam."""
FLAT = 6.0
"""Grey levels: the standard deviation of one colour, after JPEG."""
GREY_SIDE = 128
GREY_CHROMA = 8.0
"""Levels between the channels, after JPEG."""
DETAIL_MARGIN, DETAIL_MARGIN_ALONE = 0.1, 0.03
"""Difference in detail that is a sign: beside a sign in the JPEG's steps, and without."""
BESIDE_AREA = ("crop", "frame", "corners", "blur", "upscaled")
"""Signs that count where the areas differ."""
CLIPPED_MARGIN = 0.01
"""Share of pixels at the ends of the scale; and a third of the larger share."""


class _PairPicture(NamedTuple):
    luma: Grey
    clipped: float
    """share of pixels with a channel at its end"""
    chroma: float
    """mean difference between the channels"""
    steps: Steps | None
    """quantisation steps of a JPEG's luma; None for another format, or at a reduced scale"""


def lineage(asked: bytes, known: bytes, mapping: Mapping, max_pixels: int) -> Evidence:
    """The signs between two files; ``mapping`` leads from the asked picture to the known one.

    Raises NotAnImage, TooLarge, MemoryError like ``decode``."""
    a, b = _read(asked, max_pixels), _read(known, max_pixels)
    affine = affine_of(mapping, a.luma, b.luma)
    own: dict[str, None] = {}  # as sets that keep their order
    other: dict[str, None] = {}
    for mine, theirs, there, signs, signs_of_theirs in (
        (a, b, affine, own, other),
        (b, a, inverted_affine(affine), other, own),
    ):
        area = _area(mine.luma, theirs.luma, there)
        if area is not None:
            (signs if area == "crop" else signs_of_theirs)[area] = None
    by_area = len(own), len(other)
    made = made_from_other(a.luma, a.steps, b.luma, b.steps, affine)
    if made:
        (own if made > 0 else other)["recompressed"] = None
    detail = compare_detail(laid_on_each_other(a.luma, b.luma, affine), DETAIL_MARGIN if made else DETAIL_MARGIN_ALONE)
    is_blurred = "blur" in (detail.asked, detail.known)  # which takes pixels from the ends of the scale
    stretched = 0 if made or any(by_area) or is_blurred else _with_stretched_tones(a, b)
    if stretched:
        (own if stretched > 0 else other)["colours"] = None
    else:
        own.update(dict.fromkeys([detail.asked] if detail.asked else []))
        other.update(dict.fromkeys([detail.known] if detail.known else []))
    # An area is beyond doubt, and disturbs the comparison of detail; so are a JPEG's steps, next.
    sure = (by_area[0] > 0) - (by_area[1] > 0) or made
    if any(by_area):
        own, other = ({sign: None for sign in each if sign in BESIDE_AREA} for each in (own, other))
    if sure:
        own, other = (own, {}) if sure > 0 else ({}, other)
    return Evidence(tuple(own), tuple(other), detail.ratio)


def picture_facts(data: bytes, max_pixels: int) -> PictureFacts:
    """The facts in a file's header; a picture without colour is grey, whatever its mode. Errors as for ``lineage``."""
    facts = header_facts(io.BytesIO(data))
    picture = decode(data, side_min=GREY_SIDE, max_pixels=max_pixels).image
    picture.thumbnail((GREY_SIDE, GREY_SIDE))
    rgb = np.asarray(picture, np.float32)
    chroma = rgb.max(axis=2) - rgb.min(axis=2)
    tinted = chroma - np.median(chroma)  # sepia is grey with one tint
    return replace(facts, grey=facts.grey or bool(np.percentile(np.abs(tinted), 99) < GREY_CHROMA))


def _read(data: bytes, max_pixels: int) -> _PairPicture:
    picture = decode(data, side_min=SIDE_MIN, max_pixels=max_pixels)
    rgb = np.asarray(picture.image)
    clipped = float(((rgb >= 254) | (rgb <= 1)).any(axis=2).mean())
    chroma = float((rgb.max(axis=2) - rgb.min(axis=2)).mean())
    is_whole = (picture.width, picture.height) == picture.image.size
    return _PairPicture(
        np.asarray(picture.image.convert("L"), np.float32), clipped, chroma, _steps(data) if is_whole else None
    )


def _steps(data: bytes) -> Steps | None:
    with Image.open(io.BytesIO(data)) as image:
        table = getattr(image, "quantization", {}).get(0)
        turned = image.getexif().get(0x0112, 1) in range(2, 9)  # its blocks lie elsewhere once upright
    return None if table is None or turned else np.asarray(table, np.float32).reshape(8, 8)


def _area(mine: Grey, theirs: Grey, there: Affine) -> str | None:
    """ "crop" if my picture is a part of theirs, "frame" or "corners" if theirs is mine with something around it; None
    if theirs shows no more."""
    height, width = mine.shape
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]])
    placed = corners @ there[:, :2].T + there[:, 2]
    whole = np.array([[0, 0], [theirs.shape[1], 0], [theirs.shape[1], theirs.shape[0]], [0, theirs.shape[0]]])
    shared, _ = cv2.intersectConvexConvex(placed.astype(np.float32), whole.astype(np.float32))
    if shared > (1 - AREA_MIN) * theirs.size:
        return None
    seams = [seam for n in range(4) if (seam := _seam(theirs, placed[n], placed[(n + 1) % 4])) is not None]
    if not seams:  # too near to the border to be measured: only what lies around
        return "frame" if _is_flat_around(theirs, placed) else "crop"
    if float(np.median(seams)) < SEAM_MIN:
        return "crop"
    turn = math.degrees(math.atan2(there[1, 0], there[0, 0]))
    return "frame" if abs(turn - 90 * round(turn / 90)) < TURN_MIN else "corners"


def _is_flat_around(picture: Grey, corners: NDArray[np.float64]) -> bool:
    around = np.ones(picture.shape, np.uint8)
    cv2.fillConvexPoly(around, np.rint(corners).astype(np.int32), 0)
    values = picture[cv2.erode(around, np.ones((2, 2))).astype(bool)]
    return len(values) > 0 and float(values.std()) < FLAT


def _seam(picture: Grey, start: NDArray[np.float64], end: NDArray[np.float64]) -> float | None:
    """The contrast across a line, as a multiple of that across parallel lines; None for a line that is not well inside
    the picture."""
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([along[1], -along[0]])
    steps = np.linspace(0.08, 0.92, 200)[:, None]
    line = start + steps * (end - start)
    offsets = np.arange(-14, 15)
    points = line[None] + offsets[:, None, None] * across
    height, width = picture.shape
    inside = ((points >= 1) & (points <= [width - 2, height - 2])).all(axis=(0, 2))
    if inside.sum() < 60:
        return None
    kept = points[:, inside].astype(np.float32)
    values = cv2.remap(picture, kept[..., 0], kept[..., 1], cv2.INTER_LINEAR)
    # At most places of the line: an edge that only crosses it is no seam.
    contrast = np.percentile(np.abs(values[3:] - values[:-3]), 40, axis=1)
    middle = slice(len(contrast) // 2 - 5, len(contrast) // 2 + 6)
    ratio = float(contrast[middle].max() / (np.median(contrast) + 1.0))
    centred = values - values.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1)) + 1.0
    alike = (centred[3:] * centred[:-3]).mean(axis=1) / (spread[3:] * spread[:-3])
    is_broken = contrast[middle].max() > SEAM_LEVELS and alike[middle].min() < 0.5 and np.median(alike) > 0.75
    return max(ratio, SEAM_MIN) if is_broken else ratio


def _with_stretched_tones(a: _PairPicture, b: _PairPicture) -> int:
    """1 if the asked picture has far more pixels at the ends of the scale, -1 if the other has, else 0. A grey picture
    has fewer channels to be there."""
    if min(a.chroma, b.chroma) < GREY_CHROMA / 2 <= max(a.chroma, b.chroma):
        return 0
    if abs(a.clipped - b.clipped) < max(CLIPPED_MARGIN, max(a.clipped, b.clipped) / 3):
        return 0
    return 1 if a.clipped > b.clipped else -1
