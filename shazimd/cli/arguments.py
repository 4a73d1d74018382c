"""How a word becomes a value, and how an argument that several commands take is declared."""

from __future__ import annotations

import os
import stat
import sys
from argparse import ArgumentTypeError

from shazimd.errors import BadInput, NotFound, Unreadable
from shazimd.text import parse_threshold, parse_weights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser


def add_scoring(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--threshold", type=threshold, metavar="T", help="least score, from 0 to 1, of what geometry does not confirm"
    )
    add_weights(parser)
    parser.add_argument("--limit", type=limit, metavar="N", help="at most so many")


def add_weights(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--weights", type=weights, metavar="AH,DH,FV", help="what each signal counts for, such as 1,1,2"
    )


def threshold(word: str) -> float:
    try:
        return parse_threshold(word)
    except ValueError as error:
        raise ArgumentTypeError(f"{word!r} found, expected {error}") from error


def weights(word: str) -> tuple[float, float, float]:
    try:
        return parse_weights(word)
    except ValueError as error:
        raise ArgumentTypeError(f"{word!r} found, expected {error}, such as 1,1,2") from error


def limit(word: str) -> int:
    return _whole(word, 1)


def alert_id(word: str) -> int:
    return _whole(word, 0)


def content_id(word: str) -> int:
    return _whole(word, 0)


def seconds(word: str) -> float:
    value = _number(word)
    if value is None or not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{word!r} found, expected a number of seconds >= 0")
    return value


def absolute(word: str) -> bytes:
    """A path as the daemon knows it. It need not be there: it may be about one that is gone."""
    return os.fsencode(os.path.abspath(word))


def read_image(word: str) -> bytes:
    """The bytes of a file, or of standard input for "-". Raises BadInput that names what was wrong."""
    try:
        if word == "-":
            return sys.stdin.buffer.read()
        with open(word, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise BadInput("it is no file, expected an image")
            return file.read()
    except FileNotFoundError as error:
        raise NotFound("no such file") from error
    except IsADirectoryError as error:
        raise BadInput("it is a directory, expected an image") from error
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _whole(word: str, minimum: int) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 18 and int(word) >= minimum):
        raise ArgumentTypeError(f"{word!r} found, expected a whole number from {minimum}")
    return int(word)
