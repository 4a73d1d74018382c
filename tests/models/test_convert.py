"""TensorFlow takes seconds to start, so it starts twice for all of these: to make, convert and resolve models, some of
which are turned down, and to install one. A third time for the real model, where it is at hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import make_models
import numpy as np
import pytest
from hub_server import Hub, archive, archive_folder, body, redirect, running_hub, sha256
from make_models import HEIGHT, WIDTH, vectors_of
from patience import PATIENCE_S
from PIL import Image

from shazimd.errors import ModelError
from shazimd.models.convert import _resolve, agreement, sample_pictures
from shazimd.models.model import EmbeddingModel, ModelInfo, describe
from shazimd.models.registry import Registry

NEEDS_TENSORFLOW = pytest.mark.skipif(find_spec("tensorflow") is None, reason="the extra hub is not installed")

MAKE_AND_CONVERT = """
import json, shutil, sys
from pathlib import Path
import make_models
from shazimd.errors import ModelError
from shazimd.models.convert import _resolve, convert

folder = Path(sys.argv[1])
make_models.main(folder)
shutil.copytree(folder / "vector", folder / "no_variables")
shutil.rmtree(folder / "no_variables" / "variables")
shutil.copytree(folder / "vector", folder / "garbage")
(folder / "garbage" / "saved_model.pb").write_bytes(b"not a graph")
for name in [*sorted(each.name for each in folder.iterdir()), "vector#float32"]:
    dest = Path(sys.argv[2]) / name
    dest.mkdir(parents=True)
    try:
        outcome = convert(str(folder / name), str(dest), 180.0, lambda _: None).id
    except ModelError as error:
        outcome = str(error)
    print(json.dumps([name, outcome]))
for time in ("first", "again"):
    scratch = Path(sys.argv[2]) / time
    scratch.mkdir()
    print(json.dumps([time, _resolve(sys.argv[3], str(scratch), 180.0, lambda _: None)]))
"""

RUN_AND_CONVERT = """
import sys
from pathlib import Path
import numpy as np, tensorflow as tf
from shazimd.models import convert as conversion
from shazimd.models.convert import convert

