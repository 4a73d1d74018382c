"""The model in the package: there from the first second, small, and honest about damage."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from structlog.testing import capture_logs

from shazimd import config
from shazimd.errors import ModelError
from shazimd.models import model as module
from shazimd.models.model import BUNDLED, EmbeddingModel, bundled
from shazimd.models.provision import Provision
from shazimd.models.registry import Registry
from training.pictures import draw

SIZE_MAX = 6_000_000
FILES = Path(module.__file__).parent


def vector(image: Image.Image) -> NDArray[np.float32]:
    info = bundled()
    shown = image.convert("RGB").resize((info.input_width, info.input_height), Image.Resampling.BILINEAR)
    fv: NDArray[np.float32] = EmbeddingModel(info).embed(np.asarray(shown)[np.newaxis])[0]
    return fv


def test_the_default_model_is_in_the_package(tmp_path: Path) -> None:
    """Found in a store without a directory of models, and installing it writes nothing."""
    registry = Registry(str(tmp_path / "models"))
    assert config.Config().model.handle == BUNDLED
    assert registry.find(BUNDLED) == registry.install(BUNDLED) == bundled()
    assert os.listdir(tmp_path) == []


def test_the_record_says_what_the_file_is() -> None:
    """Digest, sizes, calibration, command, licences; at most 6 MB and 512 bytes of vector as float16."""
    record, info = json.loads((FILES / "bundled.json").read_text()), bundled()
    described = module.describe(info.path, BUNDLED)
    assert (described.id, described.digest) == (info.id, info.digest)
    assert (described.input_height, described.input_width) == (info.input_height, info.input_width)
    assert described.output_width == info.output_width == 256
    assert os.path.getsize(info.path) <= SIZE_MAX
    assert {"calibration", "made_by", "licences"} <= record.keys()


def test_a_copy_is_nearer_than_another_picture() -> None:
    """Mirrored and small, it is still nearer than another picture of the same kind."""
    original, other = (vector(draw(number)) for number in (1, 10))
    copy = vector(ImageOps.mirror(draw(1)).resize((100, 80)))
    assert original @ copy > original @ other


def test_an_open_model_holds_no_pages_of_its_file() -> None:
    """Each worker would count them: the weights are packed once, and read no more."""
    model = EmbeddingModel(bundled())
    model.embed(np.zeros((1, 160, 160, 3), np.uint8))
    with open("/proc/self/smaps") as file:
        lines = iter(file.read().splitlines())
    mapped = [
        next(line for line in lines if line.startswith("Rss")) for line in lines if line.endswith("bundled.tflite")
    ]
    assert max(int(line.split()[1]) for line in mapped) < 500  # KiB, of 5,128


def test_vectors_keep_the_constant_of_the_calibration() -> None:
    """The last number is the square root of the constant, so cosines are (1 - a) cos + a: none is below 2 a - 1."""
    constant = json.loads((FILES / "bundled.json").read_text())["calibration"]["constant"]
    for seed in range(3):
        fv = vector(draw(seed))
        assert fv[-1] ** 2 == pytest.approx(constant, abs=1e-3)
        assert float(fv @ fv) == pytest.approx(1, abs=1e-5)


def test_the_bundled_model_is_never_waited_for(tmp_path: Path) -> None:
    """It is there at once, without a thread."""
    provision = Provision(Registry(str(tmp_path / "models")), BUNDLED)
    assert provision.installed() == bundled()
    assert provision.first_try.is_set()
    assert provision.status(bundled())["state"] == "installed"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("bundled.tflite", b"no model", "bundled.tflite: damaged, SHA-256 is .*, expected .*; install shazimd again"),
        ("bundled.json", b"{", "bundled.json: damaged"),
        ("bundled.tflite", None, "bundled.tflite: No such file or directory"),
    ],
)
def test_a_damaged_package_goes_on_with_hashes_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, reason: str
) -> None:
    """The fault is logged and in the status; starting waits for nothing and tries nothing again."""
    for file in ("bundled.tflite", "bundled.json"):
        shutil.copy(FILES / file, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(module, "_BUNDLED_FILES", str(tmp_path / BUNDLED))
    provision = Provision(Registry(str(tmp_path / "models")), BUNDLED)
    with capture_logs() as logs:
        assert provision.installed() is None
        provision.start(lambda _: None)
    assert provision.first_try.is_set()
    assert [(log["event"], log["matching"]) for log in logs] == [("model_missing", "hashes only")]
    assert provision.status(None)["state"] == "missing"
    with pytest.raises(ModelError, match=reason):
        raise ModelError(provision.fault)
