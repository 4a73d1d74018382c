"""`shazimctl clean`."""

from __future__ import annotations

from shazimd.cli import add_json
from shazimd.cli.arguments import absolute, unexpected
from shazimd.cli.output import complain, report_none, say, say_json, size
from shazimd.client import Client
from shazimd.errors import BadInput, NotFound, ShazimdError, StoreError, UsageError
from shazimd.text import counted, path_fields, readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator
    from typing import Any

    from shazimd.acting.journal import CleanRun, Journal
    from shazimd.acting.plan import CleanPlan, CleanRequest, PlannedFile

HELP = "remove duplicates: dry run by default, with undo"
EXAMPLE = """\
examples:
  shazimctl clean
  shazimctl clean --apply
  shazimctl clean --apply --how move:/srv/sorted-out --root /srv/photos/inbox
  shazimctl clean --apply --reference /srv/photos/archive
  shazimctl clean --apply --how hardlink
  shazimctl clean --prefer path:/srv/photos/albums/* --verdict exact,copy
  shazimctl clean --undo

Without --apply nothing is changed. Before each action both files are read again and compared with the plan. Every
action is written to a journal first, and --undo reverses a run, also an interrupted run. Emptying the trash frees its
space. A hard link makes two names share one file: an edit under either name changes both. Files in trash folders and
snapshots are never changed.

exit status: 0 if there was something to do and all of it was done, 1 if there was nothing to do, 4 if any file was
skipped or could not be taken back
"""

