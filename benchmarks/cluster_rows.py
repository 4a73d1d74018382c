"""Rows of a made host, as large as those of real photographs, and a database filled with them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import psycopg

from shazimd.imaging.features import Shown, extract_features
from shazimd.words.packing import FEATURE, HEADER, VERSION

HOST = "made"
COLUMNS = (
    *("digest", "made", "width", "height", "format", "ah", "dh", "pixels", "low_information", "turned", "features"),
    *("model", "vector"),
)
MARK = b"madehost"


def photograph() -> np.ndarray:
    """A picture with as much in it as a photograph, and no flat ground: 14 kB of features, the mean of real ones."""
    grain = np.random.default_rng(1).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    return cv2.resize(grain, (800, 600), interpolation=cv2.INTER_CUBIC)


class Maker:
    """Contents of one model: the same small picture, and hashes, words and vectors of their own."""

    def __init__(self, model: str | None, width: int) -> None:
        self._model = model
        self._width = width
        self._random = np.random.default_rng(1)
        self._features = extract_features(Shown(photograph()))
        self._count = HEADER.unpack_from(self._features)[4]

    @property
    def made(self) -> str:
        return f"{VERSION}/{self._model or ''}"

    def content(self, number: int) -> dict[str, Any]:
        """The columns of a content."""
        packed = bytearray(self._features)
        rows = np.frombuffer(packed, FEATURE, self._count, HEADER.size)
        rows["word"] = self._random.integers(0, 65_536, self._count)  # other pictures have other words
        vector = self._random.standard_normal(self._width).astype(np.float32)
        return {
            "digest": random.Random(number).randbytes(32),
            "made": self.made,
            "width": 4000,
            "height": 3000,
            "format": "JPEG",
            "ah": self._random.bytes(8).hex(),
            "dh": self._random.bytes(8).hex(),
            "pixels": self._random.bytes(16),
            "low_information": False,
            "turned": self._random.bytes(16 * 7),
            "features": bytes(packed),
            "model": self._model,
            "vector": (vector / np.linalg.norm(vector)).astype("<f2").tobytes() if self._model else None,
        }


def path_of(number: int) -> bytes:
    return b"/srv/photos/%d/IMG_%05d.jpg" % (number // 1000, number)


def fill(url: str, maker: Maker, rows: int) -> None:
    """Write a host that was there before all others, by COPY."""
    started = time.perf_counter()
    digests = []
    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.execute("set search_path = shazim")
        cursor.execute("insert into hosts (name, position, n) values (%s, '0.made', 1)", [HOST])
        cursor.execute("update clock set n = greatest(n, 1)")
        with cursor.copy(f"copy contents (host, {', '.join(COLUMNS)}) from stdin (format binary)") as copy:
            kinds = ("int8", "int8", "text", "text", "text", "bytea", "bool", "bytea", "bytea", "text", "bytea")
            copy.set_types(["text", "bytea", "text", *kinds])
            for number in range(rows):
                content = maker.content(number)
                digests.append(content["digest"])
                copy.write_row([HOST, *(content[name] for name in COLUMNS)])
        with cursor.copy(
            "copy files (host, path, digest, size_bytes, mtime_ns, since, landed, reading) from stdin"
        ) as copy:
            for number, digest in enumerate(digests):
                copy.write_row([HOST, path_of(number), digest, 50_000, number, 0, 1, 0])
        entry = "insert into entries (host, n, path, mark) values (%s, 1, %s, %s)"
        cursor.execute(entry, [HOST, path_of(0), MARK])
    print(f"database filled by COPY: {rows / (time.perf_counter() - started):,.0f} rows/s")


def batches(maker: Maker, rows: int, size: int) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The bodies of requests of so many rows each, as a link makes them."""
    for start in range(0, rows, size):
        batch: dict[str, list[dict[str, Any]]] = {"put": [], "remove": [], "contents": []}
        for number in range(start, min(start + size, rows)):
            content = maker.content(number)
            digest = content.pop("digest").hex()
            file = {"path": "", "path_b64": path_of(number), "content": digest, "made": maker.made}
            batch["put"].append({**file, "size_bytes": 50_000, "mtime_ns": number, "since": 0})
            batch["contents"].append({"content": digest, **content})
        yield batch
