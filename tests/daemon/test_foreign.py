"""Files of other hosts in a daemon: the feed for them, their rows, answers that name them, and alerts about them."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from daemon_process import drawing
from patience import PATIENCE_S
from PIL import Image

from shazimd.config import ClusterConfig, Config, ModelConfig, StoreConfig, WatchConfig, WorkersConfig
from shazimd.daemon.app import App
from shazimd.daemon.service import DaemonService
from shazimd.errors import BadInput, StoreFull, Unavailable
from shazimd.posix.sealed import SealedBytes
from shazimd.protocol import FindReply
from shazimd.protocol.cluster import ChangesPage, ForeignReply, UndecidedFile
from shazimd.search import fetching
from shazimd.text import path_bytes
from shazimd.words.packing import HEADER, VERSION


class Host:
    """A daemon in this process, without a server."""

    def __init__(self, folder: Path, name: str | None, features: Literal["keep", "fetch"] = "keep") -> None:
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.config = Config(
            watch=(WatchConfig(path=str(self.root), settle_ms=50),),
            model=ModelConfig(handle="none"),
            workers=WorkersConfig(processes=1),
            store=StoreConfig(path=str(folder / "store")),
            cluster=ClusterConfig(host=name, features=features),
        )
        self.app = App(self.config, lambda: self.config)
        self.service = DaemonService(self.app)
        self.app.start()
        self.idle()

    def idle(self) -> None:
        """Wait until all that is on the disk is known."""
        self.wait(lambda: self.service.status()["state"] == "ready" and self.service.status()["pending"] == 0)

    def wait(self, condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def known(self, images: int) -> None:
        self.wait(lambda: self.service.status()["images"] == images and self.service.status()["pending"] == 0)

    def find(self, image: bytes) -> list[str]:
        return [match["path"] for match in self.ask(image)["matches"]]

    def ask(self, image: bytes) -> FindReply:
        return self.service.find(SealedBytes(image), None, None, None)

    def feed(self, after: str | None = None) -> tuple[dict[str, str | None], str, list[ChangesPage]]:
        """All changes after a position: the content of each file, the last position, and the pages."""
        files: dict[str, str | None] = {}
        pages: list[ChangesPage] = []
        while not pages or not pages[-1]["complete"]:
            pages.append(self.service.changes(after, 2))
            after = pages[-1]["after"]
            files |= {each["path"]: each["content"] for each in pages[-1]["changes"]}
        assert after is not None
        return files, after, pages

    def close(self) -> None:
        self.app.stop()
        self.app.close()


def told(source: Host, target: Host, name: str, *, since: int = 0, after: str | None = None) -> ForeignReply:
    """Tell one host of the files of another, as a link does."""
    states = [each for page in source.feed(after)[2] for each in page["changes"]]
    put = [{**each, "since": since} for each in states if each["content"]]
    remove = [{"path": each["path"]} for each in states if each["content"] is None]
    missing = target.service.put_foreign(name, body(put=put, remove=remove), "p1", complete=False, packed=False)[
        "missing"
    ]
    contents = source.service.fingerprints([bytes.fromhex(each) for each in missing])
    return target.service.put_foreign(
        name, body(put=put, remove=remove, contents=contents), "p1", complete=True, packed=False
    )


def decide(host: Host, undecided: UndecidedFile, order: int) -> None:
    host.service.decide_foreign(undecided["id"], order, bytes.fromhex(undecided["content"]))


def body(**lists: Any) -> bytes:
    return json.dumps(lists).encode()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with closing(Host(tmp_path / "a", "a")) as a, closing(Host(tmp_path / "b", "b")) as b:
        yield a, b


def png(folder: Path, seed: int) -> bytes:
    drawing(seed).save(folder / f"{seed}.png")
    return (folder / f"{seed}.png").read_bytes()


def test_another_hosts_files_are_found_and_forgotten(two: tuple[Host, Host]) -> None:
    """A copy on one host is found on the other, under the name of its host; nothing of it is listed, exported or
    counted as a file of this host; once forgotten it is not found."""
    a, b = two
    image = png(a.root, 1)
    drawing(1).resize((200, 150), Image.Resampling.LANCZOS).save(a.root / "small.jpg")
    a.known(2)
    assert told(a, b, "a", since=5) == {"missing": [], "refused": []}
    assert set(b.find(image)) == {f"a:{a.root}/1.png", f"a:{a.root}/small.jpg"}
    status = b.service.status()
    assert (status["images"], status["foreign"]) == (0, 2)
    assert list(b.service.export(vectors=False)) == []
    assert list(b.service.duplicates(None, None)) == []
    assert b.service.foreign()["hosts"] == [{"host": "a", "position": "p1"}]
    assert {each["path"] for each in b.service.foreign_paths("a", None, 10)} == {
        f"{a.root}/1.png",
        f"{a.root}/small.jpg",
    }
    assert b.app.store.check() == []
    assert b.service.forget_foreign("a")["forgotten"] == 2
    assert b.find(image) == []
    assert b.service.foreign()["hosts"] == []
    assert b.app.store.check() == []


def test_a_deletion_and_a_rename_reach_the_other_host(two: tuple[Host, Host]) -> None:
    """The feed after a position has only the changes since then, each path once."""
    a, b = two
    image = png(a.root, 1)
    (a.root / "deep").mkdir()
    png(a.root / "deep", 2)
    a.known(2)
    told(a, b, "a")
    position = a.feed()[1]
    (a.root / "deep").rename(a.root / "moved")
    (a.root / "1.png").unlink()
    a.known(1)
    a.wait(lambda: f"{a.root}/moved/2.png" in a.feed(position)[0])
    files, after, pages = a.feed(position)
    assert {path: bool(content) for path, content in files.items()} == {
        f"{a.root}/moved/2.png": True,
        f"{a.root}/deep/2.png": False,
        f"{a.root}/1.png": False,
    }
    assert not any(page["restarted"] for page in pages)
    assert a.service.status()["cluster"]["owed"] == 1
    assert a.feed(after)[0] == {}
    assert a.service.status()["cluster"]["owed"] == 0
    metrics = a.service.metrics()
    assert b"shazimd_cluster_owed 0.0" in metrics
    assert b"shazimd_cluster_tell_lag_seconds " in metrics
    assert b"shazimd_cluster_follow_lag_seconds NaN" in metrics
    told(a, b, "a", after=position)
    assert b.find(image) == []
    assert [each["path"] for each in b.service.foreign_paths("a", None, 10)] == [f"{a.root}/moved/2.png"]


def test_a_position_of_another_time_begins_anew(tmp_path: Path) -> None:
    """Without a position, with that of another store, and with that of a daemon that did not share meanwhile, all
    files are read; after a restart the position still holds."""
    with closing(Host(tmp_path, "a")) as a:
        for seed in range(5):
            png(a.root, seed)
        a.known(5)
        files, after, pages = a.feed()
        assert len(files) == 5
        assert [page["restarted"] for page in pages] == [True, False, False, False]
        assert [page["reading"] for page in pages] == [True, True, True, False]
        assert [page["ended"] for page in pages] == [False, False, True, False]
        assert a.service.changes("7.0123456789abcdef", 2)["restarted"]
        with pytest.raises(BadInput, match="after is"):
            a.service.changes("yesterday", 2)
    with closing(Host(tmp_path, "a")) as a:
        png(a.root, 9)
        a.known(6)
        files, after, pages = a.feed(after)
        assert ([*files], pages[0]["restarted"]) == ([f"{a.root}/9.png"], False)
    with closing(Host(tmp_path, None)) as a, pytest.raises(Unavailable, match="cluster"):
        a.service.changes(after, 2)
    with closing(Host(tmp_path, "a")) as a:
        assert a.service.changes(after, 2)["restarted"]


def test_a_match_on_another_host_is_told_once(two: tuple[Host, Host]) -> None:
    """Of two copies on two hosts the later, by the cluster's number, is told; the earlier is not, and no alert comes
    again. Matches on the own host are told without waiting."""
    a, b = two
    drawing(1).save(a.root / "original.png")
    drawing(1).save(b.root / "copy.jpg", quality=90)
    a.known(1)
    b.known(1)
    told(a, b, "a", since=10)
    told(b, a, "b", since=11)
    (first,), (second,) = a.service.foreign()["undecided"], b.service.foreign()["undecided"]
    assert (first["path"], second["gone"]) == (f"{a.root}/original.png", False)
    assert a.service.alerts(0, 10) == []
    b.service.decide_foreign(second["id"], 11, bytes(32))  # another file's, from before a restore
    assert b.service.alerts(0, 10) == []
    decide(a, first, 10)
    decide(b, second, 11)
    decide(b, second, 11)
    assert a.service.alerts(0, 10) == []
    (alert,) = b.service.alerts(0, 10)
    assert (alert["path"], alert["match"]) == (f"{b.root}/copy.jpg", f"a:{a.root}/original.png")
    assert (alert["verdict"], alert["matches"]) == ("copy", 1)
    assert a.service.foreign()["undecided"] == b.service.foreign()["undecided"] == []
    (b.root / "again.jpg").write_bytes((b.root / "copy.jpg").read_bytes())
    b.wait(lambda: len(b.service.alerts(0, 10)) == 2)
    assert b.service.alerts(0, 10)[1]["match"] == f"{b.root}/copy.jpg"


def test_a_file_that_is_renamed_before_the_decision_is_told_under_its_new_name(two: tuple[Host, Host]) -> None:
    """A file that is gone altogether is told of no more."""
    a, b = two
    drawing(1).save(a.root / "original.png")
    a.known(1)
    told(a, b, "a", since=10)
    drawing(1).save(b.root / "copy.jpg", quality=90)
    drawing(2).save(b.root / "other.jpg")
    b.known(2)
    (b.root / "copy.jpg").rename(b.root / "renamed.jpg")
    (b.root / "other.jpg").unlink()
    b.known(1)
    b.wait(lambda: {each["path"] for each in b.service.foreign()["undecided"]} >= {f"{b.root}/renamed.jpg"})
    for each in b.service.foreign()["undecided"]:
        decide(b, each, 0)
    assert [alert["path"] for alert in b.service.alerts(0, 10)] == [f"{b.root}/renamed.jpg"]
    assert b.service.foreign()["undecided"] == []


@pytest.fixture(scope="module")
def shared_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host, Any, Any]]:
    """Two hosts, the first with a picture; the state of its file, and its fingerprint."""
    folder = tmp_path_factory.mktemp("pair")
    with closing(Host(folder / "a", "a")) as a, closing(Host(folder / "b", "b")) as b:
        png(a.root, 1)
        a.known(1)
        (state,) = a.service.changes(None, 10)["changes"]
        (content,) = a.service.fingerprints([bytes.fromhex(state["content"] or "")])
        yield a, b, state, content


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


def bomb() -> str:
    """Features whose pictures are a small file that would be 3 GB of pixels."""
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    return base64.b64encode(HEADER.pack(VERSION, 0, 320, 240, 0) + buffer.getvalue()).decode()


TOO_MANY = base64.b64encode(HEADER.pack(VERSION, 0, 0, 0, 65535)).decode()
"""Features of which none follows."""

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


def test_a_content_stays_while_any_host_has_a_file_of_it(two: tuple[Host, Host]) -> None:
    """A local deletion leaves it findable, by the other host's name; its relations count once it is here."""
    a, b = two
    image = png(a.root, 1)
    a.known(1)
    told(a, b, "a")
    (b.root / "same.png").write_bytes(image)
    b.known(1)
    assert set(b.find(image)) == {f"a:{a.root}/1.png", f"{b.root}/same.png"}
    (b.root / "same.png").unlink()
    b.known(0)
    b.service.forget(None, deleted=True)
    assert b.find(image) == [f"a:{a.root}/1.png"]
    assert b.app.store.check() == []


