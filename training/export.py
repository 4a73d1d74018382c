"""Writes the network as the flatbuffer that the package ships: convolutions in int8, pooling and head in float32.

The head ends in a constant: with the unit vector u it gives [sqrt(1 - a) u, sqrt(a)], again a unit vector, whose
cosines are (1 - a) cos + a. That is the calibration of ``dfv``: monotone, and still one inner product, so the bounds of
the index hold. The index and the store know nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import Pictures
from training.network import POWER, walk

FLOAT_LAYERS = ["POW", "MEAN", "FULLY_CONNECTED", "MAXIMUM", "MUL", "SQUARE", "SUM", "RSQRT", "CONCATENATION"]
"""Cubes span 0 to 216: in 256 steps the small ones, most of them, would be 0."""


def flatbuffer(
    convolutions: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    head: tuple[NDArray[np.float32], NDArray[np.float32]],
    side: int,
    constant: float,
    calibration: Pictures,
) -> bytes:
    """Takes colours in [0, 1], float32 [1, side, side, 3], as TF Hub's image signature has it.

    Gives float32 [1, width + 1]; ``constant`` is ``a`` of the module's text."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    function = _function(tf, convolutions, head, side, constant)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]

    def samples() -> Iterator[list[NDArray[np.float32]]]:
        return ([picture[np.newaxis] * np.float32(1 / 255)] for picture in calibration)

    converter.representative_dataset = samples
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=FLOAT_LAYERS)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=samples, debug_options=options
    )
    made: bytes = debugger.get_nondebug_quantized_model()
    return made


def _function(tf: Any, convolutions: Any, head: Any, side: int, constant: float) -> Any:
    def convolve(name: str, x: Any, stride: int, depthwise: bool, clip: bool) -> Any:
        weight, bias = convolutions[name]
        if depthwise:
            y = tf.nn.depthwise_conv2d(x, weight.transpose(2, 3, 0, 1), [1, stride, stride, 1], "SAME")
        else:
            y = tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), stride, "SAME")
        y = tf.nn.bias_add(y, bias)
        return tf.nn.relu6(y) if clip else y

    spec = tf.TensorSpec([1, side, side, 3], tf.float32)

    def vectors(pictures: Any) -> Any:
        x = walk((255 * pictures - 127.0) / 128.0, convolve)
        mean = tf.reduce_mean(tf.pow(tf.maximum(x, 1e-4), POWER), [1, 2])
        weight, bias = head
        raw = tf.matmul(tf.pow(mean, 1 / POWER), weight.T) + bias
        unit = raw * tf.math.rsqrt(tf.reduce_sum(raw * raw, 1, keepdims=True))
        return tf.concat([(1 - constant) ** 0.5 * unit, tf.fill([1, 1], np.float32(constant**0.5))], 1)

    return tf.function(vectors, input_signature=[spec])
