"""Text at the edges: paths, which are bytes inside, lines for a terminal, and numbers of a command line or URL.

The command line needs them at its start, hence no other imports: types.py takes ten times as long, for msgspec.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TextIO

    from shazimd.protocol import PathFields

DIGEST_BYTES = 32
"""Of the name of a content: BLAKE2b-256 of a file's bytes."""
SECONDS_MAX = 1 << 33
"""Seconds since 1970 in a question are fewer: the year 2242, whose nanoseconds fit 64 bits."""
NAME_BYTES_MAX = 495
"""The longest name that the store takes, see ``store.keys``. Linux itself keeps to 255; vfat and NTFS, with 255 UTF-16
units, reach further."""
THRESHOLD_EXPECTED = "a number from 0 to 1"
NARROW = 60
"""Columns: on a narrower terminal an alert's two paths have lines of their own."""
BANK_COLUMNS = 24
"""Of the name of a bank in an alert."""


class PictureHash:
    """A perceptual hash of 64 bits.

    ``name``: of the hash in exports. ``words``: the same for people. ``weight``: of the similarity in the score, unless
    weights are given."""

    def __init__(self, name: str, words: str, weight: float) -> None:
        self.name, self.words, self.weight = name, words, weight


HASHES = (
    PictureHash("ah", "average hash", 1.0),
    PictureHash("dh", "difference hash", 1.0),
)
"""The hashes of a fingerprint, in the order of every list of them; ``imaging.hashes.COMPUTED`` computes them. A new
hash comes last: the first two have fields of their own in rows and messages."""
SIGNALS = (*(each.name for each in HASHES), "fv")
"""The names of the inputs of the score, in the order of every list of them."""
SIMILARITIES = tuple(f"d{name}" for name in SIGNALS)
SIGNAL_WORDS = (*(each.words for each in HASHES), "vector")
ORIGINAL_WEIGHTS = 3
"""Weights of the original shazim: of the first two hashes and of the vector."""
WEIGHTS_NAMES = ",".join(SIGNALS).upper()
WEIGHTS_EXPECTED = f"{len(SIGNALS)} numbers >= 0 that are not all zero"


RELATIONS = {
    "exact": "same picture as",
    "copy": "copy of",
    "variant": "variant of",
    "scene": "same scene as",
    "similar": "similar to",
}
"""The words between a new file and its match in a log line, by verdict."""
RELATED = {
    "exact": "is {first} to the pixel, in another format or with other metadata",
    "copy": "is {first}, edited",
    "variant": "has the template of {first}, with other content",
    "scene": "shows the scene of {first} in another shot",
    "similar": "looks like {first}",
}
"""The words between a file and the first of its group, on the page; other bytes than those of the first."""


