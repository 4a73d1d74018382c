"""Makes the tiny models of these tests: ``python make_models.py FOLDER``. Needs TensorFlow, so it is run as a program.

All take pictures of 8 x 6 pixels and give ``vectors_of`` them, so a test can say what comes out.
``FOLDER/<name>/`` are SavedModels; ``tiny_<type>.tflite`` are the flatbuffers that lie in ``data/``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 8, 6
COLOURS_TO_VECTOR = np.array([[1, 0, 0, 0.5], [0, 1, 0, -0.5], [0, 0, 1, 0.25]], np.float32)
OFFSETS = np.array([-0.1, -0.05, 0, 0], np.float32)
LICENCE = "\nTiny Licence 1.0\n\nDo what you like.\n"


def vectors_of(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the models compute: the mean colour times a matrix, plus offsets, nothing below 0; made unit length."""
    vectors = np.maximum(0, images.mean(axis=(1, 2)) / 255 @ COLOURS_TO_VECTOR + OFFSETS)
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def main(folder: Path) -> None:
    import tensorflow as tf

    def save(name: str, function: Any, *shapes: list[int | None], dtype: Any = tf.float32, key: str = "default") -> Any:
        module = tf.Module()
        module.matrix = tf.Variable(COLOURS_TO_VECTOR)
        module.apply = tf.function(lambda *images: {"feature_vector": function(module.matrix, *images)})
        specs = [tf.TensorSpec(shape, dtype, name=f"images_{i}") for i, shape in enumerate(shapes)]
        signature = module.apply.get_concrete_function(*specs)
        tf.saved_model.save(module, str(folder / name), signatures={key: signature})
        return module

    def mean_colour(matrix: Any, images: Any) -> Any:
        colours = tf.reduce_mean(tf.nn.conv2d(images, matrix[tf.newaxis, tf.newaxis], 1, "VALID"), [1, 2])
        return tf.nn.relu(colours + OFFSETS)

    def mean_on_a_pedestal(matrix: Any, images: Any) -> Any:
        raised = tf.nn.conv2d(images, matrix[tf.newaxis, tf.newaxis], 1, "VALID") + 100.0
        return tf.nn.relu(tf.reduce_mean(raised, [1, 2]) - 100.0 + OFFSETS)

    picture = [None, HEIGHT, WIDTH, 3]
    save("vector", mean_colour, picture)
    (folder / "vector" / "LICENSE.txt").write_text(LICENCE)
    save("pedestal", mean_on_a_pedestal, picture)
    save("other_key", mean_colour, picture, key="embed")
    save("any_size", mean_colour, [None, None, None, 3])
    save("two_inputs", lambda matrix, a, b: mean_colour(matrix, a + b), picture, picture)
    save("integers", lambda matrix, x: mean_colour(matrix, tf.cast(x, tf.float32)), picture, dtype=tf.uint8)
    save("map", lambda _, images: images + 0.5, picture)
    save("moody", lambda matrix, x: mean_colour(matrix, x) + tf.random.normal([tf.shape(x)[0], 4]), picture)
    save("exotic", lambda matrix, x: mean_colour(matrix, tf.math.igamma(x + 1, x + 1)), picture)


def write_flatbuffer(saved_model: Path, path: Path, dtype: str) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["default"])
    if dtype != "float32":
        random = np.random.default_rng(0)
        pictures = [random.random((1, HEIGHT, WIDTH, 3), np.float32) for _ in range(50)]
        extremes = [np.zeros_like(pictures[0]), np.ones_like(pictures[0])]
        colours = [np.broadcast_to(np.eye(3, dtype=np.float32)[i], pictures[0].shape) for i in range(3)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([p] for p in [*pictures, *extremes, *colours])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, dtype)
    path.write_bytes(converter.convert())


if __name__ == "__main__":
    made = Path(sys.argv[1])
    main(made)
    for name in ("float32", "uint8", "int8"):
        write_flatbuffer(made / "vector", made / f"tiny_{name}.tflite", name)