conversion.CALIBRATION = 32
model, handle, folder = sys.argv[1:]
signature = tf.saved_model.load(model).signatures["default"]
pictures = np.load(f"{folder}/pictures.npy") / np.float32(255)
np.save(f"{folder}/expected.npy", signature(tf.constant(pictures))["output_0"].numpy())
for suffix, precision in (("", "int8"), ("#float32", "float32")):
    Path(folder, precision).mkdir()
    convert(handle + suffix, f"{folder}/{precision}", 180.0, lambda _: None)
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``outcomes`` leaves the tiny models as SavedModels, and two that are broken."""
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``outcomes`` leaves what was made, by folder."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def outcomes(saved_models: Path, made: Path, hub: Hub) -> dict[str, str]:
    """By folder: the id of what was made of it, or why nothing was. And the path of a handle, when it is resolved for
    the first time and again."""
    handle = hub.serve("real/1", body(archive({"saved_model.pb": b"graph"})))
    command = [sys.executable, "-c", MAKE_AND_CONVERT, str(saved_models), str(made), handle]
    paths = {"PYTHONPATH": os.pathsep.join([os.path.dirname(make_models.__file__), *sys.path])}
    environment = os.environ | paths | {"TFHUB_CACHE_DIR": str(made / "cache")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


@pytest.fixture(scope="module")
def installed(
    saved_models: Path, outcomes: dict[str, str], hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> ModelInfo:
    """A tiny model, all the way: redirect, archive with its digest, conversion, registry."""
    assert outcomes["vector"]
    content = archive_folder(saved_models / "vector")
    hub.answers["/storage/vector.tar.gz"] = body(content)
    handle = hub.serve("vector/1", redirect("/storage/vector.tar.gz"))
    registry = Registry(str(tmp_path_factory.mktemp("models")))
    return registry.install(f"{handle}#sha256={sha256(content)}")


@pytest.mark.slow
@NEEDS_TENSORFLOW
class TestTiny:
    def test_a_handle_becomes_a_model(self, installed: ModelInfo) -> None:
        """Its vectors are what the SavedModel computes, within the rounding of int8."""
        images = sample_pictures(3, HEIGHT, WIDTH)
        assert installed.precision == "int8"
        assert (EmbeddingModel(installed).embed(images) * vectors_of(images)).sum(axis=1).min() > 0.999

    def test_full_precision_can_be_asked_for(self, made: Path, outcomes: dict[str, str]) -> None:
        """A handle that ends in #float32 gives the SavedModel's own vectors, under another id."""
        images = sample_pictures(3, HEIGHT, WIDTH)
        info = describe(str(made / "vector#float32" / "model.tflite"), "vector")
        assert info.precision == "float32"
        assert info.id == outcomes["vector#float32"] != outcomes["vector"]
        np.testing.assert_allclose(EmbeddingModel(info).embed(images), vectors_of(images), atol=1e-6)

    def test_what_int8_would_spoil_stays_in_full_precision(self, made: Path, outcomes: dict[str, str]) -> None:
        """Small differences between large numbers are lost in 256 steps, so they are not counted in these."""
        images = sample_pictures(3, HEIGHT, WIDTH)
        info = describe(str(made / "pedestal" / "model.tflite"), "pedestal")
        assert (info.id, info.precision) == (outcomes["pedestal"], "float32")
        np.testing.assert_allclose(EmbeddingModel(info).embed(images), vectors_of(images), atol=1e-3)

    def test_what_is_known_of_it_is_kept(self, installed: ModelInfo) -> None:
        """Source, sizes, licence with its text, and how well flatbuffer and SavedModel agree."""
        sizes = (installed.input_height, installed.input_width, installed.output_width)
        assert sizes == (HEIGHT, WIDTH, 4)
        assert installed.licence == "Tiny Licence 1.0"
        assert Path(installed.path).with_name("LICENSE").read_text() == make_models.LICENCE
        assert installed.agreement == pytest.approx(1, abs=1e-3)
        assert installed.installed_at.startswith("20")

    def test_the_same_model_gives_the_same_bytes(self, installed: ModelInfo, outcomes: dict[str, str]) -> None:
        """Converted again, from a directory this time, it has the same id: its vectors stay comparable."""
        assert outcomes["vector"] == installed.id

    @pytest.mark.parametrize(
        ("folder", "reason"),
        {
            "other_key": "signatures are embed; expected one of default, serving_default",
            "any_size": "input is float32 [None, None, None, 3], expected float32 [batch, height, width, 3]",
            "integers": "input is uint8 [None, 8, 6, 3], expected float32 [batch, height, width, 3]",
            "two_inputs": "inputs are images_0, images_1; expected one input",
            "map": "output is float32 [None, 8, 6, 3], expected float32 [batch, width of the vector]",
            "exotic": "TensorFlow can't convert it: ConverterError: ",
            "moody": "the flatbuffer's vectors differ from the SavedModel's, least cosine ",
            "no_variables": "not a SavedModel that TensorFlow can load: ",
            "garbage": "not a SavedModel that TensorFlow can load: ",
        }.items(),
    )
    def test_what_is_no_such_model_is_refused(
        self, saved_models: Path, outcomes: dict[str, str], folder: str, reason: str
    ) -> None:
        """The message names the handle, what was found and what was expected."""
        assert outcomes[folder].startswith(f"{saved_models / folder}")
        assert reason in outcomes[folder]


@pytest.mark.slow
@NEEDS_TENSORFLOW
class TestReal:
    def test_the_flatbuffer_agrees_with_the_saved_model_on_photos(self, shared: Path, hub: Hub, tmp_path: Path) -> None:
        """A real MobileNet V2, downloaded as from TensorFlow Hub: in int8 the least cosine over 20 photos is over 0.98,
        though a quarter of the pictures have set its ranges; in float32 over 0.99999."""
        folder = shared / "models" / "mobilenet_v2_100_224_feature_vector"
        photos = sorted((shared / "data" / "photos").glob("*/*.jpg"))[::70]
        assert len(photos) >= 20
        pictures = np.stack([read(photo) for photo in photos])
        np.save(tmp_path / "pictures.npy", pictures)
        handle = hub.serve("mobilenet", body(archive_folder(folder)))
        command = [sys.executable, "-c", RUN_AND_CONVERT, str(folder), handle, str(tmp_path)]
        subprocess.run(command, check=True)
        expected = np.load(tmp_path / "expected.npy")
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        for precision, least in (("int8", 0.98), ("float32", 0.99999)):
            info = describe(str(tmp_path / precision / "model.tflite"), handle)
            found = EmbeddingModel(info).embed(pictures)
            assert info.precision == precision
            assert (found * expected).sum(axis=1).min() > least


