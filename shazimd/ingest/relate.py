"""Finds the relations between contents in the background: of a baseline, and of files that came without an alert.

Contents wait in the store, so a stop loses nothing. Alerts write the relations that they found themselves; these are
not verified again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import structlog

from shazimd.errors import BadInput, WorkerFailed
from shazimd.ingest.backfill import bytes_of
from shazimd.ingest.commit import Committer
from shazimd.ingest.disk import Picture
from shazimd.ingest.patience import NO_REMOTE, RemoteRoots, Stalled
from shazimd.ingest.values import judge_of_relations, set_judge_of_relations
from shazimd.protocol.status import RelationsStatus
from shazimd.search.library import Library
from shazimd.search.partners import PartnerCheck, check_partners
from shazimd.search.query import Verify
from shazimd.search.rivals import settled_relations
from shazimd.store.base import Store, Writer
from shazimd.types import JUDGE, ContentId, Evidence, Mapping, PictureFacts, Relation

log = structlog.get_logger()

T = TypeVar("T")

BATCH = 8
"""Contents in a step, verified at the same time: seconds of work at most, after which newer work has its turn."""
PAIRS_MAX = 4
"""Pairs of a content that are compared for signs: both files are read and decoded whole, 0.1 to 1 s a pair. Of many
copies each is compared with some."""


PUT_OFF_MAX = 10_000
"""Contents that wait for a file that does not answer: each step passes over them. More go without signs."""


class Comparers(NamedTuple):
    """Comparisons in the workers, after all that anyone waits for."""

    verify: Verify
    lineage: Callable[[Picture, Picture, Mapping], Future[Evidence]]
    facts: Callable[[Picture], Future[PictureFacts]]


class _Signs(NamedTuple):
    """Read from a content's file, and with that of the content at hand."""

    content: ContentId
    facts: PictureFacts | None
    pair: Relation | None
    evidence: Evidence | None


class _BegunSigns(NamedTuple):
    """As ``_Signs``, while workers read them."""

    content: ContentId
    facts: Future[PictureFacts] | None
    pair: Relation | None
    evidence: Future[Evidence] | None

    def result(self) -> _Signs:
        """Wait for the workers."""
        facts, evidence = _result(self.facts, self.content), _result(self.evidence, self.content)
        return _Signs(self.content, facts, self.pair, evidence)


class Relating:
    """Steps are for one thread at a time."""

    def __init__(
        self, library: Library, committer: Committer, comparers: Comparers | None, remote: RemoteRoots = NO_REMOTE
    ) -> None:
        """``comparers``: None if the score alone counts; then there are no relations."""
        self._library = library
        self._committer = committer
        self._comparers = comparers
        self._remote = remote
        self._put_off: set[ContentId] = set()
        """contents to be compared, of which a file did not answer"""
        self._done = 0
        self._spent_s = 0.0

    def step(self) -> bool:
        """Find the relations of some contents, and the signs between copies; False if none is left, but for those whose
        files do not answer."""
        if self._comparers is None or not self._library.words_are_loaded():
            return False
        started = time.monotonic()
        with self._library.store.read() as reader:
            waiting = reader.relations.unrelated(BATCH + len(self._put_off))
            contents = [content for content in waiting if content not in self._put_off][:BATCH]
            checks = []
            for content in contents:
                with suppress(KeyError):  # removed meanwhile
                    checks.append(check_partners(self._library, reader, self._comparers.verify, content))
        if not contents:
            return False
        judged = [(check, _relations(check)) for check in checks]
        self._committer.submit(partial(_put_judged, judged)).result()
        compared = []
        for check in checks:
            self._settle(check.content, self._comparers)
            if self._read_signs_or_put_off(check.content, self._comparers):
                compared.append(check)
        self._committer.submit(lambda writer: _unmark(writer, compared)).result()
        self._done += len(compared)
        self._spent_s += time.monotonic() - started
        return True

    def try_again(self) -> bool:
        """Have later steps compare the contents, too, whose files did not answer; False if there are none."""
        put_off, self._put_off = self._put_off, set()
        return bool(put_off)

    def _settle(self, content: ContentId, comparers: Comparers) -> None:
        """Make variants of the copies among this content's relations that another one outdoes."""
        try:
            found = list(settled_relations(self._library.store, comparers.verify, content))
        except WorkerFailed as error:  # the relations stay as the pairs alone have them
            log.warning("relations_not_settled", content=content, code=error.code, reason=str(error))
            return
        if found:
            self._committer.submit(lambda writer: writer.relations.put(found)).result()

    def _read_signs_or_put_off(self, content: ContentId, comparers: Comparers) -> bool:
        """False if the content is to be compared again."""
        try:
            self._read_signs(content, comparers)
        except Stalled as error:
            log.debug("comparison_put_off", content=content, reason=str(error))
            if len(self._put_off) < PUT_OFF_MAX:
                self._put_off.add(content)
                return False
        return True

    def _read_signs(self, content: ContentId, comparers: Comparers) -> None:
        """Read the files of a content and its copies, and store their facts and the signs of each pair.

        A content whose files can't be read has neither: the choice is made by other facts then. Raises Stalled if one
        does not answer."""
        with self._library.store.read() as reader:
            copies = [relation for _, relation in reader.relations.copies_of(content)]
            pairs = list(islice((each for each in copies if each.evidence is None), PAIRS_MAX))
            twins = reader.twins(content)
            lacks_facts = bool(copies) and reader.relations.facts(content) is None
            is_grouped = pairs or lacks_facts or len(twins) > 1 or reader.count_files(content, 2) > 1
            wanted = {content, *twins} if is_grouped else set()
            wanted |= {partner for pair in pairs for partner in (pair.asked, pair.known)}
            unknown = [each for each in wanted if reader.relations.facts(each) is None]
        if not wanted:
            return
        own = bytes_of(self._library.store, content, self._remote)

        def begun(other: ContentId) -> _BegunSigns:
            data = own if other == content else bytes_of(self._library.store, other, self._remote)
            facts = comparers.facts(data) if data and other in unknown else None
            pair = next((pair for pair in pairs if other != content and other in (pair.asked, pair.known)), None)
            evidence = _lineage(comparers, pair, content, own, data) if pair and own and data else None
            return _BegunSigns(other, facts, pair, evidence)

        signs = [each.result() for each in _one_ahead(map(begun, wanted))]
        self._committer.submit(partial(_put_signs, signs)).result()

    def finished(self) -> int:
        """The number of contents related since the last call, 0 while any is left."""
        done, self._done, self._spent_s = self._done, 0, 0.0
        return done

    def status(self) -> RelationsStatus:
        """Progress; the time left is an estimate, and counts work alone."""
        with self._library.store.read() as reader:
            left = reader.relations.count_unrelated() if self._comparers else 0
            known = reader.counts()["contents"]
        done = self._done
        seconds = round(left * self._spent_s / done, 1) if left and done else None
        return {"done": known - left, "left": left, "seconds_left": seconds if left else 0.0}


