"""Frames between the pool and a worker over a socket.

A frame is the number of its job and its length, 8 bytes each, big-endian, then that many bytes. The number of a job is
random: a worker that was taken over cannot send the reply to a later job ahead of it.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

_HEADER = struct.Struct(">QQ")
START = 0
"""The job of the frame by which a worker says that it is ready."""


class Frame(NamedTuple):
    job: int
    message: bytearray
    descriptors: tuple[int, ...] = ()
    """received with it, for the receiver to close"""


def job_number() -> int:
    """A number that nobody can guess, and never ``START``."""
    return START + 1 + secrets.randbelow(2**64 - 1)


def send(
    channel: socket.socket,
    job: int,
    message: bytes,
    deadline: float | None = None,
    descriptors: Sequence[int] = (),
) -> None:
    """Send a frame. Raises TimeoutError after the deadline (``time.monotonic``), OSError on a broken connection."""
    _until(channel, deadline)
    header = _HEADER.pack(job, len(message))
    # They travel with the first byte, and the rest of so few bytes is never held back.
    sent = socket.send_fds(channel, [header], list(descriptors)) if descriptors else 0
    channel.sendall(header[sent:])
    channel.sendall(message)


def receive(channel: socket.socket, *, limit: int | None = None, deadline: float | None = None) -> Frame | None:
    """The next frame, None at the end of the connection. Raises TimeoutError after the deadline, ValueError for a
    message of more than ``limit`` bytes, OSError on a broken connection. Takes no descriptors."""
    header = _read(channel, _HEADER.size, deadline)
    return None if header is None else _rest(channel, header, limit, deadline)


def receive_with_descriptors(channel: socket.socket, most: int) -> Frame | None:
    """As ``receive``, with up to ``most`` descriptors."""
    first, descriptors, _, _ = socket.recv_fds(channel, _HEADER.size, most)
    rest = _read(channel, _HEADER.size - len(first), None) if first else None
    frame = None if rest is None else _rest(channel, first + rest, None, None)
    return None if frame is None else frame._replace(descriptors=tuple(descriptors))


def _rest(channel: socket.socket, header: bytes | bytearray, limit: int | None, deadline: float | None) -> Frame | None:
    job, length = _HEADER.unpack(header)
    if limit is not None and length > limit:
        raise ValueError(f"a message of {length} bytes is announced, expected at most {limit}")
    message = _read(channel, length, deadline)
    return None if message is None else Frame(job, message)


def has_bytes(channel: socket.socket) -> bool:
    """Whether bytes wait to be read. The end of the connection is none. Raises OSError on a broken connection."""
    channel.settimeout(0)
    try:
        return bool(channel.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def _read(channel: socket.socket, length: int, deadline: float | None) -> bytearray | None:
    buffer = bytearray(length)
    view, done = memoryview(buffer), 0
    while done < length:
        _until(channel, deadline)
        count = channel.recv_into(view[done:])
        if count == 0:
            return None
        done += count
    return buffer


def _until(channel: socket.socket, deadline: float | None) -> None:
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        raise TimeoutError("the deadline has passed")
    channel.settimeout(left)
