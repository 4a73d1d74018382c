"""PFM and PAM, decoded by OpenCV, which every installation has for its local features."""

from __future__ import annotations

import re

import cv2
import numpy as np
from PIL import Image

from shazimd.imaging.readers.reading import Reading, check_size, named
from shazimd.imaging.rgb import levels

_PFM = re.compile(rb"P[Ff]\s+(\d+)\s+(\d+)\s")
_PAM = re.compile(rb"P7\n(?:[^\n]*\n){0,64}?ENDHDR\n")
_PAM_SIDES = (re.compile(rb"\nWIDTH\s+(\d+)"), re.compile(rb"\nHEIGHT\s+(\d+)"))
_HEAD_BYTES = 8192


def read(data: bytes, max_pixels: int) -> Reading | None:
    """Samples as they are coded."""
    found = _kind_and_size(data[:_HEAD_BYTES])
    if found is None:
        return None
    kind, size = found
    check_size(size, max_pixels)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError(f"the {kind} picture is broken")
    if array.ndim == 3:
        array = array[..., [2, 1, 0, *range(3, array.shape[2])]]
    return Reading(named(Image.fromarray(np.ascontiguousarray(levels(array))), kind), is_whole=array.dtype == np.uint8)


def _kind_and_size(head: bytes) -> tuple[str, tuple[int, int]] | None:
    if found := _PFM.match(head):
        return "PFM", (int(found[1]), int(found[2]))
    if found := _PAM.match(head):
        width, height = (side.search(found[0]) for side in _PAM_SIDES)
        return ("PAM", (int(width[1]), int(height[1]))) if width and height else None
    return None
