"""How an animation goes on after its first frame: two later frames, tiny.

Fingerprints are of the first frame. Two animations that begin with the same title and show different things after it
are told apart by these. Places are shares of an animation's frames, so that one with every second frame left out has
nearly the same ones.
"""

from __future__ import annotations

import io
import struct
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shazimd.imaging.orientation import orientation, upright
from shazimd.types import Mapping
from shazimd.words.packing import FRAMES_SHAPE

_MOVING = "GIF", "WEBP", "PNG"
_PLACES = 1 / 3, 2 / 3
"""Of all frames."""
_FRAMES_MAX, _PIXELS_MAX = 48, 100_000_000
"""Frames build on each other, so all up to a place are decoded: at most so many frames, and pixels of all. A longer
animation is looked at as far as that."""
_AGREE_MIN = 0.8
"""Correlation of later frames of a copy, which a crop, a caption or a frame left out moves a little: .9 and more if
they show the same, .65 of two dark things in the middle of the picture."""
_QUIET = 6.0
"""Grey levels, standard deviation and difference of the means: two frames without structure are alike by their tone."""
_SIDE_MIN = 4
"""Pixels of a later frame, of 16, that a crop must have to be compared."""

CUT_IN_HEADER = IndexError, struct.error
"""Pillow's errors for a GIF that is cut within a frame's header."""
_UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError),
    *CUT_IN_HEADER,
)
"""Pillow's errors."""

Frames = NDArray[np.uint8]
"""[2, 16, 16]: luma"""


def later_frames(data: bytes, kind: str) -> Frames | None:
    """Two later frames of a file of this format (Pillow's name); None if it has a single frame that can be read."""
    if kind not in _MOVING:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of a frame outside of the canvas: shown all the same
            return _read(data, kind)
    except _UNREADABLE:
        return None  # its first frame was decoded, which is all that is known of it then


def _read(data: bytes, kind: str) -> Frames | None:
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if not getattr(image, "is_animated", False):
            return None
        frames = [_tiny(image)]
        for number in range(1, min(_FRAMES_MAX, _PIXELS_MAX // max(1, image.width * image.height))):
            try:
                image.seek(number)
            except EOFError:
                break
            frames.append(_tiny(image))
    chosen = [frames[min(len(frames) - 1, max(1, round(place * len(frames))))] for place in _PLACES]
    return np.array(chosen, np.uint8)


def _tiny(image: Image.Image) -> NDArray[np.uint8]:
    """The present frame's luma on white, upright."""
    shown = image.convert("RGBA").reduce(max(1, min(image.size) // FRAMES_SHAPE[1]))
    luma = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("L")
    luma = upright(luma, orientation(image))
    return np.asarray(luma.resize(FRAMES_SHAPE[:0:-1], Image.Resampling.BOX))


def go_on_alike(query: Frames, match: Frames, mapping: Mapping) -> bool:
    """Whether later frames show the same, as far as a map of the first ones makes them overlap."""
    left, top, right, bottom = mapping.region
    turns = round(mapping.rotation_deg / 90) % 4
    width, height = right - left, bottom - top
    if min(width, height) <= 0:
        return True
    theirs = max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)
    ours = tuple(
        (edge - start) / size for edge, start, size in zip(theirs, (left, top) * 2, (width, height) * 2, strict=True)
    )
    for one, other in zip(query, match, strict=True):
        placed = np.rot90(one[:, ::-1] if mapping.mirrored else one, -turns)
        a, b = _cut(placed, ours), _cut(other, theirs)
        if a is not None and b is not None and not _agree(a, b):
            return False
    return True


def _cut(frame: NDArray[np.uint8], box: tuple[float, ...]) -> NDArray[np.float32] | None:
    left, top, right, bottom = (round(edge * frame.shape[0]) for edge in box)
    part = frame[top:bottom, left:right]
    if min(part.shape) < _SIDE_MIN:
        return None
    return cv2.resize(np.ascontiguousarray(part), (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)


def _agree(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    spread = float(a.std()), float(b.std())
    if max(spread) < _QUIET:
        return abs(float(a.mean() - b.mean())) < 4 * _QUIET
    covariance = float(((a - a.mean()) * (b - b.mean())).mean())
    return covariance >= _AGREE_MIN * spread[0] * spread[1]
