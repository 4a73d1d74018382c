"""Routes of the groups: the list, a pair, and the pictures."""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shazimd.errors import BadInput, ShazimdError
from shazimd.text import path_bytes, path_fields, readable
from shazimd.types import digest_of
from shazimd.web import words
from shazimd.web.browse import PAGE, GroupList, ListFilter
from shazimd.web.page import Page, page_of, whole
from shazimd.web.pictures import SIDES, ReadPicture, problem_with
from shazimd.web.places import host_of

if TYPE_CHECKING:
    from shazimd.protocol.groups import DuplicateGroup

FILMSTRIP_MAX = 60
"""Members of a group shown beside a pair."""

BROKEN = """<svg xmlns="http://www.w3.org/2000/svg" width="320" height="240" viewBox="0 0 320 240">
<rect width="320" height="240" fill="#8884"/><g fill="none" stroke="#888" stroke-width="3">
<rect x="128" y="72" width="64" height="52" rx="5"/><path d="M128 112l20-18 16 14 10-8 18 16M120 132l80-68"/></g>
<text x="160" y="164" font-family="sans-serif" font-size="15" fill="#888" text-anchor="middle">%s</text></svg>"""
"""Shown in place of a picture: browsers show the picture in an error response as well."""
ELSEWHERE = """<svg xmlns="http://www.w3.org/2000/svg" width="320" height="240" viewBox="0 0 320 240">
<rect width="320" height="240" fill="#8884"/><g fill="none" stroke="#888" stroke-width="3">
<rect x="104" y="60" width="112" height="26" rx="5"/><rect x="104" y="92" width="112" height="26" rx="5"/>
<path d="M116 73h10M116 105h10"/></g><g font-family="sans-serif" font-size="15" fill="#888" text-anchor="middle">
<text x="160" y="148">on {host}</text><text x="160" y="170">{name}</text></g></svg>"""
"""Shown in place of a picture of another host, which is not read from here."""
NAME_SHOWN = 36
"""Characters that fit into it."""


def show_groups(request: Request) -> Response:
    """The list of groups; asked anew from the daemon unless a further page is wanted."""
    page = page_of(request)
    by = ListFilter.of(request.query_params)
    offset = whole(request.query_params, "offset", below=10**9, default="0")
    listing = page.listings.of(by) if offset else page.listings.anew(by)
    groups = listing.page(offset)
    return page.templates.page(
        "groups.html",
        tab="groups",
        groups=groups,
        listing=listing,
        filter=by,
        made=page.made,
        offset=offset,
        more=offset + PAGE if listing.has_more(offset + PAGE) else None,
        status=page.client.status(),
    )


def show_pair(request: Request) -> Response:
    """A group: its first file beside another member."""
    page = page_of(request)
    by = ListFilter.of(request.query_params)
    listing, group = page.listings.group(by, request.path_params["id"])
    number = min(max(whole(request.query_params, "with", default="1"), 1), len(group["members"]) - 1)
    return page.templates.page("pair.html", tab="groups", **pair_values(page, listing, group, number))


def pair_values(page: Page, listing: GroupList, group: DuplicateGroup, number: int) -> dict[str, Any]:
    """The values of the template of a pair: the first file and the member at ``number``."""
    first, member = group["members"][0], group["members"][number]
    place = listing.place(group["id"])
    neighbours = [None if place is None else listing.at(place + step) for step in (-1, 1)]
    return {
        "group": group,
        "first": first,
        "member": member,
        "number": number,
        "filter": listing.filter,
        "listing": listing,
        "place": place,
        "before": neighbours[0],
        "after": neighbours[1],
        "made": page.made,
        "facts": words.facts([first, member]),
        "problems": [problem_with(path_bytes(each)) for each in (first, member)],
        "strip": group["members"][:FILMSTRIP_MAX],
        "geometry": _geometry(group, number),
    }


