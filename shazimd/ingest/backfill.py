"""Vectors of the present model for contents that lack one: those that came while there was no model, or another."""

from __future__ import annotations

from functools import partial
from itertools import islice

import structlog

from shazimd.errors import ShazimdError, Unreadable
from shazimd.ingest.commit import Committer
from shazimd.ingest.ingest import Decoders, read_whole
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.search.library import Library
from shazimd.types import ContentId

log = structlog.get_logger()

BATCH = 64


class Backfill:
    """Runs in the jobs' last lane, a batch at a time, so that it holds up nobody."""

    def __init__(self, library: Library, committer: Committer, decoders: Decoders, jobs: Jobs) -> None:
        self._library = library
        self._committer = committer
        self._decoders = decoders
        self._jobs = jobs

    def start(self) -> None:
        """Look for contents that lack a vector of the present model, and give them one."""
        self._jobs.offer("backfill", partial(self._next, 0), Lane.BACKFILL)

    def _next(self, after: ContentId) -> None:
        model = self._library.model_id
        if model is None:
            return
        with self._library.store.read() as reader:
            contents = list(islice(reader.without_vector(model, after), BATCH))
        for content in contents:
            self._jobs.offer(content, partial(self._fill, content), Lane.BACKFILL)
        if contents:
            self._jobs.offer("backfill", partial(self._next, contents[-1]), Lane.BACKFILL)
        elif after:
            log.info("backfill_complete", model=model)

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
