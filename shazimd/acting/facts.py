"""Facts about a file, read with the user's rights: the state and digest, and the header of the picture.

Symbolic links are never followed. The header is parsed by Pillow without decoding pixels.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from dataclasses import dataclass
from functools import cache
from typing import IO

from shazimd.errors import BadInput, NotFound, Unreadable
from shazimd.search.keep import NEVER, KeepFacts
from shazimd.text import printable

READ_BYTES = 1 << 20
DIGEST_BYTES = 32
"""BLAKE2b-256, as the store names contents"""

LOSSLESS_FORMATS = {"PNG", "BMP", "PPM", "QOI", "TGA"}
EXIF_MAKE, EXIF_MODEL, EXIF_IFD, EXIF_CAPTURED = 0x010F, 0x0110, 0x8769, 0x9003

# fmt: off
IJG_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
# fmt: on
"""ITU-T T.81, table K.1: the luminance table, scaled by libjpeg with its quality setting."""


@dataclass(frozen=True, slots=True)
class DiskState:
    """Metadata and digest of a regular file at a moment."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    links: int
    digest: str
    """BLAKE2b-256 in hex"""

    @property
    def identity(self) -> tuple[int, int]:
        """Equal for two names of one file."""
        return self.device, self.inode

    def is_same_as(self, other: DiskState) -> bool:
        """True when neither the file nor its bytes differ."""
        return (self.identity, self.size, self.mtime_ns, self.digest) == (
            other.identity,
            other.size,
            other.mtime_ns,
            other.digest,
        )


def shown(path: bytes) -> str:
    r"""A path for a message: bytes that are no UTF-8 as \xff, as two names must never look the same."""
    return printable(path.decode("utf-8", "backslashreplace"))


def why(error: OSError) -> str:
    """The reason of an error without a path, which libraries add in forms of their own."""
    return os.strerror(error.errno) if error.errno else str(error)


def read_state(path: bytes) -> DiskState:
    """The state of a regular file, read whole. Raises NotFound, BadInput or Unreadable, each with the path."""
    try:
        with _open(path) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise BadInput(f"{shown(path)}: not a regular file")
            digest = _digest(file)
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise NotFound(f"{shown(path)}: no such file") from error
    except OSError as error:
        raise Unreadable(f"{shown(path)}: {why(error)}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Unreadable(f"{shown(path)}: changed while it was read")
    return DiskState(
        after.st_dev,
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
        stat.S_IMODE(after.st_mode),
        after.st_uid,
        after.st_gid,
        after.st_nlink,
        digest,
    )


def _open(path: bytes) -> IO[bytes]:
    """O_NONBLOCK: opening a FIFO would wait for its writer."""
    try:
        return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)
    except OSError:
        if os.path.islink(path):  # ELOOP, whose text speaks of "too many levels"
            raise BadInput(f"{shown(path)}: a symbolic link, left alone") from None
        raise


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    while chunk := file.read(READ_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def read_header(path: bytes, mtime_ns: int, size: tuple[int, int], reference: bool) -> KeepFacts:
    """Facts from the header of a picture; without those when Pillow cannot parse the file."""
    from PIL import Image

    plain = KeepFacts(path, mtime_ns, *size, reference=reference)
    try:
        with warnings.catch_warnings(), _open(path) as file, Image.open(file) as image:
            warnings.simplefilter("ignore")  # odd EXIF, many pixels: nothing is decoded here
            exif = image.getexif()
            captured = exif.get_ifd(EXIF_IFD).get(EXIF_CAPTURED)
            return KeepFacts(
                path,
                mtime_ns,
                *size,
                lossless=_is_lossless(image),
                jpeg_quality=jpeg_quality(getattr(image, "quantization", None) or {}),
                grey=image.mode in ("1", "L", "LA", "I;16"),
                camera=bool(exif.get(EXIF_MAKE) or exif.get(EXIF_MODEL)),
                captured=captured
                if isinstance(captured, str) and "19" < captured[:4] < NEVER
                else "",  # "0000" is unset
                reference=reference,
            )
    except Exception:  # a hostile header may raise anything; the file is judged by its path and age then
        return plain


def _is_lossless(image: object) -> bool:
    kind = getattr(image, "format", "")
    return kind in LOSSLESS_FORMATS or (kind == "TIFF" and getattr(image, "info", {}).get("compression") != "jpeg")


def jpeg_quality(tables: dict[int, list[int]]) -> int:
    """The libjpeg quality setting whose luminance table is nearest, 1 to 100; 0 without tables.

    Sums are compared: the order of the values (zigzag or not) does not matter."""
    if not tables:
        return 0
    total = sum(tables[min(tables)])
    return min(range(1, 101), key=lambda quality: abs(_table_sum(quality) - total))


@cache
def _table_sum(quality: int) -> int:
    """The sum of the table as libjpeg scales it, see jpeg_quality_scaling and jpeg_add_quant_table in jcparam.c."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((value * scale + 50) // 100, 1), 255) for value in IJG_LUMINANCE)
