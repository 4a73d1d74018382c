"""Feature-vector models: LiteRT flatbuffers, run on one thread.

A flatbuffer follows the image signature of TensorFlow Hub
(https://www.tensorflow.org/hub/common_signatures/images#feature-vector): an input [batch, height, width, 3] and an
output [batch, vector]. Sizes and types are read from the file. A float32 input takes colours in [0, 1]; a uint8 or
int8 input takes the 256 levels of a picture.

The package ships a model, ``bundled``: see training/CARD.md for its data, method and figures.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError

FLATBUFFER, RECORD, LICENCE = "model.tflite", "model.json", "LICENSE"
"""The files of an installed model: the program, its ModelInfo, and the text of its licence."""
BUNDLED = "bundled"
"""The handle of the shipped model."""
_BUNDLED_FILES = os.path.join(os.path.dirname(__file__), BUNDLED)

ID_DIGITS = 16
"""64 bits of the digest: no two models of a machine share them, and they can be read aloud."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """An installed model."""

    id: str
    """the first 16 hex digits of ``digest``: equal bytes have equal ids, whatever their source"""
    source: str
    """the handle as given"""
    digest: str
    """SHA-256 of the flatbuffer, hex"""
    path: str
    """the flatbuffer"""
    input_height: int
    """pixels"""
    input_width: int
    output_width: int
    """numbers in a vector"""
    precision: str = "float32"
    """of the computation: "int8" or "float32" """
    licence: str | None = None
    """the first line of the model's licence; the text lies beside the flatbuffer"""
    agreement: float | None = None
    """the least cosine between flatbuffer and SavedModel on the sample pictures; None without a SavedModel"""
    installed_at: str = ""
    """UTC, ISO 8601"""


class EmbeddingModel:
    """An open model. Opening takes some 30 ms; for one thread at a time.

    Raises ModelError when the flatbuffer is missing, damaged, or can't be run.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        check_digest(info)
        self._interpreter, self._tensors = _open(info.path, info.path)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors float32 [n, output_width] of unit length, of RGB images uint8 [n, input_height, input_width, 3].

        Raises ValueError for images of another shape or type, ModelError when a vector is zero or not finite.
        """
        h, w = self.info.input_height, self.info.input_width
        if images.dtype != np.uint8 or images.shape[1:] != (h, w, 3):
            raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [n, {h}, {w}, 3]")
        vectors = np.empty((len(images), self.info.output_width), np.float32)
        # Singly: a batch of 8 is slower on one thread (169 against 218 images/s) and takes 44 MiB more.
        for row, image in zip(vectors, images, strict=True):
            row[:] = self._run(image)
        return normalised(vectors, self.info.source)

    def _run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        tensors = self._tensors
        self._interpreter.set_tensor(tensors.input, _to_input(image, tensors.input_type)[np.newaxis])
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(tensors.output).reshape(-1).astype(np.float32)
        vector: NDArray[np.float32] = (raw - tensors.output_zero) * tensors.output_scale
        return vector


def bundled() -> ModelInfo:
    """The model in the package. Raises ModelError when its record is missing or damaged."""
    info = read_record(f"{_BUNDLED_FILES}.json", f"{_BUNDLED_FILES}.tflite")
    check_digest(info)
    return info


def read_record(path: str, flatbuffer: str) -> ModelInfo:
    """The ModelInfo in a JSON file. Raises ModelError, naming the file, when it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            fields: dict[str, Any] = msgspec.json.decode(file.read(), type=dict[str, Any])
        return msgspec.convert(fields | {"path": flatbuffer}, ModelInfo)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: damaged, {error}; remove its directory and install the model again") from error


def describe(path: str, source: str, licence: str | None = None) -> ModelInfo:
    """Read the facts of a flatbuffer from itself. Raises ModelError, naming the source, if it can't run as a model."""
    digest = _digest(path)
    _, tensors = _open(path, source)
    return ModelInfo(
        id=digest[:ID_DIGITS],
        source=source,
        digest=digest,
        path=path,
        input_height=tensors.height,
        input_width=tensors.width,
        output_width=tensors.output_width,
        precision="float32" if tensors.input_type == np.float32 else "int8",
        licence=licence,
    )


def normalised(vectors: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """Rows of unit length. Raises ModelError, naming the model's source, for a row of zeros or with NaN."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if wrong := np.flatnonzero(~(np.isfinite(norms) & (norms > 0))).tolist():
        raise ModelError(f"{source}: image {wrong[0]} of {len(vectors)} gave a vector that is zero or not finite")
    unit: NDArray[np.float32] = vectors / norms
    return unit


class _Tensors(NamedTuple):
    """Input and output of a flatbuffer."""

    input: int
    input_type: np.dtype[Any]
    height: int
    width: int
    output: int
    output_width: int
    output_scale: np.float32
    output_zero: np.float32


def _open(path: str, name: str) -> tuple[Any, _Tensors]:
    # Imported here: the daemon reads ModelInfo, only workers run models.
    from ai_edge_litert.interpreter import Interpreter

    try:
        # By its path, so that workers share the mapped pages; as bytes, since a path need not be UTF-8.
        interpreter = Interpreter(model_path=os.fsencode(path), num_threads=1)
        tensors = _read_tensors(interpreter, name)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{name}: LiteRT can't run this flatbuffer: {error}") from error
    return interpreter, tensors


def _read_tensors(interpreter: Any, name: str) -> _Tensors:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{name}: {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    shape, out_shape = inputs[0]["shape"].tolist(), outputs[0]["shape"].tolist()
    kind = np.dtype(inputs[0]["dtype"])
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or kind not in (np.float32, np.uint8, np.int8):
        raise ModelError(f"{name}: input {kind} {shape}, expected float32, uint8 or int8 [1, height, width, 3]")
    if len(out_shape) != 2 or out_shape[0] != 1:
        raise ModelError(f"{name}: output {out_shape}, expected [1, width of the vector]")
    scale, zero = outputs[0]["quantization"]  # (0, 0) means "not quantised"
    return _Tensors(
        inputs[0]["index"],
        kind,
        shape[1],
        shape[2],
        outputs[0]["index"],
        out_shape[1],
        np.float32(scale or 1),
        np.float32(zero),
    )


def _to_input(image: NDArray[np.uint8], kind: np.dtype[Any]) -> NDArray[Any]:
    if kind == np.float32:
        return image * np.float32(1 / 255)
    return image if kind == np.uint8 else (image ^ 0x80).view(np.int8)


def check_digest(info: ModelInfo) -> None:
    """Raise ModelError unless the flatbuffer on the disk has the recorded digest."""
    if (found := _digest(info.path)) != info.digest:
        again = "shazimd" if info.source == BUNDLED else info.source
        raise ModelError(f"{info.path}: damaged, SHA-256 is {found}, expected {info.digest}; install {again} again")


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}, expected the flatbuffer of a model") from error
