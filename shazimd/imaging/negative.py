"""Is a picture likely the negative of another? A look that costs a fraction of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shazimd.imaging.features import Features
from shazimd.imaging.placement import SIDE_MIN, Whole
from shazimd.imaging.whole import WholeView, reduced
from shazimd.words.vocabulary import negated

Words = NDArray[np.uint8]
"""[65536, 2]: 1 for the words of a picture, upright and mirrored"""

_WORDS_MIN = 6
"""Words of the negative that the other picture has."""
_CORRELATION_MAX = -0.8
"""Of the whole pictures, of those with few features."""


def negated_words(features: Features) -> Words:
    """The words of the negative of a picture, of either side."""
    words = negated(features.words)
    found = np.zeros((1 << 16, 2), np.uint8)
    for side, each in enumerate((words, words.byteswap())):
        found[each, side] = 1
    return found


def shares_negated_words(query: Words, candidate: Features) -> bool:
    """Whether the negative of a picture, upright or mirrored, has some words of the other."""
    sides = query[candidate.words].view(np.bool_).T
    return any(len(set(candidate.words[side].tolist())) >= _WORDS_MIN for side in sides)


def are_opposite(views: Sequence[WholeView], candidate: Features) -> bool:
    """Whether a picture, upright or mirrored and turned by any quarter, is bright where the other one is dark."""
    if min(min(side.picture.shape[:2]) for side in (views[0].features, candidate)) < SIDE_MIN:
        return False
    known = Whole(reduced(candidate))
    return any(float(view.whole.correlations(known).min()) <= _CORRELATION_MAX for view in views)
