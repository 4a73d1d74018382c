"""A real daemon keeps relations and decisions: across restarts, and for the alerts to come."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from daemon_process import DaemonProcess, daemon_process, drawing
from drawn import picture
from PIL import Image, ImageOps
from spoiled_rows import spoil

from shazimd.client import Client
from shazimd.errors import BadInput, NotFound
from shazimd.protocol.groups import DuplicateGroup
from shazimd.store.lmdb_store import open_store
from shazimd.text import path_fields_as


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """With a picture and a smaller copy of it, known and compared."""
    with daemon_process(tmp_path) as daemon:
        drawing(1).save(daemon.root / "large.png")
        drawing(1).resize((200, 150)).save(daemon.root / "small.jpg")
        daemon.start()
        daemon.settled(compared=True)
        yield daemon


def names(group: DuplicateGroup) -> list[str]:
    return [os.path.basename(member["path"]) for member in group["members"]]


def contents(client: Client) -> list[str]:
    (group,) = client.groups()["groups"]
    return [member["content"] for member in group["members"]]


def test_groups_are_kept_by_the_store(daemon: DaemonProcess) -> None:
    """After a restart nothing is compared again."""
    client = Client(daemon.socket)
    before = client.groups()
    assert [names(group) for group in before["groups"]] == [["large.png", "small.jpg"]]
    daemon.stop()
    daemon.start()
    daemon.settled(compared=True)
    assert (client.groups(), daemon.events("pictures_compared")) == (before, [])


@pytest.mark.parametrize("table", ["relations", "facts"])
def test_a_damaged_row_is_passed_over_and_found_anew(daemon: DaemonProcess, table: str) -> None:
    """Of a store that was closed: neither the listing nor a question fails, and the groups are as before."""
    client = Client(daemon.socket)
    before = client.groups()
    daemon.stop()
    with closing(open_store(str(daemon.store), 1 << 30)) as store:
        spoil(store, table)
    checked = daemon.ctl("store", "--store", str(daemon.store), "check")
    daemon.start()
    client.groups()
    assert 0 == daemon.ctl("find", str(daemon.root / "large.png")).returncode
    named = daemon.wait_for("derived_data_unsound")
    daemon.settled(compared=True)
    assert (client.groups(), daemon.events("job_failed")) == (before, [])
    daemon.stop()
    again = daemon.ctl("store", "--store", str(daemon.store), "check")
    assert f"a row of the table {table} differs from its checksum" in checked.stdout
    assert (named["content"], os.path.dirname(named["path"])) == (1, str(daemon.root))
    assert (again.returncode, again.stderr) == (0, "")


def test_a_pair_that_is_no_duplicate_is_told_no_more(daemon: DaemonProcess) -> None:
    """Not in groups, and not by an alert when a file comes back; until the decision is undone."""
    client = Client(daemon.socket)
    pair = contents(client)
    (made,) = client.decide([{"kind": "not_duplicates", "contents": pair}])
    assert client.groups()["groups"] == []
    shutil.move(daemon.root / "small.jpg", daemon.root.parent / "aside.jpg")
    daemon.wait_until(lambda: client.status()["images"] == 1)
    shutil.copy(daemon.root.parent / "aside.jpg", daemon.root / "back.jpg")
    daemon.wait_for("image_indexed", path=str(daemon.root / "back.jpg"))
    assert client.undo(made)["uid"] == os.getuid()
    daemon.settled()
    assert daemon.events("near_duplicate") == []
    (daemon.root / "back.jpg").unlink()
    daemon.wait_until(lambda: client.status()["images"] == 1)
    shutil.copy(daemon.root.parent / "aside.jpg", daemon.root / "again.jpg")
    daemon.wait_for("near_duplicate", path=str(daemon.root / "again.jpg"))


def test_a_copy_that_was_told_is_in_a_group_at_once(daemon: DaemonProcess) -> None:
    """The alert's own relation is stored with it."""
    client = Client(daemon.socket)
    drawing(1).rotate(90, expand=True).save(daemon.root / "turned.png")
    daemon.wait_for("near_duplicate", path=str(daemon.root / "turned.png"))
    (group,) = client.groups()["groups"]
    assert "turned.png" in names(group)


def test_decisions_are_checked_and_all_or_none(daemon: DaemonProcess) -> None:
    """A bad line is named, an unknown content too; nothing of the request is stored."""
    client = Client(daemon.socket)
    pair, unknown = contents(client), "0" * 64
    good = {"kind": "leave", "contents": pair}
    for bad, error, message in (
        ({"kind": "maybe", "contents": pair}, BadInput, r"line 2: .*maybe"),
        ({"kind": "keep", "contents": pair, "keep": unknown}, BadInput, "line 2: keep is 0000"),
        ({"kind": "leave", "contents": pair, "keep": pair[0]}, BadInput, "expected none for leave"),
        ({"kind": "not_duplicates", "contents": pair[:1]}, BadInput, "line 2: there is one content"),
        ({"kind": "leave", "contents": ["xyz"]}, BadInput, "line 2"),
        ({"kind": "leave", "contents": [unknown]}, NotFound, f"content {unknown}: no known image"),
    ):
        with pytest.raises(error, match=message):
            client.decide([good, bad])
    assert list(client.decisions()) == []
    with pytest.raises(NotFound, match="decision 99: there is none"):
        client.undo(99)


