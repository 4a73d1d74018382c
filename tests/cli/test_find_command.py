"""`shazimctl find` against the real server on a real socket."""

from __future__ import annotations

import errno
import json
import os
import pty
import resource
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from asking import Spoken, shazimctl
from fake_service import FakeService, serving

from shazimd.cli import bulk
from shazimd.cli import run as run_words
from shazimd.errors import Unavailable


def test_find_says_what_it_found(run: Any) -> None:
    """Each match is a line of path, whole per cent and verdict, under the number of them."""
    said = run("find", "ski.jpg")
    assert said.out == "Found 2 image(s)\n/srv/p/ski_copy.jpg at 100% exact\n/srv/p/ski2.jpg at 84% copy\n"
    assert said.status == 0


def test_find_verbose_lowers_the_threshold_and_shows_the_similarities(run: Any, service: FakeService) -> None:
    """-v asks with 0.5 unless a threshold is given, and prints the dictionary of the original under each match."""
    service.known = [(b"/srv/p/a.jpg", 1.0, "exact"), (b"/srv/p/b.jpg", 0.6, "similar")]
    assert run("find", "-v", "ski.jpg").out == (
        "Found 2 image(s)\n"
        "/srv/p/a.jpg at 100% exact\naverage hash 100%, difference hash 100%, vector 100%\n"
        "/srv/p/b.jpg at 60% similar\naverage hash 60%, difference hash 60%, vector 60%\n"
    )
    run("find", "-v", "--threshold", "0.9", "ski.jpg")
    run("find", "ski.jpg")
    assert [asked[2] for asked in service.asked] == [0.5, 0.9, None]


def test_find_passes_weights_and_limit(run: Any, service: FakeService) -> None:
    """--weights and --limit reach the daemon."""
    assert run("find", "--weights", "0.5,0.5,3", "--limit", "1", "ski.jpg").out.startswith("Found 1 image(s)\n")
    assert service.asked[0][3:] == ((0.5, 0.5, 3.0), 1)


def test_nothing_found_is_status_one(run: Any, service: FakeService) -> None:
    """No match is said, and is exit status 1."""
    service.known = []
    said = run("find", "ski.jpg")
    assert (said.status, said.out, said.err) == (1, "Found 0 image(s)\n", "")


def test_several_images_are_each_answered(run: Any, tmp_path: Path) -> None:
    """Every image has its heading; a bad one is named on standard error, the others are answered, its status wins."""
    (tmp_path / "text").write_text("no picture")
    said = run("find", "ski.jpg", "text", "gone.jpg", "ski2.jpg", "--limit", "1")
    assert said.out == (
        "ski.jpg:\nFound 1 image(s)\n/srv/p/ski_copy.jpg at 100% exact\n\n"
        "ski2.jpg:\nFound 1 image(s)\n/srv/p/ski_copy.jpg at 100% exact\n"
    )
    assert said.err.splitlines() == [
        "shazimctl: text: the body is no image that can be decoded",
        "shazimctl: gone.jpg: no such file",
    ]
    assert said.status == 4


def queries(said: Spoken) -> dict[str, bool]:
    """The images of lines of JSON, in any order, and whether they were answered."""
    return {line["query"]: "matches" in line for line in said.json}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, a broken image, and files that are not asked about."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "@eaDir").mkdir()
    for name in ("a.jpg", "sub/b.png", "@eaDir/thumb.jpg", ".hidden.jpg"):
        (folder / name).write_bytes(b"image " + name.encode())
    (folder / "broken.jpg").write_bytes(b"broken")
    (folder / "notes.txt").write_bytes(b"image")
    return folder


def test_all_images_of_a_directory_are_asked_about(run: Any, folder: Path) -> None:
    """With others that were named; a broken one is named on standard error, and its status wins."""
    said = run("find", "--json", "folder", "ski.jpg")
    expected = {"folder/a.jpg": True, "folder/sub/b.png": True, "folder/broken.jpg": False, "ski.jpg": True}
    assert queries(said) == expected
    assert said.err.splitlines() == [
        "shazimctl: folder/broken.jpg: the body is no image that can be decoded",
        "shazimctl: 4 images asked about: 3 with a match, 1 failed",
    ]
    assert said.status == 4


