"""Measures of a matrix of cosines between copies and known pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grades(cosines: NDArray[np.float32], truth: NDArray[np.intp]) -> dict[str, float]:
    """Recall at 1 and 20, micro average precision, recall at no false match; ``truth`` -1 for a stranger."""
    rows = np.flatnonzero(truth >= 0)
    own = cosines[rows, truth[rows]]
    better = (cosines[rows] > own[:, None]).sum(1)
    false = cosines.copy()
    false[rows, truth[rows]] = -2
    scores, right = np.concatenate([own, false.max(1)]), np.repeat([True, False], [len(own), len(false)])
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(order) + 1)
    return {
        "recall@1": round(float((better < 1).mean()), 4),
        "recall@20": round(float((better < 20).mean()), 4),
        "uAP": round(float((precision * right[order]).sum() / len(own)), 4),
        "no false": round(float((own > false.max()).mean()), 4),
        "copies 5 %": round(float(np.quantile(own, 0.05)), 3),
        "others 99.9 %": round(float(np.quantile(false[false > -2], 0.999)), 3),
        "best stranger": round(float(false.max()), 3),
    }
