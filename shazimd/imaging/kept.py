"""How much is kept of a picture, and how its small picture, its print and its transparency are encoded.

Three kinds are told apart by the flat ground in a frame of 256 pixels: photographs; pages, charts and drawings, whose
text and modules need more pixels and compress better; and pages *dense* with print. Of these the luma is kept in
still more pixels and few tones, beside the small picture: a changed digit shows.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.small import fit
from shazimd.words.packing import ASKED_MAX, STORED_MAX


class PictureKind(Enum):
    PHOTO = auto()
    DRAWN = auto()
    """a page, chart or drawing"""
    DENSE = auto()
    """the same, much of which is print"""


class Detail(NamedTuple):
    """How much is kept."""

    features: int
    photo_side: int
    """longer side of the small picture of a photograph, pixels"""
    compared_side: int
    """in which photographs are compared, but for letters"""
    photo_bytes_max: int
    drawn_side: int
    """longer side of the small picture of a page, chart or drawing"""
    drawn_bytes_max: int
    print_bytes_max: int


STORED = Detail(
    STORED_MAX,
    photo_side=320,
    compared_side=192,
    photo_bytes_max=16000,
    drawn_side=384,
    drawn_bytes_max=8900,
    print_bytes_max=17500,
)
"""3 KiB of features and 5 to 15 KB of picture for most photos; at most 19.1 KB in all, 12 KB of a drawing, and 17.5 KB
more of a page that is dense with print."""
ASKED = Detail(
    ASKED_MAX,
    photo_side=384,
    compared_side=256,
    photo_bytes_max=60000,
    drawn_side=512,
    drawn_bytes_max=60000,
    print_bytes_max=70000,
)
"""A query is not kept, so it can be richer: the known picture may fill only a corner of it."""

_LOSSLESS_SIDE = 64
"""Pixels: sprites and icons up to this side are kept as they are, in fewer bytes than their edges cost a JPEG."""
_PHOTO_TRIES = (1.0, (40, 25)), (0.67, (40, 20, 5))
"""(share of the side, qualities) of photographs: the first under its bytes; the last for noise."""
_THUMBNAIL_SIDE, _FINE_PHOTO_TRIES = 256, ((1.0, (80, 60, 40, 25)), (0.67, (40, 20, 5)))
"""Pixels, and as above: photographs up to this side, and those that are asked about, are kept finer."""
_COLOUR_QUALITY_MIN = 65
"""Of photographs: letters as bright as what is below them stand out by their colour alone."""
_WEBP_TRIES = (1.0, 40), (0.8, 30), (0.67, 20)
"""(share of the side, quality) of drawn pictures: the first under its bytes; a dense page takes the last."""
_FINE_SIDE, _FINE_TRIES = 192, ((1.0, 90), (1.0, 40))
"""Pixels, and as above: icons and emoji up to this side are kept finer, in twice the bytes (1.1 to 2.4 kB), since what
tells two of one set apart may be a fraction of a pixel."""
_WEBP_METHOD = 2
"""Of 0 to 6: 6 % more bytes than OpenCV makes with 4, and .2 dB less, in 3.2 ms in place of 7."""
_ASKED_QUALITIES, _PRINT_QUALITIES = (90, 75, 40), (85, 75, 60, 30)
"""JPEG, of a drawn query and its print: the first under its bytes. Print in tones like those of what is known would
differ nowhere where the page is the same, and by a whole step elsewhere: with six in both 17 of 456 edits are lost."""
_PRINT_TONES, _PRINT_ENDS = (6, 4), 0.005
"""Tones that the print of a stored page is kept in, evenly from the darkest to the lightest but for this share of the
pixels: the first under its bytes. A spreadsheet of 280 cells takes 11.4 kB without loss; with loss it takes as much in
two thirds of the side, and other digits are lost in what that changes."""
_PRINT_METHOD = 1
"""As ``_WEBP_METHOD``, without loss: 4 saves a hundredth in twice the time, 0 takes a quarter more."""
_CLEAR_MIN = 0.01
"""Mean transparency of a picture of which it is kept."""
_CLEAR_TRIES, _CLEAR_BYTES_MAX = ((1.0, 60), (1.0, 20), (0.5, 20)), 5000
"""As ``_WEBP_TRIES``, of the transparency."""


_FLAT_RANGE = 6
"""Grey levels: a pixel whose 3 x 3 neighbourhood spans no more lies on flat ground."""
_DRAWN_SHARE = 0.5
_PAGE_SHARE, _PAGE_TONE, _TONE_RANGE = 0.3, 0.35, 4
"""A picture is drawn from the first share of flat ground on, or from the second where one tone (a range of so many grey
levels) fills the given share of it. Of 70 photos a tenth are so kept, products on plain ground."""
_FULL_SHARE, _FULL_TONE = 0.15, 0.6
"""As above, of pages so full of print that little ground is flat in a frame of 256 pixels: spreadsheets of 400 cells
have .22 and .78. None of 700 photos is so."""
_STROKE_SIDE, _STROKE_LEVELS, _DENSE_SHARE = 5, 40, 0.105
"""A drawn picture with a tone as above is dense where strokes, no wider than 4 pixels and so many grey levels darker
or lighter than what is around, cover this share of it. Edits hardly change the share: spreadsheets have .19 to .35,
pages .33 to .56, terminals .12 to .22, also under half-transparent words, cards and calendars .11 at most, charts .09.
Of 700 photos two are so."""


def kind_of(frame: NDArray[np.uint8]) -> PictureKind:
    """The kind of a picture, by its luma [h, w] of 256 pixels."""
    kernel = np.ones((3, 3), np.uint8)
    spans = cv2.subtract(cv2.dilate(frame, kernel), cv2.erode(frame, kernel))
    flat = float((spans <= _FLAT_RANGE).mean())
    if flat < _FULL_SHARE:
        return PictureKind.PHOTO
    tones = cv2.calcHist([frame], [0], None, [256 // (2 * _TONE_RANGE)], [0, 256]).ravel()
    ground = float((tones[:-1] + tones[1:]).max()) / frame.size
    if flat < _DRAWN_SHARE and ground < (_PAGE_TONE if flat >= _PAGE_SHARE else _FULL_TONE):
        return PictureKind.PHOTO
    return PictureKind.DENSE if ground >= _PAGE_TONE and _strokes_share(frame) >= _DENSE_SHARE else PictureKind.DRAWN


def _strokes_share(frame: NDArray[np.uint8]) -> float:
    near = np.ones((_STROKE_SIDE, _STROKE_SIDE), np.uint8)
    strokes = cv2.max(*(cv2.morphologyEx(frame, how, near) for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)))
    return float((strokes >= _STROKE_LEVELS).mean())


def small_picture(rgb: NDArray[np.uint8], detail: Detail, drawn: bool) -> bytes:
    if max(rgb.shape[:2]) <= _LOSSLESS_SIDE:
        encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()
        if len(encoded) <= detail.photo_bytes_max:
            return encoded
    if not drawn:
        is_fine = detail is ASKED or max(rgb.shape[:2]) <= _THUMBNAIL_SIDE
        for share, qualities in _FINE_PHOTO_TRIES if is_fine else _PHOTO_TRIES:
            pixels = _small_bgr(rgb, share * detail.photo_side)
            encoded = _jpeg(pixels, qualities, detail.photo_bytes_max, _COLOUR_QUALITY_MIN)
            if len(encoded) <= detail.photo_bytes_max:
                break
        return encoded
    if detail is ASKED:  # WebP would cost 5 ms more, and a query is not kept
        return _jpeg(_small_bgr(rgb, detail.drawn_side), _ASKED_QUALITIES, detail.drawn_bytes_max)
    tries = _FINE_TRIES if max(rgb.shape[:2]) <= _FINE_SIDE else _WEBP_TRIES
    return _webp(lambda share: fit(rgb, round(share * detail.drawn_side)), tries, detail.drawn_bytes_max)


def _small_bgr(rgb: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    return np.ascontiguousarray(fit(rgb, round(side))[..., ::-1])


def _jpeg(pixels: NDArray[np.uint8], qualities: Sequence[int], bytes_max: int, colour_min: int = 0) -> bytes:
    """With the first of the qualities that takes at most so many bytes; else with the last. The quality of the colours
    is ``colour_min`` at least."""
    for quality in qualities:
        how = [cv2.IMWRITE_JPEG_LUMA_QUALITY, quality, cv2.IMWRITE_JPEG_CHROMA_QUALITY, max(quality, colour_min)]
        encoded = cv2.imencode(".jpg", pixels, [*how, cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
        if len(encoded) <= bytes_max:
            break
    return encoded


def print_plane(luma: NDArray[np.uint8], detail: Detail) -> bytes:
    """The luma [h, w] of a dense page: a grey WebP of few tones, of a query a JPEG; empty where it takes too much."""
    if detail is ASKED:
        encoded = _jpeg(luma, _PRINT_QUALITIES, detail.print_bytes_max)
    else:
        shares = np.bincount(luma.ravel(), minlength=256).cumsum() / luma.size
        darkest, lightest = np.searchsorted(shares, (_PRINT_ENDS, 1 - _PRINT_ENDS)).tolist()
        for tones in _PRINT_TONES:
            encoded = _in_tones(luma, np.linspace(darkest, max(lightest, darkest + 1), tones))
            if len(encoded) <= detail.print_bytes_max:
                break
    return encoded if len(encoded) <= detail.print_bytes_max else b""


def _in_tones(luma: NDArray[np.uint8], tones: NDArray[np.float64]) -> bytes:
    """A WebP without loss, in the nearest of the tones."""
    numbers = np.abs(np.arange(256)[:, np.newaxis] - tones).argmin(axis=1)
    levels, encoded = np.rint(tones[numbers]).astype(np.uint8), io.BytesIO()
    Image.fromarray(levels[luma]).save(encoded, "WEBP", lossless=True, method=_PRINT_METHOD)
    return encoded.getvalue()


def small_clear(clear: NDArray[np.uint8], side: int) -> bytes:
    """The transparency as a WebP; empty where too little shows of it."""
    if clear.mean() < _CLEAR_MIN * 255:
        return b""
    return _webp(lambda share: fit(clear, round(share * side)), _CLEAR_TRIES, _CLEAR_BYTES_MAX)


def _webp(reduced: Callable[[float], NDArray[np.uint8]], tries: Sequence[tuple[float, int]], bytes_max: int) -> bytes:
    """The first of the tries, each a share of the side and a quality, that has at most so many bytes; else the last."""
    for share, quality in tries:
        encoded = io.BytesIO()
        Image.fromarray(reduced(share)).save(encoded, "WEBP", quality=quality, method=_WEBP_METHOD)
        if encoded.tell() <= bytes_max:
            break
    return encoded.getvalue()
