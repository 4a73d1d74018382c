"""Rules that decide many groups: which file of a group to keep. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from shazimd.errors import BadInput
from shazimd.text import path_bytes

if TYPE_CHECKING:
    from shazimd.protocol.groups import DuplicateGroup, GroupMember

RULES = {
    "suggested": "keep the suggested file",
    "largest": "keep the file with the most pixels",
    "oldest": "keep the file taken or modified first",
    "newest": "keep the file taken or modified last",
    "below": "keep the file below a folder",
    "not_duplicates": "they are not duplicates",
    "leave": "leave all files alone",
}


class Ruled(NamedTuple):
    """The outcome of a rule for a group: a decision, or the reason for none."""

    group: DuplicateGroup
    decision: dict[str, Any] | None
    keep: int | None
    """position of the kept file"""
    reason: str = ""


def apply_rule(rule: str, group: DuplicateGroup, folder: bytes = b"") -> Ruled:
    """Apply a rule of ``RULES``. Raises BadInput for another rule."""
    if rule in ("not_duplicates", "leave"):
        return Ruled(group, decision(group, rule), None)
    if rule not in RULES:
        raise BadInput(f"the rule is {rule!r}, expected one of: {', '.join(RULES)}")
    place = _kept(rule, group["members"], folder)
    if place is None:
        return Ruled(group, None, None, "no file, or more than one, fits the rule")
    return Ruled(group, decision(group, "keep", place), place)


def decision(
    group: DuplicateGroup, kind: str, keep: int | None = None, of: Sequence[int] | None = None
) -> dict[str, Any]:
    """A decision on a group as the daemon takes it.

    ``keep`` is the position of the kept file; ``of`` are the positions that it is about, by default all. Files of the
    same bytes can only be left alone: no two contents are there to be told apart."""
    members = group["members"]
    about = [members[n] for n in of] if of is not None else members
    contents = list(dict.fromkeys(member["content"] for member in about))
    if kind == "not_duplicates" and len(contents) < 2:
        kind = "leave"
    made: dict[str, Any] = {"kind": kind, "contents": contents}
    if keep is not None:
        kept = members[keep]
        made["keep"] = kept["content"]
        if sum(member["content"] == kept["content"] for member in members) > 1:
            made |= {f"keep_{name}": kept[name] for name in ("path", "path_b64") if name in kept}
    return made


def _kept(rule: str, members: Sequence[GroupMember], folder: bytes) -> int | None:
    """The position of the file that the rule keeps; None unless exactly one file fits."""
    if rule == "suggested":
        return 0
    if rule == "below":
        fitting = [_is_below(member, folder) for member in members]
    elif rule == "largest":
        pixels = [member["width"] * member["height"] for member in members]
        fitting = [count == max(pixels) for count in pixels]
    else:
        taken = [_taken(member) for member in members]
        best = min(taken) if rule == "oldest" else max(taken)
        fitting = [time == best for time in taken]
    return fitting.index(True) if sum(fitting) == 1 else None


def _is_below(member: GroupMember, folder: bytes) -> bool:
    return path_bytes(member).startswith(folder.rstrip(b"/") + b"/")


def _taken(member: GroupMember) -> str:
    """The capture date, else the time of the last change, as text that sorts by time."""
    facts = member.get("facts")
    if facts and facts["captured"]:
        return facts["captured"]
    return f"{datetime.fromtimestamp(member['mtime']).astimezone():%Y:%m:%d %H:%M:%S}"
