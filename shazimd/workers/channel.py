"""Messages between the pool and a worker over a socket: their frames, and the replies as bytes.

A frame is a length of 8 bytes, big-endian, then that many bytes. A request is a pickle; a reply never is: a malicious
picture may hijack its decoder, and to unpickle its reply would run its code in the daemon. Replies are plain data,
checked against the return type that the job's function declares.
"""

from __future__ import annotations

import socket
import struct
import time
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from shazimd import errors
from shazimd.errors import ShazimdError, WorkerFailed

T = TypeVar("T")

_LENGTH = struct.Struct(">Q")


class Done(msgspec.Struct, frozen=True, tag="done"):
    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    code: str
    message: str
    trace: str = ""
    """traceback in the worker, for an unexpected exception"""


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


def pack_result(result: object) -> bytes:
    """Serialise dataclasses, named tuples, enums, numbers, bytes, text and float32 vectors."""
    return msgspec.msgpack.encode(Done(msgspec.Raw(msgspec.msgpack.encode(result, enc_hook=_from_vector))))


def pack_failure(error: ShazimdError, trace: str = "") -> bytes:
    return msgspec.msgpack.encode(Failed(error.code, error.message, trace))


def unpack(message: bytes | bytearray, function: Callable[..., T]) -> T:
    """Return the result of ``function`` or raise its error. Raises WorkerFailed for a malformed reply."""
    try:
        reply = msgspec.msgpack.decode(message, type=Done | Failed)
        if isinstance(reply, Done):
            result: T = msgspec.msgpack.decode(reply.result, type=_returned(function), dec_hook=_to_vector)
            return result
    except msgspec.MsgspecError as error:
        raise WorkerFailed(f"a worker's reply is not what {function.__name__} returns: {error}") from error
    raise _error(reply)


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


def _error(reply: Failed) -> ShazimdError:
    error = _kinds().get(reply.code, WorkerFailed)(reply.message)
    if reply.trace:
        error.add_note(reply.trace)
    return error


@cache
def _kinds() -> dict[str, type[ShazimdError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ShazimdError)]
    return {kind.code: kind for kind in kinds}


@cache
def _returned(function: Callable[..., Any]) -> Any:
    return typing.get_type_hints(function)["return"]


def _from_vector(value: object) -> bytes:
    if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 1:
        return value.tobytes()
    raise NotImplementedError(f"a worker can't send a {type(value).__name__}")


def _to_vector(kind: Any, value: object) -> NDArray[np.float32]:
    if typing.get_origin(kind) is np.ndarray and isinstance(value, bytes):
        return np.frombuffer(value, np.float32)
    raise NotImplementedError(f"a worker can't send a {kind}")
