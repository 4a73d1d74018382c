"""Measures of a ranking of pairs; true pairs that were never proposed count as missed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def curve(scores: NDArray[np.float64], truth: NDArray[np.bool_], positives: int) -> NDArray[np.float64]:
    """[n, 2]: (recall, precision) after each distinct score, best first."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # ties are taken together
    return np.stack([hits[last] / positives, hits[last] / (last + 1)], axis=1)


def average_precision(points: NDArray[np.float64]) -> float:
    """Micro average precision: the area under the steps of the curve over all queries together."""
    steps = np.diff(points[:, 0], prepend=0)
    return float((steps * points[:, 1]).sum())


def recall_at(points: NDArray[np.float64], precision: float) -> float:
    """The largest recall at which the precision is at least this."""
    enough = points[points[:, 1] >= precision]
    return float(enough[:, 0].max()) if len(enough) else 0.0
