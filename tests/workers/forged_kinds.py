"""Kinds of forged replies, each a change to an honest one: to a value in it, to its bytes, or to its frame."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import numpy as np
from worker_jobs import stop_answering

from shazimd import errors
from shazimd.text import HASHES
from shazimd.types import HASH_MAX
from shazimd.words.packing import HEADER, VERSION

Reply = dict[str, Any]
"""A query as plain data."""

MEBIBYTE = 1 << 20
NOT_TYPES: dict[str, Any] = {"none": None, "text": "x", "list": [], "bytes": b"\0", "fraction": 1.5, "map": {}}


def _jpeg(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0" + b"\xff\xd9"


def packed(version: int = VERSION, flags: int = 0, size: tuple[int, int] = (9, 9), count: int = 0) -> bytes:
    """Packed features without a picture."""
    return HEADER.pack(version, flags, *size, count)


def unit(*numbers: float) -> bytes:
    vector = np.array(numbers, np.float32)
    return bytes(vector.tobytes())


FEATURES: dict[str, bytes] = {
    "junk": b"junk" * 500,
    "of another version": packed(2) + _jpeg(9, 9),
    "of version 0": b"\0" * 50,
    "cut in the header": packed()[:5],
    "with a count beyond the end": packed(count=0xFFFF) + _jpeg(9, 9),
    "with more than are kept": packed(count=500) + bytes(500 * 24) + _jpeg(9, 9),
    "with unknown flags": packed(flags=6) + _jpeg(9, 9),
    "in a frame without width": packed(size=(0, 9)) + _jpeg(9, 9),
    "without a picture": packed(),
    "with junk for a picture": packed() + b"\x89PNX" * 9,
    "with a picture of 65,535 squared": packed() + _jpeg(65535, 65535),
    "with a picture of no size": packed() + _jpeg(0, 0),
    "with a picture cut short": packed() + b"\xff\xd8\xff",
    "with a segment beyond the end": packed() + b"\xff\xd8\xff\xe0\xff\xff",
    "with a PNG of 2**31 pixels": packed() + b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 2**31, 1),
    "with a WebP that is no VP8": packed() + b"RIFF\0\0\0\0WEBPVP8X" + b"\xff" * 20,
    "15 MiB long": packed() + _jpeg(9, 9) + bytes(15 * MEBIBYTE),
}
HASHES_OF_ONE = [1] * len(HASHES)
FIELDS: dict[str, dict[str, Any]] = {
    "hashes": {
        "empty": [],
        "with one more": [*HASHES_OF_ONE, 1],
        "of 100,000": [1] * 100_000,
        "with -1": [*HASHES_OF_ONE[1:], -1],
        "with -2**63": [*HASHES_OF_ONE[1:], -(2**63)],
        "with none": [*HASHES_OF_ONE[1:], None],
        "with text": [*HASHES_OF_ONE[1:], "x"],
        "none": None,
    },
    "fv": {
        "of 3 numbers": unit(1, 0, 0),
        "empty": b"",
        "of half a number": b"\0\0",
        "of NaN": np.full(256, np.nan, np.float32).tobytes(),
        "of infinity": np.full(256, np.inf, np.float32).tobytes(),
        "of 1e30": np.full(256, 1e30, np.float32).tobytes(),
        "of zeros": bytes(1024),
        "4 MiB long": bytes(4 * MEBIBYTE),
        "missing": None,
        "as numbers": [1.0] * 256,
    },
    "model": {"foreign": "0" * 16, "empty": "", "1 MiB long": "a" * MEBIBYTE, "missing": None, "number": 7},
    "width": {"0": 0, "-5": -5, "2**64-1": HASH_MAX, "over the limit": 2**31, **NOT_TYPES},
    "height": {"0": 0, "-5": -5, "2**64-1": HASH_MAX, "over the limit": 2**31, **NOT_TYPES},
    "format": {
        "1.5 MB of escapes": "\x1b[2J" * 400_000,
        "empty": "",
        "unknown": "EXE",
        "with a line break": "JPEG\n",
        "in lower case": "jpeg",
        "none": None,
    },
    "pixels": {
        "of 5 bytes": b"12345",
        "empty": b"",
        "of 17 bytes": b"x" * 17,
        "15 MiB long": bytes(15 << 20),
        "text": "",
    },
    "low_information": {"number": 1, "text": "no", "none": None},
    "turned": {
        "empty": [],
        "of 6": [HASHES_OF_ONE] * 6,
        "of 1500": [HASHES_OF_ONE] * 1500,
        "with -1": [HASHES_OF_ONE] * 6 + [[-1, *HASHES_OF_ONE[1:]]],
        "with one more": [[*HASHES_OF_ONE, 1]] * 7,
        "none": None,
    },
    "features": FEATURES,
}


def _set(reply: Reply, field: str, value: Any) -> None:
    """Change a field of the fingerprint, and of the orientations alike."""
    holders = [reply["fingerprint"]]
    if field in ("hashes", "fv"):
        holders = [reply["fingerprint"]["signals"], *reply["orientations"]]
    for holder in holders:
        holder[field] = value


def _set_asked(reply: Reply, value: bytes) -> None:
    reply["features"] = value


def _orient(reply: Reply, change: Callable[[list[Reply]], list[Reply]]) -> None:
    reply["orientations"] = change(reply["orientations"])


def _drop(reply: Reply, field: str) -> None:
    del reply["fingerprint"][field]


def _add(reply: Reply) -> None:
    reply["fingerprint"]["surplus"] = 1


VALUES: dict[str, Callable[[Reply], None]] = {
    **{
        f"{field} {name}": partial(_set, field=field, value=value)
        for field, values in FIELDS.items()
        for name, value in values.items()
    },
    **{f"asked features {name}": partial(_set_asked, value=value) for name, value in FEATURES.items()},
    "asked features text": partial(_set_asked, value="x"),  # type: ignore[arg-type]  # a forged reply
    "no orientations": partial(_orient, change=lambda _: []),
    "1500 orientations": partial(_orient, change=lambda own: own * 1500),
    "orientations in another order": partial(_orient, change=lambda own: own[::-1]),
    "orientations with another vector": partial(
        _orient, change=lambda own: [*own[:-1], own[-1] | {"fv": unit(*[1.0, *[0.0] * 255])}]
    ),
    "without a width": partial(_drop, field="width"),
    "a surplus field": _add,
}
"""Changes to a value."""


def _envelope(kind: str, **fields: Any) -> bytes:
    return msgspec.msgpack.encode({"type": kind, **fields})


ALLOWED = {"not_an_image", "too_large", "model_error"}
CODES = {
    kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ShazimdError)
} - ALLOWED
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "a surplus byte": lambda good: good + b"\0",
    "twice": lambda good: good + good,
    "cut": lambda good: good[:-1],
    "empty": lambda _: b"",
    "junk": lambda _: b"\xc1" * 4,
    "deep": lambda _: b"\x91" * MEBIBYTE,
    "a deep result": lambda _: b"\x82\xa4type\xa4done\xa6result" + b"\x91" * MEBIBYTE,
    "a result of null": lambda _: _envelope("done", result=None),
    "a result of 15 MiB": lambda _: _envelope("done", result=bytes(15 * MEBIBYTE)),
    "a list of results": lambda _: _envelope("done", result=[1, 2, 3]),
    "an unknown envelope": lambda _: _envelope("other", result=1),
    "an envelope with a surplus field": lambda _: _envelope("failed", code="not_an_image", message="", surplus=1),
    "a failure without UTF-8": lambda _: b"\x83\xa4type\xa6failed\xa4code\xa1x\xa7message\xa3\xed\xa0\x80",
    "a failure of 15 MB": lambda _: _envelope("failed", code="not_an_image", message="E" * 15_000_000),
    "a failure with escapes": lambda _: _envelope(
        "failed", code="too_large", message='\n{"event":"x"}\x1b[2J\u202e\u2028'
    ),
    "a code of 1 MB": lambda _: _envelope("failed", code="x" * 1_000_000, message=""),
    "a failure of the model": lambda _: _envelope("failed", code="model_error", message="forged"),
    "an unknown code": lambda _: _envelope("failed", code="ok", message=""),
    **{
        f"the code {code}": partial(
            lambda _, code: _envelope("failed", code=code, message="forged\n\x1b[2J"), code=code
        )
        for code in sorted(CODES)
    },
}
"""Changes to the bytes of a reply."""

HEAD = struct.Struct(">QQ")


def _send(channel: socket.socket, *parts: bytes) -> None:
    channel.settimeout(None)
    channel.sendall(b"".join(parts))


def _then_die(channel: socket.socket, job: int, good: bytes, length: int) -> None:
    _send(channel, HEAD.pack(job, length), good[:10])
    os._exit(0)


def _junk_before(channel: socket.socket, job: int, good: bytes) -> None:
    _send(channel, b"\xc1" * 4, HEAD.pack(job, len(good)), good)
    stop_answering()


def _to(channel: socket.socket, job: int, good: bytes, number: Callable[[int], int]) -> None:
    _send(channel, HEAD.pack(number(job) % 2**64, len(good)), good)
    stop_answering()


def _reply_and(channel: socket.socket, job: int, good: bytes, surplus: Callable[[int, bytes], bytes]) -> None:
    _send(channel, HEAD.pack(job, len(good)), good, surplus(job, good))


def _signal(_channel: socket.socket, _job: int, _good: bytes, number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    stop_answering()


def _leave(_channel: socket.socket, _job: int, _good: bytes, status: int) -> None:
    os._exit(status)


FRAMES: dict[str, Callable[[socket.socket, int, bytes], None]] = {
    "junk before": _junk_before,
    "half a frame": partial(_then_die, length=1000),
    "a length of 2**24 + 1": partial(_then_die, length=2**24 + 1),
    "a length of 2**60": partial(_then_die, length=2**60),
    "a length of 2**64 - 1": partial(_then_die, length=2**64 - 1),
    "to the job before": partial(_to, number=lambda job: job - 1),
    "to the job after": partial(_to, number=lambda job: job + 1),
    "to the start": partial(_to, number=lambda _: 0),
    "and a byte": partial(_reply_and, surplus=lambda _job, _good: b"\0"),
    "and junk": partial(_reply_and, surplus=lambda _job, _good: b"\xc1" * 64),
    "and itself again": partial(_reply_and, surplus=lambda job, good: HEAD.pack(job, len(good)) + good),
    "and one to the next job": partial(_reply_and, surplus=lambda job, good: HEAD.pack(job + 1, len(good)) + good),
    "dying with status 0": partial(_leave, status=0),
    "dying with status 3": partial(_leave, status=3),
    "crashing": partial(_signal, number=signal.SIGSEGV),
    "dying by a real-time signal": partial(_signal, number=signal.SIGRTMIN + 5),
}
"""Ways to send a reply, or none."""

KINDS = [*VALUES, *BYTES, *FRAMES]
