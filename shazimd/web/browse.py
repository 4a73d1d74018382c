"""Groups in the order that a person sees: read page by page, and stable while decisions are made.

The daemon leaves a decided group out of its next answer. A listing keeps the groups already read: a decided group stays
in its place, and can be returned to.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from shazimd.errors import BadInput
from shazimd.text import SECONDS_MAX, path_bytes
from shazimd.types import digest_of

if TYPE_CHECKING:
    from shazimd.client import Client
    from shazimd.protocol.groups import DuplicateGroup, GroupMember, GroupsPage

PAGE = 60
"""Groups read at once, and shown before the reader scrolls on."""
GROUPS_AT_ONCE = 500
"""Groups read at once for a rule or a clean-up: the most that the daemon sends."""
LISTINGS_MAX = 8
"""Listings kept, for open tabs with other filters."""
TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class ListFilter:
    """The filter of a listing, as in its address."""

    under: str = ""
    verdict: str = ""
    decided: str = ""
    since: str = ""
    """a day, such as 2026-01-31"""
    until: str = ""
    """the last day"""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ListFilter:
        """The filter of a query string or form. Raises BadInput."""
        given = {name: str(values.get(name, "")).strip() for name in cls.__dataclass_fields__}
        if given["verdict"] not in ("", "exact", "copy"):
            raise BadInput(f"verdict is {given['verdict']!r}, expected exact or copy")
        for name in ("since", "until"):
            if given[name]:
                _day(name, given[name])
        if given["under"] and not given["under"].startswith("/"):
            raise BadInput(f"the folder is {given['under']!r}, expected a path that starts with /")
        return cls(**given)

    def query(self, **more: object) -> str:
        """The query string of a link: "?..." or empty."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__} | more
        text = urlencode({name: value for name, value in given.items() if value not in ("", None)})
        return f"?{text}" if text else ""

    def parameters(self) -> dict[str, Any]:
        """The parameters of ``Client.groups``."""
        given: dict[str, Any] = {}
        if self.under:
            given["under"] = self.under.encode("utf-8", "surrogateescape")
        if self.verdict:
            given["verdict"] = self.verdict
        if self.decided:
            given["decided"] = True
        if self.since or self.until:
            since = _midnight(_day("since", self.since)) if self.since else None
            until = _midnight(_day("until", self.until), days=1) if self.until else None
            given["modified"] = since, until
        return given


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{name} is {text!r}, expected a day such as 2026-01-31") from error


def _midnight(day: date, days: int = 0) -> float:
    """The beginning of a day, or of one some days later, in the user's zone: seconds since 1970, as many as the daemon
    takes. A person may type any year."""
    try:
        seconds = time.mktime((day + timedelta(days)).timetuple())
    except OverflowError:
        seconds = SECONDS_MAX
    return max(0.0, min(seconds, SECONDS_MAX - 1))


def pages(client: Client, **parameters: Any) -> Iterator[GroupsPage]:
    """All groups with these parameters of ``Client.groups``, read anew."""
    after = None
    while True:
        page = client.groups(limit=GROUPS_AT_ONCE, after=after, **parameters)
        yield page
        after = page["after"]
        if after is None:
            return


def tag_of(files: Sequence[GroupMember]) -> str:
    """Text that names files in a form, in whatever order: other paths, or other bytes, make another tag."""
    named = sorted(file["content"].encode() + path_bytes(file) for file in files)
    return digest_of(b"\0".join(named))[:TAG_BYTES].hex()


class GroupList:
    """The groups of a filter, read from the daemon as far as they were looked at. Thread-safe."""

    def __init__(self, client: Client, by: ListFilter) -> None:
        self.filter = by
        self.total = 0
        self.saves_bytes = 0
        self.unfinished = 0
        """pictures that are still to be compared with others"""
        self._client = client
        self._lock = threading.Lock()
        self._groups: list[DuplicateGroup] = []
        self._places: dict[str, int] = {}
        self._after: str | None = None
        self._ended = False

    def page(self, offset: int, number: int = PAGE) -> list[DuplicateGroup]:
        """Groups from ``offset``, at most ``number``; fewer at the end."""
        with self._lock:
            while len(self._groups) < offset + number and not self._ended:
                self._read()
            return self._groups[offset : offset + number]

    def has_more(self, offset: int) -> bool:
        return bool(self.page(offset, 1))

    def place(self, group_id: str) -> int | None:
        """The position of a group among those read; None for others."""
        return self._places.get(group_id)

    def at(self, place: int) -> DuplicateGroup | None:
        found = self.page(place, 1) if place >= 0 else []
        return found[0] if found else None

    def _read(self) -> None:
        page = self._client.groups(limit=PAGE, after=self._after, **self.filter.parameters())
        self._after = page["after"]
        self._ended = self._after is None
        self.total = page["total"]
        self.saves_bytes = page["saves_bytes"]
        self.unfinished = page["relations"]["left"]
        for group in page["groups"]:
            if group["id"] not in self._places:
                self._places[group["id"]] = len(self._groups)
                self._groups.append(group)


class GroupLists:
    """The latest listing of each filter. Thread-safe."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._latest: OrderedDict[ListFilter, GroupList] = OrderedDict()

    def anew(self, by: ListFilter) -> GroupList:
        """A listing that asks the daemon again."""
        listing = GroupList(self._client, by)
        listing.page(0)
        with self._lock:
            self._latest[by] = listing
            self._latest.move_to_end(by)
            while len(self._latest) > LISTINGS_MAX:
                self._latest.popitem(last=False)
        return listing

    def of(self, by: ListFilter) -> GroupList:
        """The latest listing of a filter, or a new one."""
        with self._lock:
            known = self._latest.get(by)
        return known or self.anew(by)

    def group(self, by: ListFilter, group_id: str) -> tuple[GroupList, DuplicateGroup]:
        """A group of a listing, or by its id alone. Raises NotFound."""
        listing = self.of(by)
        place = listing.place(group_id)
        found = listing.at(place) if place is not None else None
        if found is None:
            found = self._client.groups(group_id=group_id)["groups"][0]
        return listing, found
