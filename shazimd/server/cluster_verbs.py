"""The verbs for a link between hosts; see ``verbs``."""

from __future__ import annotations

from shazimd.server.verbs import LIMIT, Parameter, Reply, Verb, parse_digest, parse_path, parse_true, whole

FOREIGN_BATCH = "foreign"
"""A body: a JSON object with lists of files to put and to remove, and of contents."""

DIGESTS_MAX = 100
"""So many fit into a request's line."""
WORD_MAX = 8192
"""Room for the base64 of the longest path."""


def _digests(text: str) -> list[bytes]:
    try:
        digests = [parse_digest(each) for each in text.split(",")]
    except ValueError as error:
        raise ValueError(f"at most {DIGESTS_MAX} digests of 64 hexadecimal digits, with commas between") from error
    if len(digests) > DIGESTS_MAX:
        raise ValueError(f"at most {DIGESTS_MAX} digests of 64 hexadecimal digits, with commas between")
    return digests


def _word(text: str) -> str:
    if not text or not text.isprintable() or len(text) > WORD_MAX:
        raise ValueError(f"text of at most {WORD_MAX} characters")
    return text


POSITION = Parameter("after", _word, "the position that the page before ended with", {"type": "string"})
WAIT = Parameter("wait", whole(0), "seconds to wait for a change, at most 20", {"type": "integer", "minimum": 0})
CONTENTS = Parameter("contents", _digests, "digests, with commas between", {"type": "string"}, required=True)
HOST = Parameter("host", _word, "name of another host", {"type": "string"}, required=True)
REACHED = Parameter("position", _word, "kept with the files, as one write", {"type": "string"})
WHOLE = Parameter(
    "complete",
    parse_true,
    "refuse files of contents that are neither known nor given, instead of asking for these",
    {"type": "string", "enum": ["true"]},
)
AFTER_PATH = Parameter("after", parse_path, "only files after this path", {"type": "string"})
UNDECIDED_ID = Parameter("id", whole(1), "id of an undecided file", {"type": "integer", "minimum": 1}, required=True)
ORDER = Parameter(
    "order",
    whole(0),
    "files of a greater number do not match; 0: all do",
    {"type": "integer", "minimum": 0},
    required=True,
)

CHANGES = Verb(
    "changes",
    "GET /v1/changes",
    "List changes of this host's files after a position, or all files.",
    Reply("ChangesPage"),
    (POSITION, LIMIT, WAIT),
    admin=True,
)
FINGERPRINTS = Verb(
    "fingerprints",
    "GET /v1/fingerprints",
    "Return the fingerprints of contents, for other hosts.",
    Reply("FingerprintsReply"),
    (CONTENTS,),
    admin=True,
)
FOREIGN = Verb(
    "foreign", "GET /v1/foreign", "List the other hosts that are known here.", Reply("ForeignStatus"), admin=True
)
FOREIGN_PATHS = Verb(
    "foreign_paths",
    "GET /v1/foreign/files",
    "List the files of another host.",
    Reply("ForeignPaths"),
    (HOST, AFTER_PATH, LIMIT),
    admin=True,
)
PUT_FOREIGN = Verb(
    "put_foreign",
    "PUT /v1/foreign",
    "Put and remove files of another host. Answered once durable; doing it again changes nothing.",
    Reply("ForeignReply"),
    (HOST, REACHED, WHOLE),
    FOREIGN_BATCH,
    admin=True,
)
FORGET_FOREIGN = Verb(
    "forget_foreign",
    "DELETE /v1/foreign",
    "Forget all files of another host.",
    Reply("ForgetReply"),
    (HOST,),
    admin=True,
)
DECIDE_FOREIGN = Verb(
    "decide_foreign",
    "POST /v1/foreign",
    "Look for matches of a new file on other hosts, now that all before it are known here.",
    Reply("DecidedReply"),
    (UNDECIDED_ID, ORDER),
    admin=True,
)
CLUSTER_VERBS = (CHANGES, FINGERPRINTS, FOREIGN, FOREIGN_PATHS, PUT_FOREIGN, FORGET_FOREIGN, DECIDE_FOREIGN)
