"""Train the vocabulary of local features on the tuned photos, and write it where the package reads it.

    python -m benchmarks.quality.train_words

Lloyd's k-means with 256 centres on the halves of 128 descriptors of each photo, from a fixed start.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.photos import load, luma, shared_folder, split
from shazimd.imaging.features import half_descriptors

CENTRES = 256
ROUNDS = 20
SAMPLES = 60_000


def train(halves: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """k-means centres, float32 [256, 64]; a centre that loses all its samples starts again at one of them."""
    rng = np.random.default_rng(seed)
    samples = halves[rng.permutation(len(halves))[:SAMPLES]]
    centres = samples[:CENTRES].copy()
    for _ in range(ROUNDS):
        nearest = np.argmin((centres**2).sum(axis=1) / 2 - samples @ centres.T, axis=1)
        for centre in range(CENTRES):
            members = samples[nearest == centre]
            centres[centre] = members.mean(axis=0) if len(members) else samples[rng.integers(len(samples))]
    return centres


def main() -> None:
    tuned, _ = split(shared_folder())
    centres = train(np.concatenate([half_descriptors(luma(load(photo)), 128) for photo in tuned]))
    encoded = np.clip(np.round(centres * 512), 0, 255).astype(np.uint8)
    with open(str(files("shazimd.words").joinpath("words.bin")), "wb") as out:
        out.write(encoded.tobytes())
    print(f"{len(tuned)} photos, {CENTRES} centres, {encoded.nbytes} bytes")


if __name__ == "__main__":
    main()
