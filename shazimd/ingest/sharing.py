"""How this host shares its files with others, and what it keeps of theirs."""

from __future__ import annotations

import os

from shazimd.ingest.values import followed_hosts, kept_features, set_followed_hosts, set_kept_features
from shazimd.store.base import Reader, Writer
from shazimd.types import ContentId
from shazimd.words.packing import VERSION


def is_bare(reader: Reader, content: ContentId) -> bool:
    """Whether only other hosts have a content, and no local features of it are kept here."""
    has_features = reader.made(content, None)[0] > 0
    return not (has_features or reader.count_files(content, 1)) and bool(reader.some_files_of(content, 1, foreign=True))


def begin_sharing(writer: Writer, is_shared: bool, *, keeps_features: bool = True) -> None:
    """Number the changes of this host's files from now on for others to follow, or end it. If local features of
    other hosts are kept, and those of the present version were not before, all is read from these hosts anew."""
    if is_shared:
        writer.changes.begin(os.urandom(8).hex())
    else:
        writer.changes.end()
    version = VERSION if keeps_features else None
    if version is not None and version != kept_features(writer):
        set_followed_hosts(writer, dict.fromkeys(followed_hosts(writer)))
    set_kept_features(writer, version)
