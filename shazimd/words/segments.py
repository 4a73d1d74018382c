"""Segments of the inverted index of words: tables word -> rows, mapped from files.

File ``<first>-<last>.words`` holds the sealed buffers number ``first`` to ``last``. A merged file covers the numbers of
its parts; ``load`` deletes a file inside another's range. The file begins with a line, padded with spaces to 64 bytes:
``shazimd-words 1 <byte order> <contents> <entries> <CRC-32 of the rest, hex>``. Then follow
contents int64 [n] (growing), rows int32 [e] (of word 0, of word 1, ...), starts int64 [WORDS + 1], counts uint16 [n].
Files are not synced: a crash shows as a wrong checksum, and the contents are read from the store again.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import structlog
from numpy.typing import NDArray

from shazimd.posix.files import names
from shazimd.types import ContentId

WORDS = 65_536
SUFFIX = ".words"
SMOOTHING = 20
"""Added to a content's number of words: keeps chance hits in a poor picture from outvoting those in a rich one."""
HEADER_BYTES = 64
ENTRIES_AT_ONCE = 1 << 18
"""Entries merged at once, 5 MB; a step for each few of them takes longer than its work."""
VOTES_AT_ONCE_MAX = 1 << 18
"""More entries are added up word by word, in the same order: at a million contents in two fifths of the time, as their
positions are not written down before."""
WORDS_AT_ONCE_MIN = 1_024
"""2 million entries (40 MB) at a million contents"""

logger = structlog.get_logger()


