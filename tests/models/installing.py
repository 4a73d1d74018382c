"""An installation of a model that is under way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def installing_elsewhere(models: Path) -> Iterator[None]:
    """Another process is at it: its lock is held."""
    models.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(models, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)
