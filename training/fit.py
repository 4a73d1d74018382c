"""Fits the vector: a head by PCA (stage 0), then trunk and head by instance discrimination (stage 1)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from training.data import Pictures, copies, resized, view
from training.grades import grades
from training.network import WIDTH, Network, pretrained

Vectors = NDArray[np.float32]
CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
JUDGED_BY = "uAP"
"""Of the grades: recall at 20 is near its top, and recall at no false hangs on a single pair."""
WHITENING = 0.5
"""Power of the eigenvalues that PCA divides by: 0 keeps distances, 1 makes all directions alike."""


class Settings(NamedTuple):
    """Of stage 1."""

    steps: int
    minutes: float
    """whichever ends first: the rates fall with the larger share"""
    side: int = 128
    batch: int = 32
    frozen: int = 6
    """blocks that stay as ImageNet made them; without their backward pass a step takes 4/7 of the time"""
    rate: float = 4e-4
    temperature: float = 0.06
    momentum: float = 0.7
    """of the prototypes: each is seen about ten times in all, so a slow one would never arrive"""
    koleo: float = 0.1
    mixed: float = 0.12
    """share of views that show two pictures and have both labels"""
    seed: int = 0
    checkpoint_every: int = 250
    patience: int = 3
    """checkpoints without a better grade before the training ends"""


class Progress(NamedTuple):
    """Of stage 1, at a checkpoint."""

    step: int
    loss: float
    """mean of the last hundred steps"""
    seconds: float
    figures: dict[str, float]
    """of the held-back pictures"""
    best: int = 0
    """the step whose weights are kept"""

    def __str__(self) -> str:
        return f"step {self.step} loss {self.loss:.3f} {self.seconds:.0f} s {json.dumps(self.figures)}"


def embed(network: Network, pictures: Pictures, *, pooled: bool = False) -> Vectors:
    batches = (torch.from_numpy(pictures[n : n + 64]).permute(0, 3, 1, 2).float() for n in range(0, len(pictures), 64))
    with torch.no_grad():
        vectors: Vectors = torch.cat([network.pooled(b) if pooled else network(b) for b in batches]).numpy()
    return vectors


def stage_0(train: Pictures, side: int, frozen: int = 0) -> Network:
    """ImageNet's trunk and a PCA of its pooled features, fitted on the pictures and one edited copy of each."""
    network: Network = Network(pretrained(), frozen).eval()
    features = np.concatenate(
        [embed(network, p, pooled=True) for p in (resized(train, side), copies(train, side, 1, seed=1))]
    )
    mean = features.mean(0)
    values, vectors = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    order = np.argsort(-values)[:WIDTH]
    matrix = (vectors[:, order] / values[order] ** (WHITENING / 2)).T
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(matrix))
        network.head.bias.copy_(torch.from_numpy(-matrix @ mean))
    return network


class _Views(Dataset[tuple[Pictures, int, int, float]]):
    """Edited copies with their two labels and the share of the first."""

    def __init__(self, train: Pictures, settings: Settings) -> None:
        self._train, self._settings = train, settings

    def __len__(self) -> int:
        return self._settings.steps * self._settings.batch

    def __getitem__(self, number: int) -> tuple[Pictures, int, int, float]:
        s, rng = self._settings, np.random.default_rng([self._settings.seed, number])
        epoch, place = divmod(number, len(self._train))
        order = np.random.default_rng([s.seed, 7, epoch]).permutation(len(self._train))  # some 0.1 ms
        mine, other = int(order[place]), int(rng.integers(len(self._train)))
        foreign = self._train[rng.integers(len(self._train))]
        picture = view(self._train[mine], foreign, s.side, rng)
        if rng.random() >= s.mixed:
            return picture, mine, mine, 1.0
        second, share = view(self._train[other], foreign, s.side, rng), float(rng.uniform(0.3, 0.7))
        if rng.random() < 0.5:
            return (share * picture + (1 - share) * second).astype(np.uint8), mine, other, share
        cut = int(share * s.side)
        return np.concatenate([picture[:, :cut], second[:, cut:]], 1), mine, other, share


