"""Local features and a small colour picture: what verification needs of an image, packed into a few KiB.

Features are SIFT keypoints (Lowe, IJCV 2004) with RootSIFT descriptors (Arandjelovic and Zisserman, CVPR 2012), kept
as 128 bits each: one bit for each of the descriptor's bins, set where the bin is filled. On the photos of
``benchmarks/quality`` the bits verify as many copies as the whole descriptors do, at an eighth of the size.

Each feature also has a *visual word*, its descriptor's place in a fixed vocabulary (a product of two codebooks of
256), for an inverted index to find it by. The vocabulary is made so that a mirror image needs no second look: the
word of a mirrored feature is the word with its two bytes swapped, its bits are the bits in another order.
How they are packed: ``packing``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.kept import ASKED, STORED, Detail, PictureKind, kind_of, print_plane, small_clear, small_picture
from shazimd.imaging.small import BLACK, SIGNATURES, WHITE, Clear, Colour, SmallPicture, fit
from shazimd.words.packing import (
    CLEAR,
    DRAWN,
    FEATURE,
    FRAMES_SHAPE,
    HEADER,
    MOVING,
    ON_BLACK,
    PRINT,
    PRINT_LENGTH,
    VERSION,
    WINDOW_SIZE_MAX,
    size_of,
    split,
    stored_points,
)
from shazimd.words.vocabulary import nearest, negated

SIDE, PRINT_SIDE = 256, 512
"""Longer side, in pixels, of the frame for features, and of the frame of pages dense with print, whose letters are 3
pixels high in the first: of 16 screenshots of spreadsheets none was found there, all are in the second. Smaller
pictures are not enlarged."""
_WINDOW_OWN, _WINDOW_SIDE_MIN = (48, 200), 384
"""A page or drawing that is asked about may be a screen with the known picture in a window. If its frame has so many
features, and it has so many pixels, the rest is taken from a frame of twice the size. Of 240 screenshots of whole
screens (seeds 12 and 13, four a family) 234 are told so, without 207. Such a question takes 64 ms more."""
_PRINT_RATIO_MAX = 8
"""A longer strip has no such frame: its points would lie beyond 1,023 pixels."""
_CELLS = 4
"""Features are kept from a grid of 4 x 4 cells in turn, so that one busy corner does not take them all."""
_BIN_FILLED = 32 / 512
"""A bin of a RootSIFT descriptor (unit length) counts as filled above this: a third to a half of them are."""
_LUMA_SIDES = 128, 256
"""Longer side of the luma that agreement is measured on, pixels: of a stored picture and of a query."""
_CONTRAST_MIN = 0.02
"""Half of OpenCV's default, so that faded and blurred copies still have features."""
_EDGE_RATIO_MAX = 12
_ENLARGED = 1.25
"""The frame for descriptors. Of 480 hard copies of tuned photos 465 are told with the doubled frame, 467 with 1.5 and
1.25, 466 with 1; by shared words alone the original is first for 456, 457, 462 and 457. With 1 small print is lost: 2
of 24 screenshots of text pages and 2 of 8 of sudokus, with 1.25 one and none."""
_DOUBLED = 0xFF
"""The lowest byte of a key point's octave, -1: found in the doubled frame."""
_DESCRIBER = cv2.SIFT.create(sigma=0.6 * _ENLARGED)
"""Features are found at blurs from .8 pixels of the frame on; differences of neighbours, almost a pixel apart, blur,
too."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    width: int
    height: int
    """of the frame, pixels"""
    points: NDArray[np.float32]
    """[n, 2]: x, y in pixels of the frame"""
    sizes: NDArray[np.float32]
    """[n]: diameter, pixels of the frame"""
    angles: NDArray[np.float32]
    """[n]: radians, clockwise"""
    words: NDArray[np.uint16]
    """[n]: the word in the vocabulary"""
    bits: NDArray[np.bool_]
    """[n, 128]: which bins of the descriptor are filled"""
    small: SmallPicture
    """the whole picture, never mirrored"""
    drawn: bool
    """a page, chart or drawing rather than a photograph: mostly flat ground"""
    is_mirrored: bool = False
    frames: NDArray[np.uint8] | None = None
    """later frames of an animation or pages of a TIFF, never mirrored; see ``frames.later_frames``"""
    is_doubled: bool = False
    """each feature stands beside that of the negative"""

    @property
    def count(self) -> int:
        """How many features were found in the picture."""
        return len(self.points) // (2 if self.is_doubled else 1)

    @property
    def picture(self) -> NDArray[np.uint8]:
        """[h, w, 3]: the whole picture, small, as Y, Cr, Cb. Raises ValueError for features that hold no picture."""
        return self.small.mirrored_colours if self.is_mirrored else self.small.colours

    @property
    def fine(self) -> NDArray[np.uint8]:
        """[h, w, 3]: as ``picture``, in all pixels that are kept. Raises as ``picture``."""
        return self.small.mirrored_fine if self.is_mirrored else self.small.fine

    @property
    def print(self) -> NDArray[np.uint8] | None:
        """[h, w]: luma of a page dense with print, in more pixels; None of others. Raises as ``picture``."""
        plane = self.small.print
        return cv2.flip(plane, 1).astype(np.uint8, copy=False) if plane is not None and self.is_mirrored else plane

    @property
    def luma(self) -> NDArray[np.uint8]:
        """[h, w]: luma at the side that agreement is measured at. Raises as ``picture``."""
        return self.small.mirrored_luma if self.is_mirrored else self.small.luma

    def mirrored(self) -> Features:
        """The features that the mirror image (left and right swapped) has."""
        points = self.points.copy()
        points[:, 0] = self.width - 1 - points[:, 0]
        return replace(
            self,
            points=points,
            angles=np.pi - self.angles,
            words=self.words.byteswap(),
            bits=self.bits[:, _MIRRORED_BINS],
            is_mirrored=not self.is_mirrored,
        )

    def negated(self) -> Features:
        """The features that the negative has: gradients are reversed, so each feature is turned by half a circle."""
        return replace(
            self,
            angles=self.angles + np.pi,
            words=negated(self.words),
            bits=self.bits.reshape(-1, 16, 8)[:, ::-1].reshape(-1, 128),
            small=self.small.negated(),
            frames=None if self.frames is None else 255 - self.frames,
        )

    def on(self, ground: Colour) -> Features:
        """Those of a picture with transparent pixels, laid on another ground. Along these, edges may have the same
        gradients there or the opposite ones. Raises as ``picture``."""
        turned = self.negated()
        return replace(
            self,
            points=np.concatenate([self.points, self.points]),
            sizes=np.concatenate([self.sizes, self.sizes]),
            angles=np.concatenate([self.angles, turned.angles]),
            words=np.concatenate([self.words, turned.words]),
            bits=np.concatenate([self.bits, turned.bits]),
            small=self.small.on(ground),
            frames=None,  # their grounds are not kept
            is_doubled=True,
        )


class Shown(NamedTuple):
    """A picture as features are made of it."""

    pixels: NDArray[np.uint8]
    """RGB [h, w, 3] or luma [h, w]"""
    clear: NDArray[np.uint8] | None = None
    """[h, w], 255 for a pixel that does not show at all; None for a picture without transparent pixels"""
    on_black: bool = False
    """transparent pixels are black here, and not white"""
    frames: NDArray[np.uint8] | None = None
    """later ones of an animation, of which this is the first"""
    finer: Callable[[], NDArray[np.uint8]] | None = None
    """gives the luma [h, w] in more pixels, asked for pages dense with print alone; None where there are no more"""


def extract_features(picture: Shown, detail: Detail = STORED) -> bytes:
    """The features of a picture, packed; fewer or none where it has no structure."""
    rgb = _rgb(picture.pixels)
    return _pack(picture, rgb, detail, _described(picture, _luma(rgb), detail.features))


def extract_both(picture: Shown, *, has_points: bool = True) -> tuple[bytes, bytes]:
    """``extract_features`` with ``STORED`` and with ``ASKED`` detail, for the cost of one detection; without
    ``has_points`` for none, and ``packing.with_points`` adds those of ``extract_points``."""
    rgb = _rgb(picture.pixels)
    found = _described(picture, _luma(rgb), ASKED.features if has_points else 0)
    return _pack(picture, rgb, STORED, found), _pack(picture, rgb, ASKED, found)


def extract_points(picture: Shown) -> bytes:
    """The points of ``extract_features`` with ``ASKED`` detail, as packed."""
    return _described(picture, _luma(_rgb(picture.pixels)), ASKED.features).rows.tobytes()


def unpack_features(data: bytes) -> Features:
    """Unpack the bytes of ``extract_features``. Raises ValueError for bytes that it did not make; a picture that is
    damaged is found when it is looked at."""
    packed = split(data)
    rows = packed.rows
    if not packed.picture.startswith(SIGNATURES):
        raise ValueError(f"packed features end in {len(packed.picture)} bytes that are no picture")
    # A query has more points than are ever stored, or a larger picture.
    is_drawn, is_asked = bool(packed.flags & DRAWN), len(rows) > len(stored_points(rows))
    luma_side = _LUMA_SIDES[is_asked]
    if is_drawn:
        side_max = None if (rows["size"] <= WINDOW_SIZE_MAX).any() else STORED.drawn_side  # a screen's is larger
    else:
        is_asked = is_asked or max(size_of(packed.picture) or (0,)) > STORED.photo_side
        side_max = (ASKED if is_asked else STORED).compared_side
    clear = Clear(packed.clear, BLACK if packed.flags & ON_BLACK else WHITE) if packed.clear else None
    return Features(
        width=packed.width,
        height=packed.height,
        points=np.divide(np.stack([rows["x"], rows["y"]], axis=1), 64, dtype=np.float32),
        sizes=np.exp2(rows["size"].astype(np.float32) / 32),
        angles=rows["angle"].astype(np.float32) * (2 * np.pi / 256),
        words=rows["word"],
        bits=np.unpackbits(rows["bits"], axis=1).astype(bool),
        small=SmallPicture(packed.picture, luma_side, clear, packed.print, side_max),
        drawn=is_drawn,
        frames=np.frombuffer(packed.frames, np.uint8).reshape(FRAMES_SHAPE) if packed.frames else None,
    )


def half_descriptors(luma: NDArray[np.uint8], limit: int) -> NDArray[np.float32]:
    """Training data of a vocabulary: the halves of the ``limit`` strongest descriptors, float32 [2 n, 64]."""
    upper, lower = _halves(_strongest(fit(luma, SIDE), limit).descriptors)
    return np.concatenate([upper, lower])


class _Found(NamedTuple):
    """The strongest features of a picture, best first."""

    keypoints: NDArray[np.float32]
    """[n, 5]: x, y, size, angle, response"""
    descriptors: NDArray[np.float32]
    """[n, 128], RootSIFT"""


def _strongest(frame: NDArray[np.uint8], limit: int, *, finest: bool = False) -> _Found:
    """Only kept features are described, in a frame enlarged less than the doubled frame of the detector, in which
    descriptors would cost twice the time. ``finest``: of these alone that only the doubled frame shows."""
    found = cv2.SIFT.create(contrastThreshold=_CONTRAST_MIN, edgeThreshold=_EDGE_RATIO_MAX).detect(frame)
    if finest:
        found = [each for each in found if each.octave & 0xFF == _DOUBLED]
    if not found:
        return _Found(np.empty((0, 5), np.float32), np.empty((0, 128), np.float32))
    columns = [k.size for k in found], [k.angle for k in found], [k.response for k in found]
    keypoints = np.column_stack([cv2.KeyPoint.convert(found), *columns]).astype(np.float32)
    order = _order(keypoints, frame.shape)[:limit]
    larger = cv2.resize(frame, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_LINEAR)
    _, descriptors = _DESCRIBER.compute(larger, [_in_larger(found[place]) for place in order])
    sums = descriptors.sum(axis=1, keepdims=True)
    return _Found(keypoints[order], np.sqrt(descriptors / np.maximum(sums, 1)).astype(np.float32))


def _in_larger(found: cv2.KeyPoint) -> cv2.KeyPoint:
    """A key point in the enlarged frame. Its octave, the lowest byte, counts from there, and not from the doubled
    frame, which is -1; OpenCV halves places in that one, and so gives them a quarter of a pixel too far."""
    x, y = found.pt
    found.pt = (x + 0.25) * _ENLARGED - 0.5, (y + 0.25) * _ENLARGED - 0.5
    found.size *= _ENLARGED
    found.octave = found.octave & ~0xFF | (found.octave + 1) & 0xFF
    return found


class _Described(NamedTuple):
    """The strongest features of a picture as they are packed, best first."""

    frame: NDArray[np.uint8]
    kind: PictureKind
    rows: NDArray[np.void]
    """[n], ``packing.FEATURE``"""


def _described(picture: Shown, luma: NDArray[np.uint8], limit: int) -> _Described:
    frame = fit(luma, SIDE)
    kind = kind_of(frame)
    if kind is PictureKind.DENSE:
        finer = luma if picture.finer is None else picture.finer()
        is_larger = SIDE < max(finer.shape) <= _PRINT_RATIO_MAX * min(finer.shape)
        frame, kind = (
            (fit(finer, PRINT_SIDE), kind) if is_larger and picture.clear is None else (frame, PictureKind.DRAWN)
        )
    rows = _rows(_strongest(frame, limit)) if limit else np.zeros(0, FEATURE)
    may_be_screen = limit > STORED.features and _WINDOW_OWN[0] <= len(rows) <= _WINDOW_OWN[1]
    if may_be_screen and kind is PictureKind.DRAWN and picture.finer is not None and picture.clear is None:
        finer = fit(picture.finer(), 2 * SIDE)
        if max(finer.shape) >= _WINDOW_SIDE_MIN:
            found = _strongest(finer, limit - len(rows), finest=True)
            rows = np.concatenate([rows, _window_rows(found, frame.shape[1] / finer.shape[1])])
    return _Described(frame, kind, rows)


def _window_rows(found: _Found, scale: float) -> NDArray[np.void]:
    rows = _rows(found, scale)
    rows["size"] = np.minimum(rows["size"], WINDOW_SIZE_MAX)
    return rows


def _rows(found: _Found, scale: float = 1.0) -> NDArray[np.void]:
    """As they are packed; ``scale``: by how much the frame is larger than that in which they were found."""
    keypoints, descriptors = found
    rows = np.zeros(len(keypoints), FEATURE)
    rows["x"], rows["y"] = np.clip(np.round(((keypoints[:, :2].T + 0.25) * scale - 0.25) * 64), 0, 65535)
    rows["size"] = np.clip(np.round(32 * np.log2(np.maximum(keypoints[:, 2] * scale, 1))), 0, 255)
    rows["angle"] = np.round(keypoints[:, 3] * (256 / 360)).astype(int) % 256
    rows["word"] = _words(descriptors)
    rows["bits"] = np.packbits(descriptors > _BIN_FILLED, axis=1)
    return rows


def _order(keypoints: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """The order in which features are kept: by response and size, from each cell of the picture in turn.

    Size counts because fine features are the first that shrinking and blurring take away."""
    strength = keypoints[:, 4] * np.sqrt(keypoints[:, 2])
    cells = np.clip(keypoints[:, :2] * _CELLS / shape[::-1], 0, _CELLS - 1).astype(int) @ (_CELLS, 1)
    order = np.lexsort((-strength, cells))
    turn = np.empty(len(keypoints), int)
    turn[order] = np.arange(len(keypoints)) - np.searchsorted(cells[order], cells[order])
    return np.lexsort((-strength, turn))


def _pack(picture: Shown, rgb: NDArray[np.uint8], detail: Detail, found: _Described) -> bytes:
    rows = found.rows if detail is ASKED else stored_points(found.rows)
    clear = b"" if picture.clear is None else small_clear(picture.clear, detail.drawn_side)
    frames = b"" if picture.frames is None else picture.frames.tobytes()
    drawn = found.kind is not PictureKind.PHOTO
    print_ = print_plane(found.frame, detail) if found.kind is PictureKind.DENSE else b""
    kept = {DRAWN: drawn, MOVING: frames, CLEAR: clear, ON_BLACK: clear and picture.on_black, PRINT: print_}
    height, width = found.frame.shape
    header = HEADER.pack(VERSION, sum(f for f, there in kept.items() if there), width, height, len(rows))
    print_ = PRINT_LENGTH.pack(len(print_)) + print_ if print_ else b""
    return header + rows.tobytes() + clear + print_ + small_picture(rgb, detail, drawn) + frames


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)


def _luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _words(descriptors: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest entry for the upper half in the high byte, for the lower half, mirrored, in the low byte."""
    upper, lower = (nearest(half) for half in _halves(descriptors))
    return (upper * 256 + lower).astype(np.uint16)


def _halves(descriptors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The upper 64 bins, and the lower 64 as they would be the upper ones of the mirrored feature."""
    return descriptors[:, :64], descriptors[:, _MIRRORED_BINS][:, :64]


def _mirrored_bins() -> NDArray[np.intp]:
    """The source of each bin of a mirrored feature's descriptor.

    In the feature's own axes a mirror turns the 4 rows over and reverses the 8 directions, 4 columns stay."""
    bins = np.arange(128).reshape(4, 4, 8)
    return bins[::-1, :, (-np.arange(8)) % 8].ravel()


_MIRRORED_BINS = _mirrored_bins()
