"""The size of a JPEG XL and whether it moves, from its first bits (ISO/IEC 18181-1, annex D): pillow-jxl-plugin
tells the size only once it has decoded all, and no decoder of ours whether a picture moves."""

from __future__ import annotations

import struct

from shazimd.imaging.readers.reading import check_size

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEAD_BYTES = 64
_BOXES_MAX = 1000
_BOX = struct.Struct(">I4s")
_WIDTHS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""The width of each ratio from 1 on, as parts of the height."""


class _Bits:
    """Reads bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value

    def choice(self, *lengths: int) -> int:
        """A number of one of four lengths in bits."""
        return self.take(lengths[self.take(2)])

    def size(self) -> tuple[int, int]:
        """Width and height by a header with height, ratio and width."""
        is_small = self.take(1)
        height = self._side(is_small)
        ratio = self.take(3)
        return (height * _WIDTHS[ratio - 1][0] // _WIDTHS[ratio - 1][1] if ratio else self._side(is_small)), height

    def _side(self, is_small: int) -> int:
        return 8 * (self.take(5) + 1) if is_small else self.choice(9, 13, 18, 30) + 1


def check(data: bytes, max_pixels: int) -> None:
    """Check the size of a JPEG XL before its decoders do all the work: see ``check_size``. Other data passes."""
    if head := _head(data):
        check_size(_Bits(head).size(), max_pixels, "JXL")


def is_animated(data: bytes) -> bool:
    """True for a JPEG XL with an animation's header; False for a still picture and for other data."""
    head = _head(data)
    if head is None:
        return False
    bits = _Bits(head)
    bits.size()
    if bits.take(1) or not bits.take(1):  # all default; no extra fields
        return False
    bits.take(3)  # orientation
    if bits.take(1):  # an intrinsic size
        bits.size()
    if bits.take(1):  # a preview, whose header is longer: not written by encoders in use
        return False
    return bool(bits.take(1))


def _head(data: bytes) -> bytes | None:
    """The first bytes of the codestream, behind its signature."""
    head = _boxed_head(data) if data.startswith(_CONTAINER) else data[:_HEAD_BYTES]
    return head[len(_CODESTREAM) :] if head.startswith(_CODESTREAM) else None


def _boxed_head(data: bytes) -> bytes:
    """The first bytes of the codestream in a container's boxes (ISO/IEC 18181-2): whole in one, or in parts."""
    head, at = b"", len(_CONTAINER)
    for _ in range(_BOXES_MAX):
        if len(head) >= _HEAD_BYTES or len(data) - at < _BOX.size:
            break
        length, kind = _BOX.unpack_from(data, at)
        begin = at + _BOX.size
        if length == 1:  # a longer one follows
            length, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
        end = at + length if length else len(data)
        if end < begin:
            break
        if kind in (b"jxlc", b"jxlp"):
            part = begin + 4 if kind == b"jxlp" else begin  # behind its number
            head += data[part : min(end, part + _HEAD_BYTES)]
        at = end
    return head