def test_decisions_are_imported_before_their_images(daemon: DaemonProcess) -> None:
    """With the time and the user they came with; the same line twice is one decision."""
    line = {"kind": "leave", "contents": ["ab" * 32], "uid": 5, "time": "2020-01-01T00:00:00+00:00"}
    client = Client(daemon.socket)
    assert client.decide([line, line], accept_unknown=True) == [1, 1]
    (decision,) = client.decisions()
    assert {**line, "id": 1, "keep": None, "files": []} == decision


def test_a_decision_may_name_the_file_to_keep(daemon: DaemonProcess) -> None:
    """Among files of the same bytes; a path of any bytes, and only for the kind keep."""
    path = os.fsencode(daemon.root) + b"/\xff.png"
    shutil.copy(os.fsencode(daemon.root / "large.png"), path)
    daemon.settled(compared=True)
    client = Client(daemon.socket)
    (group,) = client.groups()["groups"]
    about = {"contents": [member["content"] for member in group["members"]]}
    large = {"keep": next(member["content"] for member in group["members"] if member["width"] > 300)}
    named = path_fields_as("keep_path", path)
    client.decide([{"kind": "keep", **about, **large, **named}])
    (group,), (decision,) = client.groups(decided=True)["groups"], client.decisions()
    assert group["members"][0].get("path_b64") == decision["keep_path_b64"] == named["keep_path_b64"]
    for bad in ({"keep_path": "relative"}, {"keep_path_b64": "?"}):
        with pytest.raises(BadInput, match="line 1: keep_path"):
            client.decide([{"kind": "keep", **about, **large, **bad}])
    with pytest.raises(BadInput, match="for the kind keep only"):
        client.decide([{"kind": "leave", **about, "keep_path": "/a"}])


def test_a_decision_that_names_no_file_leaves_the_choice(daemon: DaemonProcess) -> None:
    """As an import of an older export makes; the same decision again is not made twice."""
    shutil.copy(daemon.root / "large.png", daemon.root / "z.png")
    daemon.settled(compared=True)
    client = Client(daemon.socket)
    _, other = (each for each in client.groups()["groups"][0]["members"] if each["width"] > 300)
    line = {"kind": "keep", "contents": sorted(set(contents(client))), "keep": other["content"]}
    for made in (line | {"keep_path": other["path"]}, line, line | {"keep_path": other["path"]}):
        client.decide([made])
        (group,) = client.groups(decided=True)["groups"]
        assert group["members"][0]["path"] == other["path"]
    assert len(list(client.decisions())) == 2


def test_failed_files_are_listed_and_tried_again(daemon: DaemonProcess) -> None:
    """With the reason and the time; a file that can be read by then is no longer listed."""
    client = Client(daemon.socket)
    for name in ("broken.jpg", "other.jpg"):
        (daemon.root / name).write_bytes(b"no picture")
    daemon.wait_until(lambda: client.status()["failed"] == 2)
    failed = {os.path.basename(each["path"]): each for each in client.failed()}
    assert {name: each["code"] for name, each in failed.items()} == {
        "broken.jpg": "not_an_image",
        "other.jpg": "not_an_image",
    }
    assert all(each["since"] and each["size_bytes"] == 10 for each in failed.values())
    assert client.retry_failed(os.fsencode(daemon.root / "other.jpg")) == 1
    assert client.retry_failed() == 2
    daemon.settled()
    assert len(list(client.failed())) == 2


def test_the_original_is_kept_for_what_its_copies_show(tmp_path: Path) -> None:
    """A framed copy is larger; what was seen in the files is said, and is there for the page."""
    original = Image.blend(drawing(1), picture(400, 300, 1), 0.5)
    exif = Image.Exif()
    exif[0x0110] = "EOS 5D"
    with daemon_process(tmp_path) as daemon:
        original.save(daemon.root / "z.jpg", quality=80, exif=exif)
        ImageOps.expand(original, 40, "white").save(daemon.root / "a.jpg", quality=95)
        daemon.start()
        daemon.settled(compared=True)
        (group,) = Client(daemon.socket).groups()["groups"]
        assert names(group) == ["z.jpg", "a.jpg"]
        assert group["reason"] == "original of the framed version"
        facts = [member["facts"] for member in group["members"]]
        assert [each and (each["camera"], each["grey"]) for each in facts] == [("EOS 5D", False), (None, False)]
        assert group["members"][1]["mapping"] is not None
