"""Messages about groups of duplicates and persons' decisions about them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta, Struct

from shazimd.protocol import Geometry, PairSimilarities, PathFields, VerdictName
from shazimd.protocol.status import RelationsStatus

DecisionKindName = Literal["not_duplicates", "keep", "leave"]

CONTENTS_MAX = 10_000
PATH_MAX = 4096

HexDigest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class FactsMessage(TypedDict):
    """Facts about a picture, read from its file."""

    camera: str | None
    captured: str | None
    """EXIF capture date, such as "2024:05:01 12:00:00" """
    jpeg_quality: int | None
    """estimated from the quantisation tables"""
    lossless: bool
    grey: bool


class GroupMember(PathFields, Geometry, PairSimilarities):
    """A file of a group of duplicates. Score, verdict and geometry are against the group's first: the query is this
    file, the match the first. They are null in the first itself."""

    also: NotRequired[list[PathFields]]
    """other names of the same file (hard links, bind mounts); they take no space"""
    content: NotRequired[str]
    """BLAKE2b-256 digest of the file's bytes, hexadecimal"""
    width: int
    height: int
    size_bytes: int
    mtime: NotRequired[float]
    """seconds since 1970"""
    format: NotRequired[str]
    damaged: NotRequired[bool]
    """true for a file that ends early or has broken parts; absent otherwise"""
    stays: NotRequired[bool]
    """true for a file whose content a decision of the kind "leave" is about; absent otherwise"""
    score: float | None
    verdict: VerdictName | None
    facts: NotRequired[FactsMessage | None]
    """null until they were read in the background"""


class KeepPath(TypedDict, total=False):
    """The file to keep among several with the same bytes, for the kind "keep"; any of them without it."""

    keep_path: str
    keep_path_b64: str


class DecisionMessage(KeepPath):
    """A person's decision about contents."""

    id: int
    kind: DecisionKindName
    contents: list[str]
    """digests, hexadecimal"""
    keep: str | None
    """digest of the content to keep, for the kind "keep" """
    uid: int | None
    """user id of the peer that decided; null when unknown"""
    time: str
    """RFC 3339, UTC"""
    files: list[DecidedFile]
    """files of these contents at present, at most 100"""


class DecidedFile(PathFields):
    content: str


class DecisionsPage(TypedDict):
    """Oldest first. Ask again with ``after`` of the last ``id`` until the list is empty."""

    decisions: list[DecisionMessage]


class DecisionsMade(TypedDict):
    ids: list[int]
    """one for each line of the request, in order; a decision made before keeps its id"""


class DuplicateGroup(TypedDict):
    """Files with the same picture. The first is to keep; the others are duplicates of the first, not of each other."""

    id: NotRequired[str]
    """a digest that names the group while its central file exists"""
    saves_bytes: int
    files: NotRequired[int]
    """number of files, also of those not listed"""
    reason: NotRequired[str]
    """for keeping the first, in words"""
    decision: NotRequired[int | None]
    """id of the decision that names the file to keep"""
    members: list[GroupMember]


class GroupsPage(TypedDict):
    """Groups of duplicates, largest saving first."""

    groups: list[DuplicateGroup]
    """members are at most 200 of each group"""
    after: str | None
    """parameter for the next page; null after the last"""
    total: int
    saves_bytes: int
    """of all groups that pass the filter, like ``total``"""
    relations: RelationsStatus


class DecisionLine(Struct, frozen=True):
    """A line of a request to decide. Other fields, such as the files in an export, are ignored."""

    kind: DecisionKindName
    contents: Annotated[list[HexDigest], Meta(min_length=1, max_length=CONTENTS_MAX)]
    keep: HexDigest | None = None
    keep_path: Annotated[str, Meta(max_length=PATH_MAX)] = ""
    keep_path_b64: Annotated[str, Meta(max_length=2 * PATH_MAX)] = ""
    uid: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    time: Annotated[str, Meta(max_length=40)] = ""
