"""Messages between a daemon and the link to other hosts."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from shazimd.protocol import PathFields


class ChangedFile(PathFields):
    """The present state of a file that changed."""

    content: str | None
    """BLAKE2b-256 digest of the file's bytes, hexadecimal; null for a file that is gone or can't be decoded"""
    made: str
    """how its fingerprint was made: another value for another version or model"""
    size_bytes: int
    mtime_ns: int


class ChangesPage(TypedDict):
    """Changes of this host's files, oldest first, or all files where ``after`` is not of this store or too old."""

    changes: list[ChangedFile]
    after: str
    """parameter for the next page"""
    restarted: bool
    """this page begins a reading of all files: files that it does not name are gone"""
    reading: bool
    """this page is of a reading of all files"""
    ended: bool
    """and the last of it"""
    complete: bool
    """there are no more changes at present"""


class FingerprintMessage(TypedDict):
    """A fingerprint. Bytes are in base64."""

    content: str
    made: str
    width: int
    height: int
    format: str
    ah: str | None
    """average hash, 16 hexadecimal digits"""
    dh: str | None
    pixels: str | None
    """hash of the pixels"""
    low_information: bool
    turned: str
    """average and difference hash of the 7 other orientations, 8 bytes each, most significant first"""
    features: str
    """local features, see FORMAT.md"""
    model: str | None
    vector: str | None
    """float16, little-endian"""
    damaged: NotRequired[bool]
    """true for a file that ends early or has broken parts; absent otherwise, and from older daemons"""


class FingerprintsReply(TypedDict):
    """Contents that are not known are left out."""

    fingerprints: list[FingerprintMessage]


class ForeignHost(TypedDict):
    """Another host whose files are known here."""

    host: str
    position: str | None
    """given with its last files; null in the first reading of all of them"""


class UndecidedFile(PathFields):
    """A new file whose matches on other hosts are still to be looked for."""

    id: int
    content: str
    gone: bool
    """no file has this content any more"""


class ForeignStatus(TypedDict):
    hosts: list[ForeignHost]
    undecided: list[UndecidedFile]
    """the oldest 100"""


class ForeignPaths(TypedDict):
    """Files of another host. Ask again with ``after`` of the last until the list is empty."""

    paths: list[PathFields]


class RefusedRow(TypedDict):
    """A file or content of another host that is not taken."""

    row: str
    reason: str


class MissingReply(TypedDict):
    missing: list[str]
    """digests of contents that are neither known nor given"""


class ForeignReply(TypedDict):
    missing: list[str]
    """digests of contents that are needed: nothing was written, send all again with these contents"""
    refused: list[RefusedRow]


class BehindReply(TypedDict):
    behind: int


class WantedReply(TypedDict):
    """Contents whose local features searches wait for."""

    wanted: list[str]


class DecidedReply(TypedDict):
    decided: int
    """id of the file"""
