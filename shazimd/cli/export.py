"""`shazimctl export`."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from itertools import islice

from shazimd.cli.arguments import path
from shazimd.cli.output import complain, report_none, say_json
from shazimd.client import Client
from shazimd.errors import BadInput, UsageError
from shazimd.text import HASHES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import IO, Any

    from shazimd.protocol import ExportedFile

HELP = "export the fingerprints of all images"
EXAMPLE = """\
examples:
  shazimctl export > fingerprints.jsonl
  shazimctl export --vectors > fingerprints.jsonl

Each image file is a line of JSON: path, digest, size, dimensions, the hashes as hexadecimal digits and, with
--vectors, the feature vector as base64 of little-endian float32. With --parquet FILE the same is written as Parquet,
vectors as lists; that needs pyarrow: pip install 'shazimd[export]'.
"""

BATCH = 10_000
"""Rows of a group in a Parquet file."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--vectors", action="store_true", help="with the feature vectors of the present model")
    parser.add_argument(
        "--parquet",
        type=path,
        metavar="FILE",
        help="write a Parquet file; one that is there is replaced at the end, where its directory allows it",
    )


def run(args: Namespace) -> int:
    files = Client(args.socket).export(vectors=args.vectors)
    if args.parquet is not None:
        return _write_parquet(files, args.parquet)
    found = False
    for file in files:
        found = True
        say_json(file)
    return 0 if found else report_none("images to export")


def _write_parquet(files: Iterator[ExportedFile], path: str) -> int:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("--parquet needs pyarrow: pip install 'shazimd[export]'") from error
    schema = _schema(pa)
    rows = 0
    try:
        with _written(path) as file, parquet.ParquetWriter(file, schema) as writer:
            for batch in _batches(files):
                writer.write_table(pa.Table.from_pylist(batch, schema))
                rows += len(batch)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    complain(f"{rows:,} images written to {path}")
    return 0 if rows else report_none("images to export")


def _written(path: str) -> AbstractContextManager[IO[bytes]]:
    """The file to write to: one that takes the place of ``path`` once all has come, or ``path`` itself if it is a
    device, a pipe, or a file in whose place none can be put."""
    from shazimd.posix.files import replacing

    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.umask(mask := os.umask(0o077))
        return replacing(path, 0o666 & ~mask)
    real = os.path.realpath(path)
    return _like(real, old) if stat.S_ISREG(old.st_mode) and _is_replaceable(real, old) else open(path, "wb")


@contextmanager
def _like(path: str, old: os.stat_result) -> Iterator[IO[bytes]]:
    """A file in the place of an old one, with its owner and mode."""
    from shazimd.posix.files import replacing

    with replacing(path, stat.S_IMODE(old.st_mode)) as file:
        with suppress(PermissionError):  # a group of which its owner is no member
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
        yield file


def _is_replaceable(path: str, old: os.stat_result) -> bool:
    """False in a directory that is read-only to this user, for another user's file, and for a file that is mounted, as
    a single one is into a container."""
    from shazimd.posix import mounts

    if not os.access(os.path.dirname(path), os.W_OK | os.X_OK) or os.geteuid() not in (0, old.st_uid):
        return False
    with open(mounts.TABLE, "rb") as table:
        return os.fsencode(path) not in {mount.point for mount in mounts.parse(table.read())}


def _schema(pa: Any) -> Any:
    text = ("path", "path_b64", "content", "format", *(each.name for each in HASHES), "pixels", "model")
    fields = {name: pa.string() for name in text}
    fields |= {"size_bytes": pa.int64(), "mtime": pa.float64(), "width": pa.int32(), "height": pa.int32()}
    return pa.schema({**fields, "low_information": pa.bool_(), "vector": pa.list_(pa.float32())})


def _batches(files: Iterator[ExportedFile]) -> Iterator[list[dict[str, Any]]]:
    rows = ({**file, "vector": _numbers(file["vector"])} for file in files)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _numbers(vector: str | None) -> list[float] | None:
    if vector is None:
        return None
    from array import array
    from base64 import b64decode

    return array("f", b64decode(vector)).tolist()