def renew_relations(store: Store) -> None:
    """Have all relations found anew if another version of the judgement found those in the store.

    They are used until the present version has confirmed, replaced or denied them."""
    with store.read() as reader:
        found = judge_of_relations(reader)
    if found != JUDGE:
        contents = store.write(_mark_all)
        if contents:
            log.info("relations_outdated", contents=contents, judge=JUDGE, found=found)


def _mark_all(writer: Writer) -> int:
    set_judge_of_relations(writer, JUDGE)
    return writer.relations.mark_all()


def _relations(check: PartnerCheck) -> list[Relation] | None:
    try:
        return list(check.relations())
    except WorkerFailed as error:  # its partners may find the relation from their side
        log.warning("relations_not_found", content=check.content, code=error.code, reason=str(error))
        return None


def _put_judged(judged: list[tuple[PartnerCheck, list[Relation] | None]], writer: Writer) -> None:
    """Store the relations found, and remove outdated ones that no check has found again."""
    for _, found in judged:
        writer.relations.put(found or [])
    for check, found in judged:
        if found is not None:
            writer.relations.remove_outdated(check.content, check.partners)


def _lineage(
    comparers: Comparers, pair: Relation, content: ContentId, own: Picture, other: Picture
) -> Future[Evidence] | None:
    asked, known = (own, other) if pair.asked == content else (other, own)
    mapping = pair.verification.mapping
    return None if mapping is None else comparers.lineage(asked, known, mapping)


def _one_ahead(begun: Iterator[T]) -> Iterator[T]:
    """Each item once the next has begun, too: two workers are busy, and three files in memory."""
    last = list(islice(begun, 1))
    for each in begun:
        yield from last
        last = [each]
    yield from last


def _result(future: Future[T] | None, content: ContentId) -> T | None:
    """The result of a job, if there is one; None if the picture can't be compared."""
    try:
        return None if future is None else future.result()
    except (BadInput, WorkerFailed) as error:
        log.debug("picture_not_compared", content=content, code=error.code, reason=str(error))
        return None


def _put_signs(read: list[_Signs], writer: Writer) -> None:
    for content, facts, pair, evidence in read:
        if facts is not None:
            writer.relations.put_facts(content, facts)
        if pair is not None and evidence is not None and writer.relations.between(pair.asked, pair.known) == pair:
            writer.relations.put([replace(pair, evidence=evidence)])


def _unmark(writer: Writer, checks: list[PartnerCheck]) -> None:
    """A content with new features meanwhile is related again."""
    for check in checks:
        with suppress(KeyError):
            if writer.features(check.content) == check.features:
                writer.relations.unmark([check.content])
