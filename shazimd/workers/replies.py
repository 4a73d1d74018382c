"""Replies of a worker as bytes: plain data, checked against the return type that the job's function declares.

Never a pickle: a malicious picture may hijack its decoder, and to unpickle its reply would run its code in the daemon.
"""

from __future__ import annotations

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


class Done(msgspec.Struct, frozen=True, tag="done"):
    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    code: str
    message: str
    trace: str = ""
    """traceback in the worker, for an unexpected exception"""


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
