"""The main job, as a user does it: real processes, a real folder, a real socket."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from daemon_process import DaemonProcess, daemon_process, drawing
from patience import PATIENCE_S
from PIL import Image, ImageOps

from shazimd.text import path_bytes


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with daemon_process(tmp_path) as daemon:
        yield daemon


def drop(daemon: DaemonProcess, image: Image.Image, name: str) -> Path:
    """Save a picture into the root, as a program that writes and closes does."""
    path = daemon.root / name
    image.save(path)
    return path


def test_a_baseline_is_silent_and_what_lands_later_alerts(daemon: DaemonProcess) -> None:
    """Copies among the first files are summed up in one line; a copy that lands then is told by itself."""
    picture = drawing(1)
    drop(daemon, picture, "a.png")
    drop(daemon, picture, "b.png")
    drop(daemon, drawing(2), "other.png")
    daemon.start()
    assert (3, []) == (daemon.wait_for("baseline_complete")["images"], daemon.events("near_duplicate"))
    daemon.wait_for("pictures_compared")
    drop(daemon, picture.resize((200, 150)), "small.jpg")
    alert = daemon.wait_for("near_duplicate", path=str(daemon.root / "small.jpg"))
    assert str(daemon.root / "a.png") == alert["match"]
    assert ("warning", 1, 2) == (alert["level"], alert["alert_id"], alert["matches"])


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: ImageOps.mirror(image).resize((300, 225)),
        lambda image: image.rotate(90, expand=True),
        lambda image: image.crop((60, 40, 380, 290)),
    ],
    ids=["mirrored and smaller", "turned", "cropped"],
)
def test_an_edited_copy_is_told_as_a_copy(daemon: DaemonProcess, edit: Callable[[Image.Image], Image.Image]) -> None:
    """Geometry confirms it, whatever the score says."""
    for seed in range(8):
        drop(daemon, drawing(seed), f"{seed}.png")
    daemon.start()
    daemon.settled()
    drop(daemon, edit(drawing(3)), "edited.jpg")
    alert = daemon.wait_for("near_duplicate")
    assert ("copy", str(daemon.root / "3.png")) == (alert["verdict"], alert["match"])


def test_a_restart_decodes_nothing_and_repeats_no_alert(daemon: DaemonProcess) -> None:
    """What was stored is known again, and what landed meanwhile alerts."""
    for seed in range(4):
        drop(daemon, drawing(seed), f"{seed}.png")
    daemon.start()
    daemon.settled()
    drop(daemon, drawing(1), "copy.webp")
    daemon.wait_for("near_duplicate")
    assert 0 == daemon.stop()
    drop(daemon, drawing(2).resize((200, 150)), "while_down.jpg")
    daemon.start()
    alert = daemon.wait_for("near_duplicate")
    daemon.settled()
    assert (str(daemon.root / "while_down.jpg"), 2) == (alert["path"], alert["alert_id"])
    assert [str(daemon.root / "while_down.jpg")] == [e["path"] for e in daemon.events("image_indexed")]


def test_a_rename_a_move_and_a_copy_of_the_same_bytes_decode_nothing(daemon: DaemonProcess) -> None:
    """Only the bytes count; a copy is an exact duplicate, a file that moved is none."""
    drop(daemon, drawing(1), "a.png")
    (daemon.root / "sub").mkdir()
    daemon.start()
    daemon.settled()
    (daemon.root / "a.png").rename(daemon.root / "sub" / "renamed.png")
    daemon.wait_until(lambda: _paths(daemon, drawing(1)) == [str(daemon.root / "sub" / "renamed.png")])
    (daemon.root / "sub").rename(daemon.root / "moved")
    daemon.wait_until(lambda: _paths(daemon, drawing(1)) == [str(daemon.root / "moved" / "renamed.png")])
    shutil.copy(daemon.root / "moved" / "renamed.png", daemon.root / "copy.png")
    alert = daemon.wait_for("near_duplicate")
    assert ("exact", str(daemon.root / "copy.png")) == (alert["verdict"], alert["path"])
    assert 1 == sum(event["decoded"] for event in daemon.events("image_indexed"))


def test_what_moves_into_a_directory_that_is_just_made_is_told_once(daemon: DaemonProcess) -> None:
    """No watch is there yet to see it come."""
    drop(daemon, drawing(1), "a.png")
    daemon.start()
    daemon.settled()
    copies = [drop(daemon, drawing(1), f"copy{number}.png") for number in range(5)]
    daemon.wait_until(lambda: len(daemon.events("near_duplicate")) == len(copies))
    subprocess.run(["sh", "-c", "mkdir -p new/deep && mv copy*.png new/deep"], cwd=daemon.root, check=True)
    moved = {str(daemon.root / "new" / "deep" / path.name) for path in copies}
    daemon.wait_until(lambda: moved < set(_paths(daemon, drawing(1))))
    daemon.settled()
    assert {str(daemon.root / "a.png"), *moved} == set(_paths(daemon, drawing(1)))
    assert len(copies) == len(daemon.events("near_duplicate"))


def test_a_changed_and_a_deleted_file_end_up_right(daemon: DaemonProcess) -> None:
    """The store follows the disk."""
    drop(daemon, drawing(1), "a.png")
    daemon.start()
    daemon.settled()
    drop(daemon, drawing(2), "a.png")
    daemon.wait_until(lambda: _paths(daemon, drawing(2)))
    assert [] == _paths(daemon, drawing(1))
    (daemon.root / "a.png").unlink()
    daemon.wait_until(lambda: _paths(daemon, drawing(2)) == [])
    assert 0 == daemon.status()["images"]


def test_duplicates_are_grouped_with_the_one_to_keep_first(daemon: DaemonProcess) -> None:
    """Exact copies and edited ones are tied to the largest; what stands alone is not told."""
    drop(daemon, drawing(1), "large.png")
    drop(daemon, drawing(1).resize((300, 225)), "small.jpg")
    shutil.copy(daemon.root / "large.png", daemon.root / "zcopy.png")
    drop(daemon, drawing(2), "alone.png")
    daemon.start()
    daemon.settled(compared=True)
    told = daemon.ctl("duplicates", "--json")
    (group,) = map(json.loads, told.stdout.splitlines())
    members = [(os.path.basename(member["path"]), member["verdict"]) for member in group["members"]]
    assert [("large.png", None), ("zcopy.png", "exact"), ("small.jpg", "copy")] == members


def test_duplicates_that_were_mirrored_turned_or_cropped_are_grouped(daemon: DaemonProcess) -> None:
    """What the score alone would not tie; another picture stays alone."""
    large, mirror = drawing(1), Image.Transpose.FLIP_LEFT_RIGHT
    drop(daemon, large, "large.png")
    drop(daemon, large.transpose(mirror).resize((320, 240)), "mirrored.jpg")
    drop(daemon, large.rotate(90, expand=True).resize((225, 300)), "turned.jpg")
    drop(daemon, large.crop((60, 40, 320, 260)), "cropped.png")
    drop(daemon, drawing(2), "alone.png")
    daemon.start()
    daemon.settled(compared=True)
    (group,) = map(json.loads, daemon.ctl("duplicates", "--json").stdout.splitlines())
    members = {os.path.basename(member["path"]): member["verdict"] for member in group["members"]}
    assert {"large.png": None, "mirrored.jpg": "copy", "turned.jpg": "copy", "cropped.png": "copy"} == members


def test_the_socket_answers_curl(daemon: DaemonProcess) -> None:
    """The API needs no client of ours."""
    path = drop(daemon, drawing(1), "a.png")
    daemon.start()
    daemon.settled()
    answer = subprocess.run(
        ["curl", "-sS", "--unix-socket", daemon.socket, "--data-binary", f"@{path}", "http://localhost/v1/find"],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert [("exact", str(path))] == [(m["verdict"], m["path"]) for m in json.loads(answer.stdout)["matches"]]


def test_shazimctl_asks_about_files_and_standard_input(daemon: DaemonProcess, tmp_path: Path) -> None:
    """A file outside the roots is found by its picture; exit status 1 says that nothing is like it."""
    drop(daemon, drawing(1), "a.png")
    daemon.start()
    daemon.settled()
    outside = tmp_path / "outside.jpg"
    drawing(1).save(outside, quality=60)
    found = daemon.ctl("find", str(outside))
    assert (0, f"{daemon.root / 'a.png'} at ") == (
        found.returncode,
        found.stdout.splitlines()[1][: len(str(daemon.root / "a.png")) + 4],
    )
    assert 0 == daemon.ctl("find", "-", stdin=outside.read_bytes()).returncode
    drawing(7).save(outside)
    assert (1, "Found 0 image(s)\n") == (
        daemon.ctl("find", "--threshold", "0.9", str(outside)).returncode,
        daemon.ctl("find", "--threshold", "0.9", str(outside)).stdout,
    )
    outside.write_bytes(b"no picture")
    refused = daemon.ctl("find", str(outside))
    assert 4 == refused.returncode
    assert "outside.jpg" in refused.stderr


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("text.jpg", b"no picture at all", "not_an_image"),
        ("empty.png", b"", "not_an_image"),
        ("newline\n.jpg", b"no picture", "not_an_image"),
    ],
)
def test_a_bad_file_is_one_line_and_the_daemon_carries_on(
    daemon: DaemonProcess, name: str, content: bytes, code: str
) -> None:
    """It is told once, with the reason, and not tried again until it changes."""
    daemon.start()
    daemon.settled()
    aside = daemon.root.parent / "aside"
    aside.write_bytes(content)
    aside.rename(daemon.root / name)  # whole from the first moment, however slow the test
    failed = daemon.wait_for("image_failed")
    assert (str(daemon.root / name), code) == (failed["path"], failed["code"])
    drop(daemon, drawing(1), "good.png")
    daemon.wait_for("image_indexed")
    daemon.ctl("rescan")
    daemon.settled()
    assert (1, 1, 1) == (len(daemon.events("image_failed")), daemon.status()["failed"], daemon.status()["images"])


def test_a_store_whose_name_is_not_utf8_and_a_root_with_two_slashes(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The daemon starts, its status has both, and the store is checked beside it. A second daemon is refused with the
    reason."""
    store = str(daemon.store) + os.fsdecode(b"\xff")
    daemon.arguments[0] = "/" + str(daemon.root)
    daemon.start("--store", store)
    drop(daemon, drawing(1), "a.png")
    daemon.settled()
    status = daemon.status()
    assert (1, [str(daemon.root)]) == (status["images"], [root["path"] for root in status["roots"]])
    assert os.fsencode(store) == path_bytes(status["store"])
    assert 0 == daemon.ctl("store", "--store", store, "check").returncode
    (tmp_path / "second").mkdir()
    with daemon_process(tmp_path / "second") as second:
        assert 5 == second.spawn("--store", store).wait(PATIENCE_S)
        assert "held by process" in second.events()[-1]["reason"]  # and no traceback


