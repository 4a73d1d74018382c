"""`ShazimEngine`: the Python API of the original shazim, in process and without a daemon.

    from shazimd import ShazimEngine

    engine = ShazimEngine()
    engine.parse("images"); engine.train(); engine.save()
    engine.load(); im = engine.load_image("ski.jpg")
    engine.shazim(im, 0.75, [0.5, 0.5, 3.0])        # [("/srv/images/ski_copy.jpg", 1.0), …], best first

Known pictures are saved as a store like the daemon's. The original saved a pickle, and to load a stranger's pickle runs
the stranger's code. Weights are in the order (ah, dh, fv).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass

import imagehash
import structlog
from rich.progress import track

from shazimd import paths
from shazimd.config import DEFAULT_MODEL, StoreConfig, WorkersConfig
from shazimd.errors import NotFound, ShazimdError, Unreadable
from shazimd.fingerprint import Fingerprint, FloatVector
from shazimd.imaging.extract import Extractor
from shazimd.index.flat import FlatIndex
from shazimd.models.model import EmbeddingModel, ModelInfo
from shazimd.models.registry import Registry
from shazimd.search.score import score, similarities
from shazimd.store import keys
from shazimd.store.base import Reader, Writer
from shazimd.store.lmdb_store import open_store
from shazimd.text import NAME_BYTES_MAX, SIGNALS, all_weights
from shazimd.types import (
    DEFAULT_THRESHOLD,
    DEFAULT_WEIGHTS,
    HASH_BITS,
    ContentId,
    Digest,
    FileRow,
    FileState,
    Stat,
    Weights,
    check_weights,
    digest_of,
)
from shazimd.watch.filters import images_below
from shazimd.workers.pool import WorkerPool

log = structlog.get_logger()

DEFAULT_STORE = "shazim.store"


@dataclass(eq=False, repr=False)
class ShazimImage:
    """A picture and its signals. ``a - b`` compares two pictures."""

    path: str
    digest: Digest
    stat: Stat
    fingerprint: Fingerprint

    @property
    def ah(self) -> imagehash.ImageHash:
        """The average hash; the difference of two is their Hamming distance."""
        return self._hash("ah")

    @property
    def dh(self) -> imagehash.ImageHash:
        """The difference hash."""
        return self._hash("dh")

    @property
    def fv(self) -> FloatVector | None:
        """The feature vector, float32 [d], of unit length; None without a model."""
        return self.fingerprint.signals.fv

    def __sub__(self, other: ShazimImage) -> dict[str, float]:
        """{"dah", "ddh", "dfv"}: similarities, 1 means same, to three digits; "dfv" only if both have a vector."""
        pair = similarities(self.fingerprint.signals, other.fingerprint.signals)
        return {name: round(value, 3) for name, value in pair.named().items() if value is not None}

    def __repr__(self) -> str:
        return self.path

    def _hash(self, name: str) -> imagehash.ImageHash:
        bits = self.fingerprint.signals.hashes[SIGNALS.index(name)]
        assert bits is not None  # a fingerprint of a picture has all hashes
        return imagehash.hex_to_hash(f"{bits:0{HASH_BITS // 4}x}")


class ShazimEngine:
    """Known pictures in memory. Not thread-safe.

    ``model`` is a TF Hub handle, a SavedModel directory or "none". The first use ever fetches and converts the model
    into the directory ``models`` (by default the daemon's). Raises ModelError on failure."""

    def __init__(self, model: str = DEFAULT_MODEL, models: str | None = None) -> None:
        self.db: dict[str, ShazimImage] = {}
        self._parsed: dict[str, None] = {}
        self._model: ModelInfo | None = None
        if model != "none":
            registry = Registry(models or os.path.join(paths.store_directory(), "models"))
            self._model = registry.find(model) or registry.install(model)
        self._limits = WorkersConfig()
        self._extractor: Extractor | None = None
        self._index = FlatIndex()
        self._indexed: list[ShazimImage] = []
        """in the index, by their rows"""

    def parse(self, path: str | os.PathLike[str]) -> int:
        """Queue all image files at and below a directory for ``train``; return their number. Raises Unreadable."""
        found = list(images_below(os.path.abspath(path), _unreadable))
        self._parsed.update(dict.fromkeys(found))
        return len(found)

    def train(self) -> None:
        """Fingerprint the parsed files in worker processes, with a progress bar; log the failures.

        When it is interrupted, the pictures done so far are known, and the next call goes on with the rest."""
        limits = self._limits
        with (
            WorkerPool(
                limits.processes,
                limits.memory_mb,
                limits.timeout_s,
                limits.max_pixels,
                features=False,
                model=self._model,
            ) as pool,
            ThreadPoolExecutor(4 * limits.processes) as readers,  # limits the files in memory
        ):
            jobs = {readers.submit(self._ingest, path, pool): path for path in self._parsed}
            try:
                for job in track(as_completed(jobs), "Fingerprinting", total=len(jobs), transient=True):
                    if image := job.result():
                        self.db[image.path] = image
                    del self._parsed[jobs[job]]
            finally:
                readers.shutdown(cancel_futures=True)  # interrupted: the files not begun stay unread

    def load_image(self, path: str | os.PathLike[str]) -> ShazimImage:
        """Load a picture to search for. Raises NotAnImage, TooLarge, Unreadable."""
        if self._extractor is None:
            model = EmbeddingModel(self._model) if self._model else None
            self._extractor = Extractor(model, self._limits.max_pixels, features=False)
        data, stat = _read(os.path.abspath(path))
        return ShazimImage(os.path.abspath(path), digest_of(data), stat, self._extractor.fingerprint(data))

    def shazim(
        self, im: ShazimImage, threshold: float = DEFAULT_THRESHOLD, weights: Sequence[float] = DEFAULT_WEIGHTS
    ) -> list[tuple[str, float]]:
        """(path, score) of known pictures with at least the threshold, best first, without ``im`` itself.

        Raises ValueError for invalid weights or threshold."""
        known = list(self.db.values())
        if known != self._indexed:  # by a training or loading, or since ``db`` was changed
            self._index = FlatIndex()
            self._index.add([(row, image.fingerprint.signals) for row, image in enumerate(known)])
            self._indexed = known
        (hits,) = self._index.search([im.fingerprint.signals], _as_weights(weights), threshold)
        return [(known[hit.content].path, hit.score) for hit in hits if known[hit.content].path != im.path]

    def predict(self, im1: ShazimImage, im2: ShazimImage, weights: Sequence[float] = DEFAULT_WEIGHTS) -> float:
        """The score of a pair, in [0, 1]."""
        checked = _as_weights(weights)
        check_weights(checked)
        return score(similarities(im1.fingerprint.signals, im2.fingerprint.signals), checked)

    def save(self, path: str | os.PathLike[str] = DEFAULT_STORE) -> None:
        """Replace the content of a store by the known pictures. Raises StoreError.

        Pictures with a name of over 495 bytes in their path are left out, with a warning in the log."""
        kept = [image for image in self.db.values() if _fits(image.path)]

        def work(writer: Writer) -> None:
            writer.remove_tree(b"/")
            writer.prune(list(writer.deleted()))  # a known content would keep its vectors, those of other models
            for image in kept:
                content = writer.add_content(image.digest, image.fingerprint)
                row = FileRow(image.stat, FileState.INDEXED, content)
                writer.put_file(os.fsencode(image.path), row)

        with closing(open_store(os.fspath(path), _MAP_BYTES)) as store:
            store.write(work)

    def load(self, path: str | os.PathLike[str] = DEFAULT_STORE) -> None:
        """Replace the known pictures by those of a saved store. Raises NotFound, StoreError."""
        if not os.path.isdir(path):
            raise NotFound(f"{os.fspath(path)}: no such store; train and save first")
        model = self._model.id if self._model else None
        with closing(open_store(os.fspath(path), _MAP_BYTES)) as store, store.read() as reader:
            images = [_known(reader, known, row, row.content, model) for known, row in reader.walk(b"/") if row.content]
        self.db = {image.path: image for image in images}

    def _ingest(self, path: str, pool: WorkerPool) -> ShazimImage | None:
        try:
            data, stat = _read(path)
            return ShazimImage(path, digest_of(data), stat, pool.fingerprint(data, self._model).result())
        except ShazimdError as error:
            log.warning("image_failed", path=path, code=error.code, reason=str(error))
            return None


_MAP_BYTES = StoreConfig().map_size_gb << 30


def _known(reader: Reader, path: bytes, row: FileRow, content: ContentId, model: str | None) -> ShazimImage:
    return ShazimImage(os.fsdecode(path), reader.digest(content), row.stat, reader.fingerprint(content, model))


def _fits(path: str) -> bool:
    """Whether a store takes this path."""
    try:
        keys.split(os.fsencode(path))
    except ValueError:
        log.warning("name_too_long", path=path, bytes_max=NAME_BYTES_MAX)
        return False
    return True


def _unreadable(error: OSError) -> None:
    raise Unreadable(f"{error.filename}: {error.strerror}") from error


def _read(path: str) -> tuple[bytes, Stat]:
    try:
        with open(path, "rb") as file:
            return file.read(), Stat.of(os.fstat(file.fileno()))
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


def _as_weights(weights: Sequence[float]) -> Weights:
    return all_weights([float(weight) for weight in weights])
