"""How an animation goes on after its first frame, or a TIFF after its first page: two later ones, tiny.

Fingerprints are of the first frame. Two animations that begin with the same title and show different things after it
are told apart by these, and so are two documents with one cover. Places are shares of all frames, so that an animation
with every second frame left out has nearly the same ones.
"""

from __future__ import annotations

import io
import struct
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from shazimd.imaging import effort
from shazimd.imaging.orientation import orientation, upright
from shazimd.imaging.readers.tiff import is_misread
from shazimd.imaging.rgb import to_rgb
from shazimd.types import Mapping
from shazimd.words.packing import FRAMES_SHAPE

_MOVING = "GIF", "WEBP", "PNG", "TIFF"
_PLACES = 1 / 3, 2 / 3
"""Of all frames."""
_FRAMES_MAX, _PIXELS_MAX = 48, 100_000_000
"""Frames build on each other, so all up to a place are decoded: at most so many frames, and pixels of all. A longer
animation is looked at as far as that. Of a TIFF's pages, at most so many, two are decoded."""
_SUBFILE, _PAGES = 254, (0, 2)
"""TIFF's tag NewSubfileType, and its values of a page; others are of masks and of pictures in fewer pixels."""
_DETAIL = 8
"""Two pages of text are the same grey column in 16 pixels a side: their correlation is .83 to .99. With so many times
the detail within each pixel it is .74 at most. It is .89 and more of a page that was compressed, reduced or made black
and white, but .6 of one scanned half a degree askew."""
_PAPER_MIN = 160.0
"""Grey level, median: pictures on most pages are darker, and are compared with animations made of them."""
_AGREE_MIN = 0.8
"""Correlation of later frames of a copy, which a crop, a caption or a frame left out moves a little: .9 and more if
they show the same, .65 of two dark things in the middle of the picture."""
_QUIET = 6.0
"""Grey levels, standard deviation and difference of the means: two frames without structure are alike by their tone."""
_SIDE_MIN = 4
"""Pixels of a later frame, of 16, that a crop must have to be compared."""

CUT_IN_HEADER = IndexError, struct.error
"""Pillow's errors for a GIF that is cut within a frame's header."""

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
    except Exception:  # of any kind, from a broken directory of a TIFF
        return None  # its first frame was decoded, which is all that is known of it then


def _read(data: bytes, kind: str) -> Frames | None:
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        if not getattr(image, "is_animated", False):
            return None
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            return _of_pages(image)
        frames = [_tiny(image)]
        for number in range(1, min(_FRAMES_MAX, _PIXELS_MAX // max(1, image.width * image.height))):
            try:
                image.seek(number)
            except EOFError:
                break
            frames.append(_tiny(image))
    return np.array([frames[place] for place in _places(len(frames))], np.uint8)


def _places(count: int) -> list[int]:
    """Numbers of the two later frames of so many."""
    return [min(count - 1, max(1, round(place * count))) for place in _PLACES]


def _of_pages(image: TiffImagePlugin.TiffImageFile) -> Frames | None:
    """Two later pages; None without, and of a page that only other readers read rightly. Raises Pillow's errors."""
    numbers = []
    for number in range(_FRAMES_MAX):
        try:
            image.seek(number)
        except EOFError:
            break
        if number == 0 or image.tag_v2.get(_SUBFILE, 0) in _PAGES:
            numbers.append(number)
    if len(numbers) == 1:
        return None
    frames = []
    for place in _places(len(numbers)):
        image.seek(numbers[place])
        if is_misread(image) or image.width * image.height > _PIXELS_MAX // 2:
            return None
        effort.has_pixels(image.width * image.height)
        frames.append(_tiny_page(image))
    return np.array(frames, np.uint8)


def _tiny(image: Image.Image, side: int = FRAMES_SHAPE[1]) -> NDArray[np.uint8]:
    """The present frame's luma on white, upright, in so many pixels a side."""
    rgb, _ = to_rgb(image)
    luma = upright(rgb.reduce(max(1, min(rgb.size) // (4 * side))).convert("L"), orientation(image))
    return np.asarray(luma.resize((side, side), Image.Resampling.BOX))


def _tiny_page(image: Image.Image) -> NDArray[np.uint8]:
    """As ``_tiny``; on paper with the detail within each pixel, as far as it is not that of its row or column: the
    lines of one layout stand in the same places on each page."""
    side = FRAMES_SHAPE[1]
    cells = _tiny(image, 4 * side).reshape(side, 4, side, 4).astype(np.float32)
    luma = cells.mean(axis=(1, 3))
    if np.sort(luma, axis=None)[luma.size // 2] < _PAPER_MIN:  # np.median would import a module
        return _levels(luma)
    detail = cells[:, 1:3, :, 1:3].mean(axis=(1, 3)) - luma
    detail += detail.mean() - detail.mean(axis=0) - detail.mean(axis=1, keepdims=True)
    return _levels(luma + _DETAIL * detail)


def _levels(luma: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(luma).clip(0, 255).astype(np.uint8)
    return levels


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