def test_a_name_that_is_not_utf8_is_given_exactly(daemon: DaemonProcess) -> None:
    """Programs find the file by path_b64."""
    path = os.fsencode(daemon.root) + b"/\xff.png"
    drawing(1).save(daemon.root / "a.png")
    os.rename(daemon.root / "a.png", path)
    daemon.start()
    daemon.settled()
    found = json.loads(daemon.ctl("find", "--json", os.fsdecode(path)).stdout)
    assert path == base64.b64decode(found["matches"][0]["path_b64"])


def test_a_second_daemon_is_refused_and_a_dead_one_is_followed(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The store and the socket have one owner; after kill -9 the next start takes both over."""
    daemon.start()
    (tmp_path / "second").mkdir()
    with daemon_process(tmp_path / "second") as second:
        second.store = daemon.store
        assert 5 == second.spawn().wait(PATIENCE_S)
        assert daemon.process is not None
        assert str(daemon.process.pid) in second.events("stopped")[0]["reason"]
        second.store = tmp_path / "second" / "store"
        second.socket = daemon.socket
        assert 2 == second.spawn().wait(PATIENCE_S)
        assert daemon.socket in second.events("stopped")[0]["reason"]
    daemon.kill()
    daemon.start()
    assert "ready" == daemon.wait_until(lambda: daemon.status()["state"] == "ready" and "ready")


def test_a_crash_leaves_the_stacks_of_all_threads(daemon: DaemonProcess) -> None:
    """A library that fails takes the daemon with it: the log names the line that called it."""
    daemon.start()
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSEGV)
    assert -signal.SIGSEGV == daemon.process.wait(PATIENCE_S)
    last_words = daemon.log.read_text().partition("Fatal Python error: Segmentation fault")[2]
    assert last_words.count("Thread 0x") > 1
    assert "daemon/main.py" in last_words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no directory to watch"),
        (["{tmp}/file"], "file: not a directory"),
        (["{tmp}/Picturs"], "Picturs: no such directory; create or mount it before its first scan"),
        (["--config", "{tmp}/none.toml"], "none.toml: No such file or directory"),
        (["--config", "{tmp}/bad.toml"], "bad.toml: macth is not a known key"),
    ],
)
def test_a_wrong_start_says_why(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """One line that names the thing; exit status 2."""
    (tmp_path / "file").touch()
    (tmp_path / "bad.toml").write_text("[macth]\n")
    daemon = DaemonProcess(tmp_path)
    daemon.arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert 2 == daemon.spawn().wait(PATIENCE_S)
    assert expected in daemon.events("stopped")[0]["reason"]
    daemon.close()


def test_a_known_root_that_is_absent_is_waited_for(daemon: DaemonProcess, tmp_path: Path) -> None:
    """A disk that is mounted later is watched then."""
    later, away = tmp_path / "later", tmp_path / "away"
    later.mkdir()
    drawing(1).save(later / "a.png")
    daemon.arguments = [str(later)]
    daemon.start()
    daemon.settled()
    daemon.stop()
    later.rename(away)
    daemon.start()
    daemon.wait_for("root_unavailable", root=str(later))
    away.rename(later)
    drawing(2).save(later / "b.png")
    daemon.wait_for("image_indexed", path=str(later / "b.png"))


def test_a_match_in_a_root_that_is_watched_no_more_holds_up_nothing(daemon: DaemonProcess, tmp_path: Path) -> None:
    """Its only file is gone, and no scan looks for it."""
    other = tmp_path / "other"
    other.mkdir()
    drawing(1).save(other / "1.png")
    daemon.start(str(other))
    daemon.settled()
    assert daemon.stop() == 0
    shutil.rmtree(other)
    daemon.start()
    daemon.settled()
    drawing(1).save(daemon.root / "copy.jpg", quality=60)
    daemon.wait_for("image_indexed", path=str(daemon.root / "copy.jpg"))
    daemon.settled()
    assert [] == daemon.events("following_failed") + daemon.events("near_duplicate")


def test_no_process_of_the_daemon_imports_tensorflow(daemon: DaemonProcess) -> None:
    """The daemon and its workers stay small; decoding leaves no decoder in the daemon itself."""
    drop(daemon, ImageOps.mirror(drawing(1)), "a.png")
    daemon.start()
    daemon.settled()
    assert daemon.process is not None
    processes = [psutil.Process(daemon.process.pid), *psutil.Process(daemon.process.pid).children(recursive=True)]
    mapped = [Path(f"/proc/{process.pid}/maps").read_text() for process in processes]
    assert len(mapped) > 1
    assert not any("tensorflow" in maps for maps in mapped)
    assert "PIL/_imaging" not in mapped[0]


def _paths(daemon: DaemonProcess, image: Image.Image) -> list[str]:
    """Where the daemon has this very picture."""
    probe = daemon.log.with_name("probe.png")
    image.save(probe)
    matches = json.loads(daemon.ctl("find", "--json", str(probe)).stdout)["matches"]
    return [match["path"] for match in matches if match["verdict"] == "exact"]


ALL = '[alerts]\nverdicts = ["exact", "copy", "variant", "scene", "similar"]\n'


def test_without_verification_the_score_alone_decides(daemon: DaemonProcess, tmp_path: Path) -> None:
    """[match] verify = false is the original's plain behaviour: a crop that geometry would confirm is not told."""
    (tmp_path / "config.toml").write_text(f'[[watch]]\npath = "{daemon.root}"\n[match]\nverify = false\n{ALL}')
    daemon.arguments = ["--config", str(tmp_path / "config.toml")]
    drop(daemon, drawing(3), "a.png")
    daemon.start("--model", "bundled")
    daemon.settled()
    drop(daemon, drawing(3).crop((60, 40, 300, 250)), "crop.png")
    drop(daemon, drawing(3).resize((200, 150)), "small.png")
    alert = daemon.wait_for("near_duplicate", path=str(daemon.root / "small.png"))
    assert ("similar", 1) == (alert["verdict"], len(daemon.events("near_duplicate")))
