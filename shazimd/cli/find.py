"""`shazimctl find`."""

from __future__ import annotations

import os

from shazimd.cli import add_json
from shazimd.cli.arguments import add_scoring, read_image
from shazimd.cli.output import (
    complain,
    note_partial,
    note_unverified,
    path_text,
    per_cent,
    say,
    say_json,
    similarities,
    word_text,
)
from shazimd.client import Client
from shazimd.errors import DaemonUnreachable, ShazimdError, Unreadable, UsageError
from shazimd.text import path_fields_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from shazimd.cli.bulk import AnswersFile
    from shazimd.cli.working import Working
    from shazimd.protocol import FindReply

VERBOSE_THRESHOLD = 0.5
"""Threshold with -v, as in the original shazim."""

HELP = "find indexed images that match the given images"
EXAMPLE = """\
examples:
  shazimctl find ski.jpg
  shazimctl find -v --limit 5 ski.jpg
  curl -s https://example.org/ski.jpg | shazimctl find --json -
  shazimctl find --output answers.jsonl .

Of a directory, all images below it are asked about, several at a time, and those with a match are printed as the
answers come. With --output the answers are lines of JSON in a file, and the same command goes on after an interruption;
it asks again about images whose last answer was an error that may pass, such as a file that could not be read.
--from-file reads the names of images, one a line or, as find(1) -print0 prints them, separated by NUL.

exit status: that of the worst error if any image or directory failed, else 0 if any image has a match, else 1
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("images", nargs="*", metavar="IMAGE", help='a file, a directory, or "-" for standard input')
    parser.add_argument(
        "--from-file", metavar="LIST", help='a file with the names of images, or "-" for standard input'
    )
    parser.add_argument("--output", metavar="FILE", help="write the answers to FILE, after those of an earlier run")
    add_scoring(parser)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help=f"show the similarities; the threshold is then {VERBOSE_THRESHOLD}"
    )
    add_json(parser)


def run(args: Namespace) -> int:
    if not args.images and args.from_file is None:
        raise UsageError("IMAGE or --from-file is needed; see shazimctl find --help")
    if args.from_file is not None or args.output is not None or any(map(os.path.isdir, args.images)):
        return _find_many(args)
    if len(args.images) == 1:
        return _find_named(args, None)
    from shazimd.cli.working import Working

    with Working("asking") as working:
        return _find_named(args, working)


class _Tally:
    """The outcome of all images so far."""

    def __init__(self) -> None:
        self.found = self.failed = self._worst = self._unverified = 0
        self._known: int | None = None
        """images that were searched, of the last answer before the end of the first scan"""

    def add(self, reply: FindReply | ShazimdError) -> None:
        if isinstance(reply, ShazimdError):
            self.failed, self._worst = self.failed + 1, max(self._worst, reply.exit_status)
            return
        self.found += bool(reply["matches"])
        self._known = self._known if reply["complete"] else reply["known_images"]
        self._unverified += reply.get("unverified", 0)

    def end(self) -> int:
        """Say what the answers may lack; the exit status."""
        if self._known is not None:
            note_partial(self._known)
        if self._unverified:
            note_unverified(self._unverified)
        return self._worst or (0 if self.found else 1)


def _find_named(args: Namespace, working: Working | None) -> int:
    """Ask about the images one after the other, and print each answer, in their order."""
    client, tally = Client(args.socket), _Tally()
    for position, image in enumerate(args.images):
        reply: FindReply | ShazimdError
        try:
            reply = client.find(read_image(image), _threshold(args), args.weights, args.limit)
        except DaemonUnreachable:
            raise
        except ShazimdError as error:
            reply = error
        tally.add(reply)
        if working is None:
            _print_answer(image, reply, args, position)
        else:
            working.show("asking", position + 1, len(args.images))
            working.above(_print_answer, image, reply, args, position)
    if working is not None:
        working.close()
    return tally.end()


def _print_answer(image: str, reply: FindReply | ShazimdError, args: Namespace, position: int) -> None:
    if isinstance(reply, ShazimdError):
        complain(f"{word_text(image)}: {reply.message}")
    if args.json:
        say_json(as_line(image, reply))
    elif not isinstance(reply, ShazimdError):
        _print_reply(reply, args, heading=word_text(image) if len(args.images) > 1 else None, first=position == 0)


def as_line(word: str, reply: FindReply | ShazimdError) -> dict[str, Any]:
    """An answer as a line of JSON."""
    query: dict[str, Any] = path_fields_as("query", os.fsencode(word))
    if isinstance(reply, ShazimdError):
        return {**query, "error": {"code": reply.code, "message": reply.message}}
    return {**query, **reply}


def _threshold(args: Namespace) -> float | None:
    given: float | None = args.threshold
    return VERBOSE_THRESHOLD if args.verbose and given is None else given


def _find_many(args: Namespace) -> int:
    from shazimd.cli import bulk

    client, threshold, tally = Client(args.socket), _threshold(args), _Tally()

    def not_listed(error: OSError) -> None:
        complain(f"{word_text(str(error.filename))}: {error.strerror}")
        tally.add(Unreadable(str(error.filename)))

    words = list(bulk.expanded(args.images, not_listed))
    if args.from_file is not None:
        words += bulk.listed(args.from_file)
    file = None if args.output is None else bulk.AnswersFile(args.output)
    words = [word for word in words if file is None or word not in file.answered]
    try:
        for word, reply in bulk.answers(words, lambda data: client.find(data, threshold, args.weights, args.limit)):
            if isinstance(reply, ShazimdError):
                complain(f"{word_text(word)}: {reply.message}")
            tally.add(reply)
            _report(word, reply, args, file)
    finally:
        if file is not None:
            file.close()
    status = tally.end()
    complain(f"{len(words):,} images asked about: {tally.found:,} with a match, {tally.failed:,} failed")
    return status


def _report(word: str, reply: FindReply | ShazimdError, args: Namespace, file: AnswersFile | None) -> None:
    if file is not None:
        file.write(as_line(word, reply))
    elif args.json:
        say_json(as_line(word, reply))
    elif not isinstance(reply, ShazimdError) and reply["matches"]:
        _print_reply(reply, args, heading=word_text(word), first=True)


def _print_reply(reply: FindReply, args: Namespace, heading: str | None, first: bool) -> None:
    if heading is not None:
        if not first:
            say("")
        say(f"{heading}:")
    ends_early = " for this damaged file" if reply.get("damaged") else ""
    say(f"Found {len(reply['matches'])} image(s){ends_early}")
    for match in reply["matches"]:
        damaged = " (damaged)" if match.get("damaged") else ""
        say(f"{path_text(match)} at {per_cent(match['score'])} {match['verdict']}{damaged}")
        if args.verbose:
            say(similarities(match))
