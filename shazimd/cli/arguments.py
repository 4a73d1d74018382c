"""Argument types, and arguments shared by several commands."""

from __future__ import annotations

import os
import stat
import sys
from argparse import ArgumentTypeError
from contextlib import contextmanager

from shazimd.errors import BadInput, NotFound, Unreadable
from shazimd.posix.reach import within_reach
from shazimd.server.parameters import parse_digest
from shazimd.text import DIGEST_BYTES, HASHES, WEIGHTS_NAMES, parse_threshold, parse_weights, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator
    from io import BufferedReader


PORT_MAX = 65535


def add_scoring(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--threshold", type=threshold, metavar="T", help="minimum score (0-1) of matches that geometry does not confirm"
    )
    add_weights(parser)
    parser.add_argument("--limit", type=limit, metavar="N", help="maximum number of results")


def add_weights(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        type=weights,
        metavar=WEIGHTS_NAMES,
        help=f"weights of {', '.join(each.words for each in HASHES)} and feature vector, such as 1,1,2",
    )


def unexpected(word: str, expected: str) -> ArgumentTypeError:
    """Return the error for an argument of the wrong form."""
    return ArgumentTypeError(f"'{printable(word)}' found, expected {expected}")


def threshold(word: str) -> float:
    try:
        return parse_threshold(word)
    except ValueError as error:
        raise unexpected(word, str(error)) from error


def weights(word: str) -> tuple[float, ...]:
    try:
        return parse_weights(word)
    except ValueError as error:
        raise unexpected(word, f"{error}, such as 1,1,2") from error


def limit(word: str) -> int:
    return _whole(word, 1)


def since(word: str) -> int | str:
    """Return an alert's id, or the UTC time in the format of alerts for a local time, a duration or "today"."""
    if word.isascii() and word.isdigit():
        return _whole(word, 0)
    from datetime import UTC, datetime, timedelta

    now = datetime.now().astimezone()
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if word in ("today", "yesterday"):
            day = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
            found = (day - timedelta(days=word == "yesterday")).astimezone()
        elif word[-1:] in units and word[:-1].isdigit():
            found = now - timedelta(**{units[word[-1]]: int(word[:-1])})
        else:
            found = datetime.fromisoformat(word).astimezone()
        return found.astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError) as error:
        raise unexpected(word, 'an id, or a time such as 2h, today, 2026-11-22 or "2026-11-22 15:04"') from error


def content_id(word: str) -> int:
    return _whole(word, 0)


def decision_id(word: str) -> int:
    return _whole(word, 1)


def digest(word: str) -> str:
    """Check a content's digest."""
    try:
        return parse_digest(word).hex()
    except ValueError as error:
        raise unexpected(word, str(error)) from error


def port(word: str) -> int:
    return _whole(word, 1, PORT_MAX)


def seconds(word: str) -> float:
    value = _number(word)
    if value is None or not 0 <= value < float("inf"):
        raise unexpected(word, "a number of seconds >= 0")
    return value


def absolute(word: str) -> bytes:
    """Return the absolute path as bytes, as the daemon stores paths. The file may be deleted already."""
    return os.fsencode(os.path.abspath(path(word)))


def path(word: str) -> str:
    """Refuse an empty word, such as an unset variable of a shell: it would be taken for the working directory."""
    if not word:
        raise unexpected(word, "a path")
    return word


def read_image(word: str) -> bytes:
    """Read a file, or standard input for "-". Raises BadInput with the cause."""
    if word == "-":
        return sys.stdin.buffer.read()
    with _opened(word) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise BadInput("not a regular file, expected an image")
        return file.read()


def digest_of_file(word: str) -> str:
    """The name of a file's bytes in the store, in hexadecimal. Raises BadInput with the file's name and the cause."""
    import hashlib

    with _opened(word, f"{word}: ") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


def read_lines(source: str) -> bytes:
    """Read a file of lines, or standard input for "-". Raises BadInput with the file's name and the cause."""
    try:
        if source == "-":
            return sys.stdin.buffer.read()
        with open(source, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise NotFound(f"{source}: no such file") from error
    except OSError as error:
        raise BadInput(f"{source}: {error.strerror}") from error


@contextmanager
def _opened(word: str, named: str = "") -> Iterator[BufferedReader]:
    """An image file. Raises BadInput with the cause after ``named``."""
    try:
        with within_reach(os.fsencode(word)) as near, open(near, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise NotFound(f"{named}no such file") from error
    except IsADirectoryError as error:
        raise BadInput(f"{named}a directory, expected an image") from error
    except OSError as error:
        raise Unreadable(f"{named}{error.strerror or error}") from error


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _whole(word: str, minimum: int, most: int | None = None) -> int:
    is_whole = word.isascii() and word.isdigit() and len(word) <= 18
    if not (is_whole and int(word) >= minimum and (most is None or int(word) <= most)):
        raise unexpected(word, f"a whole number from {minimum}" + (f" to {most}" if most else ""))
    return int(word)
