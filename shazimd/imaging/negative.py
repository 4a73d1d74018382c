"""Is a picture likely the negative of another? A look that costs a fraction of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shazimd.imaging.features import Features
from shazimd.imaging.placement import SIDE_MIN, Whole
from shazimd.imaging.whole import WholeView, reduced
from shazimd.words.packing import negated

_WORDS_MIN = 6
"""Words of the negative that the other picture has."""
_CORRELATION_MAX = -0.8
"""Of the whole pictures, of those with few features."""


def shares_negated_words(query: Features, candidate: Features) -> bool:
    """Whether the negative of a picture, upright or mirrored, has some words of the other."""
    words = negated(query.words)
    return max(len(np.intersect1d(side, candidate.words)) for side in (words, words.byteswap())) >= _WORDS_MIN


def are_opposite(views: Sequence[WholeView], candidate: Features) -> bool:
    """Whether a picture, upright or mirrored and turned by any quarter, is bright where the other one is dark."""
    if min(min(side.picture.shape[:2]) for side in (views[0].features, candidate)) < SIDE_MIN:
        return False
    known = Whole(reduced(candidate))
    return any(float(view.whole.correlations(known).min()) <= _CORRELATION_MAX for view in views)
