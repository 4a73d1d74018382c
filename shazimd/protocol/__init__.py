"""The messages of the HTTP API, version 1, as JSON.

Within a version, fields are added, never renamed or removed; clients must ignore unknown fields. A path has two fields:
``path`` is readable, and ``path_b64``, present only for paths that are not UTF-8, has the exact bytes.

Here are the answers about pictures and the common parts; ``status``, ``groups`` and ``cluster`` have the others.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

VerdictName = Literal["exact", "copy", "variant", "scene", "similar"]


class PathFields(TypedDict):
    path: str
    path_b64: NotRequired[str]


class Scores(TypedDict):
    """The score and the similarities of the signals, in [0, 1]: 1 means same, null a missing signal."""

    score: float
    dah: float | None
    ddh: float | None
    dfv: float | None


class PairSimilarities(TypedDict, total=False):
    """The similarities of ``Scores``, where there may be none."""

    dah: float | None
    ddh: float | None
    dfv: float | None


class Placement(TypedDict):
    """Position of the query in the match."""

    scale: float
    rotation_deg: float
    mirrored: bool
    region: tuple[float, float, float, float]
    """left, top, right, bottom of the query in the match, as fractions of the match's size"""


class Region(TypedDict):
    """A region with different content, in each picture: left, top, right, bottom as fractions of its size."""

    query: tuple[float, float, float, float]
    match: tuple[float, float, float, float]


class DiffersMessage(TypedDict):
    """Different content of a variant."""

    share: float
    """of the overlap of the two pictures, in [0, 1]"""
    regions: list[Region]


class Geometry(TypedDict, total=False):
    """The result of verification; empty without verification."""

    inliers: int
    agreement: float | None
    mapping: Placement | None
    differs: DiffersMessage | None
    """of a variant: the regions with different content"""


class FoundImage(PathFields, Scores, Geometry):
    """A known image file in the reply to a query."""

    verdict: VerdictName
    width: int
    height: int
    damaged: NotRequired[bool]
    """true for a file that ends early or has broken parts; absent otherwise"""


class FindReply(TypedDict):
    """The matches of a picture, best first, at most 10,000; and the parameters in force, defaults filled in."""

    threshold: float
    weights: tuple[float, ...]
    model: str | None
    complete: bool
    """false before the end of the first scan of every reachable root: matches may be missing"""
    known_images: int
    """image files known at the time of the answer"""
    took_ms: float
    damaged: NotRequired[bool]
    """true where the picture asked about ends early or has broken parts; absent otherwise"""
    unverified: NotRequired[int]
    """likely matches of other hosts that are judged by hashes and vector alone, since their local features are in the
    cluster's database and did not come in time; absent for none"""
    matches: list[FoundImage]


class CompareReply(Scores, Geometry):
    """The comparison of two pictures; ``verdict`` is null without a relation."""

    verdict: VerdictName | None
    weights: tuple[float, ...]
    model: str | None
    took_ms: float


class Alert(PathFields, Scores):
    """A new file has matches; ``match`` is the best of them. Told at least once: ``id`` recognises a repeat."""

    id: int
    """Grows, with gaps; no other alert ever has it, also after a restore. The log names it ``alert_id``."""
    time: NotRequired[str]
    """RFC 3339, UTC"""
    match: str
    match_b64: NotRequired[str]
    verdict: VerdictName
    matches: int
    took_ms: float
    differs: NotRequired[DiffersMessage | None]
    """of a variant: the regions with different content"""
    bank: NotRequired[str]
    """the directory of ``only_against`` that has the match; absent for a root without"""
    bank_b64: NotRequired[str]
    damaged: NotRequired[bool]
    """true where the new file ends early or has broken parts; absent otherwise"""


class AlertsReply(TypedDict):
    """Oldest first. Ask again with ``since`` of the last ``id`` until the list is empty."""

    alerts: list[Alert]


class ExportedFile(PathFields):
    """A file and its fingerprint."""

    content: str
    """BLAKE2b-256 digest of the file's bytes, hexadecimal"""
    size_bytes: int
    mtime: float
    width: int
    height: int
    format: str
    ah: str | None
    """average hash, 16 hexadecimal digits"""
    dh: str | None
    pixels: str | None
    """hash of the pixels, hexadecimal; null when unknown"""
    low_information: bool
    model: str | None
    vector: str | None
    """feature vector: base64 of float32, little-endian; null unless asked for"""


class FailedFile(PathFields):
    """A file that could not be read or decoded."""

    code: str
    reason: str
    size_bytes: int | None
    since: float | None
    """seconds since 1970; null when not recorded"""


class PairLine(PairSimilarities):
    """A line of a self-join: a pair, smaller content id second; or, with only ``after``, the progress."""

    after: int
    """parameter to resume from here: all pairs of contents up to this id are in earlier lines"""
    path: NotRequired[str]
    path_b64: NotRequired[str]
    match: NotRequired[str]
    match_b64: NotRequired[str]
    score: NotRequired[float]


class RescanReply(TypedDict):
    """The path to be compared with the disk; null for every root."""

    path: str | None
    path_b64: NotRequired[str]


class ReloadReply(TypedDict):
    """The configuration was read again and is in force."""

    roots: list[str]
    restart_needed: list[str]
    """changed tables of the configuration not applied before a restart: of the daemon, for ``hook`` of the hooks' own
    process, named by the first reload after the change; for ``cluster`` of the link, too"""


class CompactReply(TypedDict):
    """Sizes of the store on the disk."""

    before_bytes: int
    after_bytes: int


class ForgetReply(TypedDict):
    forgotten: int
    """number of files for a path or a host; else of pictures, by their bytes, of which all was removed"""
    comes_back: bool
    """the path still lies in a root: it is indexed, and told of, again after its next change or scan"""
    held_by: NotRequired[list[str]]
    """for a digest: other hosts with the picture, which stays known for them; this host's files are forgotten"""


class IgnoredReply(TypedDict):
    """Files and directories that were forgotten and stay out."""

    ignored: list[PathFields]


class ErrorDetail(TypedDict):
    code: str
    message: str


class ErrorReply(TypedDict):
    """Every response with a status of 400 or more; also the last line of a stream after an error."""

    error: ErrorDetail
