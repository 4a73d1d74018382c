"""Small ONNX models of pictures of 8 x 6 pixels: all give ``make_models.vectors_of`` them unless asked otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from make_models import COLOURS_TO_VECTOR, HEIGHT, OFFSETS, WIDTH
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

Size = int | str
NCHW: tuple[Size, ...] = ("n", 3, HEIGHT, WIDTH)
NHWC: tuple[Size, ...] = ("n", HEIGHT, WIDTH, 3)
UINT8, FLOAT, DOUBLE = TensorProto.UINT8, TensorProto.FLOAT, TensorProto.DOUBLE


def write(
    path: Path,
    shape: Sequence[Size] = NCHW,
    kind: int = FLOAT,
    *,
    output: Sequence[Size] = ("n", 4),
    power: float = 1.0,
    inputs: int = 1,
    keepdims: bool = False,
) -> Path:
    """The mean colour times a matrix, plus offsets, nothing below 0, to a power; ``keepdims``: a map of one pixel."""
    channels, spatial = (3, [1, 2]) if shape[-1] == 3 else (shape[1], [2, 3])
    constants: dict[str, NDArray[Any]] = {
        "axes": np.array(spatial, np.int64),
        "scale": np.array(1 / 255 if kind == UINT8 else 1, np.float32),
        "matrix": np.resize(COLOURS_TO_VECTOR, (int(channels), 4)),
        "offsets": OFFSETS,
        "power": np.array(power, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images_0"], ["float"], to=FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=int(keepdims)),
        helper.make_node("Mul", ["mean", "scale"], ["colour"]),
        helper.make_node("MatMul", ["colour", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "offsets"], ["raised"]),
        helper.make_node("Relu", ["raised"], ["positive"]),
        helper.make_node("Pow", ["positive", "power"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(f"images_{number}", kind, list(shape)) for number in range(inputs)],
        [helper.make_tensor_value_info("vector", FLOAT, list(output))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path