def stage_1(
    network: Network, train: Pictures, validation: Pictures, settings: Settings, folder: Path, *, go_on: bool = False
) -> Iterator[Progress]:
    """Train in place; at each checkpoint its grades on the held-back pictures. The network ends as it was at the best.

    ``folder`` keeps the last checkpoint, from which ``go_on`` continues, and the weights of the best. The training
    ends with its steps or minutes, or by a rule: ``patience`` checkpoints in a row were not better than the best."""
    torch.manual_seed(settings.seed)
    s, small = settings, resized(train, settings.side)
    exam, training = Exam(validation, small, s.side), Training(network, small, s)
    if go_on:
        training.load(folder / CHECKPOINT)
    yield Progress(training.step, float("nan"), training.seconds, exam.grade(network), training.best_step)
    views = _Views(train, s)
    left = range(training.step * s.batch, len(views))
    spent, started, losses = training.seconds, time.monotonic(), []
    for batch in DataLoader(views, s.batch, sampler=left, num_workers=1, prefetch_factor=8):
        training.seconds = spent + time.monotonic() - started
        done = max((training.step + 1) / s.steps, training.seconds / 60 / s.minutes)
        losses.append(training.learn(batch, done))
        if training.step % s.checkpoint_every == 0 or done >= 1:
            figures = exam.grade(network)
            training.keep(figures[JUDGED_BY], folder)
            yield Progress(training.step, float(np.mean(losses[-100:])), training.seconds, figures, training.best_step)
        if done >= 1 or training.step - training.best_step >= s.patience * s.checkpoint_every:
            break
    network.load_state_dict(torch.load(folder / BEST, weights_only=True))


class Training:
    """Stage 1 in progress: the network, its optimiser and its prototypes, as a checkpoint keeps them."""

    def __init__(self, network: Network, pictures: Pictures, settings: Settings) -> None:
        """``pictures`` as trained, in the order of their labels."""
        self.step, self.seconds, self.best_step, self._best = 0, 0.0, 0, float("-inf")
        self._network, self._settings = network, settings
        self._prototypes = torch.from_numpy(embed(network, pictures))
        trunk = [p for n, p in network.named_parameters() if p.requires_grad and "head" not in n]
        groups = [{"params": list(network.head.parameters()), "rate": 2.0}, {"params": trunk, "rate": 1.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=0.02)

    def learn(self, batch: Sequence[torch.Tensor], done: float) -> float:
        """One step on a batch of ``_Views``, with the rate for this share of the training; the loss."""
        pictures, first, second, share = batch
        s = self._settings
        _set_rates(self._optimiser, s, self.step, done)
        vectors = self._network(pictures.permute(0, 3, 1, 2).float())
        log = nnf.log_softmax(vectors @ self._prototypes.T / s.temperature, 1)
        rows, share = torch.arange(len(log)), share.float()
        loss = -(share * log[rows, first] + (1 - share) * log[rows, second]).mean() + s.koleo * koleo(vectors)
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in self._optimiser.param_groups for p in g["params"]], 2.0)
        self._optimiser.step()
        _renew(self._prototypes, first[share == 1], vectors.detach()[share == 1], s.momentum)
        self.step += 1
        return float(loss.item())

    def keep(self, grade: float, folder: Path) -> None:
        """Write the checkpoint, and the weights too if no earlier grade was as high."""
        if grade > self._best:
            self._best, self.best_step = grade, self.step
            _save(self._network.state_dict(), folder / BEST)
        weights, optimiser = self._network.state_dict(), self._optimiser.state_dict()
        numbers = self.step, self.seconds, self.best_step, self._best
        _save(
            {"network": weights, "optimiser": optimiser, "prototypes": self._prototypes, "numbers": numbers},
            folder / CHECKPOINT,
        )

    def load(self, path: Path) -> None:
        kept = torch.load(path, weights_only=True)
        self._network.load_state_dict(kept["network"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._prototypes = kept["prototypes"]
        self.step, self.seconds, self.best_step, self._best = kept["numbers"]


def _save(state: dict[str, Any], path: Path) -> None:
    """Whole or not at all: a training may be killed at any time."""
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)


def koleo(vectors: torch.Tensor) -> torch.Tensor:
    """Kozachenko-Leonenko: vectors keep away from their nearest neighbour (arXiv 1806.03198, used by SSCD)."""
    cosines = vectors @ vectors.T - 2 * torch.eye(len(vectors))
    return -((2 - 2 * cosines.max(1).values).clamp(min=1e-6).sqrt() + 1e-4).log().mean()


def _renew(prototypes: torch.Tensor, labels: torch.Tensor, vectors: torch.Tensor, momentum: float) -> None:
    moved = momentum * prototypes[labels] + (1 - momentum) * vectors
    prototypes[labels] = nnf.normalize(moved)


def _set_rates(optimiser: torch.optim.Optimizer, settings: Settings, step: int, done: float) -> None:
    """A hundred steps of warm-up, then half a cosine."""
    share = min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * min(done, 1)))
    for group in optimiser.param_groups:
        group["lr"] = settings.rate * group["rate"] * share


class Exam:
    """Copies of pictures that were never trained on, asked among these and a part of the trained ones."""

    def __init__(self, validation: Pictures, known: Pictures, side: int) -> None:
        self._known = np.concatenate([resized(validation, side), known[::4]])
        self._asked = copies(validation, side, 2, seed=2)
        self._truth = np.tile(np.arange(len(validation)), 2)

    def grade(self, network: Network) -> dict[str, float]:
        cosines = embed(network, self._asked) @ embed(network, self._known).T
        return grades(cosines, self._truth)