SUMMARY = {
    "trash": ("to the trash", " once the trash is emptied"),
    "move": ("moved", ""),
    "hardlink": ("replaced by hard links", ""),
    "reflink": ("replaced by reflinks", ""),
}
"""The words after the number of files, and after the saved bytes."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--apply", action="store_true", help="carry out the plan (default: dry run)")
    parser.add_argument(
        "--how",
        type=how,
        metavar="HOW",
        default=("trash", b""),
        help="trash (default), move:DIR (keeps the whole path below DIR), hardlink or reflink (identical files only)",
    )
    parser.add_argument(
        "--verdict",
        type=verdicts,
        metavar="LIST",
        default=frozenset({"exact"}),
        help="exact (default), or exact,copy for edited copies as well",
    )
    parser.add_argument(
        "--root", type=absolute, metavar="DIR", action="append", default=[], help="remove only files below DIR"
    )
    parser.add_argument(
        "--reference",
        type=absolute,
        metavar="DIR",
        action="append",
        default=[],
        help="never remove files below DIR, and prefer to keep them",
    )
    parser.add_argument(
        "--prefer",
        metavar="RULE",
        action="append",
        default=[],
        help="which file to keep: path:GLOB, name:GLOB, age:oldest or age:newest; the first rule has priority",
    )
    parser.add_argument(
        "--undo", nargs="?", const=LATEST, metavar="ID", help="reverse the latest run, or the run with this ID"
    )
    parser.add_argument("--list", action="store_true", help="list the past runs")
    add_json(parser)


LATEST = True
"""--undo without an ID; an empty ID is none of a run."""
EXACT_ONLY = " among exact duplicates; --verdict exact,copy has edited copies, too"


def how(word: str) -> tuple[str, bytes]:
    name, _, folder = word.partition(":")
    if (name == "move" and folder) or (name in ("trash", "hardlink", "reflink") and name == word):
        return name, absolute(folder) if folder else b""
    raise unexpected(word, "trash, move:DIR, hardlink or reflink")


def verdicts(word: str) -> frozenset[str]:
    names = frozenset(word.split(","))
    if not names <= {"exact", "copy"}:
        raise unexpected(word, "exact or exact,copy: images of other verdicts differ")
    return names


def run(args: Namespace) -> int:
    if (args.list or args.undo is not None) and (args.apply or (args.list and args.undo is not None)):
        raise UsageError("--apply, --undo and --list exclude each other")
    if args.list:
        return _list(args)
    if args.undo is not None:
        return _undo(args)
    return _Clean(args).apply() if args.apply else _Clean(args).show()


class _Clean:
    """Plans of a request, shown or carried out, with the totals."""

    def __init__(self, args: Namespace) -> None:
        from shazimd.acting.plan import Planner

        self._args = args
        self._request = _request(args)
        self._planner = Planner(self._request)
        self._groups = self._files = self._bytes = self._skipped = self._acts = 0

    def show(self) -> int:
        """Print the acts of --apply."""
        for plan in self._plans(Client(self._args.socket).duplicates()):
            self._report(plan, {})
        return self._end(None)

    def apply(self) -> int:
        """Carry the plans out."""
        from shazimd.acting.journal import Journal, only_one

        # All groups first: the daemon sees each act, and would change the groups to come.
        groups = list(Client(self._args.socket).duplicates())
        journal: Journal | None = None
        with only_one():
            try:
                for plan in self._plans(groups):
                    journal = journal or Journal.new()
                    self._report(plan, self._carry_out(plan, journal))
            except (KeyboardInterrupt, ShazimdError, OSError):
                if journal is not None:
                    complain(f"interrupted; undo with: shazimctl clean --undo {journal.run}")
                raise
            finally:
                if journal is not None:
                    journal.close()
        return self._end(journal.run if journal else None)

    def _plans(self, groups: Iterable[Any]) -> Iterator[CleanPlan]:
        for group in groups:
            plans = self._planner.plans(group)
            for problem in self._planner.problems:
                self._skip(problem)
            for note in self._planner.notes:
                complain(note)
            self._planner.problems.clear()
            self._planner.notes.clear()
            yield from plans

    def _skip(self, message: str) -> None:
        complain(message)
        self._skipped += 1

    def _carry_out(self, plan: CleanPlan, journal: Journal) -> dict[bytes, str]:
        """Act on each file of a plan; return the paths left in place, with the reasons."""
        from shazimd.acting.acts import carry_out
        from shazimd.acting.plan import records

        failed: dict[bytes, str] = {}
        for record in records(plan, self._request, journal.run, self._acts + 1):
            self._acts = record.n
            try:
                carry_out(record, journal)
            except BadInput as error:
                failed[record.path] = error.message
        return failed

    def _report(self, plan: CleanPlan, failed: dict[bytes, str]) -> None:
        done = [file for file, _ in plan.acts if not failed.keys() & set(file.paths)]
        self._groups += 1
        self._files += sum(len(file.paths) for file in done)
        self._bytes += sum(file.state.size for file in done)
        if self._args.json:
            say_json(_plan_json(plan, self._request.how, failed))
        else:
            _print_plan(plan, self._request.how, failed)
        for message in failed.values():
            self._skip(message)

    def _end(self, run: str | None) -> int:
        if self._args.json:
            totals = {"groups": self._groups, "files": self._files, "saves_bytes": self._bytes}
            say_json({**totals, "skipped": self._skipped, "applied": self._args.apply, "run": run})
        else:
            self._sum_up(run)
        if self._skipped:
            return BadInput.exit_status
        return 0 if self._groups else 1

    def _sum_up(self, run: str | None) -> None:
        if not self._groups:
            say("Nothing to clean up" if "copy" in self._args.verdict else f"Nothing to clean up{EXACT_ONLY}")
            return
        act, when = SUMMARY[self._request.how]
        skipped = f"; {counted(self._skipped, 'file')} skipped" if self._skipped else ""
        saved = f"{size(self._bytes)} {'saved' if self._args.apply else 'to save'}{when}"
        say(f"{counted(self._groups, 'group')}, {counted(self._files, 'file')} {act}, {saved}{skipped}")
        if not self._args.apply:
            say("Nothing was changed: act with --apply")
        elif self._files:
            say(f"Take it back with: shazimctl clean --undo {run}")


def _request(args: Namespace) -> CleanRequest:
    from shazimd.acting.plan import CleanRequest
    from shazimd.search.keep import parse_rule

    name, folder = args.how
    rules = tuple(parse_rule(rule) for rule in args.prefer)
    return CleanRequest(name, folder, args.verdict, tuple(args.root), tuple(args.reference), rules)


def _print_plan(plan: CleanPlan, how: str, failed: dict[bytes, str]) -> None:
    say(f"keep      {readable(plan.keep.paths[0])}")
    say(f"          {_facts(plan.keep)}: {plan.reason}")
    for file, verdict in plan.acts:
        for path in file.paths:
            say(f"{'skipped' if path in failed else how:9} {readable(path)}")
            say(f"          {_facts(file)}, {verdict}")
    say("")


def _plan_json(plan: CleanPlan, how: str, failed: dict[bytes, str]) -> dict[str, object]:
    acts = [
        {
            **path_fields(path),
            "how": how,
            "verdict": verdict,
            "size_bytes": file.state.size,
            "error": failed.get(path),
        }
        for file, verdict in plan.acts
        for path in file.paths
    ]
    keep = {**path_fields(plan.keep.paths[0]), "size_bytes": plan.keep.state.size, "reason": plan.reason}
    return {"keep": keep, "acts": acts, "saves_bytes": plan.saves_bytes}


def _list(args: Namespace) -> int:
    from shazimd.acting.journal import runs

    past = runs()
    for each in past:
        records = [record for n, record in each.acts.items() if n in each.done or n not in each.undone]
        total = sum(record.state.size for record in records)
        if args.json:
            facts = {"run": each.run, "time": each.time, "state": each.state, "files": len(records), "bytes": total}
            say_json(facts | {"error": each.problem or None})
        elif each.problem:
            say(f"{each.run:17}  {each.state:13}  {each.problem}")
        else:
            ways = "".join(f", {way}" for way in sorted({record.how for record in records}))
            say(f"{each.run:17}  {each.state:13}  {counted(len(records), 'file')}, {size(total)}{ways}")
    return 0 if past else report_none("past runs")


def _undo(args: Namespace) -> int:
    from shazimd.acting.acts import take_back_run
    from shazimd.acting.journal import only_one, read_run

    failed = 0
    with only_one():
        past = _latest() if args.undo is LATEST else read_run(args.undo)
        if not past.left:
            raise NotFound(f"run {past.run}: nothing is left to take back")
        for record, error in take_back_run(past):
            if error is not None:
                failed += 1
                complain(error)
            if args.json:
                say_json({**path_fields(record.path), "how": record.how, "run": past.run, "error": error})
            elif error is None:
                say(f"back      {readable(record.path)}")
    if not args.json:
        back = len(past.left) - failed
        say(f"Took back {back} of {counted(len(past.left), 'file')} of the run {past.run}")
    return BadInput.exit_status if failed else 0


def _latest() -> CleanRun:
    """The latest run with anything left to take back. Raises NotFound, and StoreError if a later one is unreadable: the
    user then wants no earlier run back."""
    from shazimd.acting.journal import runs

    unreadable = ""
    for each in reversed(runs()):
        if each.left:
            if unreadable:
                raise StoreError(f"{unreadable}; for the run before: shazimctl clean --undo {each.run}")
            return each
        unreadable = unreadable or each.problem
    raise StoreError(unreadable) if unreadable else NotFound("no run is left to take back")


def _facts(file: PlannedFile) -> str:
    return f"{file.facts.width}x{file.facts.height}, {size(file.state.size)}"
