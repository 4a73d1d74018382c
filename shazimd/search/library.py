"""What is known at present: the store, the model whose vectors count, and the index over both."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from shazimd.index.base import Index
from shazimd.store.base import Reader, Store
from shazimd.types import ContentId, Fingerprint, Signals
from shazimd.words.index import WordIndex
from shazimd.words.packing import unpack_words

if TYPE_CHECKING:
    from shazimd.models.model import ModelInfo

WORDS_LOOKED_UP = 4096
WORDS_READ = 256
"""Contents that are looked up, and whose words are read, in one transaction."""

OpenIndex = Callable[[Store, str | None], Index]
"""Opens the index of a model's vectors (None: hashes only), in step with the store."""


class Library:
    def __init__(self, store: Store, open_index: OpenIndex, model: ModelInfo | None = None) -> None:
        self.store = store
        self.model = model
        self._open_index = open_index
        self._swap = threading.Lock()
        self.index = open_index(store, self.model_id)
        self.words = WordIndex(os.path.join(store.info()["path"], "index", "words"))
        self._closing = threading.Event()
        self._loading = threading.Thread(target=self._load_words, name="words", daemon=True)
        self._loading.start()

    @property
    def model_id(self) -> str | None:
        return self.model.id if self.model else None

    def add(self, content: ContentId, fingerprint: Fingerprint) -> None:
        """Make a stored content findable, unless it is already."""
        with self._swap:
            if content not in self.index:
                self._put(content, fingerprint)
        if not fingerprint.low_information:
            self.words.add([(content, unpack_words(fingerprint.features))])

    def replace(self, content: ContentId, fingerprint: Fingerprint) -> None:
        """Make a stored content findable by what is now known of it."""
        with self._swap:
            self._put(content, fingerprint)

    def remove(self, contents: list[ContentId]) -> None:
        """Make contents unfindable, before they are pruned from the store."""
        with self._swap:
            self.index.remove(contents)
        self.words.remove(contents)

    def use_model(self, model: ModelInfo) -> None:
        """From now on this model's vectors count; contents without one are compared by their hashes."""
        with self._swap:
            old, self.model = self.index, model
            self.index = self._open_index(self.store, model.id)
        old.close()

    def close(self) -> None:
        self._closing.set()
        self._loading.join()
        self.words.close()
        with self._swap:
            self.index.close()

    def _put(self, content: ContentId, fingerprint: Fingerprint) -> None:
        if fingerprint.low_information:
            return  # it only ever matches as ``exact``, which takes no index
        signals = fingerprint.signals
        if fingerprint.model != self.model_id:
            signals = Signals(signals.ah, signals.dh, None)
        self.index.add([(content, signals)])

    def _load_words(self) -> None:
        """Take over the words that an earlier run kept, and read what is missing. Where that is all, it means reading
        all local features, so it runs beside everything else; until it is done, a part of a picture may not be
        recognised."""
        with self.store.read() as reader:
            self.words.load(content for _, content in reader.removals())
        last = 0
        while not self._closing.is_set():
            with self.store.read() as reader:
                batch = [content for content, _ in islice(reader.signals(None, last), WORDS_LOOKED_UP)]
            if not batch:
                return
            self._read_words(self.words.missing(batch))
            last = batch[-1]

    def _read_words(self, contents: list[ContentId]) -> None:
        for start in range(0, len(contents), WORDS_READ):
            if self._closing.is_set():
                return
            with self.store.read() as reader:
                some = contents[start : start + WORDS_READ]
                self.words.add([(content, unpack_words(features)) for content, features in _features(reader, some)])


def _features(reader: Reader, contents: list[ContentId]) -> Iterator[tuple[ContentId, bytes]]:
    for content in contents:
        with suppress(KeyError):  # removed meanwhile
            yield content, reader.features(content)