def path_fields(path: bytes) -> PathFields:
    """A path as JSON fields: ``path`` is readable, ``path_b64`` is exact, and present unless the path is UTF-8."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"path": path.decode(errors="backslashreplace"), "path_b64": b64encode(path).decode("ascii")}


def path_fields_as(key: str, path: bytes) -> dict[str, str]:
    """``path_fields`` with ``key`` in place of "path"."""
    return {key + name.removeprefix("path"): str(text) for name, text in path_fields(path).items()}


def path_bytes(fields: Mapping[str, Any], key: str = "path") -> bytes:
    """The exact path of JSON fields, see ``path_fields``."""
    exact = fields.get(f"{key}_b64")
    if exact is None:
        return str(fields[key]).encode()
    from base64 import b64decode

    return b64decode(exact)


def readable(path: bytes) -> str:
    """A path as text for people, which no other path has: a backslash is doubled, and what can't be shown is escaped.

    >>> readable("é".encode()), readable(b"a\\xff"), readable(b"a\\\\xff"), readable("\\x85".encode())
    ('é', 'a\\\\xff', 'a\\\\\\\\xff', '\\\\u0085')
    """
    return printable(path.decode("utf-8", "surrogateescape").replace("\\", "\\\\"))


def path_text(fields: Mapping[str, Any], key: str = "path") -> str:
    """The path of JSON fields as ``readable`` text."""
    return readable(path_bytes(fields, key))


def printable(text: str) -> str:
    """Escape control characters, line and paragraph separators and marks of direction: they could move a terminal's
    cursor, forge a line or turn it around. Bytes that are not UTF-8, as ``os.fsdecode`` gives them, become \\xff.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return character.encode("unicode_escape").decode("ascii")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def columns_of(stream: TextIO) -> int:
    """The width of a terminal; 80 for anything else."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def size(count: float) -> str:
    """Format a number of bytes in decimal units.

    >>> size(999), size(5_250_000)
    ('999 B', '5.2 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "file"), counted(1200, "file"), counted(2, "directory")
    ('1 file', '1,200 files', '2 directories')
    """
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun}"


def duration(seconds: float) -> str:
    """Format a duration in its two largest units.

    >>> duration(59.9), duration(3725), duration(200_000)
    ('59 s', '1 h 2 min', '2 d 7 h')
    """
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def hexadecimal(bits: int | None) -> str | None:
    """A hash in messages: 16 digits.

    >>> hexadecimal(0xFF)
    '00000000000000ff'
    """
    return None if bits is None else f"{bits:016x}"


def is_threshold(value: float) -> bool:
    return 0 <= value <= 1


def are_weights(values: Sequence[float]) -> bool:
    return len(values) == len(SIGNALS) and all(value >= 0 for value in values) and 0 < sum(values) < float("inf")


def all_weights(values: Sequence[float]) -> tuple[float, ...]:
    """The values; with the original's three, a weight of 0 for each hash that it had not."""
    if len(values) != ORIGINAL_WEIGHTS:
        return tuple(values)
    return (*values[:-1], *[0.0] * (len(SIGNALS) - ORIGINAL_WEIGHTS), values[-1])


def parse_threshold(text: str) -> float:
    """A threshold in [0, 1]. Raises ValueError with the expectation alone, for a message that names the source."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not is_threshold(value):
        raise ValueError(THRESHOLD_EXPECTED)
    return value


def parse_weights(text: str) -> tuple[float, ...]:
    """The weights of "AH,DH,FV", see ``all_weights``. Raises ValueError with the expectation alone.

    >>> parse_weights("1,1,2")
    (1.0, 1.0, 2.0)
    """
    try:
        values = all_weights([float(part) for part in text.split(",")])
    except ValueError:
        values = ()
    if not are_weights(values):
        raise ValueError(WEIGHTS_EXPECTED)
    return values


def shortened(path: str, width: int) -> str:
    """A path in at most ``width`` columns: its end, which has the name, after an ellipsis; from a slash on, if any.

    >>> shortened("/home/ada/Pictures/a.jpg", 17), shortened("/a.jpg", 12), shortened("/home/holiday.jpg", 8)
    ('…/Pictures/a.jpg', '/a.jpg', '…day.jpg')
    """
    if len(path) <= width:
        return path
    end = path[len(path) - max(width, 2) + 1 :]
    return "…" + end[max(0, end.find("/")) :]


def alert_line(alert: Mapping[str, Any], columns: int, taken: int = 0) -> str:
    """An alert in a line of a terminal, after ``taken`` columns; in three lines of a narrow one.

    >>> alert_line({"verdict": "copy", "score": 0.98, "path": "/p/2024/a.jpg", "match": "/p/b.jpg", "matches": 3}, 80)
    'copy 98%: /p/2024/a.jpg like /p/b.jpg and 2 more'
    """
    head = f"{alert['verdict']} {100 * alert['score']:.0f}%"
    more = f" and {alert['matches'] - 1} more" if alert.get("matches", 1) > 1 else ""
    more += " (damaged)" if alert.get("damaged") else ""
    bank = f" (bank {shortened(alert['bank'], BANK_COLUMNS)})" if alert.get("bank") else ""
    if columns < NARROW:
        path, match = (shortened(alert[key], columns - 3 - 5 * (key == "match")) for key in ("path", "match"))
        return f"{head}{more}\n   {path}\n   like {match}" + (f"\n  {bank}" if bank else "")
    more += bank
    room = columns - taken - len(f"{head}:  like {more}")
    match = shortened(alert["match"], max(room // 2, room - len(alert["path"])))
    return f"{head}: {shortened(alert['path'], room - len(match))} like {match}{more}"


def scan_progress(done: int, total: int | None, per_second: float, seconds_left: float | None) -> str:
    """Describe the progress of a first scan.

    >>> scan_progress(312, 600, 48.1, 6.0), scan_progress(3, None, 0.0, None)
    ('scanning: 312 of 600 images, 48/s, 6 s left', 'scanning: 3 images')
    """
    text = f"scanning: {done:,}" + (f" of {total:,}" if total is not None else "") + " images"
    text += f", {per_second:.0f}/s" if per_second >= 1 else ""
    return text + (f", {duration(seconds_left)} left" if seconds_left is not None else "")