def test_a_directory_that_can_not_be_read_is_an_error(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is that of an unreadable file, also when all other images have a match."""
    (folder / "broken.jpg").unlink()
    scandir = os.scandir

    def locked(path: str) -> Any:
        if path == "folder/sub":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    said = run("find", "--json", "folder")
    assert queries(said) == {"folder/a.jpg": True}
    assert said.err.splitlines() == [
        "shazimctl: folder/sub: Permission denied",
        "shazimctl: 1 images asked about: 1 with a match, 1 failed",
    ]
    assert said.status == 4


def test_only_images_with_a_match_are_printed(run: Any, folder: Path, service: FakeService) -> None:
    (folder / "broken.jpg").unlink()
    assert sorted(run("find", "--limit", "1", "folder").out.split("\n")) == sorted(
        [
            *("folder/a.jpg:", "Found 1 image(s)", "/srv/p/ski_copy.jpg at 100% exact"),
            *("folder/sub/b.png:", "Found 1 image(s)", "/srv/p/ski_copy.jpg at 100% exact", ""),
        ]
    )
    service.known = []
    said = run("find", "folder")
    assert (said.status, said.out) == (1, "")


def test_images_of_a_list_are_asked_about(run: Any, folder: Path, tmp_path: Path) -> None:
    """One name a line, or separated by NUL: then a name may have a line break."""
    (tmp_path / "lines").write_text("ski.jpg\nfolder/a.jpg\n")
    assert queries(run("find", "--json", "--from-file", "lines")) == {"ski.jpg": True, "folder/a.jpg": True}
    (folder / "two\nlines.jpg").write_bytes(b"image")
    (tmp_path / "nuls").write_text("ski.jpg\0folder/two\nlines.jpg\0")
    said = run("find", "--json", "--from-file", "nuls", "ski2.jpg")
    assert queries(said) == {"ski.jpg": True, "folder/two\nlines.jpg": True, "ski2.jpg": True}
    assert run("find", "--from-file", "gone").err == "shazimctl: gone: no such file\n"


def test_an_interrupted_search_goes_on(run: Any, folder: Path, tmp_path: Path, service: FakeService) -> None:
    """Images with an answer in the file are not asked about again; an answer that was cut is."""
    answers = tmp_path / "answers"
    run("find", "--output", "answers", "folder", "ski.jpg")
    whole = answers.read_bytes()
    assert len(whole.splitlines()) == 4
    answers.write_bytes(whole[:-20])
    service.asked.clear()
    run("find", "--output", "answers", "folder", "ski.jpg")
    assert len(service.asked) == 1
    assert sorted(answers.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_large_images_wait_for_a_small_daemon(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon that holds two of a user's pictures at a time answers about all sixteen in a folder."""
    (tmp_path / "raws").mkdir()
    for number in range(16):
        (tmp_path / "raws" / f"{number}.dng").write_bytes(b"image %d".ljust(80) % number)
    monkeypatch.setattr(service, "_work", lambda: time.sleep(0.05))
    monkeypatch.setattr(bulk, "BUSY_PAUSE_S", 0.01)
    with serving(service, tmp_path, held_max_bytes=400) as path:
        assert run_words(["--socket", path, "find", str(tmp_path / "raws")]) == 0
    assert capsys.readouterr().err == "shazimctl: 16 images asked about: 16 with a match, 0 failed\n"


def test_an_error_that_may_pass_is_no_answer(
    run: Any, folder: Path, tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of a busy daemon, and a file that was missing, are asked about again; a broken picture is not."""
    monkeypatch.setattr(bulk, "BUSY_PAUSE_S", 0.01)
    monkeypatch.setattr(bulk, "BUSY_MAX_S", 0)
    service.fails = Unavailable("too busy; ask again later")
    assert run("find", "--output", "answers", "ski.jpg", "folder/a.jpg", "gone.jpg").status == 5
    service.fails = None
    assert run("find", "--output", "answers", "ski.jpg", "folder/broken.jpg", "gone.jpg").status == 4
    (tmp_path / "gone.jpg").write_bytes(b"image")
    service.asked.clear()
    assert run("find", "--output", "answers", "folder/a.jpg", "ski.jpg", "folder/broken.jpg", "gone.jpg").status == 0
    assert len(service.asked) == 2
    last = {
        line["query"]: "matches" in line for line in map(json.loads, (tmp_path / "answers").read_text().splitlines())
    }
    assert last == {"ski.jpg": True, "folder/a.jpg": True, "folder/broken.jpg": False, "gone.jpg": True}


@pytest.mark.parametrize("text", ["Dear Ada,\n", '{"port":80}', '{"query": "{ hero }"}', "{", "Dear Ada,"])
def test_another_file_is_not_overwritten(run: Any, tmp_path: Path, text: str) -> None:
    """Whether its last line has an end or not."""
    (tmp_path / "letter").write_text(text)
    said = run("find", "--output", "letter", "ski.jpg")
    assert (said.status, said.err) == (
        4,
        "shazimctl: letter: line 1 is no answer of an earlier run; name another file\n",
    )
    assert (tmp_path / "letter").read_text() == text


def test_a_file_of_answers_has_one_writer(run: Any, tmp_path: Path) -> None:
    """A second command with the same file ends at once, and leaves the file as it is."""
    run("find", "--output", "answers", "ski.jpg")
    before = (tmp_path / "answers").read_bytes()
    first = bulk.AnswersFile("answers")
    said = run("find", "--output", "answers", "ski2.jpg")
    first.close()
    message = "shazimctl: answers: another shazimctl find writes it; wait for its end or name another file\n"
    assert (said.status, said.err) == (4, message)
    assert (tmp_path / "answers").read_bytes() == before


def test_a_file_of_answers_that_is_full_is_named(socket_path: str) -> None:
    """Not standard output, which has no part in it."""
    limit = (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    words = ("find", "--output", "answers", "ski.jpg")
    process = shazimctl(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert process.communicate() == ("", "shazimctl: answers: File too large\n")
    assert process.returncode == 5


@pytest.mark.parametrize("left", [3, 14, -1])
def test_an_answer_is_cut_anywhere(run: Any, tmp_path: Path, left: int) -> None:
    run("find", "--output", "answers", "ski.jpg", "ski2.jpg")
    first, second = (tmp_path / "answers").read_bytes().splitlines(keepends=True)
    (tmp_path / "answers").write_bytes(first + second[:left])
    run("find", "--output", "answers", "ski.jpg", "ski2.jpg")
    assert (tmp_path / "answers").read_bytes() == first + second


def test_one_match_among_several_images_is_enough(run: Any, service: FakeService) -> None:
    """Without errors the status is 0 as soon as anything was found for any image."""
    assert run("find", "ski.jpg", "ski2.jpg").status == 0
    service.known = []
    assert run("find", "ski.jpg", "ski2.jpg").status == 1


def test_find_in_json(run: Any) -> None:
    """--json gives one object for each image with all that the daemon said, and one for each error."""
    said = run("find", "--json", "ski.jpg", "gone.jpg")
    first, second = said.json
    assert (first["query"], first["threshold"], first["weights"], first["model"]) == ("ski.jpg", 0.75, [1, 1, 2], "m-1")
    assert first["matches"][1] == {
        "path": "/srv/p/ski2.jpg",
        "score": 0.836,
        "dah": 0.836,
        "ddh": 0.836,
        "dfv": 0.836,
        "verdict": "copy",
        "width": 640,
        "height": 480,
    }
    assert second == {"query": "gone.jpg", "error": {"code": "not_found", "message": "no such file"}}
    assert said.status == 4


@pytest.mark.parametrize("words", [["find", "ski.jpg"], ["find", "--json", "ski.jpg"], ["duplicates"]])
def test_an_answer_during_a_baseline_says_that_it_is_partial(run: Any, service: FakeService, words: list[str]) -> None:
    """The number of images known so far, on standard error; the exit status is as usual."""
    service.groups = [{"saves_bytes": 0, "members": []}]
    whole = run(*words)
    assert (0, "") == (whole.status, whole.err)
    service.state = "baseline"
    partial = run(*words)
    assert partial.status == 0
    message = "shazimctl: the first scan is not finished: only the 1,200 images known so far were searched\n"
    assert partial.err == message
    if "--json" in words:
        assert [whole.json[0]["complete"], partial.json[0]["complete"]] == [True, False]
        assert partial.json[0]["known_images"] == 1200
    else:
        assert partial.out == whole.out


def test_find_reads_standard_input(socket_path: str) -> None:
    """ "-" is standard input, as bytes."""
    process = shazimctl("find", "--json", "-", stdin=subprocess.PIPE)
    out, _ = process.communicate("image")
    assert (process.returncode, json.loads(out)["query"]) == (0, "-")


def test_an_unreadable_file_is_named(run: Any) -> None:
    """A file that can't be read is bad input that says why."""
    said = run("find", "/proc/self/mem")
    assert (said.status, said.err) == (4, "shazimctl: /proc/self/mem: Input/output error\n")


HOSTILE = b"/srv/p/\x1b[2J\n\xe2\x80\xae\xff\xc2\x9b.jpg"


def test_no_path_can_forge_a_line_or_move_the_cursor(run: Any, service: FakeService) -> None:
    """Control characters, line ends, turned writing and broken UTF-8 are shown as escapes; JSON has them exactly."""
    service.known = [(HOSTILE, 1.0, "exact")]
    said = run("find", "ski.jpg")
    assert said.out == "Found 1 image(s)\n/srv/p/\\x1b[2J\\n\\u202e\\xff\\u009b.jpg at 100% exact\n"
    said = run("find", "--json", "ski.jpg")
    assert said.out.isascii()
    assert said.json[0]["matches"][0]["path_b64"] == "L3Nydi9wLxtbMkoK4oCu/8KbLmpwZw=="


def test_a_query_that_is_not_utf8_is_exact(socket_path: str, tmp_path: Path) -> None:
    """The name of the query is treated like any path, in JSON and in messages."""
    process = shazimctl("find", "--json", b"gone\xff\n.jpg", env={**os.environ, "LC_ALL": "C.UTF-8"})
    out, err = process.communicate()
    assert json.loads(out)["query_b64"] == "Z29uZf8KLmpwZw=="
    assert err == "shazimctl: gone\\xff\\n.jpg: no such file\n"


def test_a_locale_without_the_letters_shows_them_escaped(socket_path: str, service: FakeService) -> None:
    """A name that the terminal can't show is escaped, not a crash."""
    service.known = [("/srv/p/雪.jpg".encode(), 1.0, "exact")]
    process = shazimctl("find", "ski.jpg", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert process.communicate()[0] == "Found 1 image(s)\n/srv/p/\\u96ea.jpg at 100% exact\n"


@pytest.mark.parametrize("words", [("find", "folder"), ("find", "ski.jpg", "ski2.jpg")])
def test_progress_on_a_terminal_leaves_the_answers_on_a_pipe(words: tuple[str, ...], socket_path: str) -> None:
    """`shazimctl find DIR > file` has its progress on the terminal and all of its answers in the file."""
    os.mkdir("folder")
    shutil.copy("ski.jpg", "folder")
    ours, its = pty.openpty()
    with shazimctl(*words, stderr=its) as process:
        os.close(its)
        assert process.communicate()[0].count("/srv/p/ski_copy.jpg at 100% exact\n") == len(words) - 1
    os.close(ours)
