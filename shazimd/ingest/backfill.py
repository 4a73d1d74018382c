"""Makes derived data anew: vectors of the present model and local features of the present version.

Contents are outdated if they were stored without a model, with another model or with ``[match] verify`` off, if an
update of shazimd changed the features, or if a row of the store was damaged. Damaged relations and facts are removed,
for the comparison to find them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import islice

import structlog

from shazimd.errors import ShazimdError, Unreadable, WorkerLost
from shazimd.fingerprint import Fingerprint
from shazimd.ingest.commit import Committer
from shazimd.ingest.disk import Picture, ReadFile, read_whole
from shazimd.ingest.identify import Decoders
from shazimd.ingest.lanes import Jobs, Lane
from shazimd.ingest.memory_budget import MemoryBudget
from shazimd.ingest.patience import NO_REMOTE, RemoteRoots, Stalled
from shazimd.search.library import Library
from shazimd.store.base import Reader, Store, Writer
from shazimd.store.unsound import UnsoundDerived
from shazimd.types import ContentId, Digest, Stat

log = structlog.get_logger()

BATCH = 64


class Backfill:
    """Runs in the lane of background work, in batches, to delay no new file."""

    def __init__(
        self,
        library: Library,
        committer: Committer,
        decoders: Decoders,
        jobs: Jobs,
        memory: MemoryBudget,
        remote: RemoteRoots = NO_REMOTE,
        root_of: Callable[[bytes], bytes | None] = lambda _: None,
    ) -> None:
        """``root_of``: the root around a path."""
        self._library = library
        self._filling = library.filling
        self._committer = committer
        self._decoders = decoders
        self._jobs = jobs
        self._memory = memory
        self._remote = remote
        self._root_of = root_of
        self.compare: Callable[[], object] = lambda: None
        """starts the comparison of contents whose relations are to be found"""
        self._passed_over: bytes | None = None
        """a file that could not be read, or not decoded for want of a worker"""

    def start(self) -> None:
        """Look for outdated contents once the words are loaded, and make their derived data anew; from now on, also
        the rows that reads find damaged."""
        self._filling.wake = self.resume
        self._library.loaded.add_done_callback(lambda _: self._jobs.offer("backfill", self._begin, Lane.BACKFILL))

    def try_again(self, root: bytes) -> None:
        """Make the contents that were passed over, with a file in a root that was compared with the disk."""
        if contents := self._filling.try_again(root):
            log.debug("backfill_tries_again", contents=contents, root=root)
            self.resume()

    def resume(self) -> None:
        """Make the contents that are wanted beside the pass, if any; those that alerts wait for before the files of a
        scan."""
        if self._filling.has_queue():
            self._jobs.offer("wanted", self._take, Lane.LIVE if self._filling.has_wanted() else Lane.BACKFILL)

    def _take(self) -> None:
        contents = self._filling.take(BATCH)
        with self._library.store.read() as reader:
            outdated = [content for content in contents if self._can_renew(reader, content)]
        for content in contents:
            if content in outdated:
                lane = Lane.LIVE if self._filling.is_wanted(content) else Lane.BACKFILL
                self._jobs.offer(content, partial(self._fill, content), lane)
            else:
                self._filling.made(content)
        self.resume()
        self._report()

    def _can_renew(self, reader: Reader, content: ContentId) -> bool:
        """Whether a content has derived data to be removed, or is to be decoded."""
        return self._can_decode(reader, content) or reader.unsound.derived_of(content).has_fault  # which reads it all

    def _can_decode(self, reader: Reader, content: ContentId) -> bool:
        """Whether a content is outdated or unsound, and has a file."""
        if reader.unsound.fault(content):
            return bool(reader.unsound.files(content))
        return reader.count_files(content, 1) > 0 and self._library.is_outdated(reader, content)

    def _begin(self) -> None:
        if not self._library.alive():
            return
        damaged = self._library.loaded.result()
        if damaged:
            self._committer.submit(partial(_drop_features, contents=damaged)).result()
            damaged.clear()
        if self._library.store.was_changed:
            self._examine(0)
        else:
            self._begin_filling()

    def _examine(self, after: ContentId) -> None:
        """Remove unsound derived data, batch by batch: its contents then count as outdated."""
        with self._library.store.read() as reader:
            batch = list(islice(reader.unsound.derived(after), BATCH))
        self._remove_unsound(batch)
        if batch:
            self._jobs.offer("backfill", partial(self._examine, batch[-1].content), Lane.BACKFILL)
        else:
            self._jobs.offer("backfill", self._begin_filling, Lane.BACKFILL)

    def _remove_unsound(self, derived: Sequence[UnsoundDerived]) -> None:
        """Name the unsound data among these, and remove them."""
        unsound = [found for found in derived if found.has_fault]
        for found in unsound:
            with self._library.store.read() as reader:
                path = next(iter(reader.unsound.files(found.content)), None)
            log.warning("derived_data_unsound", path=path, **found._asdict())
        if unsound:
            self._committer.submit(partial(_drop_unsound, unsound=unsound)).result()
            self.compare()

    def _begin_filling(self) -> None:
        model = self._library.model_id
        with self._library.store.read() as reader:
            outdated = self._outdated(reader, 0)
            first = next(outdated, None)
            self._filling.begin(0 if first is None else 1 + sum(1 for _ in outdated))
            self.resume()
            if first is None:
                self._filling.complete(model)
                return
            example = reader.unsound.files(first)[0]
        log.info("backfill_started", contents=self._filling.left, example=example, model=model)
        self._next(0, model)

    def _next(self, after: ContentId, model: str | None) -> None:
        """Offer the next contents. ``model``: the model in use when this began."""
        with self._library.store.read() as reader:
            contents = list(islice(self._outdated(reader, after), BATCH))
        self._filling.offer(contents)
        for content in contents:
            self._jobs.offer(content, partial(self._fill, content), Lane.BACKFILL)
        if contents:
            self._jobs.offer("backfill", partial(self._next, contents[-1], model), Lane.BACKFILL)
        elif model != self._library.model_id:  # the first contents have vectors of the model before, or none
            self._begin_filling()
        else:
            self._filling.complete(model)
            self._report()

    def _report(self) -> None:
        """Say once that all is made, or that some files can't be read."""
        passed_over = self._filling.report()
        if passed_over:
            log.warning("backfill_incomplete", contents=passed_over, example=self._passed_over)
        elif passed_over is not None:
            log.info("backfill_complete", model=self._library.model_id)

    def _outdated(self, reader: Reader, after: ContentId) -> Iterator[ContentId]:
        """Outdated contents, and those whose row is unsound, in order of id."""
        outdated = reader.outdated(self._library.model_id, self._library.features_version, after)
        return merge(reader.unsound.contents(after), outdated)

    def _fill(self, content: ContentId) -> None:
        try:
            self._renew(content)
        finally:
            self._filling.made(content)
            self._report()

    def _renew(self, content: ContentId) -> None:
        self._name_unsound(content)
        with self._library.store.read() as reader:
            derived = reader.unsound.derived_of(content)
        self._remove_unsound([derived])
        with self._library.store.read() as reader:
            if not (derived.lacks_decoding or self._can_decode(reader, content)):
                return  # relations and facts alone: the comparison finds them
        with self._memory.taking(_size(self._library.store, content)):
            try:
                found = _read(self._library.store, content, self._remote)
                fingerprint = found and self._fingerprint(content, found.data)
            except (Stalled, WorkerLost) as error:
                log.debug("backfill_put_off", content=content, reason=str(error))
                found = fingerprint = None
        if found is None:
            self._pass_over(content)
        elif not self._gives_all(fingerprint):
            self._filling.fail(content)
        if found and fingerprint:
            self._committer.submit(
                partial(_put, content=content, digest=found.digest, fingerprint=fingerprint),
                lambda known: self._library.replace([(content, fingerprint)]) if known else None,
            ).result()
            self.compare()

    def _fingerprint(self, content: ContentId, data: Picture) -> Fingerprint | None:
        """A picture's fingerprint; None if it has none. Raises WorkerLost, no fault of the picture."""
        try:
            return self._decoders.fingerprint(data, self._library.model).result()
        except WorkerLost:
            raise
        except ShazimdError as error:
            log.warning("backfill_failed", content=content, code=error.code, reason=str(error))
            return None

    def _pass_over(self, content: ContentId) -> None:
        with self._library.store.read() as reader:
            paths = reader.unsound.files(content)
        if paths:
            self._passed_over = paths[0]
            self._filling.pass_over(content, frozenset(root for path in paths if (root := self._root_of(path))))

    def _gives_all(self, fingerprint: Fingerprint | None) -> bool:
        """Whether a picture gave all that is made of pictures now."""
        if fingerprint is None or (self._library.features_version is not None and not fingerprint.features):
            return False
        return self._library.model is None or fingerprint.signals.fv is not None

    def _name_unsound(self, content: ContentId) -> None:
        with self._library.store.read() as reader:
            reason, paths = reader.unsound.fault(content), reader.unsound.files(content)
        if reason:
            log.warning("content_unsound", content=content, path=next(iter(paths), None), reason=reason)


