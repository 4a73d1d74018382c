"""The rows of an LMDB file, read page by page without LMDB: damage becomes words, and never a signal.

LMDB maps its file and trusts it. To touch a page that is gone ends the process by SIGBUS, a page of zeros by SIGABRT.
Here each page is read by pread(2), and each number in it is compared with what it may be. A damaged page loses its rows
or its subtree; all others are still read.

The format is that of LMDB 0.9, data version 1, 64 bits, little-endian: mdb.c, "MDB_page", "MDB_meta" and "MDB_node".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

PAGE_BYTES_MIN, PAGE_BYTES_MAX = 512, 32768
_TRIES = 100
DEPTH_MAX = 32
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8
_BIG, _SUBTREE = 1, 2
_NO_PAGE = (1 << 64) - 1

_HEADER = Struct("<QHHHH")
"""number, padding, flags, lower and upper end of the free space"""
_META_FIELDS = Struct("<IIQQ")
"""magic, version, address, size of the map"""
_TREE = Struct("<IHHQQQQQ")
"""padding (the size of a page in the first tree of a meta page), flags, depth, the numbers of branch, leaf and overflow
pages and of entries, root"""
_META_END = Struct("<QQ")
"""last page, transaction"""
_NODE = Struct("<HHHH")
"""the low and high half of the length of the value or of the child's page, flags, length of the key"""
_NUMBER = Struct("<Q")
META_BYTES = _HEADER.size + _META_FIELDS.size + 2 * _TREE.size + _META_END.size
TRANSACTION_OFFSET = META_BYTES - 8


class Meta(NamedTuple):
    """One of the two beginnings of the file, written in turn: transaction n writes page n % 2."""

    page_bytes: int
    root: int
    last_page: int
    transaction: int


OnRead = Callable[[int], None]
"""Called with the number of bytes read."""


class Fault(NamedTuple):
    """Damage to a page, or to a row in it."""

    table: str
    page: int
    reason: str
    low: bytes | None = None
    """the least key of the rows that a lost page may have; None unless the page is lost"""
    high: bytes | None = None
    """the key after them; None for the last page"""


