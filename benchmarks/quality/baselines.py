"""What the product is compared with: each signal by itself, the original's mix, pHash and PDQ."""

from __future__ import annotations

import imagehash
import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image

from shazimd.fingerprint import Fingerprint

NAMES = ("average hash", "difference hash", "vector", "the seed's mix 1:1:2", "pHash", "PDQ")


class Codes:
    """The signals of many pictures, as rows that can be compared all at once."""

    def __init__(self) -> None:
        self._bits: list[list[NDArray[np.float32]]] = []
        self._vectors: list[NDArray[np.float32]] = []

    def add(self, fingerprint: Fingerprint, image: Image.Image) -> None:
        signals = fingerprint.signals
        assert signals.hashes[0] is not None
        assert signals.hashes[1] is not None
        assert signals.fv is not None
        pdq, _ = pdqhash.compute(np.asarray(image))
        phash = imagehash.phash(image).hash.ravel()
        self._bits.append(
            [_signs(_unpack(signals.hashes[0])), _signs(_unpack(signals.hashes[1])), _signs(phash), _signs(pdq)]
        )
        self._vectors.append(signals.fv)

    def similarities(self, known: Codes) -> dict[str, NDArray[np.float32]]:
        """For each of ``NAMES`` the scores [queries, known], larger is more alike."""
        ah, dh, phash, pdq = (
            (1 + np.stack([row[n] for row in self._bits]) @ np.stack([row[n] for row in known._bits]).T / width) / 2
            for n, width in enumerate((64, 64, 64, 256))
        )
        fv = np.stack(self._vectors) @ np.stack(known._vectors).T
        return dict(zip(NAMES, (ah, dh, fv, (ah + dh + 2 * fv) / 4, phash, pdq), strict=True))


def _unpack(bits: int) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(bits.to_bytes(8, "big"), np.uint8))


def _signs(bits: NDArray[np.generic]) -> NDArray[np.float32]:
    return bits.astype(np.float32) * 2 - 1
