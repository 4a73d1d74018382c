"""Runs an ONNX file by ONNX Runtime, on one thread; the extra ``shazimd[onnx]`` installs that.

The file has one input, a batch of pictures with their three channels last or first ([n, height, width, 3] as a rule for
uint8, [n, 3, height, width] for float32 and float16), and one output [n, width of the vector]. uint8 takes the 256
levels of a picture; floats take colours in [0, 1]: a mean and a deviation belong into the file. For a height or width
that is left open, pictures have ``OPEN_SIDE`` pixels.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError
from shazimd.models.extras import missing

SCHEME = "onnx:"
"""Begins the handle of an ONNX file."""
OPEN_SIDE = 224
"""Pixels; the size that most image models were trained at."""
_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
_OUTPUTS = ("tensor(float)", "tensor(float16)")


def missing_runtime() -> str:
    return missing("ONNX Runtime", "run this model", "onnx")


class OnnxFile:
    """An open ONNX file; a ``model.Program``. Raises ModelError, naming ``name``, for a file that can't be run."""

    def __init__(self, path: str, name: str) -> None:
        self._name = name
        runtime = _import_runtime(name)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # faults come as exceptions
        try:
            with open(path, "rb") as file:  # as bytes: a path need not be UTF-8
                self._session = runtime.InferenceSession(file.read(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise ModelError(f"{name}: ONNX Runtime can't run this file: {_brief(error)}") from error
        self._read_input(self._session.get_inputs())
        self._read_output(self._session.get_outputs())

    def run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        colours = image if self._type == np.uint8 else (image * np.float32(1 / 255)).astype(self._type)
        batch = colours[np.newaxis] if self._channels_last else colours.transpose(2, 0, 1)[np.newaxis]
        try:
            (vectors,) = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        except Exception as error:
            raise ModelError(f"{self._name}: ONNX Runtime can't run it on a picture: {_brief(error)}") from error
        if vectors.shape != (1, self.output_width):
            found = list(vectors.shape)
            raise ModelError(f"{self._name}: a picture gave an output {found}, expected [1, {self.output_width}]")
        vector: NDArray[np.float32] = vectors[0].astype(np.float32)
        return vector

    def _read_input(self, inputs: list[Any]) -> None:
        if len(inputs) != 1:
            raise ModelError(f"{self._name}: inputs are {_names(inputs)}, expected one input")
        (found,) = inputs
        shape = found.shape
        fits = found.type in _TYPES and len(shape) == 4 and 3 in (shape[1], shape[3]) and shape[0] in (1, *_open(shape))
        if not fits:
            raise ModelError(
                f"{self._name}: input {found.type} {shape}, which no picture fits; expected uint8, float or float16 "
                "[n, height, width, 3] or [n, 3, height, width]"
            )
        self._input, self._type = found.name, _TYPES[found.type]
        self._channels_last = shape[3] == 3
        height, width = shape[1:3] if self._channels_last else shape[2:4]
        self.height, self.width = (size if isinstance(size, int) else OPEN_SIDE for size in (height, width))
        self.precision = np.dtype(self._type).name

    def _read_output(self, outputs: list[Any]) -> None:
        if len(outputs) != 1:
            raise ModelError(f"{self._name}: outputs are {_names(outputs)}, expected one output")
        (found,) = outputs
        shape = found.shape
        if found.type not in _OUTPUTS or len(shape) != 2 or not isinstance(shape[1], int):
            raise ModelError(f"{self._name}: output {found.type} {shape}, expected float [n, width of the vector]")
        self.output_width = shape[1]


def _import_runtime(name: str) -> Any:
    """ONNX Runtime without its telemetry: since 1.29 the wheels send names and hashes of models to Microsoft and keep
    a database in the home directory, unless this variable is set before the import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"{name}: {missing_runtime()}") from error
    return onnxruntime


def _open(shape: list[Any]) -> list[Any]:
    """The sizes that are left open, which have a name or none."""
    return [size for size in shape if not isinstance(size, int)]


def _names(tensors: list[Any]) -> str:
    return ", ".join(tensor.name for tensor in tensors) or "none"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
