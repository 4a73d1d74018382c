"""How much is kept of a picture, and how its small picture and its transparency are encoded."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.small import fit
from shazimd.words.packing import ASKED_MAX, STORED_MAX


class Detail(NamedTuple):
    """How much is kept."""

    features: int
    photo_side: int
    """longer side of the small picture of a photograph, pixels"""
    photo_bytes_max: int
    drawn_side: int
    """longer side of the small picture of a page, chart or drawing"""
    drawn_bytes_max: int


STORED = Detail(features=STORED_MAX, photo_side=192, photo_bytes_max=4500, drawn_side=384, drawn_bytes_max=8900)
"""3 KiB of features and 3 to 4 KiB of picture for most photos; at most 12 KB in all."""
ASKED = Detail(features=ASKED_MAX, photo_side=256, photo_bytes_max=22000, drawn_side=384, drawn_bytes_max=60000)
"""A query is not kept, so it can be richer: the known picture may fill only a corner of it."""

_LOSSLESS_SIDE = 64
"""Pixels: sprites and icons up to this side are kept as they are, in fewer bytes than their edges cost a JPEG."""
_JPEG_TRIES = (1.0, (80, 60, 40, 25)), (0.67, (40, 20, 5))
"""(share of the side, qualities) of photographs: the first under its bytes; the last for noise."""
_WEBP_TRIES = (1.0, 40), (0.8, 30), (0.67, 20)
"""(share of the side, quality) of drawn pictures: the first under its bytes; a dense page takes the last."""
_FINE_SIDE, _FINE_TRIES = 192, ((1.0, 90), (1.0, 40))
"""Pixels, and as above: icons and emoji up to this side are kept finer, in twice the bytes (1.1 to 2.4 kB), since what
tells two of one set apart may be a fraction of a pixel."""
_WEBP_METHOD = 2
"""Of 0 to 6: 6 % more bytes than OpenCV makes with 4, and .2 dB less, in 3.2 ms in place of 7."""
_CLEAR_MIN = 0.01
"""Mean transparency of a picture of which it is kept."""
_CLEAR_TRIES, _CLEAR_BYTES_MAX = ((1.0, 60), (1.0, 20), (0.5, 20)), 5000
"""As ``_WEBP_TRIES``, of the transparency."""


def small_picture(rgb: NDArray[np.uint8], detail: Detail, drawn: bool) -> bytes:
    if max(rgb.shape[:2]) <= _LOSSLESS_SIDE:
        encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()
        if len(encoded) <= detail.photo_bytes_max:
            return encoded
    if not drawn:
        for share, qualities in _JPEG_TRIES:
            small = _small_bgr(rgb, share * detail.photo_side)
            for quality in qualities:
                encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
                if len(encoded) <= detail.photo_bytes_max:
                    return encoded
        return encoded
    if detail is ASKED:  # WebP would cost 5 ms more, and a query is not kept
        small = _small_bgr(rgb, detail.drawn_side)
        return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    tries = _FINE_TRIES if max(rgb.shape[:2]) <= _FINE_SIDE else _WEBP_TRIES
    return _webp(lambda share: fit(rgb, round(share * detail.drawn_side)), tries, detail.drawn_bytes_max)


def _small_bgr(rgb: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    return np.ascontiguousarray(fit(rgb, round(side))[..., ::-1])


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
