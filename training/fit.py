"""Fits the vector: a head by PCA (stage 0), then trunk and head by instance discrimination (stage 1)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from training.data import Pictures, copies, resized, view
from training.grades import grades
from training.network import WIDTH, Network, pretrained

Vectors = NDArray[np.float32]
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


class Progress(NamedTuple):
    """Of stage 1, at a checkpoint."""

    step: int
    loss: float
    """mean of the last hundred steps"""
    seconds: float
    figures: dict[str, float]
    """of the held-back pictures"""

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
    network: Network, train: Pictures, validation: Pictures, settings: Settings, folder: Path
) -> Iterator[Progress]:
    """Train in place; a checkpoint now and then, with its grades on the held-back pictures."""
    torch.manual_seed(settings.seed)
    s, small = settings, resized(train, settings.side)
    prototypes = torch.from_numpy(embed(network, small))
    groups = [
        {"params": list(network.head.parameters()), "rate": 2.0},
        {"params": [p for n, p in network.named_parameters() if p.requires_grad and "head" not in n], "rate": 1.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=s.rate, weight_decay=0.02)
    exam = Exam(validation, small, s.side)
    yield Progress(0, float("nan"), 0.0, exam.grade(network))
    loader = DataLoader(_Views(train, s), s.batch, num_workers=1, prefetch_factor=8)
    started, losses = time.monotonic(), []
    for step, (pictures, first, second, share) in enumerate(loader):
        done = max((step + 1) / s.steps, (time.monotonic() - started) / 60 / s.minutes)
        _set_rates(optimiser, s, step, done)
        vectors = network(pictures.permute(0, 3, 1, 2).float())
        logits = vectors @ prototypes.T / s.temperature
        log = nnf.log_softmax(logits, 1)
        rows, share = torch.arange(len(log)), share.float()
        loss = -(share * log[rows, first] + (1 - share) * log[rows, second]).mean() + s.koleo * koleo(vectors)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 2.0)
        optimiser.step()
        _renew(prototypes, first[share == 1], vectors.detach()[share == 1], s.momentum)
        losses.append(loss.item())
        if (step + 1) % s.checkpoint_every == 0 or done >= 1:
            figures = exam.grade(network)
            torch.save(network.state_dict(), folder / "checkpoint.pt")
            yield Progress(step + 1, float(np.mean(losses[-100:])), time.monotonic() - started, figures)
        if done >= 1:
            return


def koleo(vectors: torch.Tensor) -> torch.Tensor:
    """Kozachenko-Leonenko: vectors keep away from their nearest neighbour (arXiv 1806.03198, used by SSCD)."""
    cosines = vectors @ vectors.T - 2 * torch.eye(len(vectors))
    return -((2 - 2 * cosines.max(1).values).clamp(min=1e-6).sqrt() + 1e-4).log().mean()


def _renew(prototypes: torch.Tensor, labels: torch.Tensor, vectors: torch.Tensor, momentum: float) -> None:
    moved = momentum * prototypes[labels] + (1 - momentum) * vectors
    prototypes[labels] = nnf.normalize(moved)


def _set_rates(optimiser: torch.optim.Optimizer, settings: Settings, step: int, done: float) -> None:
    """A hundred steps of warm-up, then half a cosine."""
    share = min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * min(done, 1)))
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
