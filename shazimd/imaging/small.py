"""The small colour picture behind packed features, decoded when it is first looked at.

Most strangers are told by their features alone, and a picture costs more than their matching. Of a picture with
transparent pixels it is known how far each of them is transparent, so that it can be laid on any other ground.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIGNATURES = b"\xff\xd8", b"\x89PNG", b"RIFF"
"""Beginnings of JPEG, PNG and WebP."""
_LONG_MAX = 3.0
"""How much longer than others the longest pictures may be: points reach to 1,023 pixels."""
_BORDER_NEAR, _BORDER_MIN = 16, 0.5
"""Levels from the median of the border, and the share of the border within them, from which on a ground is seen."""

_CLEAR_FROM, _SHOWN_MIN = 128, 0.2
"""Transparency from which on a pixel does not count, and the share of the others that differ from a ground by more
levels than the border's: a white logo on a white page shows nothing, and is like any page."""


class Colour(NamedTuple):
    """Levels, 0 to 255."""

    y: float
    cr: float
    cb: float


WHITE, BLACK = Colour(255, 128, 128), Colour(0, 128, 128)


class Clear(NamedTuple):
    """The transparency of a picture."""

    encoded: bytes
    """WebP, grey: 255 for a pixel that does not show at all"""
    ground: Colour
    """that the picture was laid on"""


class SmallPicture:
    def __init__(
        self,
        encoded: bytes,
        luma_side: int,
        clear: Clear | None = None,
        encoded_print: bytes = b"",
        side_max: int | None = None,
    ) -> None:
        """``encoded``: a JPEG, WebP or PNG; ``luma_side``: pixels, longer side of the luma; ``encoded_print``: the luma
        in more pixels, of a page dense with print; ``side_max``: a picture with a longer side is made smaller."""
        self._encoded = encoded
        self._side_max = side_max
        self._encoded_print = encoded_print
        self._luma_side = luma_side
        self.clear = clear

    @classmethod
    def of(cls, colours: NDArray[np.uint8], luma_side: int | None = None) -> SmallPicture:
        """From pixels [h, w, 3]: Y, Cr, Cb."""
        made = cls(b"", max(colours.shape) if luma_side is None else luma_side)
        made.__dict__["fine"] = colours
        return made

    def negated(self) -> SmallPicture:
        """The negative; decoded when it is first looked at."""
        return _Negative(self, self._luma_side, self._side_max)

    def on(self, ground: Colour) -> SmallPicture:
        """A picture with transparent pixels, laid on another ground. Raises as ``colours``."""
        assert self.clear is not None
        share = self._clearness_at(self.colours.shape) / np.float32(255)
        moved = np.array(ground, np.float32) - np.array(self.clear.ground, np.float32)
        laid = self.colours + share[..., np.newaxis] * moved
        return self.of(np.clip(np.rint(laid), 0, 255).astype(np.uint8), self._luma_side)

    def shows_on(self, ground: Colour) -> bool:
        """Whether what is not transparent has other colours than this ground. Raises as ``colours``."""
        seen = self._clearness_at(self.colours.shape) < _CLEAR_FROM
        miss = np.abs(self.on(ground).colours[seen] - np.array(ground, np.float32)).max(axis=1)
        return bool(seen.any() and (miss > _BORDER_NEAR).mean() >= _SHOWN_MIN)

    @cached_property
    def ground(self) -> Colour | None:
        """The colour that transparent pixels show, or of most of the border; None where that has many. Raises as
        ``colours``."""
        if self.clear is not None:
            return self.clear.ground
        picture = self.colours
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]).astype(np.float32)
        middle = np.median(border, axis=0)
        near = (np.abs(border - middle) <= _BORDER_NEAR).all(axis=1)
        return Colour(*middle.tolist()) if near.mean() >= _BORDER_MIN else None

    def _clearness_at(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """[h, w]: 255 for a pixel that does not show at all. Raises as ``colours``."""
        assert self.clear is not None
        kept = _decoded(self.clear.encoded, cv2.IMREAD_GRAYSCALE)
        return cv2.resize(kept, shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    @cached_property
    def fine(self) -> NDArray[np.uint8]:
        """[h, w, 3]: Y, Cr, Cb in all pixels. Raises ValueError for bytes that are no picture."""
        bgr = _decoded(self._encoded, cv2.IMREAD_COLOR)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb).astype(np.uint8, copy=False)

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """``fine``, with the longest side asked for at most. Raises as ``fine``."""
        return self.fine if self._side_max is None else fit(self.fine, self._side_max)

    @cached_property
    def print(self) -> NDArray[np.uint8] | None:
        """[h, w]: luma in more pixels than ``colours`` has, of a page dense with print. Raises as ``colours``."""
        return _decoded(self._encoded_print, cv2.IMREAD_GRAYSCALE) if self._encoded_print else None

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """[h, w], of the side asked for at most. Raises as ``colours``."""
        return fit(cv2.extractChannel(self.colours, 0).astype(np.uint8, copy=False), self._luma_side)

    @cached_property
    def mirrored_fine(self) -> NDArray[np.uint8]:
        """``fine`` of the mirror image. Raises as ``fine``."""
        return cv2.flip(self.fine, 1).astype(np.uint8, copy=False)

    @cached_property
    def mirrored_colours(self) -> NDArray[np.uint8]:
        """``colours`` of the mirror image. Raises as ``colours``."""
        return cv2.flip(self.colours, 1).astype(np.uint8, copy=False)

    @cached_property
    def mirrored_luma(self) -> NDArray[np.uint8]:
        """``luma`` of the mirror image. Raises as ``colours``."""
        return cv2.flip(self.luma, 1).astype(np.uint8, copy=False)


class _Negative(SmallPicture):
    def __init__(self, positive: SmallPicture, luma_side: int, side_max: int | None) -> None:
        super().__init__(b"", luma_side, side_max=side_max)
        self._positive = positive

    @cached_property
    def fine(self) -> NDArray[np.uint8]:
        return 255 - self._positive.fine

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        return 255 - self._positive.colours

    @cached_property
    def print(self) -> NDArray[np.uint8] | None:
        return None if self._positive.print is None else 255 - self._positive.print


def _decoded(encoded: bytes, how: int) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), how)
    if pixels is None:
        raise ValueError(f"packed features hold {len(encoded)} bytes that are no picture")
    return pixels.astype(np.uint8, copy=False)


def fit(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture with its longer side at most ``side`` pixels, by averaging, so that detail does not alias.

    One longer than 2:1, a strip or panorama, is made as large as 2:1 would be, else 38 rows of it would be left."""
    height, width = pixels.shape[:2]
    longer, shorter = max(height, width), max(1, min(height, width))
    scale = side / longer * min(_LONG_MAX, max(1.0, (longer / shorter / 2) ** 0.5))
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