class FeatureLink:
    """Brings one host's features to another, as a link that fetches them does."""

    def __init__(self, source: Host, target: Host) -> None:
        self.brought: list[str] = []
        self._ended = threading.Event()
        self._hosts = source, target
        self._thread = threading.Thread(target=self._run)
        target.service.wanted_features(0)  # the link is there
        self._thread.start()

    def _run(self) -> None:
        source, target = self._hosts
        while not self._ended.wait(0.01):
            if wanted := target.service.wanted_features(0):
                found = source.service.fingerprints([bytes.fromhex(digest) for digest in wanted])
                features = {each["content"]: each["features"] for each in found}
                rows = [{"content": digest, "features": features.get(digest, "")} for digest in wanted]
                target.service.put_features(body(contents=rows))
                self.brought += wanted

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def fetching_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Host, Host]]:
    """The second fetches the features of the first's pictures: an original, and one that lands there later. A search
    waits for a link that is there as long as a test does."""
    monkeypatch.setattr(fetching, "WAIT_S", PATIENCE_S)
    with closing(Host(tmp_path / "a", "a")) as a, closing(Host(tmp_path / "b", "b", "fetch")) as b:
        drawing(1).save(a.root / "original.png")
        a.known(1)
        assert told(a, b, "a", since=5) == {"missing": [], "refused": []}
        assert told(a, b, "a", since=5) == {"missing": [], "refused": []}
        yield a, b


