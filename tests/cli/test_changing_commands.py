"""Commands that change what the daemon does, knows, or was told by a person."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from fake_service import FakeService

from shazimd.errors import StoreError
from shazimd.protocol import FailedFile, ReloadReply
from shazimd.protocol.groups import DecisionMessage


def test_rescan_and_forget(run: Any, service: FakeService, tmp_path: Path) -> None:
    """A relative path is made absolute; every root is meant without one; nothing forgotten is 1; no root is 4."""
    assert run("rescan").out == "Scanning every root\n"
    assert run("rescan", "/srv/p/x/../y").out == "Scanning /srv/p/y\n"
    assert run("rescan", "--deep", "/srv/p/z").out == "Scanning /srv/p/z, and reading every file\n"
    assert service.asked[-1] == ("rescan --deep", b"/srv/p/z")
    said = run("rescan", "ski.jpg")
    assert (said.status, said.err.startswith("shazimctl: /elsewhere is in no root")) == (4, True)
    assert run("forget", "/srv/p/old").out == "Forgot 3 image(s)\n"
    assert run("forget", "/gone").status == 1
    assert run("forget", "--deleted").out == "Forgot 2 deleted image(s)\n"
    assert run("forget", "--content", "0f" * 32).out == "Forgot 1 image(s)\n"
    assert run("forget", "--content", "0f").status == 2
    assert run("forget").status == 2
    assert [asked[1] for asked in service.asked] == [
        None,
        b"/srv/p/y",
        b"/srv/p/z",
        os.fsencode(tmp_path / "ski.jpg"),
        b"/srv/p/old",
        b"/gone",
        "deleted",
        b"\x0f" * 32,
    ]


def test_a_picture_that_another_host_has_is_not_said_to_be_forgotten(run: Any, service: FakeService) -> None:
    said = run("forget", "--content", "00" * 32)
    assert (said.status, said.out, said.err) == (
        1,
        "Forgot 0 image(s)\n",
        "shazimctl: the files of this host are forgotten, but the picture stays known: it still lies on attic, nas; to "
        "remove it, delete and forget it there\n",
    )


@pytest.mark.parametrize(("scheme", "options"), [("", ""), ("", "#float32"), ("onnx:", "#sha256=" + "0" * 64)])
def test_a_model_on_this_machine_is_sent(
    run: Any, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, options: str
) -> None:
    """The bytes of a file, or the tar.gz of a directory, go under the absolute path, with scheme and options kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"a graph")
    (tmp_path / "m.tflite").write_bytes(b"a flatbuffer")
    run("model", "install", f"{scheme}m.tflite{options}")
    run("model", "install", "saved")
    (_, handle, data), (_, folder, packed) = service.asked
    assert (handle, data) == (f"{scheme}{tmp_path}/m.tflite{options}", b"a flatbuffer")
    assert folder == str(tmp_path / "saved")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {member.name.removeprefix("./") for member in archive if member.isfile()} == {"saved_model.pb"}


def test_a_model_whose_name_no_config_can_hold_is_refused(run: Any, service: FakeService, tmp_path: Path) -> None:
    name = os.fsdecode(b"m\xff.tflite")
    (tmp_path / name).write_bytes(b"a flatbuffer")
    said = run("model", "install", name)
    expected = f"shazimctl: {tmp_path}/m\\xff.tflite: a name that is not UTF-8, which no configuration can hold\n"
    assert (said.status, said.err, service.asked) == (4, expected, [])
    (tmp_path / name).unlink()
    assert run("model", "install", name).err == expected.replace(f"{tmp_path}/", "")


def test_models(run: Any, service: FakeService) -> None:
    """A model is installed step by step and listed; an installation that fails says why."""
    line = "m-1 https://example.org/model/5, 1792 numbers, 24.0 MB, Apache-2.0"
    assert run("model", "install", "https://example.org/model/5").out == f"fetching\ninstalled: {line}\n"
    assert run("model", "list").out == f"{line} (active)\n"
    assert run("model", "list", "--json").json == service.models()
    service.fails = StoreError("the disk is gone")
    said = run("model", "install", "--json", "https://example.org/model/5")
    assert (said.status, said.json, said.err) == (5, [{"stage": "fetching"}], "shazimctl: the disk is gone\n")


DECISION: DecisionMessage = {
    "id": 7,
    "kind": "keep",
    "contents": ["aa" * 32, "bb" * 32],
    "keep": "aa" * 32,
    "uid": 0,
    "time": "2026-01-02T03:04:05+00:00",
    "files": [{"path": "/srv/p/ski.jpg", "content": "aa" * 32}],
}