class PageFile:
    """The tables of a data file as one transaction left them, and the faults found so far. For one reading of each
    table: a page that is named twice is a fault."""

    def __init__(self, descriptor: int, meta: Meta, on_read: OnRead) -> None:
        self.faults: list[Fault] = []
        self._on_read = on_read
        self._descriptor = descriptor
        self._meta = meta
        self._pages = min(meta.last_page + 1, os.fstat(descriptor).st_size // meta.page_bytes)
        self._seen = bytearray(self._pages)

    def tables(self) -> dict[str, int]:
        """The root of each table, by name; -1 for an empty table."""
        found = {}
        for page, key, value in self._rows("main", self._meta.root):
            if len(value) != _TREE.size:
                self._fault("main", page, f"the entry {key!r} is no table")
                continue
            root = _TREE.unpack(value)[-1]
            found[key.decode("ascii", "replace")] = -1 if root == _NO_PAGE else root
        return found

    def rows(self, table: str, root: int) -> Iterator[tuple[bytes, bytes]]:
        """The rows of a table on whole pages, in the order of the pages; keys may be out of order, or come twice."""
        for _, key, value in self._rows(table, root):
            yield key, value

    def _rows(self, table: str, root: int) -> Iterator[tuple[int, bytes, bytes]]:
        """(page, key, value). A key outside the borders that its branches name is a fault: LMDB would not find it."""
        if root == -1:
            return
        waiting: list[tuple[int, bytes, bytes | None, int]] = [(root, b"", None, 1)]
        while waiting:
            number, low, high, depth = waiting.pop()
            page = self._page(number, depth)
            if isinstance(page, str):
                self.faults.append(Fault(table, number, page, low, high))
                continue
            flags, nodes = page[1], self._nodes(table, number, page[0])
            if flags == _LEAF:
                for key, value in self._leaf(table, number, page[0], nodes):
                    if key < low or (high is not None and key >= high):
                        self._fault(table, number, f"the key {key!r} lies on a page where it is not looked for")
                    yield number, key, value
            else:
                waiting += self._children(table, number, page[0], nodes, low, high, depth)

    def _children(
        self, table: str, number: int, data: bytes, nodes: list[int], low: bytes, high: bytes | None, depth: int
    ) -> list[tuple[int, bytes, bytes | None, int]]:
        """The children of a branch with their borders, the first one last."""
        children: list[tuple[int, bytes, bytes | None, int]] = []
        for position in reversed(nodes):
            first, second, third, length = _NODE.unpack_from(data, position)
            key = data[position + 8 : position + 8 + length]
            begin = low if position == nodes[0] else key
            if begin < low or (high is not None and begin >= high):
                self._fault(table, number, f"the border {begin!r} is out of order")
                begin = low
            children.append((first | second << 16 | third << 32, begin, high, depth + 1))
            high = begin
        return children

    def _leaf(self, table: str, number: int, data: bytes, nodes: list[int]) -> Iterator[tuple[bytes, bytes]]:
        last = None
        for position in nodes:
            low, high, flags, length = _NODE.unpack_from(data, position)
            size, start = low | high << 16, position + 8 + length
            key = data[position + 8 : start]
            if last is not None and key <= last:
                self._fault(table, number, f"the key {key!r} is out of order")
            last = key
            value = self._big(table, number, data, start, size) if flags & _BIG else data[start : start + size]
            if value is None:
                continue
            if len(value) != size or len(key) != length or flags & ~(_BIG | _SUBTREE):
                self._fault(table, number, f"the row {key!r} does not fit into its page")
            else:
                yield key, value

    def _big(self, table: str, number: int, data: bytes, start: int, size: int) -> bytes | None:
        """A value on pages of its own."""
        if start + 8 > len(data):
            self._fault(table, number, "a row does not fit into its page")
            return None
        first = _NUMBER.unpack_from(data, start)[0]
        count = (_HEADER.size - 1 + size) // self._meta.page_bytes + 1
        if not 2 <= first <= first + count <= self._pages or self._seen[first]:
            self._fault(table, number, f"a value is said to be on page {first}, which can't be")
            return None
        self._seen[first : first + count] = b"\1" * count
        raw = self._read(first, count)
        if len(raw) < _HEADER.size + size:
            self._fault(table, first, "it can't be read")
            return None
        if _HEADER.unpack_from(raw)[0] != first or not _HEADER.unpack_from(raw)[2] & _OVERFLOW:
            self._fault(table, first, "it is not the page of a large value")
            return None
        return raw[_HEADER.size : _HEADER.size + size]

    def _page(self, number: int, depth: int) -> tuple[bytes, int] | str:
        """The bytes of a page of a tree, and whether it is a branch or a leaf; or its fault."""
        if not 2 <= number < self._pages:
            return "the file has no such page"
        if self._seen[number] or depth > DEPTH_MAX:
            return "it is named twice"
        self._seen[number] = 1
        data = self._read(number, 1)
        if len(data) < self._meta.page_bytes:
            return "it can't be read"
        found, _, flags, lower, upper = _HEADER.unpack_from(data)
        if found != number:
            return f"it says that it is page {found}"
        if flags not in (_BRANCH, _LEAF):
            return f"it has the kind {flags:#x}, expected {_BRANCH} or {_LEAF}"
        if not _HEADER.size <= lower <= upper <= len(data):
            return f"its free space is {lower} to {upper}, which can't be"
        return data, flags

    def _nodes(self, table: str, number: int, data: bytes) -> list[int]:
        """The positions of the nodes of a page."""
        _, _, _, lower, upper = _HEADER.unpack_from(data)
        count = (lower - _HEADER.size) // 2
        positions = Struct(f"<{count}H").unpack_from(data, _HEADER.size)
        whole = [at for at in positions if upper <= at <= len(data) - _NODE.size]
        if len(whole) != count:
            self._fault(table, number, f"{count - len(whole)} of its {count} rows lie outside of it")
        return whole

    def _read(self, number: int, count: int) -> bytes:
        self._on_read(count * self._meta.page_bytes)
        try:
            return os.pread(self._descriptor, count * self._meta.page_bytes, number * self._meta.page_bytes)
        except OSError:
            return b""  # EIO: as if the page were missing

    def _fault(self, table: str, page: int, reason: str) -> None:
        self.faults.append(Fault(table, page, reason))


def metas(descriptor: int) -> tuple[Meta, ...]:
    """The two meta pages, that of the last transaction first; none unless both are whole and of consecutive
    transactions: with a damaged one LMDB would go back to the transaction before the last."""
    for _ in range(_TRIES):  # a daemon may write one of them meanwhile
        head = os.pread(descriptor, PAGE_BYTES_MAX + META_BYTES, 0)
        found = _metas(head)
        if found and found[0].transaction == found[1].transaction + 1:
            return found
    return ()


def whole_metas(descriptor: int) -> list[Meta]:
    """The meta pages that are whole, that of the last transaction first."""
    head = os.pread(descriptor, PAGE_BYTES_MAX + META_BYTES, 0)
    sizes = [1 << shift for shift in range(9, 16)]
    found = {_parse(head[slot * size :], size, slot) for size in sizes for slot in (0, 1)}
    return sorted((meta for meta in found if meta), key=lambda meta: -meta.transaction)


class PinnedFile:
    """A data file for reading, with the meta page of one transaction as the last one: as it was after that transaction,
    if later ones left its pages alone."""

    def __init__(self, descriptor: int, meta: Meta, on_read: OnRead) -> None:
        self._on_read = on_read
        self._descriptor = descriptor
        self._at = 0
        head = bytearray(os.pread(descriptor, 2 * meta.page_bytes, 0))
        other = (1 - meta.transaction % 2) * meta.page_bytes + TRANSACTION_OFFSET
        _NUMBER.pack_into(head, other, meta.transaction - 1)
        self._head = bytes(head)

    def seek(self, position: int) -> None:
        self._at = position

    def read(self, length: int) -> bytes:
        """The next bytes; fewer at the end of the file, and where the disk can't read them."""
        try:
            data = self._head[self._at : self._at + length]
            if len(data) < length:
                data += os.pread(self._descriptor, length - len(data), self._at + len(data))
        except OSError:  # EIO: as if the page were missing
            data = b""
        self._at += len(data)
        self._on_read(len(data))
        return data


def _metas(head: bytes) -> tuple[Meta, Meta] | None:
    """Both meta pages, the last one first; None if one is not whole."""
    if len(head) < META_BYTES:
        return None
    page_bytes = _TREE.unpack_from(head, _HEADER.size + _META_FIELDS.size)[0]
    first, second = (_parse(head[slot * page_bytes :], page_bytes, slot) for slot in (0, 1))
    if first is None or second is None:
        return None
    return (first, second) if first.transaction > second.transaction else (second, first)


def _parse(raw: bytes, page_bytes: int, slot: int) -> Meta | None:
    if len(raw) < META_BYTES or not PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX:
        return None
    number, _, flags, _, _ = _HEADER.unpack_from(raw)
    magic, version, _, _ = _META_FIELDS.unpack_from(raw, _HEADER.size)
    trees = _HEADER.size + _META_FIELDS.size
    said_page_bytes, main = _TREE.unpack_from(raw, trees)[0], _TREE.unpack_from(raw, trees + _TREE.size)[-1]
    last_page, transaction = _META_END.unpack_from(raw, TRANSACTION_OFFSET - 8)
    found = (number, flags, magic, version, said_page_bytes, transaction % 2)
    if found != (slot, _META, _MAGIC, _VERSION, page_bytes, slot):
        return None
    return Meta(page_bytes, -1 if main == _NO_PAGE else main, last_page, transaction)
