"""Makes a flatbuffer of a model: ``python -m shazimd.models.convert HANDLE DEST``. ONNX files stay ONNX files.

A program of its own, because TensorFlow takes 600 MiB and 5 s to import. DEST is an existing, empty directory; on
success it holds ``model.tflite`` or ``model.onnx``, ``model.json`` (a ``ModelInfo`` less its path) and the model's
licence, if any.
Standard output has a JSON object a line: ``{"progress": TEXT}`` any number of times, then ``{"installed": ID}`` or
``{"error": TEXT}``. TensorFlow's own output goes to standard error.

The network computes in int8 if its vectors agree, else in float32; the suffix ``#float32`` of a handle asks for the
latter. MobileNet V2 1.0 on 1,400 photos and 1,750 edited copies, one thread of a 2.8 GHz Xeon, against the SavedModel
(its weights were int8 once, which is kind to int8; on the right they are moved off that grid by 5 % of noise):

    precision       ms an image    cosine: least, 1 %, median    with noise
    float32         5.0            1                             1
    int8            2.3            .981, .990, .997              .961, .982, .990
    int8, dynamic   11             .9996 (60 photos)

The effect of int8 on dfv: mean -.003, standard deviation .006, .042 at most for 20,000 pairs of photos, .002 to .006
in the mean for a kind of copy; with noise -.006, .012, .058 and .001 to .003. A copy's original is found about as often
(ranked first for 87.5 % of copies, 88.2 % with float32; with noise 80.6 % and 80.0 %). Calibrating on the made-up
pictures below is as good as on photos (.983, .989, .997). Vectors of the two precisions are never compared: they are
two models with two ids.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError
from shazimd.models import onnx
from shazimd.models.extras import missing
from shazimd.models.fetch import UNPACKED_BYTES_MAX, Progress, fetch, find_file, open_given, split_digest
from shazimd.models.model import LICENCE, NAME, RECORD, SUFFIX, EmbeddingModel, ModelInfo, Runtime, describe, normalised
from shazimd.posix import process

SIGNATURES = ("default", "serving_default")
"""The default signature's name in TensorFlow Hub and in TensorFlow."""
FLOAT32 = "#float32"
"""Suffix of a handle for full precision."""
AGREEMENT_MIN = {"int8": 0.97, "float32": 0.999}
"""Least cosine between flatbuffer and SavedModel on the check pictures. Scores are told to three digits, and float32
reaches 1.000000; int8 reached .993 above, .980 with noise."""
CHECKS, CALIBRATION = 32, 128
"""How many sample pictures are compared, and how many others set the ranges of int8: with 16 the least cosine above
was .969."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 when the model was installed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m shazimd.models.convert")
    parser.add_argument("handle")
    parser.add_argument("dest")
    parser.add_argument("--stall-timeout", type=float, default=30.0, metavar="S")
    parser.add_argument("--given", metavar="FILE", help="the model itself: nothing is fetched")
    options = parser.parse_args(arguments)
    process.end_with_parent()
    say = _speaker(_claim_stdout())
    try:
        stall_timeout_s, given = options.stall_timeout, options.given
        info = convert(options.handle, options.dest, stall_timeout_s, lambda text: say({"progress": text}), given)
    except Exception as error:  # every failure is reported to the parent process
        say({"error": str(error) if isinstance(error, ModelError) else f"{options.handle}: {_brief(error)}"})
        return 1
    say({"installed": info.id})
    return 0


def convert(handle: str, dest: str, stall_timeout_s: float, progress: Progress, given: str | None = None) -> ModelInfo:
    """Fetch a model and leave it in ``dest`` as a checked flatbuffer, or ONNX file, with its record.

    ``given`` is the model's file, or a tar.gz of its directory: nothing is fetched then.

    Raises ModelError, naming the handle, and OSError when ``dest`` can't be written."""
    path = os.path.join(dest, NAME)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=dest) as scratch:
        if given:
            source = open_given(handle.removesuffix(FLOAT32), given, scratch)
        elif handle.startswith(onnx.SCHEME):
            source = find_file(handle, handle.removeprefix(onnx.SCHEME))
        else:
            source = _resolve(handle.removesuffix(FLOAT32), scratch, stall_timeout_s, progress)
        if os.path.isdir(source):
            info = _convert_saved_model(handle, source, path + SUFFIX["litert"], progress)
        else:
            info = _copy(handle, source, path, "onnx" if handle.startswith(onnx.SCHEME) else "litert")
        info = replace(info, licence=_keep_licence(source, dest), installed_at=datetime.now(UTC).isoformat())
    _write_record(info, os.path.join(dest, RECORD))
    return info


