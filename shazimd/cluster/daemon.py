"""The daemon of this host, as a link asks it."""

from __future__ import annotations

from collections.abc import Sequence

from shazimd.client import Client
from shazimd.protocol import PathFields
from shazimd.protocol.cluster import ChangesPage, FingerprintMessage, ForeignReply, ForeignStatus
from shazimd.server import cluster_verbs as verbs
from shazimd.server.verbs import JSON


class LinkClient(Client):
    """A client with the verbs for a link, which are for admins of the daemon."""

    def changes(self, after: str | None = None, limit: int | None = None, wait: int | None = None) -> ChangesPage:
        """Changes of this host's files after a position, or all files; waits for a change if there is none."""
        return self.ask(verbs.CHANGES, after=after, limit=limit, wait=wait)

    def fingerprints(self, contents: Sequence[str]) -> list[FingerprintMessage]:
        """The fingerprints of contents by their digests in hexadecimal, at most 100."""
        return self.ask(verbs.FINGERPRINTS, contents=contents)["fingerprints"]

    def foreign(self) -> ForeignStatus:
        """The other hosts, and the files to be decided."""
        return self.ask(verbs.FOREIGN)

    def foreign_paths(self, host: str, after: bytes | None = None) -> Sequence[PathFields]:
        """A page of the files of another host."""
        return self.ask(verbs.FOREIGN_PATHS, host=host, after=after)["paths"]

    def missing_contents(self, host: str, batch: bytes) -> list[str]:
        """The contents of files in ``put`` of a batch that are missing, by their digests in hexadecimal."""
        return self.ask(verbs.MISSING_CONTENTS, batch, verbs.PACKED, host=host)["missing"]

    def put_foreign(
        self, host: str, batch: bytes, position: str | None = None, *, complete: bool = False
    ) -> ForeignReply:
        """Put and remove files of another host: an object in MessagePack with ``put``, ``remove`` and ``contents``."""
        whole = "true" if complete else None
        return self.ask(verbs.PUT_FOREIGN, batch, verbs.PACKED, host=host, position=position, complete=whole)

    def link_is_behind(self, changes: int) -> None:
        """Say how many changes of other hosts are still to be brought."""
        self.ask(verbs.LINK_IS_BEHIND, changes=changes)

    def forget_foreign(self, host: str) -> int:
        """Forget all files of another host; their number."""
        return self.ask(verbs.FORGET_FOREIGN, host=host)["forgotten"]

    def wanted_features(self, wait: int) -> Sequence[str]:
        """Contents whose local features searches wait for; waits for one."""
        return self.ask(verbs.WANTED_FEATURES, wait=wait)["wanted"]

    def put_features(self, batch: bytes) -> None:
        """Hand features to the searches: a JSON object with ``contents``, each with ``content`` and ``features``."""
        self.ask(verbs.PUT_FEATURES, batch, JSON)

    def decide_foreign(self, number: int, order: int, content: str) -> None:
        """Have the alert about other hosts of an undecided file decided, if it still has this content."""
        self.ask(verbs.DECIDE_FOREIGN, id=number, order=order, content=content)
