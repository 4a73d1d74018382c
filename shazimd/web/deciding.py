"""Routes of decisions: on a group, on many by a rule, their list, and undo."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from shazimd.errors import BadInput, NotFound, ShazimdError
from shazimd.web.browse import ListFilter, pages, tag_of
from shazimd.web.page import MadeDecisions, Page, page_of, wants_json, whole
from shazimd.web.places import name_text
from shazimd.web.rules import RULES, Ruled, apply_rule, decision

if TYPE_CHECKING:
    from shazimd.protocol.groups import DuplicateGroup

KINDS = ("keep", "not_duplicates", "leave")
DECISIONS_AT_ONCE = 500
SHOWN_MAX = 60
"""Groups of a preview that are shown with pictures."""
PLANS_MAX = 8
"""Previews kept, for open tabs."""
LATEST_MAX = 200
"""Decisions in the list."""
CHANGED = "The group has changed since it was shown: nothing was decided. Load the page again to see it as it is now."


async def decide(request: Request) -> Response:
    """Decide on a group. The answer names the next group."""
    page, form = page_of(request), await request.form()
    by = ListFilter.of(form)
    made, following = await run_in_threadpool(_decide, page, by, form)
    if wants_json(request):
        return JSONResponse({"said": made.words, "group": made.groups[0], "keep": made.keep, "next": following})
    return RedirectResponse(_address(by, following), 303)


def _decide(page: Page, by: ListFilter, form: FormData) -> tuple[MadeDecisions, str | None]:
    """The form names files by their tags: another tab may have had the group read anew, with other files or in another
    order."""
    listing, group = page.listings.group(by, str(form.get("group", "")))
    kind = str(form.get("kind", ""))
    if kind not in KINDS:
        raise BadInput(f"the decision is {kind!r}, expected one of: {', '.join(KINDS)}")
    if form.get("seen") != tag_of(group["members"]):
        raise BadInput(CHANGED)
    keep = _place(group, form.get("keep")) if kind == "keep" else None
    of = [_place(group, tag) for tag in form.getlist("with")] if kind == "not_duplicates" else None
    if page.made.of(group["id"]) is not None:  # changed their mind
        page.made.set_apart(group["id"])
        _undo(page, group["id"])
    wanted = decision(group, kind, keep, of or None)
    ids = page.client.decide([wanted])
    kept = tag_of([group["members"][keep]]) if keep is not None else ""
    made = MadeDecisions(ids, [group["id"]], _said(group, wanted["kind"], keep), kept)
    page.made.add(made)
    place = listing.place(group["id"])
    following = listing.at(place + 1) if place is not None else None
    return made, following["id"] if following else None


def _place(group: DuplicateGroup, tag: object) -> int:
    """The position of a file. Raises BadInput."""
    for place, member in enumerate(group["members"]):
        if tag_of([member]) == tag:
            return place
    raise BadInput(f"the file is {str(tag)[:80]!r}, expected the tag of a file of the group")


def _said(group: DuplicateGroup, kind: str, keep: int | None) -> str:
    if keep is not None:
        return f"Keep {name_text(group['members'][keep])}"
    if kind == "leave":
        return "Left alone: all of them stay"
    return "Not duplicates: they are not shown again"


async def undo(request: Request) -> Response:
    """Undo the latest decision of this page, or the one on a group, or the one with an id."""
    page, form = page_of(request), await request.form()
    if form.get("id"):
        await run_in_threadpool(page.client.undo, whole(form, "id", "the number of a decision"))
        return RedirectResponse("/decisions", 303)
    made = await run_in_threadpool(_undo, page, str(form.get("group") or "") or None)
    group = made.groups[0] if len(made.groups) == 1 else None
    if wants_json(request):
        return JSONResponse({"said": f"Undone: {made.words}", "group": group, "many": len(made.groups) > 1})
    return RedirectResponse(_address(ListFilter.of(form), group), 303)


def _undo(page: Page, group: str | None) -> MadeDecisions:
    made = page.made.take(group)
    try:
        for number in reversed(made.ids):
            try:
                page.client.undo(number)
            except NotFound:  # undone elsewhere, as by `shazimctl undo`
                continue
    except ShazimdError:
        page.made.add(made)
        raise
    return made


def _address(by: ListFilter, group: str | None) -> str:
    return f"/group/{group}{by.query()}" if group else f"/{by.query()}"


def show_decisions(request: Request) -> Response:
    """The latest decisions, newest first."""
    page = page_of(request)
    latest = deque(page.client.decisions(), maxlen=LATEST_MAX)
    return page.templates.page("decisions.html", tab="decisions", decisions=list(latest)[::-1], shown_max=LATEST_MAX)


@dataclass(slots=True)
class RulePlan:
    """The outcome of a rule for all groups of a filter, as previewed."""

    filter: ListFilter
    rule: str
    folder: str
    decided: list[Ruled]
    skipped: list[Ruled]


def show_rules(request: Request) -> Response:
    """The form of rules, and the preview once a rule is chosen. Decides nothing."""
    page, query = page_of(request), request.query_params
    by = ListFilter.of(query)
    values: dict[str, Any] = {"tab": "groups", "rules": RULES, "filter": by, "rule": query.get("rule", "suggested")}
    values |= {"folder": query.get("folder", ""), "plan": None, "plan_id": "", "listing": page.listings.of(by)}
    if "rule" in query:
        plan = _plan(page, by, query["rule"], query.get("folder", ""))
        values |= {"plan": plan, "plan_id": _keep_plan(page, plan), "shown_max": SHOWN_MAX}
    return page.templates.page("rules.html", **values)


def _plan(page: Page, by: ListFilter, rule: str, folder: str) -> RulePlan:
    if rule == "below" and not folder.startswith("/"):
        raise BadInput(f"the folder is {folder!r}, expected a path that starts with /")
    plan = RulePlan(by, rule, folder, [], [])
    for found in pages(page.client, **by.parameters()):
        for group in found["groups"]:
            ruled = apply_rule(rule, group, folder.encode("utf-8", "surrogateescape"))
            (plan.skipped if ruled.decision is None else plan.decided).append(ruled)
    return plan


def _keep_plan(page: Page, plan: RulePlan) -> str:
    while len(page.plans) >= PLANS_MAX:
        page.plans.pop(next(iter(page.plans)))
    plan_id = secrets.token_urlsafe(9)
    page.plans[plan_id] = plan
    return plan_id


async def apply_rules(request: Request) -> Response:
    """Decide as previewed, not otherwise."""
    page, form = page_of(request), await request.form()
    plan = page.plans.pop(str(form.get("plan", "")), None)
    if plan is None:
        raise NotFound("This preview is no longer known: it was applied already, or the page was started again.")
    await run_in_threadpool(_apply, page, plan)
    return RedirectResponse(f"/{plan.filter.query()}", 303)


def _apply(page: Page, plan: RulePlan) -> None:
    ids: list[int] = []
    wanted = [ruled.decision for ruled in plan.decided]
    groups = [ruled.group["id"] for ruled in plan.decided]
    try:
        for start in range(0, len(wanted), DECISIONS_AT_ONCE):
            ids += page.client.decide(wanted[start : start + DECISIONS_AT_ONCE])
    finally:
        if ids:
            page.made.add(MadeDecisions(ids, groups[: len(ids)], RULES[plan.rule]))


ROUTES = [
    Route("/decide", decide, methods=["POST"]),
    Route("/undo", undo, methods=["POST"]),
    Route("/decisions", show_decisions),
    Route("/rules", show_rules),
    Route("/rules", apply_rules, methods=["POST"]),
]