def _copy(handle: str, source: str, path: str, runtime: Runtime) -> ModelInfo:
    """Copy a model's file to ``path`` with the suffix of its runtime, and try it on the check pictures."""
    info = describe(shutil.copyfile(source, path + SUFFIX[runtime]), handle, runtime)
    EmbeddingModel(info).embed(sample_pictures(CHECKS, info.input_height, info.input_width))
    return info


def _resolve(handle: str, scratch: str, stall_timeout_s: float, progress: Progress) -> str:
    """The path of the model: by ``tensorflow_hub``, with its cache and environment variables, where it is installed.

    Our own ``fetch`` serves the rest: files, directories, and handles with a digest, since the cache keeps no archive
    to check."""
    address, digest = split_digest(handle)
    hub = _import_hub() if address.startswith(("http://", "https://")) and digest is None else None
    if hub is None:
        return fetch(handle, scratch, stall_timeout_s, progress)
    progress("resolving with tensorflow_hub")
    socket.setdefaulttimeout(stall_timeout_s)  # tensorflow_hub 0.16.1 sets none for its requests
    with _explained(handle, "tensorflow_hub can't resolve it"):
        path = str(hub.resolve(address))
    size = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
    if size > UNPACKED_BYTES_MAX:
        raise ModelError(f"{handle}: {size} bytes, expected at most {UNPACKED_BYTES_MAX}")
    return path


def _import_hub() -> Any:
    """The package, or None: version 0.16.1 also fails without tf-keras or with setuptools 81 and later."""
    try:
        import tensorflow_hub
    except Exception:
        return None
    return tensorflow_hub


class _Signature(NamedTuple):
    """The function of a SavedModel from pictures to vectors."""

    function: Callable[..., Mapping[str, Any]]
    input: str
    height: int
    width: int
    output: str


def _convert_saved_model(handle: str, directory: str, path: str, progress: Progress) -> ModelInfo:
    """Leave the flatbuffer at ``path``: in float32 if asked for, or if int8 can't be made or differs too much."""
    progress("loading")
    tf = _import_tensorflow()
    with _explained(handle, "not a SavedModel that TensorFlow can load"):
        saved = tf.saved_model.load(directory)  # held to the end: its functions only borrow its variables
    signature = _find_signature(handle, saved)
    in_full = handle.endswith(FLOAT32)
    images = sample_pictures(CHECKS if in_full else CHECKS + CALIBRATION, signature.height, signature.width)
    with _explained(handle, "TensorFlow can't run it"):
        expected = normalised(_run_signature(tf, signature, images[:CHECKS]), handle)

    def make(precision: str) -> ModelInfo:
        progress(f"converting to {precision}")
        calibration = images[CHECKS:] if precision == "int8" else None
        with _explained(handle, "TensorFlow can't convert it"), open(path, "wb") as file:
            file.write(_to_flatbuffer(tf, saved, signature, calibration))
        info = describe(path, handle)
        found = EmbeddingModel(info).embed(images[:CHECKS])
        return replace(info, agreement=agreement(handle, found, expected, AGREEMENT_MIN[precision]))

    if not in_full:
        try:
            return make("int8")
        except ModelError as error:
            progress(f"int8 does not serve: {error}")
    return make("float32")


