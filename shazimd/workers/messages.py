"""Messages between the pool and a worker: frames over a socket, jobs on their way there, replies on their way back.

A frame is the number of its job and its length, 8 bytes each, big-endian, then that many bytes. The number of a job is
random: a worker that was taken over cannot send the reply to a later job ahead of it.

A job is a pickle, and beside it the pictures, each as a descriptor of sealed memory. A picture is thus in memory once,
however large, and neither copied into the pickle nor through the socket.

A reply never is a pickle: a malicious picture may hijack its decoder, and to unpickle its reply would run its code in
the daemon. Replies are plain data of the return type that the job's function declares. A reply has no byte but those
that ``pack_result`` makes of the same value: no other spelling, no surplus field.
"""

from __future__ import annotations

import os
import pickle
import secrets
import select
import socket
import struct
import time
import typing
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError, NotAnImage, ShazimdError, TooLarge, WorkerFailed
from shazimd.posix import POLL_MAX_S
from shazimd.posix.sealed import SealedBytes, read_all
from shazimd.text import printable
from shazimd.types import UNDECODABLE, decodable

T = TypeVar("T")

_HEADER = struct.Struct(">QQ")
_PIECE_BYTES = 1 << 16
"""Most messages come whole in one piece: each further call may have to wait for Python's lock."""
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
    """Send a frame, at once: each part of its own would wake the receiver. Raises TimeoutError after the deadline
    (``time.monotonic``) on a channel that does not block, OSError on a broken connection."""
    left = memoryview(_HEADER.pack(job, len(message)) + message)
    while left:
        try:
            sent = socket.send_fds(channel, [left], descriptors) if descriptors else channel.send(left)
        except BlockingIOError:
            _wait(channel, select.POLLOUT, deadline)
        else:
            left, descriptors = left[sent:], ()  # they travel with the first byte


def receive(channel: socket.socket, *, limit: int | None = None, deadline: float | None = None) -> Frame | None:
    """The next frame, None at the end of the connection. Raises TimeoutError after the deadline, ValueError for a
    message of more than ``limit`` bytes and for bytes behind it, OSError on a broken connection. Takes no
    descriptors."""
    if deadline is not None:
        _wait(channel, select.POLLIN, deadline)
    return _frame(channel, _read(channel, _PIECE_BYTES, deadline), limit, deadline)


def receive_with_descriptors(channel: socket.socket, most: int) -> Frame | None:
    """As ``receive``, with up to ``most`` descriptors."""
    first, descriptors, _, _ = socket.recv_fds(channel, _PIECE_BYTES, most)
    frame = _frame(channel, first, None, None)
    return None if frame is None else frame._replace(descriptors=tuple(descriptors))


def peeked(channel: socket.socket) -> bytes | None:
    """A byte that waits to be read, none at the end of the connection; None if a channel that does not block has
    neither. Raises OSError on a broken connection."""
    try:
        return channel.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return None


def _frame(channel: socket.socket, first: bytes, limit: int | None, deadline: float | None) -> Frame | None:
    """The frame that begins with these bytes."""
    received = bytearray(first)
    if not _filled(channel, received, _HEADER.size, deadline):
        return None
    job, length = _HEADER.unpack_from(received)
    if limit is not None and length > limit:
        raise ValueError(f"a message of {length} bytes is announced, expected at most {limit}")
    size = _HEADER.size + length
    if not _filled(channel, received, size, deadline):
        return None
    if len(received) > size:
        raise ValueError("more bytes came than those of the message")
    del received[: _HEADER.size]
    return Frame(job, received)


def _filled(channel: socket.socket, received: bytearray, size: int, deadline: float | None) -> bool:
    """Read on until so many bytes are there; False at the end of the connection, where empty bytes are, too."""
    more: bytes | bytearray = received
    while more and len(received) < size:
        more = _read(channel, size - len(received) + 1, deadline)
        received += more
    return len(received) >= size


def _read(channel: socket.socket, length: int, deadline: float | None) -> bytes:
    while True:
        try:
            return channel.recv(length)
        except BlockingIOError:
            _wait(channel, select.POLLIN, deadline)


def _wait(channel: socket.socket, event: int, deadline: float | None) -> None:
    """Until a channel can be read from, or written to. Raises TimeoutError after the deadline."""
    waiting = select.poll()
    waiting.register(channel, event)
    left_s = None if deadline is None else deadline - time.monotonic()
    while not waiting.poll(None if left_s is None else 1000 * min(max(0.0, left_s), POLL_MAX_S)):
        if deadline is not None and (left_s := deadline - time.monotonic()) <= 0:
            raise TimeoutError("the deadline has passed")


