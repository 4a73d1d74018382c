"""What is known at present: the store, the model whose vectors count, and the index over both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from shazimd.fingerprint.packing import unpack_words
from shazimd.index.base import Index
from shazimd.index.words import WordIndex
from shazimd.store.base import Store
from shazimd.types import ContentId, Fingerprint, Signals

if TYPE_CHECKING:
    from shazimd.fingerprint.model import ModelInfo

WORDS_BATCH = 256
"""Contents whose words are read in one transaction."""

OpenIndex = Callable[[Store, str | None], Index]
"""Opens the index of a model's vectors (None: hashes only), in step with the store."""


class Library:
    def __init__(self, store: Store, open_index: OpenIndex, model: ModelInfo | None = None) -> None:
        self.store = store
        self.model = model
        self._open_index = open_index
        self._swap = threading.Lock()
        self.index = open_index(store, self.model_id)
        self.words = WordIndex()
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
        """Make what is stored findable by its local features. That takes reading all that is kept of them, so it runs
        beside everything else; until it is done, a part of a picture may not be recognised."""
        content = 0
        while not self._closing.is_set():
            with self.store.read() as reader:
                batch = [known for known, _ in islice(reader.signals(None, content), WORDS_BATCH)]
                self.words.add([(known, unpack_words(reader.features(known))) for known in batch])
            if not batch:
                return
            content = batch[-1]
