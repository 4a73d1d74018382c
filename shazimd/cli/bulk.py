"""`shazimctl find` for many images: several questions at a time, answers as they come, and a file to go on from."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from shazimd.cli.arguments import read_image, read_lines
from shazimd.cli.working import bar_on_terminal
from shazimd.errors import BadInput, NotAnImage, ShazimdError, TooLarge, Unavailable
from shazimd.text import path_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO, Any

    from shazimd.protocol import FindReply

    Ask = Callable[[bytes], FindReply]
    Answer = tuple[str, FindReply | ShazimdError]

ASKED_AT_ONCE = 8
"""The daemon works on four pictures of a user at a time; the next ones are read meanwhile."""
BUSY_MAX_S = 60.0
BUSY_PAUSE_S = 1.0
"""While the daemon is too busy for a picture, it is asked again each second for a minute."""
LASTING = frozenset(each.code for each in (BadInput, NotAnImage, TooLarge))
"""Errors of the picture itself. Any other, such as a busy daemon or an unreadable file, may pass."""
BEGINNING = b'{"query": "'
"""of each answer in a file"""


def expanded(words: Iterable[str], on_error: Callable[[OSError], None]) -> Iterator[str]:
    """The words, with each directory replaced by the image files below it, sorted by name; ``on_error`` gets faults of
    directories."""
    for word in words:
        if word != "-" and os.path.isdir(word):
            from shazimd.watch.filters import images_below

            yield from images_below(word, on_error)
        else:
            yield word


def listed(source: str) -> Iterator[str]:
    """The file names in a list, one a line, or separated by NUL if it has any. Raises BadInput."""
    names = read_lines(source)
    separator = b"\0" if b"\0" in names else b"\n"
    return (os.fsdecode(name) for name in names.split(separator) if name)


def answers(words: list[str], ask: Ask) -> Iterator[Answer]:
    """Each image with its reply or its error, as they come. Raises DaemonUnreachable; closing drops the rest."""
    from shazimd.errors import DaemonUnreachable

    bar, answered = bar_on_terminal(), _Patient(ask).answered
    pool = ThreadPoolExecutor(ASKED_AT_ONCE)
    try:
        waiting: dict[Future[FindReply], str] = {}
        rest, done = iter(words), 0
        while True:
            for word in rest:
                waiting[pool.submit(answered, word)] = word
                if len(waiting) >= 2 * ASKED_AT_ONCE:
                    break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                word = waiting.pop(future)
                done += 1
                if bar is not None:
                    bar.show("asking", done, len(words))
                try:
                    answer: Answer = word, future.result()
                except DaemonUnreachable:
                    raise
                except ShazimdError as error:
                    answer = word, error
                yield answer
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if bar is not None:
            bar.close()


class _Patient:
    """Asks again while the daemon is too busy: large pictures together may take more memory than a user's share.

    Until a refused picture is answered no other is begun, which would take the memory that it waits for."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._refused = threading.Lock()

    def answered(self, word: str) -> FindReply:
        data = read_image(word)
        with self._refused:
            pass
        try:
            return self._ask(data)
        except Unavailable:
            with self._refused:
                return self._asked_again(data)

    def _asked_again(self, data: bytes) -> FindReply:
        end = time.monotonic() + BUSY_MAX_S
        while True:
            time.sleep(BUSY_PAUSE_S)
            try:
                return self._ask(data)
            except Unavailable:
                if time.monotonic() >= end:
                    raise


class AnswersFile:
    """Answers as lines of JSON in a file, where an earlier run may have left some."""

    def __init__(self, path: str) -> None:
        """Raises BadInput for a file that is no list of answers, can't be written, or is another command's."""
        import json

        self._path = path
        self.answered: set[str] = set()
        """images with an answer in the file, or with an error that lasts"""
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._file: IO[bytes] = os.fdopen(number, "r+b")
            if _is_locked(number):
                self._file.close()
                raise BadInput(f"{path}: another shazimctl find writes it; wait for its end or name another file")
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error
        end = 0
        for number, line in enumerate(self._file, 1):
            is_whole = line.endswith(b"\n")
            try:
                word, lasts = _read(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                if isinstance(error, ValueError) and not is_whole and _begins_like_an_answer(line, number):
                    break
                self._file.close()
                raise BadInput(f"{path}: line {number} is no answer of an earlier run; name another file") from error
            if not is_whole:
                break  # cut by the end of the earlier run: the image is asked about again
            if lasts:
                self.answered.add(word)
            end += len(line)
        self._file.seek(end)
        self._file.truncate()

    def write(self, item: dict[str, Any]) -> None:
        """Add an answer; it stays when the command is killed."""
        import json

        with self._named():
            self._file.write(json.dumps(item).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        with self._named():
            self._file.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the system have no name for an open file, and would be reported as of standard output."""
        try:
            yield
        except OSError as error:
            error.filename = self._path
            raise


def _is_locked(file: int) -> bool:
    """Lock an open file, where its file system has locks; whether another process has it locked."""
    from shazimd.posix.files import try_lock

    try:
        return not try_lock(file)
    except OSError:
        return False


def _read(line: dict[str, Any]) -> tuple[str, bool]:
    """The image of an answer, and whether a later run need not ask again. Raises ValueError, KeyError, TypeError."""
    lasts = line["error"]["code"] in LASTING if "error" in line else line["matches"] is not None
    return os.fsdecode(path_bytes(line, "query")), lasts


def _begins_like_an_answer(line: bytes, number: int) -> bool:
    """Whether a line may be the beginning of an answer. Of the first, which alone names the file as ours, more is
    needed than its first letters."""
    return line.startswith(BEGINNING) or (number > 1 and BEGINNING.startswith(line))
