"""Packed local features of a small picture."""

from __future__ import annotations

import numpy as np

from shazimd.words.packing import FEATURE, HEADER, VERSION

SMALL_PICTURE = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x09\0\x09\1\1\x11\0\xff\xd9"
"""the header of a JPEG of 9 x 9 pixels"""


def packed(version: int = VERSION) -> bytes:
    rows = np.zeros(3, FEATURE)
    rows["word"] = [1, 2, 3]
    return HEADER.pack(version, 0, 10, 10, 3) + rows.tobytes() + SMALL_PICTURE
