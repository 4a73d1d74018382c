"""The feature vector's model: a LiteRT flatbuffer, run on one thread.

A flatbuffer follows the common image signature of TensorFlow Hub
(https://www.tensorflow.org/hub/common_signatures/images#feature-vector): one input [batch, height, width, 3], one
output [batch, width of the vector]. Sizes and types are read from it, none are assumed. A float32 input takes colours
in [0, 1]; a uint8 or int8 input, as quantisation makes it, spans the 256 levels of a picture with its 256 values.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError

FLATBUFFER, RECORD, LICENCE = "model.tflite", "model.json", "LICENSE"
"""The files of an installed model: what runs, its ModelInfo, and the licence's text if one came along."""

ID_DIGITS = 16
"""64 bits of the digest: enough to never meet twice among the models of one machine, short enough to read."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """An installed model."""

    id: str
    """the first 16 hex digits of ``digest``: the same bytes have the same id, wherever they came from"""
    source: str
    """the handle as it was given"""
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
    """what the network computes in, told by the type of its input: "int8" or "float32" """
    licence: str | None = None
    """the first line of the licence that came with it; the text lies beside the flatbuffer"""
    agreement: float | None = None
    """the least cosine between flatbuffer and SavedModel on the sample pictures; None where there was no SavedModel"""
    installed_at: str = ""
    """UTC, ISO 8601"""


class Model:
    """An open model. Takes some 30 ms to open; one thread at a time may use it.

    Raises ModelError when the flatbuffer is missing, is not the one that was installed, or can't be run.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        check_digest(info)
        self._interpreter, self._port = _open(info.path, info.path)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors float32 [n, output_width] of unit length, of RGB images uint8 [n, input_height, input_width, 3].

        Raises ValueError for images of another shape or type, ModelError when a vector is zero or not finite.
        """
        h, w = self.info.input_height, self.info.input_width
        if images.dtype != np.uint8 or images.shape[1:] != (h, w, 3):
            raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [n, {h}, {w}, 3]")
        vectors = np.empty((len(images), self.info.output_width), np.float32)
        # One at a time: a batch of 8 is slower on one thread (169 against 218 images/s) and takes 44 MiB more.
        for row, image in zip(vectors, images, strict=True):
            row[:] = self._run(image)
        return normalised(vectors, self.info.source)

    def _run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._port.input, _to_input(image, self._port.input_type)[np.newaxis])
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._port.output).reshape(-1).astype(np.float32)
        vector: NDArray[np.float32] = (raw - self._port.output_zero) * self._port.output_scale
        return vector


def describe(path: str, source: str, licence: str | None = None) -> ModelInfo:
    """What a flatbuffer is, read from itself. Raises ModelError, naming the source, when it is
    none that can be run as a model."""
    digest = _digest(path)
    _, port = _open(path, source)
    return ModelInfo(
        id=digest[:ID_DIGITS],
        source=source,
        digest=digest,
        path=path,
        input_height=port.height,
        input_width=port.width,
        output_width=port.output_width,
        precision="float32" if port.input_type == np.float32 else "int8",
        licence=licence,
    )


def normalised(vectors: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """Rows of unit length. Raises ModelError, naming the model's source, for a row that is zero or not finite."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if wrong := np.flatnonzero(~(np.isfinite(norms) & (norms > 0))).tolist():
        raise ModelError(f"{source}: image {wrong[0]} of {len(vectors)} gave a vector that is zero or not finite")
    unit: NDArray[np.float32] = vectors / norms
    return unit


class _Port(NamedTuple):
    """Where pictures go in and vectors come out."""

    input: int
    input_type: np.dtype[Any]
    height: int
    width: int
    output: int
    output_width: int
    output_scale: np.float32
    output_zero: np.float32


def _open(path: str, name: str) -> tuple[Any, _Port]:
    # Imported here: the daemon reads ModelInfo, only workers run models.
    from ai_edge_litert.interpreter import Interpreter

    try:
        # From the file, which is mapped: its pages are shared by all workers. As bytes: the path need not be UTF-8.
        interpreter = Interpreter(model_path=os.fsencode(path), num_threads=1)
        port = _read_port(interpreter, name)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{name}: LiteRT can't run this flatbuffer: {error}") from error
    return interpreter, port


def _read_port(interpreter: Any, name: str) -> _Port:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(f"{name}: {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    shape, out_shape = inputs[0]["shape"].tolist(), outputs[0]["shape"].tolist()
    kind = np.dtype(inputs[0]["dtype"])
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or kind not in (np.float32, np.uint8, np.int8):
        raise ModelError(f"{name}: input {kind} {shape}, expected float32, uint8 or int8 [1, height, width, 3]")
    if len(out_shape) != 2 or out_shape[0] != 1:
        raise ModelError(f"{name}: output {out_shape}, expected [1, width of the vector]")
    # (0, 0) stands for "not quantised".
    scale, zero = outputs[0]["quantization"]
    return _Port(
        input=inputs[0]["index"],
        input_type=kind,
        height=shape[1],
        width=shape[2],
        output=outputs[0]["index"],
        output_width=out_shape[1],
        output_scale=np.float32(scale or 1),
        output_zero=np.float32(zero),
    )


def _to_input(image: NDArray[np.uint8], kind: np.dtype[Any]) -> NDArray[Any]:
    """A picture as the input's type."""
    if kind == np.float32:
        return image * np.float32(1 / 255)
    return image if kind == np.uint8 else (image ^ 0x80).view(np.int8)


def check_digest(info: ModelInfo) -> None:
    """Raise ModelError unless the flatbuffer on the disk is the one that was installed."""
    if (found := _digest(info.path)) != info.digest:
        raise ModelError(
            f"{info.path}: damaged, SHA-256 is {found}, expected {info.digest}; install {info.source} again"
        )


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}, expected the flatbuffer of a model") from error