def test_ignore_sends_the_digests_of_the_files(run: Any, service: FakeService) -> None:
    """Sorted, each once; --leave says that all of them stay."""
    digests = [
        hashlib.blake2b(f"image {name}".encode(), digest_size=32).hexdigest() for name in ("ski.jpg", "ski2.jpg")
    ]
    said = run("ignore", "ski2.jpg", "ski.jpg", "ski.jpg")
    assert (said.status, said.out) == (
        0,
        "Decision 1: no longer reported. Take it back with: shazimctl undo 1\n",
    )
    run("ignore", "--leave", "ski.jpg")
    lines = [json.loads(body) for _, body, _ in service.asked]
    assert lines == [
        {"kind": "not_duplicates", "contents": sorted(digests)},
        {"kind": "leave", "contents": digests[:1]},
    ]


def test_ignore_names_what_is_wrong(run: Any, tmp_path: Path) -> None:
    """A missing file, a directory, and a single image without --leave."""
    (tmp_path / "folder").mkdir()
    assert run("ignore", "ski.jpg", "gone.jpg").err == "shazimctl: gone.jpg: no such file\n"
    assert run("ignore", "ski.jpg", "folder").err == "shazimctl: folder: a directory, expected an image\n"
    said = run("ignore", "ski.jpg", "ski.jpg")
    assert (said.status, "add --leave" in said.err) == (2, True)


def test_decisions_are_listed(run: Any, service: FakeService) -> None:
    """With the user, the files of now, and the number of images without one."""
    assert (run("decisions").status, run("decisions").err) == (1, "shazimctl: no decisions\n")
    service.decided = [DECISION]
    assert run("decisions").out == (
        "7  keep one, 2026-01-02T03:04:05+00:00 by root\n    keep  /srv/p/ski.jpg\n    1 of 2 images have no file now\n"
    )
    assert run("decisions", "--json").json == [DECISION]


def test_a_kind_of_decision_of_a_newer_daemon_is_shown_as_it_is(run: Any, service: FakeService) -> None:
    """In the list, and when it is undone."""
    newer: Any = DECISION | {"kind": "later\n"}
    service.decided = [newer]
    assert run("decisions").out.startswith("7  later\\n, 2026")
    assert run("undo", "7").out == "Undone: decision 7, later\\n\n"


def test_decisions_are_exported_and_imported(run: Any, service: FakeService, tmp_path: Path) -> None:
    """An export has all that an import needs, with the file to keep, and no other paths; a bad line is named."""
    service.decided = [{**DECISION, "keep_path": "/srv/p/\\xff.jpg", "keep_path_b64": "L3Nydi9wL/8uanBn"}]
    exported = run("decisions", "--export")
    line = {key: value for key, value in service.decided[0].items() if key not in ("id", "files")}
    assert exported.json == [line]
    (tmp_path / "saved").write_text(exported.out)
    assert run("decisions", "--import", "saved").out == "1 decisions imported\n"
    verb, body, accept_unknown = service.asked[-1]
    assert (verb, json.loads(body), accept_unknown) == ("decide", line, True)
    (tmp_path / "bad").write_text(exported.out + "{")
    assert "bad: line 2 is no JSON" in run("decisions", "--import", "bad").err
    assert run("decisions", "--import", "gone").err == "shazimctl: gone: no such file\n"


def test_undo_takes_a_decision_back(run: Any, service: FakeService) -> None:
    service.decided = [DECISION]
    assert run("undo", "7").out == "Undone: decision 7, keep one\n"
    said = run("undo", "8")
    assert (said.status, said.err) == (4, "shazimctl: decision 8: there is none with this id\n")
    assert run("undo", "x").status == 2


def test_failed_files_are_listed_and_retried(run: Any, service: FakeService, tmp_path: Path) -> None:
    """Each with the reason and the time; --retry takes a path."""
    assert (run("failed").status, run("failed").err) == (1, "shazimctl: no failed files\n")
    at = 1767323045.0
    broken: FailedFile = {"path": "/p/b.jpg", "code": "not_an_image", "reason": "empty", "size_bytes": 0, "since": at}
    service.failures = [broken, {**broken, "since": None}]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    assert run("failed").out == f"/p/b.jpg: not_an_image: empty (since {when})\n/p/b.jpg: not_an_image: empty\n"
    assert run("failed", "--json").json == service.failures
    assert run("failed", "--retry", "sub").out == "2 failed files are read again\n"
    assert service.asked[-1] == ("retry_failed", os.fsencode(tmp_path / "sub"))
    assert run("failed", "sub").status == 2


def test_a_reload_names_the_service_to_restart(run: Any, service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the hooks and the link another than the daemon's."""
    reply: ReloadReply = {"roots": ["/srv/p"], "restart_needed": ["cluster", "workers", "hook"]}
    monkeypatch.setattr(service, "reload", lambda: reply)
    assert run("reload").out.splitlines() == [
        "watching /srv/p",
        "[cluster] has changed; restart shazimd and shazimd-link to apply the change",
        "[workers] has changed; restart shazimd to apply the change",
        "[hook] has changed; restart shazimd-hooks to apply the change",
    ]
