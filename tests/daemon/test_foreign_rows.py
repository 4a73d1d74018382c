"""Rows that another host sends: bad ones are refused, and the others are taken."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from host_pair import TOO_MANY, Host, body, bomb, told

from shazimd.errors import BadInput, StoreFull
from shazimd.text import path_bytes
from shazimd.words.packing import HEADER, VERSION

HOSTILE: list[dict[str, Any]] = [
    {"path": "srv/a.png"},
    {"path": "/srv/../a.png"},
    {"path": "b:/srv/a.png"},
    {"path": "/srv//a.png"},
    {"path": "/srv/" + "x" * 600},
    {"path": "/"},
    {"content": "00"},
    {"content": None},
    {"size_bytes": -1},
    {"mtime_ns": 1 << 70},
    {"since": "1"},
    {"path_b64": "no base64!"},
]


@pytest.mark.parametrize("change", HOSTILE)
def test_a_bad_row_is_refused_and_the_others_are_taken(
    shared_pair: tuple[Host, Host, Any, Any], change: dict[str, Any]
) -> None:
    """No row names a file of this host or of a third, and none holds up the rest."""
    _, b, state, content = shared_pair
    rows = [{**state, "path": "/x/good.png"}, {**state, **change}]
    reply = b.service.put_foreign("a", body(put=rows, contents=[content]), None, complete=True, packed=False)
    assert len(reply["refused"]) == 1
    assert [each["path"] for each in b.service.foreign_paths("a", None, 10)] == ["/x/good.png"]
    assert b.service.status()["images"] == 0
    assert b.app.store.check() == []


BAD_CONTENTS: list[dict[str, Any]] = [
    {"features": TOO_MANY},
    {"features": base64.b64encode(bytes([VERSION])).decode()},
    {"features": base64.b64encode(HEADER.pack(VERSION, 0, 320, 240, 0) + b"\xff\xd8\xff" + bytes(900)).decode()},
    {"format": "x" * 35},
    {"pixels": "AAAA"},
    {"turned": base64.b64encode(bytes(32)).decode()},
    {"features": bomb},
    {"vector": "AAAA", "model": "m"},
    {"vector": "AAA", "model": "m"},
    {"vector": base64.b64encode(np.full(4, np.nan, "<f2").tobytes()).decode(), "model": "m"},
    {"vector": base64.b64encode(np.full(4, np.inf, "<f2").tobytes()).decode(), "model": "m"},
    {"width": 0},
    {"ah": "xyz"},
    {"turned": "AAAA"},
    {"pixels": "AAAA" * 30},
    {"format": ""},
]


@pytest.mark.parametrize("change", BAD_CONTENTS)
def test_a_bad_fingerprint_is_refused_with_its_files(
    shared_pair: tuple[Host, Host, Any, Any], change: dict[str, Any]
) -> None:
    """It can't be searched for, and the daemon goes on."""
    a, b, state, content = shared_pair
    b.service.forget_foreign("a")
    b.service.forget(None, deleted=True)
    made = {key: value() if callable(value) else value for key, value in change.items()}
    batch = body(put=[state], contents=[{**content, **made}])
    reply = b.service.put_foreign("a", batch, "p", complete=True, packed=False)
    assert len(reply["refused"]) == 2
    assert b.service.status()["foreign"] == 0
    assert told(a, b, "a")["refused"] == []
    assert len(b.find(Path(state["path"]).read_bytes())) == 1


def test_a_vector_of_another_width_is_refused_with_its_files(shared_pair: tuple[Host, Host, Any, Any]) -> None:
    """A host can name any model: the vectors of one model have the width of the first, and others are taken."""
    _, b, state, content = shared_pair
    b.service.forget_foreign("a")
    b.service.forget(None, deleted=True)
    rows, contents = [], []
    for number, width in enumerate((4, 8, 4)):
        digest = bytes([number] * 32).hex()
        vector = np.eye(1, width, dtype="<f2").tobytes()
        rows.append({**state, "path": f"/{number}.png", "content": digest})
        contents.append({**content, "content": digest, "model": "m", "vector": base64.b64encode(vector).decode()})
    reply = b.service.put_foreign("a", body(put=rows, contents=contents), None, complete=True, packed=False)
    assert [each["row"] for each in reply["refused"]] == ["a:/1.png"]
    assert {each["path"] for each in b.service.foreign_paths("a", None, 10)} == {"/0.png", "/2.png"}
    assert b.app.store.check() == []


def test_a_batch_in_messagepack_has_bytes_as_they_are(shared_pair: tuple[Host, Host, Any, Any]) -> None:
    """With paths that are not UTF-8, it is taken as the same in JSON is; missing contents are named without a write."""
    _, b, state, content = shared_pair
    b.service.forget_foreign("a")
    b.service.forget(None, deleted=True)
    raw = {name: base64.b64decode(content[name]) for name in ("pixels", "turned", "features")}
    file = {**state, "path": "", "path_b64": b"/srv/\xff.png"}
    asked = msgspec.msgpack.encode({"put": [file]})
    assert b.service.missing_contents("a", asked, packed=True) == [state["content"]]
    assert b.service.foreign()["hosts"] == []
    batch = msgspec.msgpack.encode({"put": [file], "contents": [{**content, **raw}]})
    assert b.service.put_foreign("a", batch, "p", complete=False, packed=True) == {"missing": [], "refused": []}
    assert [path_bytes(each) for each in b.service.foreign_paths("a", None, 10)] == [b"/srv/\xff.png"]
    assert len(b.find(Path(state["path"]).read_bytes())) == 1
    assert b.service.missing_contents("a", asked, packed=True) == []
    with pytest.raises(BadInput, match="no batch"):
        b.service.put_foreign("a", b"{}", None, complete=True, packed=True)


def test_contents_are_indexed_once_there_is_room(
    shared_pair: tuple[Host, Host, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the index may find a full disk when the store did not: the rows wait, and are found then."""
    _, b, state, content = shared_pair
    b.service.forget_foreign("a")
    b.service.forget(None, deleted=True)
    tries: list[str] = []
    add = b.app.library.index.add

    def full_twice(rows: Any) -> None:
        tries.append(threading.current_thread().name)
        if len(tries) <= 2:
            raise StoreFull("index: 1 rows could not be written")
        add(rows)

    monkeypatch.setattr(b.app.library.index, "add", full_twice)
    monkeypatch.setattr(b.app.committer, "_retry_s", 0.01)
    reply = b.service.put_foreign("a", body(put=[state], contents=[content]), None, complete=True, packed=False)
    assert reply["refused"] == []
    assert [name.partition("_")[0] for name in tries] == ["replace", "commit", "commit"]
    assert len(b.find(Path(state["path"]).read_bytes())) == 1
    assert b.app.committer.fault is None


@pytest.mark.parametrize("name", ["b", "", "A", "a/b", "..", "a:", "/a", "x" * 64])
def test_a_host_has_a_name_of_another(shared_pair: tuple[Host, Host, Any, Any], name: str) -> None:
    """Neither this host's own name, nor such as would end in another's files."""
    with pytest.raises(BadInput, match="expected the name of another host"):
        shared_pair[1].service.put_foreign(name, b"{}", None, complete=True, packed=False)
