from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_models import HEIGHT, WIDTH, vectors_of
from numpy.typing import NDArray

from shazimd.errors import ModelError
from shazimd.models.model import EmbeddingModel, ModelInfo, describe, normalised

DATA = Path(__file__).parent / "data"


def open_model(kind: str = "float32") -> EmbeddingModel:
    return EmbeddingModel(describe(str(DATA / f"tiny_{kind}.tflite"), "tiny"))


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    tints = random.integers(40, 256, (count, 1, 1, 3))
    return (random.random((count, HEIGHT, WIDTH, 3)) * tints).astype(np.uint8)


def test_sizes_are_read_from_the_flatbuffer() -> None:
    """Height, width and width of the vector are the model's own."""
    info = describe(str(DATA / "tiny_float32.tflite"), "tiny")
    assert (info.input_height, info.input_width, info.output_width) == (HEIGHT, WIDTH, 4)


def test_the_vector_is_what_the_model_computes_from_colours_between_0_and_1() -> None:
    """The vectors are those of the same sum in numpy, of unit length."""
    images = pictures(5)
    vectors = open_model().embed(images)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_of(images), atol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_a_quantised_model_gives_the_same_vectors_within_its_rounding(kind: str) -> None:
    """Integer inputs get the picture's levels, integer outputs are scaled back."""
    images = pictures(5)
    cosines = (open_model(kind).embed(images) * vectors_of(images)).sum(axis=1)
    assert cosines.min() > 0.9995


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6))
def test_a_picture_s_vector_does_not_depend_on_its_neighbours(seed: int, count: int) -> None:
    """Together or one by one: the same numbers, in the same order."""
    model, images = open_model(), pictures(count, seed)
    np.testing.assert_array_equal(model.embed(images), np.concatenate([model.embed(i[np.newaxis]) for i in images]))


def test_no_pictures_give_no_vectors() -> None:
    """An empty batch is no special case."""
    assert open_model().embed(pictures(0)).shape == (0, 4)


def test_a_vector_of_zero_is_refused() -> None:
    """A black picture has no direction here; the error says which picture it was."""
    images = pictures(3)
    images[1] = 0
    with pytest.raises(ModelError, match="tiny: image 1 of 3 gave a vector that is zero or not finite"):
        open_model().embed(images)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(bad: float) -> None:
    """NaN and infinity never reach the store."""
    with pytest.raises(ModelError, match="image 0 of 1"):
        normalised(np.array([[1, bad]], np.float32), "tiny")


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, WIDTH, HEIGHT, 3), np.uint8),
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        np.zeros((1, HEIGHT, WIDTH, 4), np.uint8),
        np.zeros((1, HEIGHT, WIDTH, 3), np.float32),
    ],
)
def test_pictures_of_another_shape_or_type_are_refused(images: NDArray[np.uint8]) -> None:
    """Nothing is resized or cast behind the caller's back."""
    with pytest.raises(ValueError, match=r"expected uint8 \[n, 8, 6, 3\]"):
        open_model().embed(images)


def test_the_id_names_the_bytes(tmp_path: Path) -> None:
    """Same bytes, same id, wherever they lie; other bytes, another id."""
    copy = shutil.copy(DATA / "tiny_float32.tflite", tmp_path)
    ids = [describe(str(p), "x").id for p in (copy, DATA / "tiny_float32.tflite", DATA / "tiny_int8.tflite")]
    assert ids[0] == ids[1] != ids[2]


def test_a_damaged_flatbuffer_is_refused(tmp_path: Path) -> None:
    """One flipped bit is noticed when the model is opened, and the message says what to do."""
    path = Path(shutil.copy(DATA / "tiny_float32.tflite", tmp_path))
    info = describe(str(path), "https://example.org/m")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged, SHA-256 is .*; install https://example.org/m again"):
        EmbeddingModel(info)


def test_a_missing_flatbuffer_is_refused(tmp_path: Path) -> None:
    """The message names the path."""
    info = replace(describe(str(DATA / "tiny_float32.tflite"), "tiny"), path=str(tmp_path / "gone"))
    with pytest.raises(ModelError, match="gone: No such file"):
        EmbeddingModel(info)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 64])
def test_what_is_no_flatbuffer_is_refused(tmp_path: Path, content: bytes) -> None:
    """Any other file is turned down, named by the handle that led to it."""
    path = tmp_path / "photo.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^a handle: LiteRT can't run this flatbuffer"):
        describe(str(path), "a handle")


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    """A store may lie anywhere."""
    path = shutil.copy(DATA / "tiny_float32.tflite", os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    assert EmbeddingModel(describe(path, "x")).embed(pictures(1)).shape == (1, 4)


def test_a_description_travels_between_processes() -> None:
    """ModelInfo is handed to workers by pickle."""
    info = ModelInfo("id", "source", "digest", "path", 1, 2, 3)
    assert pickle.loads(pickle.dumps(info)) == info


def test_reading_about_models_loads_no_runtime() -> None:
    """The daemon knows its models without LiteRT or TensorFlow in memory."""
    code = "import sys, shazimd.models.registry; print({'ai_edge_litert', 'tensorflow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
