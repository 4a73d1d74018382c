"""The verbs of the HTTP API: the table from which the routes, the OpenAPI document and the client's requests are made.

The client imports this module, and must start fast: hence almost no imports.
"""

from __future__ import annotations

from shazimd.server import parameters as query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shazimd.server.parameters import Parameter

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


if TYPE_CHECKING:
    from typing import TypedDict as Message
else:

    class Message:
        """A TypedDict of required fields, to the type checker and to ``openapi``: typing takes 4 of 34 ms."""


class Reply:
    """The reply of a verb: the name of its type (of a line or event in a stream), None for others.

    The type is in ``protocol``, or a ``Message`` here that one verb alone has."""

    def __init__(
        self, type_name: str | None, media_type: str = JSON, status: int = 200, key: str | None = None
    ) -> None:
        """``key``: the reply is an object that has the service's answer under this key alone."""
        self.type_name = type_name
        self.media_type = media_type
        self.status = status
        self.key = key


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


FIND = Verb(
    "find",
    "POST /v1/find",
    "Find known images like the image in the body.",
    Reply("FindReply"),
    (query.THRESHOLD, query.WEIGHTS, query.LIMIT),
    PICTURE,
)
COMPARE = Verb(
    "compare",
    "POST /v1/compare",
    'Compare two images: the files "a" and "b" of a form.',
    Reply("CompareReply"),
    (query.WEIGHTS,),
    TWO_PICTURES,
)
STATUS = Verb("status", "GET /v1/status", "Report the daemon's state and counts.", Reply("Status"))
ALERTS = Verb(
    "alerts",
    "GET /v1/alerts",
    "List alerts, oldest first.",
    Reply("AlertsReply", key="alerts"),
    (query.SINCE, query.PAGE_LIMIT),
)
STREAM = Verb(
    "events",
    "GET /v1/events",
    'Stream new alerts; with "since" or Last-Event-ID, the missed alerts come first.',
    Reply("Alert", EVENTS),
    (query.MISSED,),
)
RESCAN = Verb(
    "rescan",
    "POST /v1/rescan",
    "Compare a path, or every root, with the disk.",
    Reply("RescanReply", status=202),
    (query.PATH, query.DEEP),
    admin=True,
)
FORGET = Verb(
    "forget",
    "POST /v1/forget",
    "Forget a path with its subtree, or all deleted images, or the image with a digest.",
    Reply("ForgetReply"),
    (query.PATH, query.DELETED, query.CONTENT, query.IGNORE),
    admin=True,
)
LIST_IGNORED = Verb(
    "ignored", "GET /v1/ignored", "List the files and directories that stay out.", Reply("IgnoredReply", key="ignored")
)
UNIGNORE = Verb(
    "unignore",
    "DELETE /v1/ignored",
    "Let an ignored file or directory in again.",
    Reply("RescanReply", status=202),
    (query.REQUIRED_PATH,),
    admin=True,
)
DUPLICATES = Verb(
    "duplicates",
    "GET /v1/duplicates",
    "Stream the groups of duplicates.",
    Reply("DuplicateGroup", JSON_LINES),
    (query.THRESHOLD, query.WEIGHTS, query.LIMIT),
)
GROUPS = Verb(
    "groups",
    "GET /v1/groups",
    "List groups of duplicates with all facts, a page at a time.",
    Reply("GroupsPage"),
    (
        query.GROUPS_LIMIT,
        query.CURSOR,
        query.UNDER,
        query.VERDICT,
        query.DECIDED,
        query.MODIFIED_SINCE,
        query.MODIFIED_UNTIL,
        query.GROUP_ID,
    ),
)
LIST_DECISIONS = Verb(
    "decisions",
    "GET /v1/decisions",
    "List the decisions about images, oldest first.",
    Reply("DecisionsPage", key="decisions"),
    (query.AFTER, query.PAGE_LIMIT),
)
DECIDE = Verb(
    "decide",
    "POST /v1/decisions",
    "Decide that images are no duplicates, that all are to stay, or which to keep: JSON lines, all or none.",
    Reply("DecisionsMade"),
    (query.UNKNOWN,),
    DECISIONS,
    admin=True,
)
UNDO = Verb(
    "undo",
    "DELETE /v1/decisions",
    "Take a decision back.",
    Reply("DecisionMessage"),
    (query.DECISION_ID,),
    admin=True,
)
EXPORT = Verb(
    "export",
    "GET /v1/export",
    "Stream the fingerprints of all files.",
    Reply("ExportedFile", JSON_LINES),
    (query.VECTORS,),
)
FAILED = Verb(
    "failed",
    "GET /v1/failed",
    "Stream the files that could not be read or decoded.",
    Reply("FailedFile", JSON_LINES),
)


class RetryReply(Message):
    retried: int
    """number of failed files that are tried again"""


RETRY_FAILED = Verb(
    "retry_failed",
    "POST /v1/failed",
    "Read the failed files, or those at or below a path, again.",
    Reply("RetryReply", status=202, key="retried"),
    (query.PATH,),
    admin=True,
)
PAIRS = Verb(
    "pairs",
    "GET /v1/pairs",
    "Stream every pair of images at or over the threshold, and the progress.",
    Reply("PairLine", JSON_LINES),
    (query.THRESHOLD, query.WEIGHTS, query.AFTER),
)
MODELS = Verb("models", "GET /v1/models", "List the installed models.", Reply("ModelsReply", key="models"))
INSTALL_MODEL = Verb(
    "install_model",
    "POST /v1/models",
    "Install a model, and stream the steps: of a known handle, or a flatbuffer or tar.gz of a SavedModel in the body.",
    Reply("InstallProgress", JSON_LINES),
    (query.HANDLE,),
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

VERBS = tuple(each for each in list(globals().values()) if isinstance(each, Verb))
