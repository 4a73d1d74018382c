"""The verbs of the HTTP API: the table from which the routes, the OpenAPI document and the client's requests are made.

The client imports this module, and must start fast: hence almost no imports.
"""

from __future__ import annotations

import os

from shazimd.text import parse_threshold, parse_weights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Parser = Callable[[str], Any]

JSON = "application/json"
JSON_LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
TEXT = "text/plain"

PICTURE = "picture"
"""A body: the bytes of an image."""
TWO_PICTURES = "pictures"
"""A body: multipart/form-data with the files ``a`` and ``b``."""
MODEL = "model"
"""A body: the bytes of a model, or nothing."""


DECISIONS = "decisions"
"""A body: JSON lines, each a decision."""


class Parameter:
    """A parameter of the query string. ``parse`` raises ValueError with the expectation alone."""

    def __init__(
        self, name: str, parse: Parser, description: str, schema: dict[str, Any], *, required: bool = False
    ) -> None:
        self.name = name
        self.parse = parse
        self.description = description
        self.schema = schema
        self.required = required


class Reply:
    """The reply of a verb: the name of its type in ``protocol`` (of a line or event in a stream), None for others."""

    def __init__(self, type_name: str | None, media_type: str = JSON, status: int = 200) -> None:
        self.type_name = type_name
        self.media_type = media_type
        self.status = status


class Verb:
    """A method on a path. ``name`` is the name of its handler in the server, and of the client's method."""

    def __init__(
        self,
        name: str,
        route: str,
        summary: str,
        reply: Reply,
        parameters: tuple[Parameter, ...] = (),
        body: str | None = None,
        *,
        admin: bool = False,
    ) -> None:
        """``admin``: the verb changes something, and is for the daemon's admins alone."""
        self.name = name
        self.method, self.path = route.split()
        self.summary = summary
        self.reply = reply
        self.parameters = parameters
        self.body = body
        self.admin = admin


def _weights(text: str) -> tuple[float, float, float]:
    try:
        return parse_weights(text)
    except ValueError as error:
        raise ValueError("three numbers AH,DH,FV that are >= 0 and not all zero") from error


def whole(minimum: int) -> Parser:
    """A parser of whole numbers from ``minimum``, of at most 18 digits."""

    def parse_whole(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= minimum):
            raise ValueError(f"a whole number from {minimum}")
        return int(text)

    return parse_whole


def parse_path(text: str) -> bytes:
    raw = os.fsencode(text)
    if not raw.startswith(b"/") or b"\0" in raw:
        raise ValueError("an absolute path")
    return os.path.normpath(raw)


def parse_true(text: str) -> bool:
    if text != "true":
        raise ValueError("true")
    return True


def parse_digest(text: str) -> bytes:
    if len(text) != 64 or not set(text) <= set("0123456789abcdefABCDEF"):
        raise ValueError("64 hexadecimal digits, as b2sum -l 256 prints them")
    return bytes.fromhex(text)


