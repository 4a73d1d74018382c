"""The verbs for a link between hosts; see ``verbs``."""

from __future__ import annotations

from shazimd.server.parameters import (
    ABSOLUTE_PATH,
    ASCII_TEXT,
    DIGEST,
    HEXADECIMAL,
    NUMBER,
    ORDINAL,
    PAGE_LIMIT,
    TRUE,
    Parameter,
    parse_digest,
    text,
    whole,
)
from shazimd.server.verbs import Reply, Verb

FOREIGN_BATCH = "foreign"
"""A body: an object with lists of files to put and to remove, and of contents, in JSON or MessagePack."""
PACKED = "application/msgpack"
"""MessagePack has bytes as they are; JSON has them in base64."""

DIGESTS_MAX = 100
"""So many fit into a request's line."""
WAIT_S_MAX = 20
WORD_MAX = 8192
"""Room for the base64 of the longest path."""


def _digests(given: str) -> list[bytes]:
    expected = f"at most {DIGESTS_MAX} digests of 64 hexadecimal digits, with commas between"
    try:
        digests = [parse_digest(each) for each in given.split(",")]
    except ValueError as error:
        raise ValueError(expected) from error
    if len(digests) > DIGESTS_MAX:
        raise ValueError(expected)
    return digests


def _word(given: str) -> str:
    if not given or not given.isprintable() or len(given) > WORD_MAX:
        raise ValueError(f"text of at most {WORD_MAX} characters")
    return given


WORD = text(_word, ASCII_TEXT, maxLength=WORD_MAX)
HOST_NAME = "^[a-z0-9][a-z0-9.-]{0,62}$"

POSITION = Parameter("after", WORD, "the position that the page before ended with")
WAIT = Parameter("wait", whole(0, WAIT_S_MAX), f"seconds to wait for a change, at most {WAIT_S_MAX}", default=0)
CONTENTS = Parameter(
    "contents",
    text(_digests, f"^{HEXADECIMAL}{{64}}(,{HEXADECIMAL}{{64}}){{0,{DIGESTS_MAX - 1}}}$"),
    "digests, with commas between",
    required=True,
)
HOST = Parameter("host", text(_word, HOST_NAME), "name of another host", required=True)
REACHED = Parameter("position", WORD, "kept with the files, as one write")
WHOLE = Parameter(
    "complete",
    TRUE,
    "refuse files of contents that are neither known nor given, instead of asking for these",
    default=False,
)
AFTER_PATH = Parameter("after", ABSOLUTE_PATH, "only files after this path")
UNDECIDED_ID = Parameter("id", ORDINAL, "id of an undecided file", required=True)
UNDECIDED_CONTENT = Parameter(
    "content", DIGEST, "its digest: once a store comes from a backup, the id may be another file's", required=True
)
ORDER = Parameter("order", NUMBER, "files of a greater number do not match; 0: all do", required=True)

BEHIND = Parameter("changes", NUMBER, "changes that are still to be brought; 0: all is here", required=True)

CHANGES = Verb(
    "changes",
    "GET /v1/changes",
    "List changes of this host's files after a position, or all files.",
    Reply("ChangesPage"),
    (POSITION, PAGE_LIMIT, WAIT),
    admin=True,
)
FINGERPRINTS = Verb(
    "fingerprints",
    "GET /v1/fingerprints",
    "Return the fingerprints of contents, for other hosts.",
    Reply("FingerprintsReply", key="fingerprints"),
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
    Reply("ForeignPaths", key="paths"),
    (HOST, AFTER_PATH, PAGE_LIMIT),
    admin=True,
)
MISSING_CONTENTS = Verb(
    "missing_contents",
    "POST /v1/foreign/missing",
    "List the contents of files of another host that are neither known nor given.",
    Reply("MissingReply"),
    (HOST,),
    FOREIGN_BATCH,
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
LINK_IS_BEHIND = Verb(
    "link_is_behind",
    "PUT /v1/foreign/behind",
    "Say how many changes of other hosts are still to be brought, for the status and the metrics.",
    Reply("BehindReply"),
    (BEHIND,),
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
    (UNDECIDED_ID, ORDER, UNDECIDED_CONTENT),
    admin=True,
)
WANTED_FEATURES = Verb(
    "wanted_features",
    "GET /v1/foreign/features",
    "List contents of other hosts whose local features searches wait for.",
    Reply("WantedReply"),
    (WAIT,),
    admin=True,
)
PUT_FEATURES = Verb(
    "put_features",
    "PUT /v1/foreign/features",
    "Hand local features to the searches that wait for them.",
    Reply("WantedReply"),
    (),
    FOREIGN_BATCH,
    admin=True,
)
CLUSTER_VERBS = tuple(each for each in list(globals().values()) if isinstance(each, Verb))
