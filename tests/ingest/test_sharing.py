"""What a store notes of other hosts between two starts."""

from __future__ import annotations

import pytest

from shazimd.ingest import sharing
from shazimd.ingest.values import followed_hosts, set_followed_hosts
from shazimd.store.base import Store, Writer


def test_a_store_that_did_not_note_the_version_of_kept_features_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absent value stood for version 11, the only one of such stores; ``true`` still means that none were kept."""

    def begun(value: bool | None) -> str | None:
        def work(writer: Writer) -> str | None:
            set_followed_hosts(writer, {"a": "p1"})
            writer.set("features fetched", value)
            sharing.begin_sharing(writer, is_shared=True)
            return followed_hosts(writer)["a"]

        return store.write(work)

    monkeypatch.setattr(sharing, "VERSION", 11)
    assert [begun(None), begun(value=True)] == ["p1", None]
    monkeypatch.setattr(sharing, "VERSION", 12)
    assert begun(None) is None
