"""What workers do for the pool: plain functions of plain arguments, so that any worker can do any job.

The pool imports this module to name them, so nothing heavy is imported here: the daemon never loads a decoder.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from shazimd.models.model import Model, ModelInfo
from shazimd.types import Fingerprint, Query

if TYPE_CHECKING:
    from shazimd.imaging.extract import Extractor


def fingerprint(data: bytes, model: ModelInfo | None, max_pixels: int, features: bool) -> Fingerprint:
    """See ``Extractor.fingerprint``; also raises ModelError when the model can't be opened."""
    return _extractor(model, max_pixels, features).fingerprint(data)


def query(data: bytes, model: ModelInfo | None, max_pixels: int, features: bool) -> Query:
    """See ``Extractor.query``; also raises ModelError when the model can't be opened."""
    return _extractor(model, max_pixels, features).query(data)


@lru_cache(maxsize=2)  # while a model is being changed, jobs for the old and the new one alternate
def _extractor(model: ModelInfo | None, max_pixels: int, features: bool) -> Extractor:
    from shazimd.imaging.extract import Extractor

    return Extractor(None if model is None else Model(model), max_pixels, features=features)
