"""A worker's replies as bytes, and their way back into values.

A request is a pickle; a reply never is: a malicious picture may hijack its decoder, and to unpickle its reply would run
its code in the daemon. Replies are plain data of the return type that the job's function declares. A reply has no byte
but those that ``pack_result`` makes of the same value: no other spelling, no surplus field.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from shazimd.errors import ModelError, NotAnImage, ShazimdError, TooLarge, WorkerFailed
from shazimd.text import printable

T = TypeVar("T")

TEXT_MAX = 500
"""Characters of an error's message, before control characters are escaped."""
TRACE_MAX = 5000

_KINDS: dict[str, type[ShazimdError]] = {kind.code: kind for kind in (NotAnImage, TooLarge, ModelError)}
"""The errors that a worker may name. The others are the daemon's own, and would make it stop or lie."""
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of msgspec for bytes that it can't decode: deep nesting is a RecursionError."""


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


def unpack(message: bytes | bytearray, function: Callable[..., T]) -> T:
    """Return the result of ``function`` or raise its error: NotAnImage, TooLarge, ModelError or WorkerFailed. Raises
    MalformedReply for bytes that a worker of ours does not send."""
    try:
        reply = msgspec.msgpack.decode(message, type=Done | Failed)
        if isinstance(reply, Done):
            result: T = msgspec.msgpack.decode(reply.result, type=_returned(function), dec_hook=_to_vector)
            if _encoded(result) != bytes(reply.result):
                raise MalformedReply(f"a worker's reply has other bytes than the value of {function.__name__} in it")
            return result
    except _MALFORMED as error:
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
