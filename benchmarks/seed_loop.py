"""What the original did for each image, as one process: full decode, average_hash, dhash, TensorFlow at batch 1.

Run by main_job.py and peers.py in a process of its own: python -m benchmarks.seed_loop MODEL LIST; prints images per
second, and seconds of processor time for all of them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import imagehash
import numpy as np
import tensorflow as tf
from PIL import Image


def main(model: str, photos: list[str]) -> None:
    features = tf.saved_model.load(model)
    _fingerprint(features, photos[0])  # the first call traces the graph
    started, cpu_s = time.perf_counter(), time.process_time()
    for path in photos:
        _fingerprint(features, path)
    print(len(photos) / (time.perf_counter() - started), time.process_time() - cpu_s)


def _fingerprint(features: tf.types.experimental.GenericFunction, path: str) -> None:
    picture = Image.open(path)
    imagehash.average_hash(picture)
    imagehash.dhash(picture)
    pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    pixels = tf.image.resize_with_pad(pixels, 224, 224) / 255.0
    np.squeeze(features(pixels[tf.newaxis, ...]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).read_text().splitlines())