@contextmanager
def _explained(handle: str, trouble: str) -> Iterator[None]:
    """Translate all exceptions, TensorFlow's, protobuf's and Python's, into a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{handle}: {trouble}: {_brief(error)}") from error


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a conversion computes nothing worth waking a GPU for
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise ModelError(missing("TensorFlow", "convert a model", "hub")) from error
    return tf


def _find_signature(handle: str, saved: Any) -> _Signature:
    function = next((saved.signatures[name] for name in SIGNATURES if name in saved.signatures), None)
    if function is None:
        found = ", ".join(saved.signatures) or "none"
        raise ModelError(f"{handle}: signatures are {found}; expected one of {', '.join(SIGNATURES)}")
    name, image = _only(handle, "input", function.structured_input_signature[1])
    shape = _shape(image)
    if image.dtype.name != "float32" or len(shape) != 4 or shape[3] != 3 or not (shape[1] and shape[2]):
        raise ModelError(f"{handle}: input is {image.dtype.name} {shape}, expected float32 [batch, height, width, 3]")
    output, vector = _only(handle, "output", function.structured_outputs)
    if vector.dtype.name != "float32" or len(_shape(vector)) != 2:
        found = f"{vector.dtype.name} {_shape(vector)}"
        raise ModelError(f"{handle}: output is {found}, expected float32 [batch, width of the vector]")
    return _Signature(function, name, shape[1], shape[2], output)


def _only(handle: str, what: str, tensors: Mapping[str, Any]) -> tuple[str, Any]:
    if len(tensors) != 1:
        raise ModelError(f"{handle}: {what}s are {', '.join(sorted(tensors))}; expected one {what}")
    return next(iter(tensors.items()))


def _shape(tensor: Any) -> list[Any]:
    """Sizes, None for a size not fixed; empty for an unknown rank."""
    return [] if tensor.shape.rank is None else list(tensor.shape.as_list())


def _to_flatbuffer(tf: Any, saved: Any, signature: _Signature, calibration: NDArray[np.uint8] | None) -> bytes:
    """Convert with a fixed batch of 1, so all sizes are known before the first picture.

    Without ``calibration`` pictures the result computes in float32; with them in int8, for uint8 pictures."""
    spec = tf.TensorSpec([1, signature.height, signature.width, 3], tf.float32)
    function = tf.function(lambda images: signature.function(**{signature.input: images})[signature.output])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(spec)], saved)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([colours] for colours in _colours(calibration))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    flatbuffer: bytes = converter.convert()
    return flatbuffer


def _run_signature(tf: Any, signature: _Signature, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate(
        [signature.function(**{signature.input: tf.constant(c)})[signature.output].numpy() for c in _colours(images)]
    )


def _colours(images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Pictures as a SavedModel's input, in batches of 1."""
    for image in images:
        yield image[np.newaxis] * np.float32(1 / 255)


def sample_pictures(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Synthetic pictures with photo-like statistics, equal on every machine: fields of colour whose amplitude falls
    with frequency, a hard edge, and grain. uint8 [count, height, width, 3]."""
    random = np.random.default_rng(seed=0)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., np.newaxis]
    return np.stack([_sample_picture(random, y, x) for _ in range(count)])


def _sample_picture(random: np.random.Generator, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.uint8]:
    picture = np.zeros((*y.shape[:2], 3))
    for frequency in (1, 2, 4, 8, 16):
        direction, phase = random.uniform(0, np.pi, 3), random.uniform(0, 2 * np.pi, 3)
        wave = np.cos(2 * np.pi * frequency * (np.cos(direction) * x + np.sin(direction) * y) + phase)
        picture += wave / frequency
    picture += random.uniform(-1, 1, 3) * (random.uniform(-1, 1) * (x - 0.5) > random.uniform(-1, 1) * (y - 0.5))
    picture += random.normal(scale=0.05, size=picture.shape)
    return np.clip(127.5 + 60 * picture, 0, 255).astype(np.uint8)


def agreement(handle: str, found: NDArray[np.float32], expected: NDArray[np.float32], at_least: float) -> float:
    """The least cosine between rows of unit length. Raises ModelError below ``at_least``."""
    least = float((found * expected).sum(axis=1).min())
    if not least >= at_least:
        raise ModelError(
            f"{handle}: the flatbuffer's vectors differ from the SavedModel's, least cosine {least:.6f}, "
            f"expected {at_least}"
        )
    return min(1.0, least)


def _keep_licence(source: str, dest: str) -> str | None:
    """Copy a SavedModel's licence into ``dest``; its first line."""
    names = sorted(os.listdir(source)) if os.path.isdir(source) else []
    name = next((n for n in names if n.upper().startswith(("LICENSE", "LICENCE", "COPYING"))), None)
    if name is None:
        return None
    copy = shutil.copyfile(os.path.join(source, name), os.path.join(dest, LICENCE))
    with open(copy, encoding="utf-8", errors="replace") as file:
        return next((line.strip() for line in file if line.strip()), None)


def _write_record(info: ModelInfo, path: str) -> None:
    fields = msgspec.to_builtins(info)
    del fields["path"]  # the reader knows it, and it need not be UTF-8
    with open(path, "xb") as file:
        file.write(msgspec.json.encode(fields))


def _brief(error: BaseException) -> str:
    """An exception in a line: TensorFlow's can have a hundred."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _claim_stdout() -> TextIO:
    """Reserve standard output for our messages; other writes to it go to standard error."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


def _speaker(out: TextIO) -> Callable[[dict[str, str]], None]:
    def say(message: dict[str, str]) -> None:
        # json, not msgspec: a message may name a path that is not UTF-8.
        print(json.dumps(message), file=out, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