def _handle(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("a model's URL, or the name of a model in the body")
    return text


def _choice(*words: str) -> Parser:
    """A parser of one word among some."""

    def parse_choice(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return parse_choice


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < SECONDS_MAX:
        raise ValueError("seconds since 1970")
    return value


def _cursor(text: str) -> tuple[int, int]:
    saving, dot, centre = text.partition(".")
    if not (dot and saving.isascii() and saving.isdigit() and centre.isascii() and centre.isdigit() and len(text) < 40):
        raise ValueError('the "after" of a page of groups')
    return -int(saving), int(centre)


_NUMBER_FROM_0 = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
SECONDS_MAX = 1 << 33
"""The year 2242: nanoseconds since 1970 fit 64 bits."""

THRESHOLD = Parameter(
    "threshold",
    parse_threshold,
    "minimum score of a match that geometry does not confirm",
    {"type": "number", "minimum": 0, "maximum": 1},
)
WEIGHTS = Parameter("weights", _weights, "AH,DH,FV: weights of the signals", {"type": "string", "examples": ["1,1,2"]})
LIMIT = Parameter("limit", whole(1), "maximum number of results", {"type": "integer", "minimum": 1})
SINCE = Parameter("since", whole(0), "only alerts with a greater id", _NUMBER_FROM_0)
AFTER = Parameter("after", whole(0), "only contents with a greater id", _NUMBER_FROM_0)
PATH = Parameter("path", parse_path, "absolute, percent-encoded bytes", {"type": "string"})
DEEP = Parameter(
    "deep", parse_true, "read every file, though its stat is unchanged", {"type": "string", "enum": ["true"]}
)
REQUIRED_PATH = Parameter("path", parse_path, "absolute, percent-encoded bytes", {"type": "string"}, required=True)
IGNORE = Parameter("ignore", parse_true, "keep the path out from now on", {"type": "string", "enum": ["true"]})
DELETED = Parameter("deleted", parse_true, "forget all contents without files", {"type": "string", "enum": ["true"]})
CONTENT = Parameter(
    "content",
    parse_digest,
    "BLAKE2b-256 digest of the file's bytes",
    {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
)
HANDLE = Parameter(
    "handle",
    _handle,
    "the configured handle, or a URL; with a body the name for the model in it, see shazimd.toml(5)",
    {"type": "string"},
    required=True,
)

CURSOR = Parameter("after", _cursor, "the position that the page before ended with", {"type": "string"})
UNDER = Parameter("under", parse_path, "only groups with a file below this directory", {"type": "string"})
MODIFIED_SINCE = Parameter(
    "modified_since", _seconds, "only groups with a file modified then or later, in seconds since 1970", _SECONDS
)
MODIFIED_UNTIL = Parameter("modified_until", _seconds, "and that file modified before", _SECONDS)
VERDICT = Parameter(
    "verdict",
    _choice("exact", "copy"),
    "only groups with such a file",
    {"type": "string", "enum": ["exact", "copy"]},
)
DECIDED = Parameter(
    "decided",
    parse_true,
    "the groups with a decision about the file to keep, instead of those without",
    {"type": "string", "enum": ["true"]},
)
GROUP_ID = Parameter(
    "id",
    parse_digest,
    "only the group with this id, whatever else is given",
    {"type": "string", "pattern": "^[0-9a-f]{64}$"},
)
DECISION_ID = Parameter("id", whole(1), "id of a decision", {"type": "integer", "minimum": 1}, required=True)
UNKNOWN = Parameter(
    "unknown",
    _choice("accept"),
    "an import: contents need not be known, and the uid and time of a line count",
    {"type": "string", "enum": ["accept"]},
)

FIND = Verb(
    "find",
    "POST /v1/find",
    "Find known images like the image in the body.",
    Reply("FindReply"),
    (THRESHOLD, WEIGHTS, LIMIT),
    PICTURE,
)
COMPARE = Verb(
    "compare",
    "POST /v1/compare",
    'Compare two images: the files "a" and "b" of a form.',
    Reply("CompareReply"),
    (WEIGHTS,),
    TWO_PICTURES,
)
STATUS = Verb("status", "GET /v1/status", "Report the daemon's state and counts.", Reply("Status"))
ALERTS = Verb("alerts", "GET /v1/alerts", "List alerts, oldest first.", Reply("AlertsReply"), (SINCE, LIMIT))
STREAM = Verb(
    "events",
    "GET /v1/events",
    'Stream new alerts; with "since" or Last-Event-ID, the missed alerts come first.',
    Reply("Alert", EVENTS),
    (SINCE,),
)
RESCAN = Verb(
    "rescan",
    "POST /v1/rescan",
    "Compare a path, or every root, with the disk.",
    Reply("RescanReply", status=202),
    (PATH, DEEP),
    admin=True,
)
FORGET = Verb(
    "forget",
    "POST /v1/forget",
    "Forget a path with its subtree, or all deleted images, or the image with a digest.",
    Reply("ForgetReply"),
    (PATH, DELETED, CONTENT, IGNORE),
    admin=True,
)
LIST_IGNORED = Verb(
    "ignored", "GET /v1/ignored", "List the files and directories that stay out.", Reply("IgnoredReply")
)
UNIGNORE = Verb(
    "unignore",
    "DELETE /v1/ignored",
    "Let an ignored file or directory in again.",
    Reply("RescanReply", status=202),
    (REQUIRED_PATH,),
    admin=True,
)
DUPLICATES = Verb(
    "duplicates",
    "GET /v1/duplicates",
    "Stream the groups of duplicates.",
    Reply("DuplicateGroup", JSON_LINES),
    (THRESHOLD, WEIGHTS, LIMIT),
)
GROUPS = Verb(
    "groups",
    "GET /v1/groups",
    "List groups of duplicates with all facts, a page at a time.",
    Reply("GroupsPage"),
    (LIMIT, CURSOR, UNDER, VERDICT, DECIDED, MODIFIED_SINCE, MODIFIED_UNTIL, GROUP_ID),
)
LIST_DECISIONS = Verb(
    "decisions",
    "GET /v1/decisions",
    "List the decisions about images, oldest first.",
    Reply("DecisionsPage"),
    (AFTER, LIMIT),
)
DECIDE = Verb(
    "decide",
    "POST /v1/decisions",
    "Decide that images are no duplicates, that all are to stay, or which to keep: JSON lines, all or none.",
    Reply("DecisionsMade"),
    (UNKNOWN,),
    DECISIONS,
    admin=True,
)
UNDO = Verb(
    "undo",
    "DELETE /v1/decisions",
    "Take a decision back.",
    Reply("DecisionMessage"),
    (DECISION_ID,),
    admin=True,
)
VECTORS = Parameter(
    "vectors", parse_true, "with the feature vectors of the present model", {"type": "string", "enum": ["true"]}
)
EXPORT = Verb(
    "export",
    "GET /v1/export",
    "Stream the fingerprints of all files.",
    Reply("ExportedFile", JSON_LINES),
    (VECTORS,),
)
FAILED = Verb(
    "failed",
    "GET /v1/failed",
    "Stream the files that could not be read or decoded.",
    Reply("FailedFile", JSON_LINES),
)
RETRY_FAILED = Verb(
    "retry_failed",
    "POST /v1/failed",
    "Read the failed files, or those at or below a path, again.",
    Reply("RetryReply", status=202),
    (PATH,),
    admin=True,
)
PAIRS = Verb(
    "pairs",
    "GET /v1/pairs",
    "Stream every pair of images at or over the threshold, and the progress.",
    Reply("PairLine", JSON_LINES),
    (THRESHOLD, WEIGHTS, AFTER),
)
MODELS = Verb("models", "GET /v1/models", "List the installed models.", Reply("ModelsReply"))
INSTALL_MODEL = Verb(
    "install_model",
    "POST /v1/models",
    "Install a model, and stream the steps: of a known handle, or a flatbuffer or tar.gz of a SavedModel in the body.",
    Reply("InstallProgress", JSON_LINES),
    (HANDLE,),
    MODEL,
    admin=True,
)
RELOAD = Verb(
    "reload",
    "POST /v1/reload",
    "Read the configuration again; a broken one changes nothing.",
    Reply("ReloadReply"),
    admin=True,
)
COMPACT = Verb(
    "compact",
    "POST /v1/compact",
    "Give the space of removed rows back to the disk.",
    Reply("CompactReply"),
    admin=True,
)
METRICS = Verb("metrics", "GET /metrics", "Return the metrics in the Prometheus text format.", Reply(None, TEXT))
HEALTHZ = Verb(
    "healthz", "GET /healthz", "Answer 200 while queries are answered, 503 while starting or draining.", Reply("Health")
)
OPENAPI = Verb("openapi", "GET /openapi.json", "Return this description.", Reply(None))

VERBS = (
    FIND,
    COMPARE,
    STATUS,
    ALERTS,
    STREAM,
    RESCAN,
    FORGET,
    LIST_IGNORED,
    UNIGNORE,
    DUPLICATES,
    GROUPS,
    LIST_DECISIONS,
    DECIDE,
    UNDO,
    EXPORT,
    FAILED,
    RETRY_FAILED,
    PAIRS,
    MODELS,
    INSTALL_MODEL,
    RELOAD,
    COMPACT,
    METRICS,
    HEALTHZ,
    OPENAPI,
)
