"""A job on its way to a worker: a pickle, and beside it the pictures, each as a descriptor of sealed memory.

A picture is thus in memory once, however large, and neither copied into the pickle nor through the socket.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from shazimd.posix.sealed import SealedBytes, read_all

SEALED_BYTES_MIN = 1 << 16
"""Smaller bytes, such as local features, go into the pickle."""
PICTURES_MAX = 2
"""The most pictures that a job takes."""


class Request(NamedTuple):
    message: bytes
    pictures: list[SealedBytes]
    """kept until the job is done: it may be sent again to another worker"""


def pack(function: Callable[..., object], arguments: Sequence[Any]) -> Request:
    """Serialise a job. Raises OSError when there is no memory or descriptor for its pictures."""
    pictures = {place: _sealed(value) for place, value in enumerate(arguments) if _is_picture(value)}
    plain = [None if place in pictures else value for place, value in enumerate(arguments)]
    message = pickle.dumps((function, plain, list(pictures)), protocol=pickle.HIGHEST_PROTOCOL)
    return Request(message, list(pictures.values()))


def unpack(message: bytes | bytearray, descriptors: Sequence[int]) -> tuple[Callable[..., Any], list[Any]]:
    """The function of a job and its arguments; each picture is read into bytes. Closes the descriptors."""
    try:
        function, arguments, places = pickle.loads(message)  # noqa: S301 - it comes from the daemon; replies are no pickles
        for place, descriptor in zip(places, descriptors, strict=True):
            arguments[place] = read_all(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return function, arguments


def length_of(descriptors: Sequence[int]) -> int:
    """Bytes of the pictures together."""
    return sum(os.lseek(descriptor, 0, os.SEEK_END) for descriptor in descriptors)


def _is_picture(value: object) -> bool:
    return isinstance(value, SealedBytes) or (isinstance(value, bytes) and len(value) >= SEALED_BYTES_MIN)


def _sealed(value: SealedBytes | bytes) -> SealedBytes:
    return value if isinstance(value, SealedBytes) else SealedBytes(value)