SEALED_BYTES_MIN = 1 << 16
"""Smaller bytes, such as local features, go into the pickle."""
PICTURES_MAX = 2
"""The most pictures that a job takes."""


class Request(NamedTuple):
    message: bytes
    pictures: list[SealedBytes]
    """kept until the job is done: it may be sent again to another worker"""


def pack_job(function: Callable[..., object], arguments: Sequence[Any]) -> Request:
    """Serialise a job. Raises OSError when there is no memory or descriptor for its pictures."""
    pictures = {place: _sealed(value) for place, value in enumerate(arguments) if _is_picture(value)}
    plain = [None if place in pictures else value for place, value in enumerate(arguments)]
    message = pickle.dumps((function, plain, list(pictures)), protocol=pickle.HIGHEST_PROTOCOL)
    return Request(message, list(pictures.values()))


def unpack_job(message: bytes | bytearray, descriptors: Sequence[int]) -> tuple[Callable[..., Any], list[Any]]:
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


TEXT_MAX = 500
"""Characters of an error's message, before control characters are escaped."""
TRACE_MAX = 5000

_KINDS: dict[str, type[ShazimdError]] = {kind.code: kind for kind in (NotAnImage, TooLarge, ModelError)}
"""The errors that a worker may name. The others are the daemon's own, and would make it stop or lie."""


class MalformedReply(WorkerFailed):
    """A reply that no worker of ours sends: it was taken over, by its last job or by an earlier one."""


class Done(msgspec.Struct, frozen=True, tag="done", forbid_unknown_fields=True):
    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed", forbid_unknown_fields=True):
    code: str
    message: str
    trace: str = ""
    """traceback in the worker, for an unexpected exception"""


def pack_result(result: object) -> bytes:
    """Serialise dataclasses, named tuples, enums, numbers, bytes, text and float32 vectors."""
    return msgspec.msgpack.encode(Done(msgspec.Raw(_encoded(result))))


def pack_failure(error: ShazimdError, trace: str = "") -> bytes:
    """Serialise an error; text that is not UTF-8, such as a file's own, is escaped."""
    return msgspec.msgpack.encode(Failed(error.code, _text(error.message, TEXT_MAX), _lines(trace)))


_RESULT_BEGINS = msgspec.msgpack.encode(Done(msgspec.Raw()))


def is_result(message: bytes | bytearray) -> bool:
    """Whether a reply begins as one with a result does."""
    return message.startswith(_RESULT_BEGINS)


def unpack_reply(message: bytes | bytearray, function: Callable[..., T]) -> T:
    """Return the result of ``function`` or raise its error: NotAnImage, TooLarge, ModelError or WorkerFailed. Raises
    MalformedReply for bytes that a worker of ours does not send."""
    try:
        reply = msgspec.msgpack.decode(message, type=decodable(Done | Failed))
        if isinstance(reply, Done):
            result: T = msgspec.msgpack.decode(reply.result, type=decodable(_returned(function)), dec_hook=_to_vector)
            if _encoded(result) != bytes(reply.result):
                raise MalformedReply(f"a worker's reply has other bytes than the value of {function.__name__} in it")
            return result
    except UNDECODABLE as error:
        reason = _text(str(error), TEXT_MAX)
        raise MalformedReply(f"a worker's reply is not what {function.__name__} returns: {reason}") from error
    raise _error(reply)


def _encoded(result: object) -> bytes:
    return msgspec.msgpack.encode(result, enc_hook=_from_vector)


def _error(reply: Failed) -> ShazimdError:
    message = _text(reply.message, TEXT_MAX)
    kind = _KINDS.get(reply.code)
    if kind is None and reply.code != WorkerFailed.code:
        message = f"the worker reports {_text(reply.code, 40)}: {message}"
    error = (kind or WorkerFailed)(message)
    if reply.trace:
        error.add_note(_lines(reply.trace))
    return error


def _text(text: str, limit: int) -> str:
    return printable(text[:limit])


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text[-TRACE_MAX:].split("\n"))


@cache
def _returned(function: Callable[..., Any]) -> Any:
    return typing.get_type_hints(function)["return"]


def _from_vector(value: object) -> bytes:
    if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 1:
        return value.tobytes()
    raise NotImplementedError(f"a worker can't send a {type(value).__name__}")


def _to_vector(kind: Any, value: object) -> NDArray[np.float32]:
    if typing.get_origin(kind) is not np.ndarray:
        raise NotImplementedError(f"a worker can't send a {kind}")
    if not isinstance(value, bytes) or len(value) % 4:
        raise msgspec.ValidationError("expected the bytes of a vector, 4 for each number")
    return np.frombuffer(value, np.float32)
