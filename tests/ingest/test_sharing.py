"""What a store notes of other hosts between two starts."""

from __future__ import annotations

import base64
import json
import os

import numpy as np
import pytest
from ingest_bench import Bench

from shazimd.daemon import feed
from shazimd.ingest import sharing
from shazimd.ingest.foreign import ForeignFiles
from shazimd.ingest.values import followed_hosts, set_followed_hosts
from shazimd.store.base import Store, Writer
from shazimd.types import DEFAULT_WEIGHTS, digest_of


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


def test_a_renewal_by_another_host_leaves_the_vector_of_this_host_in_the_index(bench: Bench) -> None:
    """Its model is another, and the file here is gone: the vector that was made here stays in the store and counts."""
    path = bench.look("ours", b"one")
    os.remove(path)
    bench.ingest.ingest(path, deleted=True)
    digest = digest_of(b"one")
    (content,) = feed.fingerprints(bench.store, "m", [digest])
    theirs = np.eye(1, 8, dtype="<f2").tobytes()
    sent = {**content, "made": "0/n", "model": "n", "vector": base64.b64encode(theirs).decode()}
    file = {"path": "/theirs", "content": digest.hex(), "made": "0/n", "size_bytes": 3, "mtime_ns": 1}
    foreign = ForeignFiles(bench.library, bench.committer, "here", keeps_features=True)
    body = json.dumps({"put": [file], "contents": [sent]}).encode()
    assert foreign.put("nas", body, "p1", complete=True, packed=False) == {"missing": [], "refused": []}
    with bench.store.read() as reader:
        known = reader.content(digest)
        assert known is not None
        assert reader.made(known, "n")[1]
        ours = reader.fingerprint(known, "m").signals
    ((hit,),) = bench.library.index.search([ours], DEFAULT_WEIGHTS, 0.0)
    assert hit.similarities.dfv == pytest.approx(1, abs=1e-3)
