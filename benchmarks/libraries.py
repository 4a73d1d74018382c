"""What libraries take of a fingerprint: the bound of any program whose fingerprints have the same bytes.

Run by peers.py in a process of its own: python -m benchmarks.libraries FOLDER; main_job.py and photo_steps.py measure
each step.
"""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import cv2
import numpy as np
from PIL import Image

from benchmarks.quality.product import installed
from shazimd.imaging.extract import SIDE_MIN
from shazimd.imaging.features import half_descriptors
from shazimd.models.model import EmbeddingModel
from shazimd.posix import memory
from shazimd.words.packing import STORED_MAX

T = TypeVar("T")
Timer: TypeAlias = "Callable[[Callable[[], object]], float]"
DECODER, KEY_POINTS = "decoder", f"{STORED_MAX} key points"


class Measured(Protocol):
    """Runs a step, by its name, and returns its result."""

    def __call__(self, name: str, step: Callable[[], T]) -> T: ...


def run(data: bytes, model: EmbeddingModel, measured: Measured) -> None:
    """Pillow's decoder, hashlib's digest of the file and of its pixels or what codes them, the model by LiteRT, and
    OpenCV's SIFT, with some .4 ms of Python between its calls. Reading, reducing and encoding are left out."""
    image, named = measured(DECODER, lambda: _decoded(data))
    measured("digest", lambda: hashlib.blake2b(data).digest())
    measured("hash of the pixels, or of what codes them", lambda: hashlib.blake2b(named or image.tobytes()).digest())
    size = model.info.input_width, model.info.input_height
    view = measured("the model's view", lambda: image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    measured("vector", lambda: model.embed(np.asarray(view)[np.newaxis]))
    luma = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2GRAY).astype(np.uint8)
    measured(KEY_POINTS, lambda: half_descriptors(luma, STORED_MAX))


def cpu_s(data: bytes, model: EmbeddingModel, timer: Timer | None = None) -> dict[str, float]:
    """Seconds of processor time of each step; ``timer`` runs a step and gives its seconds, by default once."""
    table: dict[str, float] = {}

    def measured(name: str, step: Callable[[], T]) -> T:
        table[name] = (timer or _once_s)(step)
        return step()

    run(data, model, measured)
    return table


def _once_s(step: Callable[[], object]) -> float:
    started = time.thread_time()
    step()
    return time.thread_time() - started


def _decoded(data: bytes) -> tuple[Image.Image, bytes | None]:
    """The picture, and the data if they are hashed in place of pixels, as those of a JPEG at a reduced scale."""
    with Image.open(io.BytesIO(data)) as image:
        full = image.size
        image.draft("RGB", (SIDE_MIN, SIDE_MIN))
        return image.convert("RGB"), data if image.size != full else None


def main(folder: Path) -> None:
    memory.keep_freed_memory()  # as a worker does
    cv2.setNumThreads(1)
    model = EmbeddingModel(installed("bundled"))
    for path in folder.iterdir():
        run(path.read_bytes(), model, lambda _, step: step())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
