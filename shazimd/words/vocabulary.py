"""The vocabulary of visual words: the word of a local feature, and its word in the negative.

It is a product of two codebooks of 256: a centre for each half of a SIFT descriptor. It never changes, for words to
mean the same everywhere. The high byte of a word is the nearest centre of the descriptor's upper half, the low
byte that of its lower half, mirrored: the word of a mirrored feature has the two bytes swapped. In a negative all
gradients are reversed, so a feature is turned by half a circle and is otherwise the same. Its halves change places,
with columns and directions in reverse order; the nearest centre of each is looked up.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

_CODEBOOK_FILE = os.path.join(os.path.dirname(__file__), "words.bin")


def negated(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The words [n] that the same features have in the negative, approximately: a centre stands for the half itself."""
    return _of_halves(_REVERSED[words & 255, 0], _REVERSED[words >> 8, 0])


def likely_negated(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """``negated`` with the second best for either half, too, [3 n]: they find an original in ten more of a hundred."""
    upper, lower = _REVERSED[words & 255], _REVERSED[words >> 8]
    return np.concatenate([_of_halves(upper[:, one], lower[:, other]) for one, other in ((0, 0), (0, 1), (1, 0))])


def _of_halves(upper: NDArray[np.uint16], lower: NDArray[np.uint16]) -> NDArray[np.uint16]:
    found: NDArray[np.uint16] = upper * np.uint16(256) + lower
    return found


def _codebook() -> NDArray[np.float32]:
    """256 half descriptors, float32 [256, 64], kept as bytes, 512 to the unit; benchmarks/quality/train_words.py."""
    with open(_CODEBOOK_FILE, "rb") as file:  # importlib.resources: 1 MiB, 4 ms
        data = file.read()
    return np.divide(np.frombuffer(data, np.uint8).reshape(256, 64), 512, dtype=np.float32)


def nearest(halves: NDArray[np.float32]) -> NDArray[np.intp]:
    """The numbers of the nearest centres of half descriptors [n, 64]."""
    found: NDArray[np.intp] = _distances(halves).argmin(axis=1)
    return found


def _distances(halves: NDArray[np.float32]) -> NDArray[np.float32]:
    distances: NDArray[np.float32] = _HALF_NORMS - halves @ _CODEBOOK.T
    return distances


def _reversed() -> NDArray[np.uint16]:
    """[256, 2]: the two centres nearest to each one with columns and directions in reverse order."""
    halves = _CODEBOOK.reshape(256, 2, 4, 8)[:, :, ::-1, (-np.arange(8)) % 8].reshape(256, 64)
    return np.argsort(_distances(halves), axis=1, kind="stable")[:, :2].astype(np.uint16)


_CODEBOOK = _codebook()
_HALF_NORMS = (_CODEBOOK**2).sum(axis=1) / 2
_REVERSED = _reversed()