def _size(store: Store, content: ContentId) -> int:
    """Bytes of the largest of a content's files, as of their rows: no more than this is read."""
    with store.read() as reader:
        return max((row.stat.size for path in reader.unsound.files(content) if (row := reader.file(path))), default=0)


def bytes_of(store: Store, content: ContentId, remote: RemoteRoots) -> Picture | None:
    """The bytes of a content, from the first of its unchanged files that answers; None if they can't be read. Raises
    Stalled if one does not answer."""
    found = _read(store, content, remote)
    return None if found is None else found.data


def _read(store: Store, content: ContentId, remote: RemoteRoots) -> ReadFile | None:
    with store.read() as reader:
        rows = [(path, row) for path in reader.unsound.files(content) if (row := reader.file(path))]
    stalled: Stalled | None = None
    for path, row in rows:
        try:
            found = remote.read(path, partial(_read_file, path, row.stat))
        except (Unreadable, Stalled) as error:
            log.debug("backfill_unreadable", path=path, reason=str(error))
            stalled = error if isinstance(error, Stalled) else stalled
            continue
        if found:
            return found
    if stalled:
        raise stalled
    return None


def _read_file(path: bytes, stat: Stat, seen: Callable[[object], object]) -> ReadFile | None:
    return read_whole(path, stat, follow_symlinks=True, seen=seen)


