"""In the place of a worker: honest replies that follow from a file's bytes, without a decoder, and forged ones.

A file with ``FORGE:number!`` in it takes the worker over: its reply is of that kind of ``forged_kinds.KINDS``. One with
``HANG!`` has no reply."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from forged_kinds import BYTES, FRAMES, KINDS, VALUES
from worker_jobs import stop_answering

from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.models.model import ModelInfo
from shazimd.posix.memory import LibraryCode
from shazimd.text import HASHES
from shazimd.types import Verification
from shazimd.words.packing import HEADER, VERSION
from shazimd.workers import jobs, messages, worker_main

taken_over: list[str] = []


def honest(data: bytes, model: ModelInfo | None) -> Query:
    """A reply as a decoder might make it; another for each file."""
    digest = hashlib.blake2b(data, digest_size=32).digest()
    rng = np.random.default_rng(list(digest))
    vector = None
    if model is not None:
        vector = rng.normal(size=model.output_width).astype(np.float32)
        vector = (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)
    hashes = [tuple(each) for each in rng.integers(0, 2**63, (8, len(HASHES))).tolist()]
    fingerprint = Fingerprint(
        signals=Signals(hashes[0], vector),
        model=None if model is None else model.id,
        width=400,
        height=300,
        format="PNG",
        pixels=digest[:16],
        features=HEADER.pack(VERSION, 0, 9, 9, 0) + png(),
        turned=tuple(hashes[1:]),
    )
    return Query(fingerprint, fingerprint.orientations, fingerprint.features)


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(90))) + chunk(b"IEND", b"")


def query(data: Any, model: ModelInfo | None, max_pixels: int, features: bool) -> Query:
    found = re.search(rb"FORGE:(\d+)!", data)
    if b"HANG!" in data:
        stop_answering()
    if found:
        taken_over.append(KINDS[int(found[1])])
    return honest(bytes(data), model)


def fingerprint(data: Any, model: ModelInfo | None, max_pixels: int, features: bool) -> Fingerprint:
    return query(data, model, max_pixels, features).fingerprint


def verify_all(query: bytes, candidates: Sequence[bytes]) -> list[Verification]:
    return [Verification(None) for _ in candidates]


def pack_result(result: object) -> bytes:
    good = pack(result)
    kind = taken_over[-1] if taken_over else ""
    if kind in VALUES:
        reply = msgspec.msgpack.decode(good)
        value = reply["result"]
        VALUES[kind](value if "fingerprint" in value else {"fingerprint": value, "orientations": [], "features": b""})
        return msgspec.msgpack.encode(reply)
    return BYTES[kind](good) if kind in BYTES else good


def send(
    channel: socket.socket,
    job: int,
    message: bytes,
    deadline: float | None = None,
    descriptors: Sequence[int] = (),
) -> None:
    if taken_over and taken_over[-1] in FRAMES:
        FRAMES[taken_over[-1]](channel, job, message)
    else:
        plain_send(channel, job, message, deadline, descriptors)
    taken_over.clear()  # the next job is served honestly, if there is to be one


def load_nothing(models: list[ModelInfo]) -> LibraryCode:
    """No decoder is needed, but NumPy imports this at its first use, which a confined worker can't."""
    np.random.default_rng()
    return LibraryCode(every_s=60)


def main() -> None:
    for job in (query, fingerprint, verify_all):
        setattr(jobs, job.__name__, job)
    messages.pack_result = pack_result
    messages.send = send
    worker_main._warm_up = load_nothing
    worker_main.main()


pack, plain_send = messages.pack_result, messages.send
if __name__ == "__main__":
    main()
