"""All that jobs use, loaded before a worker is confined: it can open no file later on.

A library may import a module, or Python a codec, only when a picture needs it. A job that does so fails in a confined
worker, so they are listed here; ``tests/workers/test_confined_jobs.py`` runs all jobs on pictures of all formats.
"""

from __future__ import annotations

import codecs
import importlib
from functools import cache

from shazimd.errors import ModelError
from shazimd.models.model import EmbeddingModel, ModelInfo

_OF_JOBS = (
    "shazimd.workers.jobs",
    *(f"shazimd.imaging.{name}" for name in ("extract", "lineage", "matched", "rendition", "verify")),
)
_IMPORTED_LATE = ("numpy.fft", "numpy.ma", "PIL.ImageCms", "PIL.ImageColor", "PIL.ImageFilter")
"""By the first use of ``numpy.fft``, by ``numpy.median``, and by Pillow for LAB, for named colours, and for a blur."""
_CODECS = ("ascii", "latin_1", "unicode_escape", "utf_16", "utf_16_be", "utf_16_le")
"""Of texts in headers, and of error messages with control characters."""


def load_libraries() -> None:
    """Import the modules of all jobs, and those that their libraries would import in the middle of a job."""
    for module in (*_OF_JOBS, *_IMPORTED_LATE):
        importlib.import_module(module)
    for codec in _CODECS:
        codecs.lookup(codec)


@cache
def opened(model: ModelInfo) -> EmbeddingModel | ModelError:
    """The model, open, for as long as the process lives; or why it can't be opened."""
    try:
        return EmbeddingModel(model)
    except ModelError as error:
        return error
