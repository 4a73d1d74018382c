"""Do two pictures agree once aligned? Tells a copy from another shot of the same scene.

One small luma picture is laid on the other, and each block of the overlap is correlated by itself. The median over
blocks does not mind a caption, a logo or a change of light and colour; another shot of the same shelf, from where the
camera stood a second later, fails nearly everywhere. The map that features found is tried, and one refined on the
pictures themselves by maximising their correlation (Evangelidis and Psarakis, PAMI 2008), which is finer where it
succeeds but can be led astray by a caption.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.alignment import scale_of
from shazimd.imaging.features import Features

_BLOCK = 8
"""Pixels: 128 px pictures have some 190 blocks."""
_BLOCKS_MIN = 6
"""Fewer blocks with structure in them say nothing."""
_SMOOTHING = 1.0
"""Pixels, sigma: what JPEG and resizing do to the finest detail does not count."""
_FLAT = 3.0
"""Grey levels: a block whose standard deviation is below this in both pictures has nothing to correlate."""
_ROUNDS, _STEP_MIN = 10, 1e-4
"""Of the search for that map: of 200 pairs of the tuned seed that agree less than they need, 30 rounds bring the same
ones over the border."""

Grey = NDArray[np.float32]
Affine = NDArray[np.float64]


def agreement(
    query: Features, candidate: Features, affine: Affine, enough: float = 1.0, least: float = -1.0
) -> float | None:
    """The median correlation of the blocks of the overlap, [-1, 1]; None where too little overlaps to say.

    ``affine`` [2, 3] maps pixels of the query's frame to pixels of the candidate's. A map that gives ``enough``
    agreement, or less than ``least``, is not refined, a quarter of the cost of a pair."""
    a, b, between = _same_resolution(query, candidate, affine)
    bare = int(query.drawn and candidate.drawn)  # a window's frame lies there, and on flat ground little else does
    found = _laid_correlation(a, b, between, bare)
    if found is not None and not least <= found < enough:
        return found
    refined = _laid_correlation(a, b, _refined(a, b, between), bare)
    return max((each for each in (found, refined) if each is not None), default=None)


def _same_resolution(query: Features, candidate: Features, affine: Affine) -> tuple[Grey, Grey, Affine]:
    """Both luma pictures at the coarser one's resolution where they overlap, and the map between their pixels."""
    to_frame = query.width / query.luma.shape[1]
    from_frame = candidate.luma.shape[1] / candidate.width
    scale = scale_of(affine) * to_frame * from_frame
    a, shrunk_a = _shrunk(query.luma, min(1.0, scale))
    b, shrunk_b = _shrunk(candidate.luma, min(1.0, 1 / scale))
    into, out = np.diag([*(to_frame / shrunk_a), 1.0]), np.diag(from_frame * shrunk_b)
    return a, b, out @ affine @ into


def _shrunk(luma: NDArray[np.uint8], factor: float) -> tuple[Grey, NDArray[np.float64]]:
    """(the picture made smaller by averaging, the factors that x and y really have after rounding)"""
    height, width = luma.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), _SMOOTHING).astype(np.float32), np.array(size) / (width, height)


def _refined(a: Grey, b: Grey, affine: Affine) -> Affine:
    """The best-correlating map near the given map; the given map if the search fails."""
    backwards = cv2.invertAffineTransform(affine).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, _STEP_MIN)
    try:
        _, found = cv2.findTransformECC(b, a, backwards, cv2.MOTION_AFFINE, stop)
    except cv2.error:
        # OpenCV's only way to say that the pictures do not overlap, are flat or do not converge
        return affine
    return np.asarray(cv2.invertAffineTransform(found), np.float64)


def _laid_correlation(a: Grey, b: Grey, affine: Affine, bare: int) -> float | None:
    """``bare``: pixels at the edges of both pictures that do not count."""
    size = b.shape[1], b.shape[0]
    inside = (cv2.warpAffine(_without_edges(a, bare), affine, size) > 0.99) & (_without_edges(b, bare) > 0)
    return _median_correlation(cv2.warpAffine(a, affine, size).astype(np.float32, copy=False), b, inside)


def _without_edges(plane: Grey, bare: int) -> Grey:
    """1 for each pixel, 0 at the edges."""
    inner = np.zeros_like(plane)
    inner[bare : len(inner) - bare, bare : inner.shape[1] - bare] = 1
    return inner


def _median_correlation(a: Grey, b: Grey, inside: NDArray[np.bool_]) -> float | None:
    correlations = _block_correlations(a, b, inside, _FLAT)
    return float(np.median(correlations)) if len(correlations) >= _BLOCKS_MIN else None


def structured_blocks(a: NDArray[np.uint8], b: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.floating]:
    """The correlations of the blocks of two aligned luma pictures that have structure, the worst first."""
    return np.sort(_block_correlations(a.astype(np.float32), b.astype(np.float32), inside, 2 * _FLAT))


def _block_correlations(a: Grey, b: Grey, inside: NDArray[np.bool_], flat: float) -> NDArray[np.floating]:
    a_blocks, b_blocks, whole = _blocks(a), _blocks(b), _blocks(inside).all(axis=1)
    a_blocks = a_blocks - a_blocks.mean(axis=1, keepdims=True)
    b_blocks = b_blocks - b_blocks.mean(axis=1, keepdims=True)
    pairs = (a_blocks, a_blocks), (b_blocks, b_blocks), (a_blocks, b_blocks)
    a_square, b_square, covariance = (np.einsum("np,np->n", *pair) / _BLOCK**2 for pair in pairs)
    a_std, b_std = np.sqrt(a_square), np.sqrt(b_square)
    counted = whole & (np.maximum(a_std, b_std) > flat)
    return np.asarray((covariance / np.maximum(a_std * b_std, 1e-6))[counted])


def _blocks(picture: NDArray[np.generic]) -> NDArray[np.generic]:
    """[n, _BLOCK * _BLOCK]: the whole blocks of a picture."""
    height, width = (side - side % _BLOCK for side in picture.shape)
    grid = picture[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return grid.swapaxes(1, 2).reshape(-1, _BLOCK * _BLOCK)