def stored_features(host: Host) -> list[int]:
    """The bytes of the local features of each content."""
    with host.app.store.read() as reader:
        return [len(reader.features(content)) for content, *_ in reader.hashes()]


def copy_of(seed: int) -> bytes:
    buffer = io.BytesIO()
    drawing(seed).resize((200, 150)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_features_that_are_not_kept_are_fetched(fetching_pair: tuple[Host, Host]) -> None:
    """Without a link an answer goes by hashes and vector, and says so; with one it is that of a host that keeps all."""
    a, b = fetching_pair
    assert stored_features(b) == [0]
    reply = b.ask(copy_of(1))
    assert ([match["verdict"] for match in reply["matches"]], reply["unverified"]) == (["similar"], 1)
    with closing(FeatureLink(a, b)) as link:
        reply = b.ask(copy_of(1))
        assert ([match["verdict"] for match in reply["matches"]], reply.get("unverified")) == (["copy"], None)
        b.ask(copy_of(1))
    assert len(link.brought) == 1
    assert stored_features(b) == [0]


def test_an_alert_waits_for_features(fetching_pair: tuple[Host, Host]) -> None:
    """Its note stays until the picture can be verified; a copy on this host is told without."""
    a, b = fetching_pair
    (b.root / "copy.jpg").write_bytes(copy_of(1))
    b.known(1)
    (note,) = b.service.foreign()["undecided"]
    with pytest.raises(Unavailable, match="1 pictures of other hosts"):
        decide(b, note, 9)
    with closing(FeatureLink(a, b)):
        decide(b, note, 9)
    assert [alert["verdict"] for alert in b.service.alerts(0, 10)] == ["copy"]
    assert b.service.foreign()["undecided"] == []


def test_a_picture_that_lands_here_too_gets_features(fetching_pair: tuple[Host, Host]) -> None:
    """Its bytes were known, but nothing that verifies it."""
    a, b = fetching_pair
    (b.root / "same.png").write_bytes((a.root / "original.png").read_bytes())
    b.known(1)
    (size,) = stored_features(b)
    assert size > 0
    reply = b.ask(copy_of(1))
    assert {match["verdict"] for match in reply["matches"]} == {"copy"}
    assert "unverified" not in reply
    assert b.app.store.check() == []


def test_features_that_cannot_be_compared_count_as_none(fetching_pair: tuple[Host, Host]) -> None:
    """Whatever the database hands out costs no answer; another body is refused."""
    b = fetching_pair[1]
    digest = (b.service.wanted_features(0), "ab" * 32)[1]
    for features in (bomb(), TOO_MANY, ""):
        b.service.put_features(body(contents=[{"content": digest, "features": features}]))
        assert b.app.wanted.get([bytes.fromhex(digest)], 0) == {bytes.fromhex(digest): b""}
    with pytest.raises(BadInput, match="no batch of features"):
        b.service.put_features(b"[]")


def test_a_host_that_keeps_features_again_reads_all_anew(tmp_path: Path) -> None:
    """The positions of its hosts are forgotten at the start, and the features come with the files."""
    with closing(Host(tmp_path / "a", "a")) as a:
        drawing(1).save(a.root / "original.png")
        a.known(1)
        with closing(Host(tmp_path / "b", "b", "fetch")) as b:
            told(a, b, "a")
        with closing(Host(tmp_path / "b", "b", "fetch")) as b:
            assert b.service.foreign()["hosts"] == [{"host": "a", "position": "p1"}]
        with closing(Host(tmp_path / "b", "b")) as b:
            assert b.service.foreign()["hosts"] == [{"host": "a", "position": None}]
            told(a, b, "a")
            assert min(stored_features(b)) > 0
            assert b.ask(copy_of(1))["matches"][0]["verdict"] == "copy"
