"""Feature-vector models: a picture in, a vector out.

A model is a file and the runtime for it: a LiteRT flatbuffer (``litert``) or an ONNX file (``onnx``). The package ships
a model, ``bundled``: see training/CARD.md for its data, method and figures.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError
from shazimd.models import onnx
from shazimd.models.litert import Flatbuffer
from shazimd.types import decodable

NAME, RECORD, LICENCE = "model", "model.json", "LICENSE"
"""The files of an installed model: NAME with its runtime's suffix, its ModelInfo, and the text of its licence."""
SUFFIX = {"litert": ".tflite", "onnx": ".onnx"}
Runtime = Literal["litert", "onnx"]
SIDE_MAX = 2048
"""Pixels: larger inputs than any image model's would take all of a worker's memory."""
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
    """SHA-256 of the file, hex"""
    path: str
    """the flatbuffer or the ONNX file"""
    input_height: int
    """pixels"""
    input_width: int
    output_width: int
    """numbers in a vector"""
    precision: str = "float32"
    """of the computation, "int8" or "float32"; of an ONNX file the type of its input"""
    licence: str | None = None
    """the first line of the model's licence; the text lies beside the file"""
    agreement: float | None = None
    """the least cosine between flatbuffer and SavedModel on the sample pictures; None without a SavedModel"""
    installed_at: str = ""
    """UTC, ISO 8601"""
    runtime: Runtime = "litert"
    copy_from: float | None = None
    """The sum of agreement and cosine from which two pictures with a map are copies; None for a model that was not made
    for copies. See benchmarks/quality/README.md."""


class Program(Protocol):
    """An open file of a model."""

    height: int
    """of its input, pixels"""
    width: int
    output_width: int
    precision: str

    def run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vector [output_width] of an RGB picture [height, width, 3]; of any length."""
        ...


class EmbeddingModel:
    """An open model, for one thread at a time.

    Raises ModelError when the file is missing, damaged, or can't be run.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        check_digest(info)
        self._program = _open(info.path, info.runtime, info.path)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors float32 [n, output_width] of unit length, of RGB images uint8 [n, input_height, input_width, 3].

        Raises ValueError for images of another shape or type, NoVector when a vector is zero or not finite.
        """
        h, w = self.info.input_height, self.info.input_width
        if images.dtype != np.uint8 or images.shape[1:] != (h, w, 3):
            raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [n, {h}, {w}, 3]")
        vectors = np.empty((len(images), self.info.output_width), np.float32)
        # Singly: a batch of 8 is slower on one thread (169 against 218 images/s) and takes 44 MiB more.
        for row, image in zip(vectors, images, strict=True):
            row[:] = self._program.run(image)
        return normalised(vectors, self.info.source)


def bundled() -> ModelInfo:
    """The model in the package. Raises ModelError when its record is missing or damaged."""
    info = read_record(f"{_BUNDLED_FILES}.json")
    check_digest(info)
    return info


def read_record(path: str) -> ModelInfo:
    """The ModelInfo in a JSON file, of the model's file beside it with the same name and the suffix of its runtime.

    Raises ModelError, naming the record, when it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            fields: dict[str, Any] = msgspec.json.decode(file.read(), type=dict[str, Any])
        info = msgspec.convert(fields | {"path": ""}, decodable(ModelInfo))
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{path}: damaged, {error}; remove its directory and install the model again") from error
    return replace(info, path=path.removesuffix(".json") + SUFFIX[info.runtime])


def describe(path: str, source: str, runtime: Runtime = "litert") -> ModelInfo:
    """Read the facts of a model from its file. Raises ModelError, naming the source, if it can't run as a model."""
    digest = _digest(path)
    program = _open(path, runtime, source)
    if not all(1 <= side <= SIDE_MAX for side in (program.height, program.width)):
        found = f"{program.width} x {program.height} pixels"
        raise ModelError(f"{source}: its input has {found}, expected 1 to {SIDE_MAX} a side")
    return ModelInfo(
        id=digest[:ID_DIGITS],
        source=source,
        digest=digest,
        path=path,
        input_height=program.height,
        input_width=program.width,
        output_width=program.output_width,
        precision=program.precision,
        runtime=runtime,
    )


def _open(path: str, runtime: Runtime, name: str) -> Program:
    return Flatbuffer(path, name) if runtime == "litert" else onnx.OnnxFile(path, name)


class NoVector(ModelError):
    """A picture of which a model makes no vector: zero, or with NaN or infinity."""


def normalised(vectors: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """Rows of unit length. Raises NoVector, naming the model's source, for a row of zeros or with NaN."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if wrong := np.flatnonzero(~(np.isfinite(norms) & (norms > 0))).tolist():
        raise NoVector(f"{source}: image {wrong[0]} of {len(vectors)} gave a vector that is zero or not finite")
    unit: NDArray[np.float32] = vectors / norms
    return unit


def check_digest(info: ModelInfo) -> None:
    """Raise ModelError unless the file on the disk has the recorded digest."""
    if (found := _digest(info.path)) != info.digest:
        again = "shazimd" if info.source == BUNDLED else info.source
        raise ModelError(f"{info.path}: damaged, SHA-256 is {found}, expected {info.digest}; install {again} again")


def check_runtime(info: ModelInfo) -> None:
    """Raise ModelError unless the runtime of the model is installed; loads nothing."""
    if info.runtime == "onnx" and find_spec("onnxruntime") is None:
        raise ModelError(f"{info.source}: {onnx.missing_runtime()}")


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}, expected the file of a model") from error
