"""Whether a JPEG XL moves, from its first bits (ISO/IEC 18181-1, annex D): no decoder of ours tells."""

from __future__ import annotations

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEAD_BYTES = 64


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

    def skip_size(self, lengths: tuple[int, ...] = (9, 13, 18, 30), ratio_of: int = 3) -> None:
        """A header with height, ratio and width."""
        is_small = self.take(1)
        self.take(5) if is_small else self.choice(*lengths)
        if not self.take(ratio_of):
            self.take(5) if is_small else self.choice(*lengths)


def is_animated(data: bytes) -> bool:
    """True for a JPEG XL with an animation's header; False for a still picture and for other data."""
    if data.startswith(_CONTAINER):
        data = data[data.find(_CODESTREAM, len(_CONTAINER)) :]
    if not data.startswith(_CODESTREAM):
        return False
    bits = _Bits(data[len(_CODESTREAM) : _HEAD_BYTES])
    bits.skip_size()
    if bits.take(1) or not bits.take(1):  # all default; no extra fields
        return False
    bits.take(3)  # orientation
    if bits.take(1):  # an intrinsic size
        bits.skip_size()
    if bits.take(1):  # a preview, whose header is longer: not written by encoders in use
        return False
    return bool(bits.take(1))
