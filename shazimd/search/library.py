"""The known contents: the store, the model in use, and the indexes made from both."""

from __future__ import annotations

import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from shazimd.fingerprint import Fingerprint, Signals
from shazimd.index.base import Index
from shazimd.index.flat import FlatIndex
from shazimd.search.filling import Filling
from shazimd.store.base import Reader, Store
from shazimd.types import ContentId, Digest
from shazimd.words.index import WordIndex
from shazimd.words.packing import VERSION, unpack_words

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo

log = structlog.get_logger()

WORDS_LOOKED_UP = 4096
WORDS_READ = 256
"""Contents looked up in the word index, and contents whose words are read, in one transaction."""

BESIDE_MAX = 1024
"""Contents that may reach the index after those of later writes: a start looks for more, see ``cascade.REWIND``."""

OpenIndex = Callable[[Store, str | None], Index]
"""Opens the index of a model's vectors (None: hashes only), in step with the store."""


class Library:
    def __init__(
        self,
        store: Store,
        open_index: OpenIndex,
        model: ModelInfo | None = None,
        model_will_come: Callable[[], bool] = lambda: False,
        features_version: int | None = None,
    ) -> None:
        """``model_will_come``: whether a model is being installed. ``features_version``: of the local features that
        the workers make; None if they make none."""
        self.store = store
        self.features_version = features_version
        self.model = model
        self.filling = Filling()
        store.pass_over_damage(self.filling.mend)
        self._model_will_come = model_will_come
        self.loaded: Future[list[ContentId]] = Future()
        """Done when the words of all contents are loaded: contents whose local features cannot be parsed."""
        self._open_index = open_index
        self._swap = threading.Lock()
        _expect_width(store, model)
        self.index = open_index(store, self.model_id)
        self.faint = FlatIndex()
        """The hashes of low-information contents, 27 bytes each: candidates for verification, never matches by score.
        The index of the other contents would rank and pair them by meaningless scores."""
        self.words = WordIndex(_words_directory(os.path.join(store.info()["path"], "index")))
        self._replacing = ThreadPoolExecutor(1, "replace")
        self._beside: deque[tuple[int, Future[None]]] = deque()
        self._closing = threading.Event()
        self._loading = threading.Thread(target=self._load, name="words", daemon=True)
        self._loading.start()

    @property
    def model_id(self) -> str | None:
        return self.model.id if self.model else None

    def membership(self) -> AbstractContextManager[Callable[[ContentId], bool]]:
        """Whether a content may be proposed: each, see ``scope.Scoped``."""
        return nullcontext(lambda _: True)

    @property
    def copy_from(self) -> float | None:
        """See ``ModelInfo.copy_from``."""
        return self.model.copy_from if self.model else None

    def content_of(self, digest: Digest) -> ContentId | None:
        """The content with the bytes of this digest, if known."""
        with self.store.read() as reader:
            return reader.content(digest)

    def awaits_vectors(self, model: str | None = None) -> bool:
        """Whether vectors are still to be made for a picture that was fingerprinted with ``model``: its own, and those
        of pictures known before it. So while a model is being installed, then until the backfill is done."""
        if self.model is None:
            return self._model_will_come()
        return model != self.model_id and not self.filling.is_complete(self.model_id)

    def is_outdated(self, reader: Reader, content: ContentId) -> bool:
        """Whether a content lacks a vector of the model or present local features, and the backfill has not failed to
        make them. Raises KeyError for an unknown content."""
        version, has_vector = reader.made(content, self.model_id)
        lacks = self.features_version not in (None, version) or (self.model is not None and not has_vector)
        return lacks and not self.filling.has_failed(content)

    def words_are_loaded(self) -> bool:
        """Whether the words of all contents can be searched."""
        return self.loaded.done() and self.loaded.exception() is None

    def alive(self) -> bool:
        """False if the thread that loads the words has failed."""
        return not self.loaded.done() or self.loaded.exception() is None

    def add(self, rows: Sequence[tuple[ContentId, Fingerprint]]) -> None:
        """Add stored contents to the indexes, but for those that are there."""
        with self._swap:
            self._put([row for row in rows if row[0] not in self.index and row[0] not in self.faint])
        self._put_words(rows)

    def replace(self, rows: Sequence[tuple[ContentId, Fingerprint]]) -> None:
        """Put stored contents into the indexes, in place of what they have of them, but for words, which stay."""
        with self._swap:
            self._put(rows)
        self._put_words(rows)

    def replace_beside(self, rows: Sequence[tuple[ContentId, Fingerprint]]) -> Future[None]:
        """As ``replace``, in a thread of its own, in the order of the calls; for one thread. Waits while more than
        ``BESIDE_MAX`` are on their way."""
        future = self._replacing.submit(self.replace, rows)
        self._beside.append((len(rows), future))
        while self._beside and (self._beside[0][1].done() or sum(number for number, _ in self._beside) > BESIDE_MAX):
            wait([self._beside.popleft()[1]])
        return future

    def remove(self, contents: list[ContentId]) -> None:
        """Remove contents from the indexes, after the store. A search passes over candidates unknown to the store."""
        self._replacing.submit(self._remove, contents).result()  # after those that are on their way

    def _remove(self, contents: list[ContentId]) -> None:
        with self._swap:
            self.index.remove(contents)
            self.faint.remove(contents)
        self.words.remove(contents)

    def compact(self) -> None:
        """Rewrite the files of the indexes without removed contents. Raises OSError when the disk is full."""
        self.index.compact()
        self.words.compact()

    def use_model(self, model: ModelInfo) -> None:
        """Search with this model's vectors from now on; contents without one are compared by their hashes. Raises
        StoreError, and then nothing has changed."""
        _expect_width(self.store, model)
        with self._swap:
            opened = self._open_index(self.store, model.id)
            old, self.model, self.index = self.index, model, opened
        old.close()

    def close(self) -> None:
        self._closing.set()
        self._loading.join()
        self._replacing.shutdown()
        self.words.close()
        with self._swap:
            self.index.close()

    def _put(self, rows: Sequence[tuple[ContentId, Fingerprint]]) -> None:
        for index, is_faint in ((self.index, False), (self.faint, True)):
            signals = [(content, self._signals(each)) for content, each in rows if each.low_information is is_faint]
            if signals:
                index.add(signals)

    def _signals(self, fingerprint: Fingerprint) -> Signals:
        signals = fingerprint.signals
        if fingerprint.low_information or fingerprint.model != self.model_id:
            return Signals(signals.hashes, None)
        return signals

    def _put_words(self, rows: Sequence[tuple[ContentId, Fingerprint]]) -> None:
        words = [(content, unpack_words(each.features)) for content, each in rows if each.features]
        if words:
            self.words.add(words)

    def _load(self) -> None:
        try:
            damaged = self._load_words()
        except BaseException as error:
            log.exception("words_not_loaded")
            self.loaded.set_exception(error)
            return
        if damaged:
            with self.store.read() as reader:
                example = next((path for content in damaged for path in reader.files_of(content)), None)
            log.warning("features_damaged", contents=len(damaged), example=example)
        self.loaded.set_result(damaged)

    def _load_words(self) -> list[ContentId]:
        """Load the words kept by an earlier run, then read missing ones from the store; contents with damaged features.

        Without kept words all local features are read, so this runs beside everything else; until it is done, a part
        of a picture may not be recognised."""
        with self.store.read() as reader:
            removals = list(reader.removals())
        self.words.load(content for _, content in removals)
        damaged: list[ContentId] = []
        last = 0
        while not self._closing.is_set():
            with self.store.read() as reader:
                rows = list(islice(reader.hashes(last), WORDS_LOOKED_UP))
            if not rows:
                break
            self.faint.add([(content, hashes) for content, hashes, faint in rows if faint])
            batch = [content for content, *_ in rows]
            missing = self.words.missing(batch)
            for start in range(0, len(missing), WORDS_READ):
                if not self._closing.is_set():
                    damaged += self._read_words(missing[start : start + WORDS_READ])
            last = batch[-1]
        with self.store.read() as reader:  # a content may be added here after its removal there
            gone = [content for _, content in reader.removals(removals[-1][0] if removals else 0)]
        self.faint.remove(gone)
        self.words.remove(gone)
        return damaged

    def _read_words(self, contents: list[ContentId]) -> list[ContentId]:
        """Add the words of contents that have features of the present version; contents with damaged ones."""
        rows, damaged = [], []
        with self.store.read() as reader:
            for content in contents:
                try:
                    if features := reader.features(content):
                        rows.append((content, unpack_words(features)))
                except KeyError:
                    continue  # removed meanwhile
                except ValueError:
                    damaged.append(content)
        self.words.add(rows)
        return damaged


def _expect_width(store: Store, model: ModelInfo | None) -> None:
    """Drop the vectors kept under a model's id with another width than the model's: no other could be added."""
    if model is None:
        return
    with store.read() as reader:
        is_unsound = reader.unsound.model_is_unsound(model.id, model.output_width)
    if is_unsound:
        log.warning("vectors_unsound", model=model.id, expected_width=model.output_width)
        store.write(lambda writer: writer.unsound.drop_model(model.id))


def _words_directory(indexes: str) -> str:
    """The directory for words of the present features; words of another version are deleted."""
    name = f"words-{VERSION}"
    for other in os.listdir(indexes) if os.path.isdir(indexes) else ():
        if other != name and (other == "words" or other.startswith("words-")):
            shutil.rmtree(os.path.join(indexes, other), ignore_errors=True)
    return os.path.join(indexes, name)
