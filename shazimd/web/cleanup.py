"""A clean-up asked for on the page: planned, then applied or taken back, each in a thread, each a step to look at.

The acts are those of `shazimctl clean`: same plans, same checks, same journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from shazimd.acting.acts import carry_out, take_back_run
from shazimd.acting.journal import CleanRun, Journal, only_one, read_run, runs
from shazimd.acting.plan import CleanPlan, CleanRequest, Planner, records
from shazimd.errors import BadInput, ShazimdError, Unavailable
from shazimd.search.keep import Criterion, KeepFacts
from shazimd.text import path_bytes, path_text, readable
from shazimd.web.browse import pages

if TYPE_CHECKING:
    from shazimd.client import Client
    from shazimd.protocol.groups import DuplicateGroup

NOTES_MAX = 500
"""Messages about files left alone that are kept for the page."""


@dataclass(slots=True)
class CleanStep:
    """A step and its progress. ``name``: planning, planned, applying, applied, undoing or undone."""

    name: str
    decided_only: bool = True
    request: CleanRequest = field(default_factory=CleanRequest)
    plans: list[CleanPlan] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """about the files left in place"""
    done: int = 0
    total: int | None = None
    run: str = ""
    error: str = ""
    """of the whole step; empty when there is none"""

    @property
    def running(self) -> bool:
        return self.name in ("planning", "applying", "undoing")

    @property
    def files(self) -> int:
        return sum(len(file.paths) for plan in self.plans for file, _ in plan.acts)

    @property
    def saves_bytes(self) -> int:
        return sum(plan.saves_bytes for plan in self.plans)

    def note(self, messages: Iterable[str]) -> None:
        self.notes += list(messages)[: max(0, NOTES_MAX - len(self.notes))]


class CleanUp:
    """The steps of a clean-up, at most one at a time. Thread-safe."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self.step: CleanStep | None = None

    def plan(self, request: CleanRequest, decided_only: bool) -> None:
        """Begin to plan. Raises Unavailable while another step runs."""
        self._begin(CleanStep("planning", decided_only, request), self._plan)

    def apply(self) -> None:
        """Begin to carry out the plans as shown. Raises BadInput without plans, Unavailable while a step runs."""
        shown = self.step
        if shown is None or shown.name != "planned" or not shown.plans:
            raise BadInput("There is no plan to apply: make one first.")
        step = CleanStep("applying", shown.decided_only, shown.request, shown.plans, total=shown.files)
        self._begin(step, self._apply)

    def undo(self, run: str) -> None:
        """Begin to take a run back. Raises NotFound, StoreError, or Unavailable while a step runs."""
        past = read_run(run)
        self._begin(CleanStep("undoing", run=run, total=len(past.left)), self._undo)

    def cancel(self) -> None:
        """Stop the present step after the file in hand, or forget the plan."""
        self._cancelled.set()
        with self._lock:
            if self.step is not None and not self.step.running:
                self.step = None

    def past(self) -> list[CleanRun]:
        """Past runs, the newest first."""
        return runs()[::-1]

    def _begin(self, step: CleanStep, work: Callable[[CleanStep], None]) -> None:
        with self._lock:
            if self.step is not None and self.step.running:
                raise Unavailable(f"A clean-up is {self.step.name} already; wait for its end.")
            self.step = step
        self._cancelled.clear()
        threading.Thread(target=self._work, args=(step, work), name="clean-up", daemon=True).start()

    def _work(self, step: CleanStep, work: Callable[[CleanStep], None]) -> None:
        try:
            work(step)
        except ShazimdError as error:
            step.error = error.message
        except Exception as error:
            step.error = f"{type(error).__name__}: {error}"
            raise
        finally:
            step.name = {"planning": "planned", "applying": "applied", "undoing": "undone"}[step.name]
            if step.name == "planned" and self._cancelled.is_set():
                self.step = None

    def _plan(self, step: CleanStep) -> None:
        made = {each["id"]: each for each in self._client.decisions()} if step.decided_only else {}
        for group in self._groups(step):
            if self._cancelled.is_set():
                return
            rules = step.request.rules
            if step.decided_only:
                if (problem := lost_keep(group, made)) is not None:
                    step.note([problem])
                    step.done += 1
                    continue
                rules = (kept_first(group), *rules)
            planner = Planner(replace(step.request, rules=rules))
            step.plans += planner.plans(group)
            step.note([*planner.problems, *planner.notes])
            step.done += 1

    def _groups(self, step: CleanStep) -> Iterator[DuplicateGroup]:
        for page in pages(self._client, decided=step.decided_only):
            step.total = page["total"]
            yield from page["groups"]

    def _apply(self, step: CleanStep) -> None:
        number = 0
        with only_one(), closing(Journal.new()) as journal:
            step.run = journal.run
            for plan in step.plans:
                for record in records(plan, step.request, journal.run, number + 1):
                    if self._cancelled.is_set():
                        step.error = "Stopped as you asked. The rest is untouched."
                        return
                    number = record.n
                    try:
                        carry_out(record, journal)
                        step.done += 1
                    except BadInput as error:
                        step.note([error.message])

    def _undo(self, step: CleanStep) -> None:
        with only_one():
            for _, obstacle in take_back_run(read_run(step.run)):
                if obstacle is None:
                    step.done += 1
                else:
                    step.note([obstacle])


def lost_keep(group: Mapping[str, Any], decisions: Mapping[int, Any]) -> str | None:
    """The reason to leave a decided group alone: the first file is not the one that was decided to be kept."""
    first, decision = group["members"][0], decisions.get(group["decision"])
    if decision is None or decision["keep"] != first["content"]:
        return f"{path_text(first)}: left alone with its copies: the file that you decided to keep is gone"
    named = path_bytes(decision, "keep_path") if "keep_path" in decision else None
    if named is not None and named != path_bytes(first):
        return f"{readable(named)}: this file, which you decided to keep, is gone; left alone with its copies"
    return None


def kept_first(group: Mapping[str, Any]) -> Criterion:
    """The criterion that keeps the file which the user has decided to keep: the first."""
    keep = path_bytes(group["members"][0])

    def rank(facts: KeepFacts) -> bool:
        return facts.path == keep

    return Criterion("your decision", rank)