def read(photo: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(photo) as image:
        return np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def test_vectors_that_differ_are_refused() -> None:
    """The least cosine counts, not the mean."""
    right = np.eye(3, 4, dtype=np.float32)
    wrong = right.copy()
    wrong[2] = [0, 0, 0.99, np.sqrt(1 - 0.99**2)]
    assert agreement("m", right, right, 0.999) == 1
    assert agreement("m", wrong, right, 0.98) == pytest.approx(0.99)
    with pytest.raises(ModelError, match=r"^m: the flatbuffer's .* least cosine 0\.990000, expected 0\.999"):
        agreement("m", wrong, right, 0.999)
    with pytest.raises(ModelError, match="least cosine nan"):
        agreement("m", wrong * np.nan, right, 0.98)


def test_sample_pictures_are_always_the_same_and_all_different() -> None:
    """Whoever converts, the flatbuffer is asked about the same pictures, with colours from dark to bright."""
    pictures = sample_pictures(4, 24, 32)
    assert pictures.shape == (4, 24, 32, 3)
    np.testing.assert_array_equal(pictures, sample_pictures(4, 24, 32))
    assert len({picture.tobytes() for picture in pictures}) == 4
    assert all(picture.min() < 64 and picture.max() > 192 for picture in pictures)


def test_the_program_answers_in_json(tmp_path: Path) -> None:
    """Also when it fails: one line on standard output, and an exit status."""
    command = [sys.executable, "-m", "shazimd.models.convert", "/gone", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    message = "/gone: no such file or directory, expected a SavedModel directory or a flatbuffer"
    assert (done.returncode, json.loads(done.stdout)) == (1, {"error": message})


HUB = """
import os
def resolve(handle):
    with open(os.environ["HUB_LOG"], "a") as log:
        print(handle, file=log)
    return os.environ["HUB_ANSWER"]
"""


def test_tensorflow_hub_resolves_a_handle_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is used in place; our own request is not made, but for a handle with a digest."""
    (tmp_path / "tensorflow_hub.py").write_text(HUB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HUB_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("HUB_ANSWER", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda _: None)
    monkeypatch.delitem(sys.modules, "tensorflow_hub", raising=False)
    handle = "http://127.0.0.1:9/m/1"
    try:
        assert _resolve(handle, str(tmp_path), 1.0, lambda _: None) == str(tmp_path / "cache")
        with pytest.raises(ModelError, match="can't be reached"):
            _resolve(f"{handle}#sha256={'0' * 64}", str(tmp_path), 1.0, lambda _: None)
    finally:
        sys.modules.pop("tensorflow_hub", None)
    assert (tmp_path / "log").read_text() == f"{handle}\n"


def test_a_hub_that_cannot_be_imported_is_not_needed(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tensorflow_hub 0.16.1 beside a new setuptools raises while it is imported; the handle is fetched by our own."""
    (tmp_path / "tensorflow_hub.py").write_text("raise ImportError('pkg_resources')")
    monkeypatch.syspath_prepend(tmp_path)
    handle = hub.serve("resolved/1", body(archive({"saved_model.pb": b"graph"})))
    found = _resolve(handle, str(tmp_path), PATIENCE_S, lambda _: None)
    assert Path(found, "saved_model.pb").read_bytes() == b"graph"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorflow_hub") is None, reason="the extra hub is not installed")
def test_the_real_tensorflow_hub_asks_the_server_once(hub: Hub, made: Path, outcomes: dict[str, str]) -> None:
    """A handle is resolved into the cache that TFHUB_CACHE_DIR names; the second time from there."""
    first, again = Path(outcomes["first"]), Path(outcomes["again"])
    assert first == again
    assert first.parent == made / "cache"
    assert (first / "saved_model.pb").read_bytes() == b"graph"
    assert hub.asked.count("/real/1?tf-hub-format=compressed") == 1
