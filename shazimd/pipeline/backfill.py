"""Vectors of the present model for contents that lack one: those that came while there was no model, or another."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from shazimd.errors import ShazimdError, Unreadable
from shazimd.pipeline.commit import Committer
from shazimd.pipeline.ingest import Decoders, read_whole
from shazimd.pipeline.library import Library
from shazimd.types import ContentId

log = structlog.get_logger()

BATCH = 64


class Backfill:
    """``next`` gives the work; whoever calls it decides when and how much at once."""

    def __init__(self, library: Library, committer: Committer, decoders: Decoders) -> None:
        self._library = library
        self._committer = committer
        self._decoders = decoders
        self._model: str | None = None
        self._after: ContentId = 0

    def restart(self) -> None:
        """Look at every content again."""
        self._after = 0

    def next(self) -> list[tuple[ContentId, Callable[[], None]]]:
        """The next contents without a vector, each with the work that gives it one; empty when there is none."""
        model = self._library.model_id
        if model is None:
            return []
        if model != self._model:
            self._model = model
            self._after = 0
        with self._library.store.read() as reader:
            contents = [content for content, _ in zip(reader.without_vector(model, self._after), range(BATCH), strict=False)]
        if contents:
            self._after = contents[-1]
        return [(content, lambda content=content: self._fill(content)) for content in contents]  # type: ignore[misc]

    def _bytes_of(self, content: ContentId) -> bytes | None:
        """The bytes of a content from the first of its files that still holds them."""
        with self._library.store.read() as reader:
            rows = [(path, reader.file(path)) for path in reader.files_of(content)]
        for path, row in rows:
            try:
                data = row and read_whole(path, row.stat, follow_symlinks=True)
            except Unreadable as error:
                log.debug("vector_not_yet", path=path, reason=str(error))
                continue
            if data:
                return data
        return None

    def _fill(self, content: ContentId) -> None:
        data = self._bytes_of(content)
        if data is None:
            return
        try:
            fingerprint = self._decoders.fingerprint(data, self._library.model).result()
        except ShazimdError as error:
            log.warning("vector_failed", content=content, code=error.code, reason=str(error))
            return
        model, fv = fingerprint.model, fingerprint.signals.fv
        if model is None or fv is None:
            return
        self._committer.submit(
            lambda writer: writer.put_vector(content, model, fv),
            lambda _: self._library.replace(content, fingerprint),
        ).result()
