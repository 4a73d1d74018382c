"""Messages over a socket between the pool and a worker: a length of 8 bytes, big-endian, then that many bytes."""

from __future__ import annotations

import socket
import struct
import time

_LENGTH = struct.Struct(">Q")


def send(channel: socket.socket, message: bytes, deadline: float | None = None) -> None:
    """Send a message. Raises TimeoutError after the deadline (``time.monotonic``), OSError on a broken connection."""
    _until(channel, deadline)
    channel.sendall(_LENGTH.pack(len(message)))
    channel.sendall(message)


def receive(channel: socket.socket, *, limit: int | None = None, deadline: float | None = None) -> bytearray | None:
    """The next message, None at the end of the connection. Raises TimeoutError after the deadline, ValueError for a
    message of more than ``limit`` bytes, OSError on a broken connection."""
    header = _read(channel, _LENGTH.size, deadline)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    if limit is not None and length > limit:
        raise ValueError(f"a message of {length} bytes is announced, expected at most {limit}")
    return _read(channel, length, deadline)


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
