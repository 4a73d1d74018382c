"""The messages of a real daemon's service have exactly the types that ``protocol`` declares."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from daemon_process import drawing
from patience import wait_for
from PIL import Image

from shazimd import types
from shazimd.config import AlertsConfig, ClusterConfig, Config, ModelConfig, StoreConfig, WatchConfig, WorkersConfig
from shazimd.daemon.app import App
from shazimd.daemon.service import DaemonService
from shazimd.errors import NotAnImage
from shazimd.posix.sealed import SealedBytes
from shazimd.protocol import (
    Alert,
    CompactReply,
    CompareReply,
    ExportedFile,
    FailedFile,
    FindReply,
    ForgetReply,
    PairLine,
    PathFields,
    ReloadReply,
    RescanReply,
    VerdictName,
)
from shazimd.protocol.cluster import ChangesPage, FingerprintMessage, ForeignReply, ForeignStatus
from shazimd.protocol.groups import DecisionMessage, DuplicateGroup, GroupsPage
from shazimd.protocol.status import Health, InstalledModel, ModelsReply, Status


def faults(value: object, declared: Any, at: str = "") -> list[str]:
    """Each place where a value differs from its declared type; a key that is not declared is a fault."""
    origin, arguments = get_origin(declared), get_args(declared)
    if is_typeddict(declared):
        return _faults_of_keys(value, declared, at)
    if origin is NotRequired:
        return faults(value, arguments[0], at)
    if origin is Literal:
        return [] if value in arguments else [f"{at}: {value!r} is none of {arguments}"]
    if origin in (Union, UnionType):
        each = [faults(value, argument, at) for argument in arguments]
        return [] if [] in each else min(each, key=len)
    if origin is list:
        assert isinstance(value, list), at
        return [fault for n, item in enumerate(value) for fault in faults(item, arguments[0], f"{at}[{n}]")]
    if origin is tuple:
        assert isinstance(value, tuple), at
        if arguments[1:] == (Ellipsis,):
            arguments = arguments[:1] * len(value)
        assert len(value) == len(arguments), at
        return [fault for item, kind in zip(value, arguments, strict=True) for fault in faults(item, kind, at)]
    accepted = (int, float) if declared is float else declared
    wrong = not isinstance(value, accepted) or (isinstance(value, bool) and declared is not bool)
    return [f"{at}: {value!r} is no {declared}"] if wrong else []


def _faults_of_keys(value: object, declared: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    hints = get_type_hints(declared, include_extras=True)
    found = [f"{at}.{key}: not declared" for key in value.keys() - hints.keys()]
    found += [f"{at}.{key}: missing" for key in _required(declared, hints) - value.keys()]
    return found + [
        fault for key in value.keys() & hints.keys() for fault in faults(value[key], hints[key], f"{at}.{key}")
    ]


def _required(declared: Any, hints: dict[str, Any]) -> set[str]:
    # __required_keys__ has no eye for NotRequired in annotations that are strings: bpo-42059
    return {key for key in declared.__required_keys__ if get_origin(hints[key]) is not NotRequired}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A daemon in this process, without a server, that has seen an original, and then a copy, a byte-identical copy
    and a broken file."""
    folder = tmp_path_factory.mktemp("wire")
    root = folder / "root"
    root.mkdir()
    drawing(1).save(root / "a.png")
    drawing(2).save(root / "other.png")
    config = Config(
        watch=(WatchConfig(path=str(root)),),
        model=ModelConfig(handle="none"),
        workers=WorkersConfig(processes=1),
        store=StoreConfig(path=str(folder / "store")),
        alerts=AlertsConfig(),
        cluster=ClusterConfig(host="here"),
    )
    with closing(App(config, lambda: config)) as app:
        app.start()
        _wait_until_idle(app, images=2)
        drawing(1).resize((200, 150), Image.Resampling.LANCZOS).save(root / "small.jpg")
        shutil.copy(bytes(root / "a.png"), bytes(root) + b"/b\xff.png")
        (root / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
        _wait_until_idle(app, images=4, failed=1)
        yield app
        app.stop()


def _wait_until_idle(app: App, **counts: int) -> None:
    status, wanted = DaemonService(app).status, {**counts, "state": "ready", "pending": 0}
    wait_for(lambda: wanted.items() <= status().items(), status)


@pytest.fixture
def service(app: App) -> DaemonService:
    return DaemonService(app)


def _compared(app: App) -> None:
    """Wait until all pictures were compared with each other."""
    wait_for(lambda: not app.run.relating.status()["left"])


@pytest.fixture
def picture(app: App, service: DaemonService) -> bytes:
    return Path(service.status()["roots"][0]["path"], "small.jpg").read_bytes()


def test_the_status_is_as_declared(service: DaemonService) -> None:
    """Every key of the status is declared, with its type, and a root has all its keys."""
    status = service.status()
    assert faults(status, Status) == []
    assert len(status["roots"][0]) == 14


def test_answers_about_pictures_are_as_declared(service: DaemonService, picture: bytes) -> None:
    """A search with exact and verified matches, and comparisons with and without a relation."""
    found = service.find(SealedBytes(picture), None, None, None)
    assert faults(found, FindReply) == []
    assert (found["complete"], found["known_images"]) == (True, 4)
    assert {match["verdict"] for match in found["matches"]} >= {"exact", "copy"}
    assert any("path_b64" in match for match in found["matches"])
    other = Path(service.status()["roots"][0]["path"], "other.png").read_bytes()
    for against in (picture, other):
        assert faults(service.compare(SealedBytes(picture), SealedBytes(against), None), CompareReply) == []


def test_an_error_about_one_of_two_pictures_names_its_part(service: DaemonService, picture: bytes) -> None:
    """The message alone would suit either."""
    good, bad = SealedBytes(picture), SealedBytes(b"no picture")
    for part, asked in {"a": (bad, good), "b": (good, bad)}.items():
        with pytest.raises(NotAnImage, match=f"^{part}: the file begins with"):
            service.compare(*asked, None)


def test_streams_are_as_declared(app: App, service: DaemonService) -> None:
    """Alerts, groups and pairs, with a path that is no UTF-8 among them."""
    _compared(app)
    alerts, groups = service.alerts(0, 10), list(service.duplicates(None, None))
    pairs = list(service.pairs(0.5, None, 0))
    assert (len(alerts), len(groups), len(pairs) > 2) == (2, 1, True)
    assert faults(alerts, list[Alert]) == []
    assert faults(groups, list[DuplicateGroup]) == []
    assert faults(pairs, list[PairLine]) == []


def test_answers_about_groups_and_decisions_are_as_declared(app: App, service: DaemonService) -> None:
    """A page with an exact member, a copy with its map, and a file without UTF-8; a decision, and its undoing."""
    _compared(app)
    page = service.group_page(None, None, None, 10, decided=False)
    assert faults(page, GroupsPage) == []
    (group,) = page["groups"]
    assert service.group(bytes.fromhex(group["id"])) == {**page, "after": None}
    contents = sorted({member["content"] for member in group["members"]})
    line = json.dumps({"kind": "keep", "contents": contents, "keep": contents[0]}).encode()
    (made,) = service.decide(line, 7, accept_unknown=False)
    decisions = service.decisions(0, 10)
    assert faults(decisions, list[DecisionMessage]) == []
    assert [(each["id"], each["uid"], each["keep"]) for each in decisions] == [(made, 7, contents[0])]
    assert (service.undo(made), service.decisions(0, 10)) == (decisions[0], [])


def test_members_that_are_to_stay_are_as_declared(app: App, service: DaemonService) -> None:
    """The key is there for them alone."""
    _compared(app)
    (group,) = service.group_page(None, None, None, 10, decided=False)["groups"]
    left = group["members"][0]["content"]
    (made,) = service.decide(json.dumps({"kind": "leave", "contents": [left]}).encode(), 7, accept_unknown=False)
    page = service.group_page(None, None, None, 10, decided=False)
    service.undo(made)
    assert faults(page, GroupsPage) == []
    members = page["groups"][0]["members"]
    assert [member.get("stays") for member in members] == [True if m["content"] == left else None for m in members]
    assert len(members) == len(group["members"]) - 1


def test_the_export_is_as_declared(service: DaemonService) -> None:
    """Every indexed file once, with both hashes."""
    exported = list(service.export(vectors=True))
    assert faults(exported, list[ExportedFile]) == []
    assert len(exported) == 4
    assert all(len(each["ah"] or "") == len(each["dh"] or "") == 16 for each in exported)


def test_failures_are_as_declared(service: DaemonService) -> None:
    (failed,) = service.failed()
    assert faults(failed, FailedFile) == []
    assert failed["code"] == "not_an_image"
    assert failed["since"] is not None


def test_answers_to_the_administrator_are_as_declared(service: DaemonService) -> None:
    """Models, and the sizes before and after a compaction."""
    assert faults(service.models(), list[InstalledModel]) == []
    assert faults(service.compact(), CompactReply) == []


def test_answers_to_a_link_are_as_declared(service: DaemonService) -> None:
    """A page of changes, fingerprints, another host's files with one that is refused, and all that is known of it."""
    page = service.changes(None, 10)
    assert faults(page, ChangesPage) == []
    digests = {each["content"] for each in page["changes"] if each["content"]}
    fingerprints = service.fingerprints([bytes.fromhex(digest) for digest in digests])
    assert (faults(fingerprints, list[FingerprintMessage]), len(fingerprints)) == ([], 3)
    put = [{**each, "since": 0} for each in page["changes"]]
    given = json.dumps({"put": [*put, {**put[0], "path": "relative"}]}).encode()
    reply = service.put_foreign("there", given, "p1", complete=True, packed=False)
    assert (faults(reply, ForeignReply), len(reply["refused"])) == ([], 1)
    wait_for(lambda: len(service.foreign()["undecided"]) == 2, service.foreign)
    status = service.foreign()
    assert (faults(status, ForeignStatus), len(status["hosts"])) == ([], 1)
    paths = service.foreign_paths("there", None, 10)
    assert (faults(paths, list[PathFields]), len(paths)) == ([], 4)
    assert faults(service.forget_foreign("there"), ForgetReply) == []


def test_answers_to_changes_are_as_declared(app: App, service: DaemonService) -> None:
    """Scans of all and of a file, a reload, files that stay out and come back, and another attempt at a failed one."""
    root = os.fsencode(service.status()["roots"][0]["path"])
    for path in (None, root + b"/b\xff.png"):
        assert faults(service.rescan(path), RescanReply) == []
    assert faults(service.reload(), ReloadReply) == []
    forgotten = service.forget(root + b"/b\xff.png", ignore=True)
    assert (faults(forgotten, ForgetReply), forgotten["forgotten"]) == ([], 1)
    ignored = service.ignored()
    assert (faults(ignored, list[PathFields]), len(ignored)) == ([], 1)
    assert faults(service.unignore(root + b"/b\xff.png"), RescanReply) == []
    assert service.retry_failed(None) == 1
    _wait_until_idle(app, images=4, failed=1)


def test_an_undeclared_key_is_a_fault() -> None:
    """The check itself finds an extra key, a missing key, and a wrong type, at any depth."""
    health = {"state": "odd", "extra": 1}
    assert faults(health, Health) == [
        ".extra: not declared",
        ".state: 'odd' is none of ('starting', 'baseline', 'ready', 'draining')",
    ]
    assert faults({"models": [{}]}, ModelsReply)[0].startswith(".models[0].")


def test_the_verdicts_are_those_of_the_search() -> None:
    """The protocol names every verdict of the search, and no other."""
    assert get_args(VerdictName) == tuple(types.Verdict)
