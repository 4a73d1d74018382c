"""Runs a LiteRT flatbuffer on one thread.

A flatbuffer follows the image signature of TensorFlow Hub
(https://www.tensorflow.org/hub/common_signatures/images#feature-vector): an input [batch, height, width, 3] and an
output [batch, vector]. Sizes and types are read from the file. A float32 input takes colours in [0, 1]; a uint8 or
int8 input takes the 256 levels of a picture.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError
from shazimd.posix.memory import MappedFile


class Flatbuffer:
    """An open flatbuffer; a ``model.Program``. Opening takes some 30 ms.

    Raises ModelError, naming ``name``, for a file that LiteRT can't run as a model."""

    def __init__(self, path: str, name: str) -> None:
        # Imported here: the daemon reads ModelInfo, only workers run models.
        from ai_edge_litert.interpreter import Interpreter

        try:
            # By its path, so that workers share the mapped pages; as bytes, since a path need not be UTF-8.
            self._interpreter = Interpreter(model_path=os.fsencode(path), num_threads=1)
            self._read_tensors(name)
            self._interpreter.allocate_tensors()
            MappedFile(path).release()  # XNNPACK has packed the weights: 5 MB that are read no more
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{name}: LiteRT can't run this flatbuffer: {error}") from error

    def run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, _to_input(image, self._input_type)[np.newaxis])
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output).reshape(-1).astype(np.float32)
        vector: NDArray[np.float32] = (raw - self._output_zero) * self._output_scale
        return vector

    def _read_tensors(self, name: str) -> None:
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(f"{name}: {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
        shape, out_shape = inputs[0]["shape"].tolist(), outputs[0]["shape"].tolist()
        kind = np.dtype(inputs[0]["dtype"])
        if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or kind not in (np.float32, np.uint8, np.int8):
            raise ModelError(f"{name}: input {kind} {shape}, expected float32, uint8 or int8 [1, height, width, 3]")
        if len(out_shape) != 2 or out_shape[0] != 1:
            raise ModelError(f"{name}: output {out_shape}, expected [1, width of the vector]")
        scale, zero = outputs[0]["quantization"]  # (0, 0) means "not quantised"
        self._input, self._input_type = inputs[0]["index"], kind
        self._output, self._output_scale, self._output_zero = (
            outputs[0]["index"],
            np.float32(scale or 1),
            np.float32(zero),
        )
        self.height, self.width, self.output_width = int(shape[1]), int(shape[2]), int(out_shape[1])
        self.precision = "float32" if kind == np.float32 else "int8"


def _to_input(image: NDArray[np.uint8], kind: np.dtype[Any]) -> NDArray[Any]:
    if kind == np.float32:
        return image * np.float32(1 / 255)
    return image if kind == np.uint8 else (image ^ 0x80).view(np.int8)