def _put(writer: Writer, content: ContentId, digest: Digest, fingerprint: Fingerprint) -> bool:
    """Store the derived data of a content, or the whole of an unsound one; False if it was removed meanwhile."""
    if writer.mend_content(content, digest, fingerprint):
        return True
    try:
        writer.digest(content)
    except KeyError:
        return False
    if fingerprint.model is not None and fingerprint.signals.fv is not None:
        writer.put_vector(content, fingerprint.model, fingerprint.signals.fv)
    if fingerprint.features:
        writer.put_features(content, fingerprint.features, fingerprint)
    return True


def _drop_unsound(writer: Writer, unsound: list[UnsoundDerived]) -> None:
    """Remove unsound derived data; relations and facts are to be found anew."""
    relations = writer.relations
    for found in unsound:
        for model in found.vectors:
            writer.remove_vector(found.content, model)
        if found.features:
            _drop_features(writer, [found.content])
        for partner in found.relations:
            relations.remove(found.content, partner)
        if found.facts:
            relations.remove_facts(found.content)
        for content in (found.content, *found.relations) if found.relations or found.facts else ():
            if writer.knows(content):
                relations.mark(content)


def _drop_features(writer: Writer, contents: list[ContentId]) -> None:
    """Remove damaged features: the contents then count as outdated."""
    for content in contents:
        try:
            writer.put_features(content, b"")
        except KeyError:
            continue  # removed meanwhile
