"""State shared by the routes of the page."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from starlette.requests import Request

from shazimd.errors import BadInput, NotFound

if TYPE_CHECKING:
    from shazimd.client import Client
    from shazimd.web.browse import GroupLists
    from shazimd.web.cleanup import CleanUp
    from shazimd.web.live import LiveHub
    from shazimd.web.pictures import ScreenPictures
    from shazimd.web.render import Templates


T = TypeVar("T")


class MadeDecisions(NamedTuple):
    """Decisions made together on this page, which are undone together."""

    ids: list[int]
    groups: list[str]
    """ids of the groups, one for each decision"""
    words: str
    keep: str = ""
    """tag of the kept file; empty for other kinds and for many groups"""


class MadeHere:
    """The decisions made on this page since its start, for undo and for marks in the lists. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: list[MadeDecisions] = []
        self._of: dict[str, MadeDecisions] = {}

    def add(self, made: MadeDecisions) -> None:
        with self._lock:
            self._made.append(made)
            self._of.update(dict.fromkeys(made.groups, made))

    def of(self, group_id: str) -> MadeDecisions | None:
        """The decision on a group."""
        return self._of.get(group_id)

    def latest(self) -> MadeDecisions | None:
        return self._made[-1] if self._made else None

    def set_apart(self, group_id: str) -> None:
        """Make the decision on a group one of its own: those made together with it stay when it is undone."""
        with self._lock:
            made = self._of.get(group_id)
            if made is None or len(made.groups) == 1:
                return
            place = made.groups.index(group_id)
            rest = made._replace(ids=_without(made.ids, place), groups=_without(made.groups, place))
            self._made[self._made.index(made)] = rest
            self._of.update(dict.fromkeys(rest.groups, rest))
            own = made._replace(ids=[made.ids[place]], groups=[group_id])
            self._made.append(own)
            self._of[group_id] = own

    def take(self, group_id: str | None = None) -> MadeDecisions:
        """Remove and return the latest, or the one on a group. Raises NotFound when there is none."""
        with self._lock:
            made = self._of.get(group_id) if group_id else (self._made[-1] if self._made else None)
            if made is None:
                raise NotFound("Nothing to undo: no decision was made since this page was started.")
            self._made.remove(made)
            for group in made.groups:
                if self._of.get(group) is made:
                    del self._of[group]
            return made


def _without(values: list[T], place: int) -> list[T]:
    return values[:place] + values[place + 1 :]


@dataclass(frozen=True, slots=True)
class Page:
    """The parts of the page's process."""

    client: Client
    pictures: ScreenPictures
    listings: GroupLists
    live: LiveHub
    clean: CleanUp
    templates: Templates
    made: MadeHere = field(default_factory=MadeHere)
    plans: dict[str, Any] = field(default_factory=dict)
    """previewed decisions by the id of their preview"""


def page_of(request: Request) -> Page:
    page: Page = request.app.state.page
    return page


def whole(
    given: Mapping[str, Any], name: str, expected: str = "a whole number", below: int = 10**18, default: str = ""
) -> int:
    """A whole number of a query string or form. Raises BadInput."""
    text = str(given.get(name) or default)
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) < below):
        raise BadInput(f"{name} is {text!r}, expected {expected}")
    return int(text)


def wants_json(request: Request) -> bool:
    """Whether the page's script asks, rather than a person without it."""
    return "application/json" in request.headers.get("accept", "")
