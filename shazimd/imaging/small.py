"""The small colour picture behind packed features, decoded when it is first looked at.

Most strangers are told by their features alone, and a picture costs more than their matching.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

SIGNATURES = b"\xff\xd8", b"\x89PNG", b"RIFF"
"""Beginnings of JPEG, PNG and WebP."""
_LONG_MAX = 3.0
"""How much longer than others the longest pictures may be: points reach to 1,023 pixels."""


class SmallPicture:
    def __init__(self, encoded: bytes, luma_side: int) -> None:
        """``encoded``: a JPEG, WebP or PNG; ``luma_side``: pixels, longer side of the luma."""
        self._encoded = encoded
        self._luma_side = luma_side

    @classmethod
    def of(cls, colours: NDArray[np.uint8]) -> SmallPicture:
        """From pixels [h, w, 3]: Y, Cr, Cb."""
        made = cls(b"", max(colours.shape))
        made.__dict__["colours"] = colours
        return made

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """[h, w, 3]: Y, Cr, Cb. Raises ValueError for bytes that are no picture."""
        bgr = cv2.imdecode(np.frombuffer(self._encoded, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError(f"packed features end in {len(self._encoded)} bytes that are no picture")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb).astype(np.uint8, copy=False)

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """[h, w], of the side asked for at most. Raises as ``colours``."""
        return fit(cv2.extractChannel(self.colours, 0).astype(np.uint8, copy=False), self._luma_side)


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
