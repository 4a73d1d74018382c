"""ONNX files as models: every form that is documented, and every way to go wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from make_models import HEIGHT, WIDTH, vectors_of
from make_onnx import DOUBLE, FLOAT, NCHW, NHWC, UINT8, Size, write
from numpy.typing import NDArray
from patience import PATIENCE_S
from PIL import Image
from structlog.testing import capture_logs

from shazimd.cli.doctor import _model_fix
from shazimd.cli.situation import Situation
from shazimd.errors import ModelError
from shazimd.models import model as module
from shazimd.models.model import EmbeddingModel, bundled, check_runtime, describe
from shazimd.models.onnx import OPEN_SIDE
from shazimd.models.provision import Provision
from shazimd.models.registry import Registry
from shazimd.workers import jobs
from shazimd.workers.pool import WorkerPool

MAX_PIXELS = 10_000


def pictures(count: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    tints = random.integers(40, 256, (count, 1, 1, 3))
    return (random.random((count, HEIGHT, WIDTH, 3)) * tints).astype(np.uint8)


def encoded(colour: tuple[int, int, int], tmp_path: Path) -> bytes:
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 40), colour).save(path)
    return path.read_bytes()


@pytest.mark.parametrize(("shape", "kind"), [(NCHW, FLOAT), (NHWC, UINT8), (NHWC, FLOAT), (NCHW, UINT8)])
def test_vectors_are_those_of_the_file(tmp_path: Path, shape: tuple[Size, ...], kind: int) -> None:
    """Levels or colours in [0, 1], channels last or first: the same sum as in numpy, of unit length."""
    model = EmbeddingModel(describe(str(write(tmp_path / "m.onnx", shape, kind)), "small", "onnx"))
    images = pictures(5)
    assert (model.info.input_height, model.info.input_width, model.info.output_width) == (HEIGHT, WIDTH, 4)
    np.testing.assert_allclose(model.embed(images), vectors_of(images), atol=1e-5)


def test_an_installed_file_is_found_again(tmp_path: Path) -> None:
    """By its handle, from a copy beside its record, when the original is gone; installing needs no TensorFlow."""
    original = write(tmp_path / "m.onnx")
    handle = f"onnx:{original}"
    info = Registry(str(tmp_path / "models")).install(handle)
    original.unlink()
    assert Registry(str(tmp_path / "models")).find(handle) == info
    assert (info.runtime, info.source, Path(info.path).name) == ("onnx", handle, "model.onnx")
    np.testing.assert_allclose(EmbeddingModel(info).embed(pictures(2)), vectors_of(pictures(2)), atol=1e-5)


def test_a_digest_is_checked(tmp_path: Path) -> None:
    """The right one installs; another one is refused, with what was found."""
    path = write(tmp_path / "m.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    registry = Registry(str(tmp_path / "models"))
    assert registry.install(f"onnx:{path}#sha256={digest}").digest == digest
    with pytest.raises(ModelError, match=f"m.onnx.*: wrong digest, found SHA-256 {digest}, expected {'0' * 64}"):
        registry.install(f"onnx:{path}#sha256={'0' * 64}")


def test_an_open_size_is_224_pixels(tmp_path: Path) -> None:
    """Height and width that the file leaves open are those of most image models."""
    path = write(tmp_path / "m.onnx", ("n", 3, "height", "width"))
    info = Registry(str(tmp_path / "models")).install(f"onnx:{path}")
    assert (info.input_height, info.input_width) == (OPEN_SIDE, OPEN_SIDE)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (("n", 4, HEIGHT, WIDTH), FLOAT),
        (("n", HEIGHT, WIDTH, 1), UINT8),
        ((8, 3, HEIGHT, WIDTH), FLOAT),
        (NCHW, DOUBLE),
    ],
)
def test_an_input_that_no_picture_fits_is_refused(tmp_path: Path, shape: Sequence[Size], kind: int) -> None:
    """The message has the type and the shape that were found, and those that fit."""
    path = write(tmp_path / "m.onnx", shape, kind)
    with pytest.raises(ModelError, match=r"small: input tensor\(\w+\) \[.*\], which no picture fits; expected uint8"):
        describe(str(path), "small", "onnx")


def test_an_input_of_giant_pictures_is_refused(tmp_path: Path) -> None:
    """A worker would run out of memory on each picture."""
    path = write(tmp_path / "m.onnx", ("n", 3, 100_000, 100_000))
    with pytest.raises(ModelError, match="its input has 100000 x 100000 pixels, expected 1 to 2048 a side"):
        describe(str(path), "small", "onnx")


def test_only_one_input_and_a_vector_are_understood(tmp_path: Path) -> None:
    """Two inputs, and an output that is a map, are named."""
    with pytest.raises(ModelError, match="inputs are images_0, images_1, expected one input"):
        describe(str(write(tmp_path / "m.onnx", inputs=2)), "small", "onnx")
    path = write(tmp_path / "m.onnx", NHWC, output=("n", 1, 1, 4), keepdims=True)
    with pytest.raises(ModelError, match=r"output tensor\(float\) \['n', 1, 1, 4\], expected float \[n, width"):
        describe(str(path), "small", "onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 64])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """Nothing is installed, and the handle is named."""
    path = tmp_path / "photo.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"onnx:{path}: ONNX Runtime can't run this file"):
        Registry(str(tmp_path / "models")).install(f"onnx:{path}")
    assert os.listdir(tmp_path / "models") == []


@pytest.mark.parametrize(("name", "reason"), [("gone.onnx", "no such file or directory"), ("", "a directory")])
def test_a_handle_without_a_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """A missing file and a directory are named with what was expected."""
    with pytest.raises(ModelError, match=f"onnx:{tmp_path}/{name}: {reason}.*, expected a file"):
        Registry(str(tmp_path / "models")).install(f"onnx:{tmp_path}/{name}")


def test_a_model_that_gives_no_number_is_refused(tmp_path: Path) -> None:
    """NaN shows on the pictures of the check, before any file is fingerprinted."""
    path = write(tmp_path / "m.onnx", power=float("nan"))
    with pytest.raises(ModelError, match=r"m\.onnx: image 0 of 32 gave a vector that is zero or not finite"):
        Registry(str(tmp_path / "models")).install(f"onnx:{path}")


def test_a_picture_without_a_vector_keeps_its_hashes(tmp_path: Path) -> None:
    """Black has no direction in this model: its fingerprint has no model, that of a colour has."""
    info = Registry(str(tmp_path / "models")).install(f"onnx:{write(tmp_path / 'm.onnx')}")
    black, red = (encoded(colour, tmp_path) for colour in ((0, 0, 0), (255, 0, 0)))
    for job in (jobs.fingerprint, lambda *given: jobs.query(*given).fingerprint):
        without, found = (job(data, info, MAX_PIXELS, False) for data in (black, red))
        assert (without.model, without.signals.fv) == (None, None)
        assert without.signals.hashes[0] is not None
        assert found.model == info.id


def test_a_worker_runs_models_that_it_opened_before_it_was_confined(tmp_path: Path) -> None:
    """One that is there at the start, and others that a job is the first to name: each gives its own vector."""
    registry = Registry(str(tmp_path / "models"))
    infos = [registry.install(f"onnx:{write(tmp_path / f'{power}.onnx', power=power)}") for power in (1.0, 2.0, 3.0)]
    data = encoded((200, 90, 30), tmp_path)
    with WorkerPool(
        processes=1, memory_mb=512, timeout_s=PATIENCE_S, max_pixels=MAX_PIXELS, features=False, model=infos[0]
    ) as pool:
        for info in [*infos, *infos, bundled()]:
            expected = jobs.query(data, info, MAX_PIXELS, False).fingerprint
            assert expected.signals.fv is not None
            found = pool.query(data, info).result().fingerprint
            assert found.model == expected.model == info.id
            assert found.signals.fv is not None
            assert found.signals.fv.tolist() == expected.signals.fv.tolist()


def test_a_model_whose_file_is_mended_is_used_again(tmp_path: Path) -> None:
    """A worker says what is wrong with the file; the next one opens it."""
    info = Registry(str(tmp_path / "models")).install(f"onnx:{write(tmp_path / 'm.onnx')}")
    sound, data = Path(info.path).read_bytes(), encoded((200, 90, 30), tmp_path)
    Path(info.path).write_bytes(b"damaged")
    with WorkerPool(
        processes=1, memory_mb=512, timeout_s=PATIENCE_S, max_pixels=MAX_PIXELS, features=False, model=info
    ) as pool:
        with pytest.raises(ModelError, match="damaged, SHA-256 is"):
            pool.query(data, info).result()
        Path(info.path).write_bytes(sound)
        assert pool.query(data, info).result().fingerprint.model == info.id


@pytest.mark.parametrize("handle", ["onnx:/gone.onnx", "onnx:/etc/hostname", "onnx:/etc/hostname#sha256=12"])
def test_a_wrong_handle_goes_on_with_hashes_and_doctor_says_how_to_go_on(tmp_path: Path, handle: str) -> None:
    """The reason is in the log and in the status, and the first scan is not held up."""
    provision = Provision(Registry(str(tmp_path / "models")), handle)
    with capture_logs() as logs:
        provision.start(lambda _: None)
        assert provision.first_try.wait(PATIENCE_S)
        provision.stop()
    (missing,) = [log for log in logs if log["event"] == "model_missing"]
    assert missing["matching"] == "hashes only"
    status = provision.status(None)
    assert (status["state"], status["reason"]) == ("missing", missing["reason"])
    assert "correct [model] handle" in _model_fix(handle, str(missing["reason"]), Situation(None))


def test_without_onnx_runtime_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the installation, and at a start after ONNX Runtime was removed."""
    handle = f"onnx:{write(tmp_path / 'm.onnx')}"
    info = Registry(str(tmp_path / "models")).install(handle)
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "onnxruntime.py").write_text("raise ModuleNotFoundError('no onnxruntime')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "without"), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(ModelError, match=r"install it with: .* -m pip install .*onnx"):
        Registry(str(tmp_path / "others")).install(handle)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"install it with: .* -m pip install .*onnx"):
        check_runtime(info)
    provision = Provision(Registry(str(tmp_path / "models")), handle)
    assert provision.installed() is None
    assert "-m pip install" in str(provision.fault)


def test_onnx_runtime_writes_and_sends_nothing_of_its_own(tmp_path: Path) -> None:
    """Its telemetry, which keeps a database in the home directory, is off."""
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys; from shazimd.models.model import describe; describe(sys.argv[1], 'small', 'onnx')"
    path = write(tmp_path / "m.onnx")
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "CI")}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment | {"HOME": str(home)})
    assert list(home.rglob("*")) == []
