"""A relation of two files, and their facts, in words. Pure.

The first file of a group is the reference: another member is the query of its map, the first is the match.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from shazimd.text import RELATED, size
from shazimd.web.places import folder_text, name_text

if TYPE_CHECKING:
    from shazimd.protocol import Placement
    from shazimd.protocol.groups import GroupMember

WHOLE = 0.97
"""A region with at least this share of the other picture is all of it: the map is accurate to some pixels of 256."""
TURN_DEG = 0.7
EDGE = 0.02
"""Fraction of a side by which a box may miss the border."""
SCALE_STEP = 0.03

Box: TypeAlias = tuple[float, float, float, float]
"""(left, top, right, bottom) as fractions of a picture's size."""

UNRELATED = "shows something else than {first}"


class Fact(NamedTuple):
    """A row of the table of facts: the value of each file, None where unknown."""

    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1

    @property
    def is_place(self) -> bool:
        """Two files have two paths: no difference to point at."""
        return self.name in ("Name", "Folder")


def relation(member: GroupMember, first: GroupMember, name: str = "1") -> str:
    """The relation of a member to the first file, such as "is 1, cropped to 62% of it, turned by 90°"."""
    if member.get("content") == first.get("content"):
        return f"is {name}, byte for byte"
    placed = member.get("mapping")
    if member["verdict"] != "copy" or placed is None:
        return RELATED.get(str(member["verdict"]), UNRELATED).format(first=name)
    said = [*_frame(placed), *_turn(placed), *_size(placed, member, first)]
    return f"is {name}, " + (", ".join(said) or "recompressed or retouched")


def _frame(placed: Placement) -> Iterable[str]:
    left, top, right, bottom = placed["region"]
    inside = max(0.0, min(right, 1) - max(left, 0)) * max(0.0, min(bottom, 1) - max(top, 0))
    area = (right - left) * (bottom - top)
    if area - inside > 1 - WHOLE:
        yield "with more around it" if inside >= WHOLE else f"showing {inside:.0%} of it and more around"
    elif inside < WHOLE:
        yield f"cropped to {inside:.0%} of it"


def _turn(placed: Placement) -> Iterable[str]:
    if placed["mirrored"]:
        yield "mirrored"
    turn = placed["rotation_deg"]
    if abs(turn) > TURN_DEG:
        quarter = round(turn / 90) * 90
        yield f"turned by {abs(quarter)}°" if abs(turn - quarter) <= TURN_DEG else f"turned by {abs(turn):.0f}°"


def _size(placed: Placement, member: GroupMember, first: GroupMember) -> Iterable[str]:
    """The pixels of the member for each pixel of the first, along one side."""
    ratio = member["width"] / (placed["scale"] * first["width"]) if placed["scale"] else 1.0
    if ratio < 1 - SCALE_STEP:
        yield f"at {ratio:.0%} of its size"
    elif ratio > 1 + SCALE_STEP:
        yield f"enlarged to {ratio:.0%}"


def outline(member: GroupMember, side: str) -> Box | None:
    """The box to draw on the first file (side "match") or on the member ("query"): the place of the picture that shows
    less in the one that shows more. None for the other side, for pictures that show the same, and for a box that is
    turned by no quarter."""
    placed = member.get("mapping")
    if placed is None or not list(_frame(placed)):
        return None
    left, top, right, bottom = placed["region"]
    if left > -EDGE and top > -EDGE and right < 1 + EDGE and bottom < 1 + EDGE:
        return (left, top, right, bottom) if side == "match" else None
    quarter = round(placed["rotation_deg"] / 90)
    if side == "match" or abs(placed["rotation_deg"] - 90 * quarter) > TURN_DEG:
        return None
    corners = [((x - left) / (right - left) - 0.5, (y - top) / (bottom - top) - 0.5) for x, y in ((0, 0), (1, 1))]
    for _ in range(quarter % 4):  # turned back, counterclockwise
        corners = [(y, -x) for x, y in corners]
    mirror = -1 if placed["mirrored"] else 1
    xs, ys = ([min(1.0, max(0.0, 0.5 + each)) for each in axis] for axis in zip(*corners, strict=True))
    xs = [0.5 + mirror * (x - 0.5) for x in xs]
    return min(xs), min(ys), max(xs), max(ys)


def differences(member: GroupMember) -> str:
    """The regions of a variant that differ, counted; empty for others."""
    differs = member.get("differs")
    if not differs:
        return ""
    number = len(differs["regions"])
    return f"{differs['share']:.0%} of it differs, in {number} {'place' if number == 1 else 'places'}"


def facts(files: Iterable[GroupMember]) -> list[Fact]:
    """The facts of the files side by side; rows without any value are left out."""
    shown = list(files)
    rows = [
        Fact("Name", tuple(name_text(f) for f in shown)),
        Fact("Folder", tuple(_shortened([folder_text(f) for f in shown]))),
        Fact("Pixels", tuple(f"{f['width']:,} × {f['height']:,}" for f in shown)),  # noqa: RUF001 - typography
        Fact("File size", tuple(size(f["size_bytes"]) for f in shown)),
        Fact("Format", tuple(_format(f) for f in shown)),
        Fact("Taken", tuple(_captured(f) for f in shown)),
        Fact("Modified", tuple(date(f["mtime"]) if "mtime" in f else None for f in shown)),
        Fact("Camera", tuple(_facts(f).get("camera") for f in shown)),
        Fact("Other names", tuple(", ".join(name_text(also) for also in f.get("also", [])) or None for f in shown)),
    ]
    return [row for row in rows if any(row.values)]


def _facts(file: GroupMember) -> Mapping[str, Any]:
    """The facts of the picture; empty while the daemon has not read them."""
    return file.get("facts") or {}


def _format(file: GroupMember) -> str | None:
    known, name = _facts(file), file.get("format")
    if name and file.get("damaged"):
        return f"{name}, damaged"
    if name and known.get("jpeg_quality"):
        return f"{name}, quality {known['jpeg_quality']}"
    return f"{name}, lossless" if name and known.get("lossless") else name


def _captured(file: GroupMember) -> str | None:
    captured = _facts(file).get("captured")
    if not captured:
        return None
    day, _, time = str(captured).partition(" ")
    return f"{day.replace(':', '-')} {time[:5]}".strip()


def date(seconds: float) -> str:
    """A time in the user's zone, to the minute."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


def _shortened(folders: list[str]) -> list[str]:
    """Folders without the beginning that all share, where they differ.

    >>> _shortened(["/srv/photos/2024/may", "/srv/photos/inbox"]), _shortened(["/srv/photos", "/srv/photos"])
    (['…/2024/may', '…/inbox'], ['/srv/photos', '/srv/photos'])
    """
    shared = os.path.commonpath(folders)
    if len(set(folders)) == 1 or shared == "/":
        return folders
    return [f"…{folder.removeprefix(shared)}" if folder != shared else folder for folder in folders]