def show_comparison(request: Request) -> Response:
    """Any two files that the page has shown, such as a new arrival and its match; compared by the daemon now."""
    page = page_of(request)
    paths = [page.pictures.path_of(request.path_params[name]) for name in ("first", "member")]
    pictures = [page.pictures.read(path) for path in paths]
    members = [_member(path, picture) for path, picture in zip(paths, pictures, strict=True)]
    names = [readable(path) for path in paths]
    found: dict[str, Any] = dict(page.client.compare(pictures[1].data, pictures[0].data, names=names[::-1]))
    if members[0]["content"] == members[1]["content"]:
        found["verdict"] = "exact"
    members[1] |= {name: found[name] for name in found.keys() - {"weights", "model", "took_ms"}}
    alone = GroupList(page.client, ListFilter())
    group: Any = {"id": "", "saves_bytes": 0, "members": members}
    return page.templates.page("pair.html", tab="new", **pair_values(page, alone, group, 1))


def _member(path: bytes, picture: ReadPicture) -> dict[str, Any]:
    """A file as a member of a group, without a relation."""
    return {
        **path_fields(path),
        "content": digest_of(picture.data).hex(),
        "width": picture.width,
        "height": picture.height,
        "size_bytes": len(picture.data),
        "mtime": picture.mtime,
        "verdict": None,
    }


def _geometry(group: DuplicateGroup, number: int) -> dict[str, Any]:
    """The sizes and the map, for the script that lays one picture over the other."""
    first, member = group["members"][0], group["members"][number]
    placed = member.get("mapping")
    if placed is None and member["verdict"] == "exact":
        placed = {"scale": 1.0, "rotation_deg": 0.0, "mirrored": False, "region": (0.0, 0.0, 1.0, 1.0)}
    return {"a": [first["width"], first["height"]], "b": [member["width"], member["height"]], "map": placed}


async def send_picture(request: Request) -> Response:
    """A file as a JPEG; an error is shown as a picture with the reason."""
    page = page_of(request)
    size = request.path_params["size"]
    try:
        if size not in SIDES:
            raise BadInput(f"the size is {size}, expected one of: {', '.join(SIDES)}")
        path = page.pictures.path_of(request.path_params["link"])
        if host := host_of(path):
            return Response(_elsewhere(host, path), media_type="image/svg+xml")
        key = await run_in_threadpool(page.pictures.key, path, size)
        headers = {"ETag": f'"{key}"', "Cache-Control": _caching(request)}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        picture = await run_in_threadpool(page.pictures.get, path, size)
    except ShazimdError as error:
        return Response(BROKEN % _short(error), 404, media_type="image/svg+xml")
    return Response(picture.jpeg, headers=headers | {"ETag": f'"{picture.key}"'}, media_type="image/jpeg")


def _elsewhere(host: str, path: bytes) -> str:
    name = readable(os.path.basename(path))
    short = name if len(name) <= NAME_SHOWN else f"…{name[1 - NAME_SHOWN :]}"
    return ELSEWHERE.format(host=escape(host), name=escape(short))


def _caching(request: Request) -> str:
    """A link with the version of the file is good for its picture alone: the next pair is painted without asking."""
    return "private, max-age=86400, immutable" if request.query_params.get("v") else "private, no-cache"


async def send_points(request: Request) -> Response:
    """The matched points of two files as JSON."""
    page = page_of(request)
    first, member = (page.pictures.path_of(request.path_params[name]) for name in ("first", "member"))
    return JSONResponse({"points": await run_in_threadpool(page.pictures.matched_points, first, member)})


def _short(error: ShazimdError) -> str:
    """The kind of an error in two words, for a picture: no text of a file name gets in here."""
    return {
        "not_found": "No longer there",
        "unreadable": "Not readable",
        "too_large": "Too large to show",
        "not_an_image": "Can't be decoded",
    }.get(error.code, "Can't be shown")


ROUTES = [
    Route("/", show_groups),
    Route("/group/{id}", show_pair),
    Route("/picture/{size}/{link}", send_picture),
    Route("/points/{first}/{member}", send_points),
    Route("/compare/{first}/{member}", show_comparison),
]
