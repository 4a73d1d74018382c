"""Takes local features that a link brings for the searches that wait for them; see ``search.fetching``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shazimd.errors import BadInput
from shazimd.protocol.groups import HexDigest
from shazimd.search.fetching import WantedFeatures
from shazimd.store.unsound import features_fault
from shazimd.types import UNDECODABLE, decodable
from shazimd.words.packing import VERSION


class FetchedContent(Struct, frozen=True, kw_only=True):
    content: HexDigest
    features: Annotated[bytes, Meta(max_length=1 << 18)]
    """empty where the database has none"""


class FetchedBatch(Struct, frozen=True, kw_only=True):
    """The body of a PUT."""

    contents: list[FetchedContent]


def take(wanted: WantedFeatures, body: bytes) -> None:
    """Hand features to the searches; malformed ones, and those of another version, count as none. Raises BadInput for
    another body."""
    try:
        given = msgspec.json.decode(body, type=decodable(FetchedBatch)).contents
    except UNDECODABLE as error:
        raise BadInput(f"the body is no batch of features: {error}") from error
    wanted.put({bytes.fromhex(each.content): _usable(each.features) for each in given})


def _usable(features: bytes) -> bytes:
    return features if features[:1] == bytes([VERSION]) and not features_fault(features) else b""