class Damaged(Exception):
    """A file differs from what ``_write`` wrote."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    first: int
    last: int
    """numbers of the sealed buffers"""
    contents: NDArray[np.int64]
    """[n], growing"""
    rows: NDArray[np.int32]
    starts: NDArray[np.int64]
    """[WORDS + 1]: the offset of each word's rows in ``rows``"""
    counts: NDArray[np.uint16]
    """[n]: number of distinct words"""
    alive: NDArray[np.bool_]
    """[n]; False for a removed content"""
    scale: NDArray[np.float32]
    """[n]: factor of a content's votes; 0 for a removed content"""

    @classmethod
    def of(cls, number: int, items: Mapping[ContentId, NDArray[np.uint16]]) -> Segment:
        """A segment of at least one content with its distinct words."""
        ordered = sorted(items.items())
        counts = np.array([len(words) for _, words in ordered], np.uint16)
        words = np.concatenate([words for _, words in ordered])
        order = np.argsort(words, kind="stable")
        return cls(
            first=number,
            last=number,
            contents=np.array([content for content, _ in ordered], np.int64),
            rows=np.repeat(np.arange(len(ordered), dtype=np.int32), counts)[order],
            starts=np.searchsorted(words[order], np.arange(WORDS + 1)).astype(np.int64),
            counts=counts,
            alive=np.ones(len(ordered), np.bool_),
            scale=scale(counts),
        )

    def find(self, contents: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """[m]: the row of each content, and whether the segment has it, alive or removed."""
        found = np.searchsorted(self.contents, contents)
        known = found < len(self.contents)
        known[known] = self.contents[found[known]] == contents[known]
        return found, known

    def without(self, contents: NDArray[np.int64]) -> Segment:
        """The segment with these contents removed; unknown ones are skipped."""
        found, known = self.find(contents)
        if not known.any():
            return self
        alive = self.alive.copy()
        alive[found[known]] = False
        return replace(self, alive=alive, scale=scale(self.counts) * alive)

    def frequencies(self, words: NDArray[np.intp]) -> NDArray[np.int64]:
        """[len(words)]: number of rows with each word."""
        return self.starts[words + 1] - self.starts[words]

    def votes(self, words: NDArray[np.intp], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n]: the summed weights of the words that each content has."""
        begins = self.starts[words]
        lengths = self.starts[words + 1] - begins
        if lengths.sum() >= VOTES_AT_ONCE_MAX:
            added = np.zeros(len(self.contents))
            for start, end, weight in zip(begins.tolist(), (begins + lengths).tolist(), weights.tolist(), strict=True):
                np.add.at(added, self.rows[start:end], weight)
            return added
        before = np.cumsum(lengths) - lengths
        rows = self.rows[np.repeat(begins - before, lengths) + np.arange(lengths.sum())]
        votes = np.bincount(rows, np.repeat(weights, lengths), minlength=len(self.contents))
        return votes.astype(np.float64, copy=False)  # bincount of an empty array is int64


def scale(counts: NDArray[Any]) -> NDArray[np.float32]:
    """[n]: the factor of a content's votes, 1 / sqrt(number of its words + SMOOTHING)."""
    return (1 / np.sqrt(counts + np.float64(SMOOTHING))).astype(np.float32)


def load(directory: str) -> list[Segment]:
    """The segments of the previous run, oldest first. Merged and damaged files are deleted. Raises OSError."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    found = []
    covered = -1
    for first, last, path in sorted(_named(directory), key=lambda each: (-each[1], each[0])):
        if 0 <= covered <= first:
            os.unlink(path)
            continue
        try:
            found.append(_mapped(path, first, last))
            covered = first
        except (Damaged, OSError) as error:  # such as EIO: the contents are read from the store again
            logger.info("words_damaged", path=path, reason=str(error))
            os.unlink(path)
    return found[::-1]


def merged(parts: Sequence[Segment], directory: str | None) -> Segment:
    """One segment with the living contents of adjacent segments, in a new file, or in memory if ``directory`` is None.

    Raises OSError."""
    first, last = parts[0].first, parts[-1].last
    if directory is None:
        with os.fdopen(os.memfd_create(f"shazimd-words-{first}-{last}"), "w+b") as file:
            _write(parts, file)
            return _map(file, first, last)
    path = os.path.join(directory, f"{first}-{last}{SUFFIX}")
    try:
        with open(f"{path}.new", "w+b") as file:
            _write(parts, file)
            os.replace(f"{path}.new", path)
            return _map(file, first, last)
    except OSError:
        with suppress(OSError):  # half a file would keep a full disk full
            os.unlink(f"{path}.new")
        raise


def delete(segment: Segment, directory: str) -> None:
    """Delete the file of a merged segment. A search that reads the mapping may go on."""
    with suppress(FileNotFoundError):  # a segment in memory has none
        os.unlink(os.path.join(directory, f"{segment.first}-{segment.last}{SUFFIX}"))


def _named(directory: str) -> Iterator[tuple[int, int, str]]:
    for name in names(directory):
        path = os.path.join(directory, name)
        if match := re.fullmatch(rf"(\d+)-(\d+){SUFFIX}", name):
            yield int(match[1]), int(match[2]), path
        else:
            os.unlink(path)  # left by a crash


def _write(parts: Sequence[Segment], file: BinaryIO) -> None:
    contents = np.concatenate([part.contents[part.alive] for part in parts])
    counts = np.concatenate([part.counts[part.alive] for part in parts])
    order = np.argsort(contents)
    starts = np.zeros(WORDS + 1, np.int64)
    file.seek(HEADER_BYTES)
    checksum = _put(file, contents[order], 0)
    for words, rows in _entries(parts, order):
        starts[1:] += np.bincount(words, minlength=WORDS)
        checksum = _put(file, rows, checksum)
    checksum = _put(file, np.cumsum(starts), checksum)
    checksum = _put(file, counts[order], checksum)
    file.seek(0)
    file.write(_header(len(contents), int(starts.sum()), checksum))
    file.flush()


def _entries(
    parts: Sequence[Segment], order: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.int32]]]:
    """The merged entries in order of the word, some words at a time: their words and their rows."""
    new_rows = np.empty(len(order), np.int32)
    new_rows[order] = np.arange(len(order), dtype=np.int32)
    alive = np.concatenate([part.alive for part in parts])
    moved = np.full(len(alive), -1, np.int32)
    moved[alive] = new_rows
    begins = np.cumsum([0, *(len(part.contents) for part in parts[:-1])])
    entries = sum(len(part.rows) for part in parts)
    step = max(WORDS_AT_ONCE_MIN, min(WORDS, WORDS * ENTRIES_AT_ONCE // max(1, entries)))
    for start in range(0, WORDS, step):
        end = min(start + step, WORDS)
        block = np.arange(start, end)
        words = np.concatenate([np.repeat(block.astype(np.uint16), part.frequencies(block)) for part in parts])
        old_rows = [part.rows[part.starts[start] : part.starts[end]] for part in parts]
        rows = np.concatenate([moved[begin + own] for begin, own in zip(begins, old_rows, strict=True)])
        kept = rows >= 0
        words, rows = words[kept], rows[kept]
        by_word = np.argsort(words, kind="stable")
        yield words, rows[by_word]


def _put(file: BinaryIO, values: NDArray[Any], checksum: int) -> int:
    raw = memoryview(values.view(np.uint8).data)
    file.write(raw)
    return zlib.crc32(raw, checksum)


def _header(contents: int, entries: int, checksum: int) -> bytes:
    return f"shazimd-words 1 {sys.byteorder} {contents} {entries} {checksum:08x}".encode().ljust(HEADER_BYTES)


def _mapped(path: str, first: int, last: int) -> Segment:
    """Raises Damaged."""
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        checksum = 0
        while chunk := file.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
        words = header.split()
        if len(words) != 6 or header != _header(*_whole(words[3:5]), checksum):
            raise Damaged(f"the file begins with {header!r}, and its checksum is {checksum:08x}")
        return _map(file, first, last)


def _whole(words: Sequence[bytes]) -> tuple[int, int]:
    try:
        contents, entries = map(int, words)
    except ValueError as error:
        raise Damaged(f"the header has {words!r}, expected two whole numbers") from error
    return contents, entries


def _map(file: BinaryIO, first: int, last: int) -> Segment:
    """Map a file of ``_write``."""
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    n, entries = map(int, mapping[:HEADER_BYTES].split()[3:5])
    offset = HEADER_BYTES
    arrays: list[NDArray[Any]] = []
    for kind, count in ((np.int64, n), (np.int32, entries), (np.int64, WORDS + 1), (np.uint16, n)):
        arrays.append(np.frombuffer(mapping, kind, count, offset))
        offset += arrays[-1].nbytes
    contents, rows, starts, counts = arrays
    return Segment(first, last, contents, rows, starts, counts, np.ones(n, np.bool_), scale(counts))
