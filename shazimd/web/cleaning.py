"""Routes of the clean-up: plan, apply, undo."""

from __future__ import annotations

import os

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shazimd.acting.plan import CleanRequest, expect_directories
from shazimd.errors import BadInput
from shazimd.web.page import page_of

WAYS = {
    "trash": "Move to the trash",
    "move": "Move to a folder",
    "hardlink": "Replace by hard links",
    "reflink": "Replace by reflinks",
}
SHOWN_MAX = 100
"""Plans shown with pictures."""
PAST_MAX = 20


def show_clean(request: Request) -> Response:
    """The form, the plan, the progress or the outcome; below, the past runs."""
    page = page_of(request)
    return page.templates.page(
        "clean.html",
        tab="clean",
        step=page.clean.step,
        ways=WAYS,
        past=page.clean.past()[:PAST_MAX],
        shown_max=SHOWN_MAX,
    )


async def plan(request: Request) -> Response:
    """Begin a plan."""
    form = await request.form()
    page_of(request).clean.plan(*await run_in_threadpool(_wanted, form))
    return RedirectResponse("/clean", 303)


def _wanted(form: FormData) -> tuple[CleanRequest, bool]:
    """The request of the form, and whether it is about decided groups only. Raises BadInput."""
    how, folder = str(form.get("how", "trash")), str(form.get("folder", "")).strip()
    if how not in WAYS:
        raise BadInput(f"the way is {how!r}, expected one of: {', '.join(WAYS)}")
    if how == "move" and not folder.startswith("/"):
        raise BadInput(f"the folder is {folder!r}, expected a path that starts with /")
    decided_only = form.get("which") != "exact"
    verdicts = frozenset({"exact", "copy"} if decided_only else {"exact"})
    reference = tuple(_folder(line.strip()) for line in str(form.get("reference", "")).splitlines() if line.strip())
    expect_directories(reference)
    target = os.path.normpath(os.fsencode(folder)) if how == "move" else b""
    return CleanRequest(how, target, verdicts, reference=reference, seen=decided_only), decided_only


def _folder(text: str) -> bytes:
    """A folder never to be touched; ``~`` is the home of the user of this process."""
    path = os.path.expanduser(text)
    if not path.startswith("/"):
        raise BadInput(f"the folder never to be touched is {text!r}, expected a path that starts with / or ~/")
    return os.fsencode(path)


async def apply(request: Request) -> Response:
    page_of(request).clean.apply()
    return RedirectResponse("/clean", 303)


async def undo(request: Request) -> Response:
    page, form = page_of(request), await request.form()
    await run_in_threadpool(page.clean.undo, str(form.get("run", "")))
    return RedirectResponse("/clean", 303)


async def cancel(request: Request) -> Response:
    page_of(request).clean.cancel()
    return RedirectResponse("/clean", 303)


ROUTES = [
    Route("/clean", show_clean),
    Route("/clean/plan", plan, methods=["POST"]),
    Route("/clean/apply", apply, methods=["POST"]),
    Route("/clean/undo", undo, methods=["POST"]),
    Route("/clean/cancel", cancel, methods=["POST"]),
]
