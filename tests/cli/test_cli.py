"""shazimctl against the real server on a real socket, in this process and as a process of its own."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fake_service import FakeService, alert, eventually, serving

from shazimd import __version__
from shazimd.cli import COMMANDS, parser
from shazimd.cli import run as run_words
from shazimd.errors import StoreError, Unavailable
from shazimd.protocol import Alert, FailedFile, PairLine
from shazimd.protocol.groups import DecisionMessage, DuplicateGroup


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def socket_path(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A daemon that $SHAZIMD_SOCKET leads to, and a working directory with pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("ski.jpg", "ski2.jpg"):
        (tmp_path / name).write_bytes(b"image " + name.encode())
    with serving(service, tmp_path) as path:
        monkeypatch.setenv("SHAZIMD_SOCKET", path)
        yield path


class Spoken:
    """What a command said and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(socket_path: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> Spoken:
        try:
            status = run_words(words)
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return Spoken(status, out, err)

    return run


def shazimctl(*words: str | bytes, **more: Any) -> subprocess.Popen[str]:
    program = "from shazimd.cli import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell makes its background processes ignore SIGINT; unbuffered output would hide a missing flush.
    env = ["env", "--default-signal=INT", "--unset=PYTHONUNBUFFERED"]
    return subprocess.Popen([*env, sys.executable, "-c", program, *words], text=True, **{**pipes, **more})


# ---- find


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


def test_another_file_is_not_overwritten(run: Any, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Ada,\n")
    said = run("find", "--output", "letter", "ski.jpg")
    assert (said.status, said.err) == (
        4,
        "shazimctl: letter: line 1 is no answer of an earlier run; name another file\n",
    )
    assert (tmp_path / "letter").read_text() == "Dear Ada,\n"


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


# ---- the other commands


def test_compare(run: Any) -> None:
    """Score, verdict and similarities; exit status 1 when the images are unrelated; errors name the file."""
    said = run("compare", "ski.jpg", "ski.jpg")
    assert (said.status, said.out) == (0, "100% exact\naverage hash 100%, difference hash 50%, vector none\n")
    said = run("compare", "ski.jpg", "ski2.jpg", "--weights", "1,0,0", "--json")
    assert (said.status, said.json[0]["verdict"], said.json[0]["weights"]) == (1, None, [1, 0, 0])
    assert run("compare", "ski.jpg", "ski2.jpg").out.startswith("31% unrelated\n")
    said = run("compare", "ski.jpg", "gone.jpg")
    assert (said.status, said.err) == (4, "shazimctl: gone.jpg: no such file\n")


def test_status(run: Any, service: FakeService) -> None:
    """A summary for people, the daemon's own object for programs."""
    service.stored = [alert(1)]
    assert run("status").out.splitlines() == [
        "state     ready",
        "images    1,200 files; 1,100 different known, 3 could not be read",
        "folder    /srv/p",
        "          watched, 12 directories",
        "          3 could not be read: shazimctl failed",
        "          last alert: copy 93%, 2026-01-02 03:04 UTC",
        "            /srv/p/new1.jpg",
        "            like /srv/p/ski.jpg",
        "model     https://example.org/model/5 (m-1)",
        "store     /var/lib/shazimd, 5.0 MB",
        "workers   confined",
        "memory    150.0 MB",
        "uptime    1 h 2 min, version 0.1.0",
    ]
    assert run("status", "--json").json == [service.status()]
    service.missing_layers = ["Landlock (this kernel has none)", "seccomp (no)"]
    assert "workers   confined, but without Landlock (this kernel has none); seccomp (no)" in run("status").out


def test_status_during_a_first_scan(run: Any, service: FakeService) -> None:
    """Images done, rate and time left, for each folder; no alert is said to be none."""
    service.state, service.pending = "baseline", 64
    service.progress = {"done": 312, "total": 1600, "per_second": 48.2, "seconds_left": 26.7}
    lines = run("status").out.splitlines()
    assert lines[0] == "state     baseline, 64 files to look at"
    assert lines[3] == "          scanning: 312 of 1,600 images, 48/s, 26 s left"
    assert "alerts    none so far" in lines


def test_status_is_shown_again_until_interrupted(service: FakeService, socket_path: str) -> None:
    """Each time whole, and at once on a pipe."""
    with shazimctl("status", "--watch") as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        states = list(islice((line for line in lines if line.startswith("state")), 2))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert states == ["state     ready\n"] * 2


def test_wait_returns_once_ready_with_nothing_pending(service: FakeService, socket_path: str) -> None:
    """Neither ready with images pending, nor done before it is ready, is enough."""
    service.state, service.pending = "ready", 5
    process = shazimctl("wait", "--timeout", "20")
    service.state, service.pending = "baseline", 0
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.7)
    service.state = "ready"
    assert (process.wait(20), *process.communicate()) == (0, "", "")


def test_wait_gives_up(run: Any, service: FakeService, tmp_path: Path) -> None:
    """A timeout prints the unfinished work, exit status 5; without a daemon 3."""
    service.pending = 7
    said = run("wait", "--timeout", "0")
    assert (said.status, said.err) == (5, "shazimctl: Timed out after 0 s: ready, 7 images pending\n")
    assert run("--socket", f"{tmp_path}/none", "wait", "--timeout", "0").status == 3
    assert run("--socket", f"{tmp_path}/none", "wait").status == 3


def test_wait_with_a_time_waits_for_the_daemon_too(service: FakeService, tmp_path: Path) -> None:
    """A daemon that comes up within the time is waited for."""
    process = shazimctl("--socket", f"{tmp_path}/s", "wait", "--timeout", "20")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    with serving(service, tmp_path):
        assert (process.wait(20), *process.communicate()) == (0, "", "")


@pytest.mark.parametrize("plain", [False, True])
def test_wait_shows_progress_on_a_terminal(service: FakeService, socket_path: str, plain: bool) -> None:
    """On a terminal a bar shows indexed and total images, without colours if NO_COLOR is set."""
    service.state, service.pending = "baseline", 800
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **({"NO_COLOR": "1"} if plain else {})}
    ours, theirs = os.openpty()
    process = shazimctl("wait", stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while b"1203/2003" not in shown:
        shown += os.read(ours, 65536)
    service.state, service.pending = "ready", 0
    assert process.wait(20) == 0
    assert b"baseline" in shown
    assert bool(re.search(rb"\x1b\[[0-9;]*3[0-8]", shown)) is not plain
    process.communicate()
    os.close(ours)


def group(number: int) -> DuplicateGroup:
    return {
        "saves_bytes": 2_100_000,
        "members": [
            {"path": f"/srv/{number}a", "width": 64, "height": 48, "size_bytes": 3000, "score": None, "verdict": None},
            {"path": f"/srv/{number}b", "width": 32, "height": 24, "size_bytes": 999, "score": 0.9, "verdict": "copy"},
        ],
    }


def test_duplicates(run: Any, service: FakeService) -> None:
    """Groups with the saved space, the first member to keep; 1 when there is none."""
    said = run("duplicates")
    assert (said.status, said.out, said.err) == (1, "", "shazimctl: no duplicates found\n")
    service.groups = [group(1), group(2)]
    said = run("duplicates", "--limit", "1", "--threshold", "0.9", "--weights", "1,1,1")
    assert said.out == "2 images, 2.1 MB to save\n  /srv/1a  64x48, 3.0 kB, keep\n  /srv/1b  32x24, 999 B, 90% copy\n"
    assert service.asked[-1] == ("duplicates", 0.9, (1.0, 1.0, 1.0))
    said = run("duplicates", "--json")
    assert (said.status, said.json) == (0, [group(1), group(2)])


PAIRS: list[PairLine] = [
    {"after": 0},
    {"after": 1, "path": "/srv/b", "match": "/srv/a", "score": 0.836, "dah": 0.9, "ddh": 0.8, "dfv": 0.8},
    {"after": 2, "path": "/srv/c", "match": "/srv/a", "score": 0.8, "dah": 0.9, "ddh": 0.8, "dfv": 0.7},
    {"after": 3},
]


def test_all_pairs(run: Any, service: FakeService) -> None:
    """Each pair on a line, no progress among them; --after goes on, --limit ends it; 1 when there is none."""
    said = run("duplicates", "--all")
    assert (said.status, said.out, said.err) == (1, "", "shazimctl: no pairs found\n")
    service.joined = PAIRS
    said = run("duplicates", "--all", "--threshold", "0.7", "--weights", "1,1,1", "--after", "0")
    assert (said.status, said.err) == (0, "")
    assert said.out == "/srv/b: 84% like /srv/a\n/srv/c: 80% like /srv/a\n"
    assert service.asked[-1] == ("pairs", 0.7, (1.0, 1.0, 1.0), 0)
    assert run("duplicates", "--all", "--json").json == PAIRS[1:3]
    assert run("duplicates", "--all", "--json", "--limit", "1").json == PAIRS[1:2]
    assert run("duplicates", "--all", "--json", "--after", "2").json == PAIRS[2:3]


def test_a_join_that_breaks_off_says_how_to_go_on(run: Any, service: FakeService) -> None:
    """What was told stays told, and the last "after" is on standard error."""
    service.joined, service.fails = PAIRS, StoreError("the store can't be read")
    said = run("duplicates", "--all")
    assert (said.status, len(said.out.splitlines())) == (5, 2)
    assert said.err == "shazimctl: interrupted; continue with --after 3\nshazimctl: the store can't be read\n"


def test_after_alone_is_refused(run: Any) -> None:
    """There is nothing to go on with but a join."""
    said = run("duplicates", "--after", "3")
    assert (said.status, said.err) == (2, "shazimctl: --after requires --all\n")


def test_alerts(run: Any, service: FakeService) -> None:
    """Stored alerts after an id, a line each; 1 when there is none."""
    said = run("alerts", "--json")
    assert (said.status, said.out, said.err) == (1, "", "shazimctl: no alerts\n")
    service.stored = [alert(1), alert(2), {**alert(3), "matches": 1}]
    said = run("alerts", "--since", "1")
    assert said.out.splitlines() == [
        "2 2026-01-02T03:04:05Z /srv/p/new2.jpg: 93% copy of /srv/p/ski.jpg and 1 more",
        "3 2026-01-02T03:04:05Z /srv/p/new3.jpg: 93% copy of /srv/p/ski.jpg",
    ]
    assert (said.status, run("alerts", "--json").json) == (0, service.stored)


@pytest.mark.parametrize(
    ("since", "ids"),
    [
        ("2", [3]),
        ("2026-01-02T03:04:05+00:00", [1, 2, 3]),
        ("2026-01-02 03:04:06Z", []),
        ("2026-01-03", []),
        ("36500d", [1, 2, 3]),
        ("2h", []),
        ("today", []),
    ],
)
def test_alerts_since_a_time(run: Any, service: FakeService, since: str, ids: list[int]) -> None:
    """An id, a time, a day or a duration; a time without a zone is local."""
    service.stored = [alert(number) for number in (1, 2, 3)]
    assert [item["id"] for item in run("alerts", "--json", "--since", since).json] == ids


def on_terminal(columns: int, *words: str) -> list[str]:
    """The lines of a command on a terminal of this width."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with shazimctl(*words, stdout=its) as process:
        process.wait(10)
    shown = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    os.close(its)
    return shown


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_fits_a_terminal(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prose is wrapped; examples, which are indented, stay as they can be copied."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with contextlib.redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit):
        parser(command).parse_args([command, "--help"])
    text = shown.getvalue()
    prose = [line for line in text.splitlines() if not line.startswith("  ") and not line.startswith("usage: ")]
    assert max(map(len, prose)) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_status_and_doctor_fit_a_terminal(service: FakeService, socket_path: str, columns: int) -> None:
    """Long lines go on below the beginning of their text, and no word that fits a line is torn."""
    service.stored = [alert(1)]
    for command, indent in (("status", " " * 10), ("doctor", " " * 9)):
        shown = on_terminal(columns, command)
        assert max(map(len, shown)) <= columns
        assert any(line.startswith(indent) for line in shown)
        whole = " ".join(" ".join(shown).split())
        text = {"status": "1,100 different known, 3 could not be read", "doctor": "shazimctl failed"}[command]
        assert text in whole


@pytest.mark.parametrize("columns", [40, 80])
def test_alerts_fit_a_terminal(service: FakeService, socket_path: str, columns: int) -> None:
    """A line each at 80 columns; the ends of long paths, which have the names, stay. A pipe gets the whole paths."""
    service.stored = [alert(7)]
    service.stored[0]["path"] = "/srv/uploads/2026/01/02/a folder with a long name/holiday.jpg"
    shown = on_terminal(columns, "alerts")
    assert len(shown) == (1 if columns == 80 else 3)
    assert all(len(line) <= columns for line in shown)
    assert "/holiday.jpg" in "".join(shown)
    assert shown[0].startswith("7 02 Jan ")


def test_a_time_that_is_none_is_refused(run: Any) -> None:
    """With examples of those that are understood."""
    said = run("alerts", "--since", "noon")
    assert (said.status, "'noon' found, expected an id, or a time such as 2h" in said.err) == (2, True)


def test_all_pages_of_alerts_are_read(run: Any, service: FakeService) -> None:
    """More alerts than one answer holds are asked for page by page."""
    service.stored = [alert(number) for number in range(1, 2501)]
    assert len(run("alerts").out.splitlines()) == 2500


def test_followed_alerts_survive_being_dropped(service: FakeService, socket_path: str) -> None:
    """--follow tells what was missed, then what comes, each once, also when the daemon ends the stream in between."""
    service.stored = [alert(1), alert(2)]
    process = shazimctl("alerts", "--since", "1", "--follow", "--json")
    assert process.stdout is not None

    def next_alert() -> Alert:
        told: Alert = json.loads(process.stdout.readline())  # type: ignore[union-attr]  # asserted above
        return told

    assert next_alert() == alert(2)
    service.drop_subscribers()
    service.stored.append(alert(3))
    assert next_alert() == alert(3)
    eventually(lambda: service.subscribers == 1)
    service.tell(alert(4))
    assert next_alert() == alert(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_lines_reach_a_pipe_at_once(
    service: FakeService, socket_path: str, number: signal.Signals, status: int
) -> None:
    """Each alert is in the pipe before the next one exists; a signal loses no line and prints none."""
    service.stored = [alert(1)]
    process = shazimctl("alerts", "--since", "0", "--follow")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("1 ")
    eventually(lambda: service.subscribers == 1)
    service.tell(alert(2))
    assert process.stdout.readline().startswith("2 ")
    process.send_signal(number)
    assert (*process.communicate(), process.returncode) == ("", "", status)


def test_pairs_reach_a_pipe_at_once(service: FakeService, socket_path: str) -> None:
    """A pair is in the pipe while the join is still running."""
    more = threading.Event()

    def pairs() -> Iterator[PairLine]:
        yield from PAIRS[:2]
        more.wait(20)
        yield from PAIRS[2:]

    service.joined = pairs()  # type: ignore[assignment]  # the service iterates once
    process = shazimctl("duplicates", "--all")
    assert process.stdout is not None
    assert process.stdout.readline() == "/srv/b: 84% like /srv/a\n"
    more.set()
    assert (*process.communicate(), process.returncode) == ("/srv/c: 80% like /srv/a\n", "", 0)


def test_following_ends_with_the_daemon(service: FakeService, tmp_path: Path) -> None:
    """When the daemon is gone for good, exit status 3 says so."""
    with serving(service, tmp_path) as path:
        process = shazimctl("--socket", path, "alerts", "--follow")
        eventually(lambda: service.subscribers)
    _, err = process.communicate()
    assert process.returncode == 3
    assert "the daemon is not running" in err


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


def test_models(run: Any, service: FakeService) -> None:
    """A model is installed step by step and listed; an installation that fails says why."""
    line = "m-1 https://example.org/model/5, 1792 numbers, 24.0 MB, Apache-2.0"
    assert run("model", "install", "https://example.org/model/5").out == f"fetching\ninstalled: {line}\n"
    assert run("model", "list").out == f"{line} (active)\n"
    assert run("model", "list", "--json").json == service.models()
    service.fails = StoreError("the disk is gone")
    said = run("model", "install", "--json", "https://example.org/model/5")
    assert (said.status, said.json, said.err) == (5, [{"stage": "fetching"}], "shazimctl: the disk is gone\n")


# ---- trouble


def test_an_error_of_the_daemon_is_status_five(run: Any, service: FakeService) -> None:
    """What the daemon reports is said in its words."""
    service.fails = Unavailable("starting; ask again later")
    said = run("status")
    assert (said.status, said.out, said.err) == (5, "", "shazimctl: starting; ask again later\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("find",), "IMAGE or --from-file is needed"),
        (("fnid", "ski.jpg"), "invalid choice: 'fnid'"),
        ((), "the following arguments are required: COMMAND"),
        (("find", "--threshold", "abc", "x"), "'abc' found, expected a number from 0 to 1"),
        (("find", "--threshold", "nan", "x"), "'nan' found, expected a number from 0 to 1"),
        (("find", "--threshold", "2", "x"), "'2' found, expected a number from 0 to 1"),
        (("find", "--weights", "1,2", "x"), "expected three numbers >= 0 that are not all zero"),
        (("find", "--weights", "0,0,0", "x"), "expected three numbers >= 0 that are not all zero"),
        (("find", "--weights", "1,1,inf", "x"), "expected three numbers >= 0 that are not all zero"),
        (("find", "--limit", "-1", "x"), "'-1' found, expected a whole number from 1"),
        (("alerts", "--since", "x"), "'x' found, expected an id, or a time"),
        (("alerts", "--since", "\x1b[2Jit's"), "'\\x1b[2Jit's' found, expected an id, or a time"),
        (("status", "--\x9b31m\u202e"), "unrecognized arguments: --\\u009b31m\\u202e"),
        (("wait", "--timeout", "inf"), "'inf' found, expected a number of seconds >= 0"),
        (("model",), "the following arguments are required: VERB"),
    ],
)
def test_bad_usage_is_status_two(run: Any, service: FakeService, words: tuple[str, ...], message: str) -> None:
    """What can't be meant is refused before the daemon is asked, with what was found and expected."""
    said = run(*words)
    assert (said.status, message in said.err, service.asked) == (2, True, [])


def test_a_closed_pipe_is_no_complaint(socket_path: str, service: FakeService) -> None:
    """`shazimctl ... | head -1` ends quietly."""
    service.stored = [alert(number) for number in range(1, 2001)]
    process = shazimctl("alerts", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(20)) == ("", 141)
    process.stderr.close()


def test_an_answer_that_cannot_be_written_is_told(socket_path: str) -> None:
    """A full disk behind standard output is an error in words, not a success nor a traceback."""
    with open("/dev/full", "w") as full:
        process = shazimctl("status", stdout=full)
        _, err = process.communicate()
    assert (process.returncode, err) == (5, "shazimctl: standard output: No space left on device\n")


def test_an_interrupt_ends_without_a_traceback(service: FakeService, socket_path: str) -> None:
    """Ctrl-C in the middle of a question is exit status 130 and silence."""
    service.holds = threading.Event()
    process = shazimctl("find", "ski.jpg")
    assert service.working.acquire(timeout=20)
    process.send_signal(signal.SIGINT)
    assert (*process.communicate(), process.returncode) == ("", "", 130)
    service.holds.set()


# ---- help


def test_version(run: Any) -> None:
    """--version names program and version."""
    said = run("--version")
    assert (said.status, said.out) == (0, f"shazimctl {__version__}\n")


def commands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [choices] = [action.choices for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(choices)


def examples(command: str) -> list[str]:
    epilog = commands(parser())[command].epilog or ""
    return [line.strip() for line in epilog.splitlines() if line.startswith("  ") and "shazimctl" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    """No command goes without a line that could be typed as it stands."""
    assert examples(command)


ASKING = ("find", "compare", "status", "wait", "duplicates", "alerts", "rescan", "forget", "model", "completion")


@pytest.mark.parametrize("command", ASKING)
def test_the_examples_of_the_help_work(
    run: Any, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """What the help of a command that asks the daemon shows does what it says, but for what goes on for ever."""
    service.groups, service.stored, service.joined = [group(1)], [alert(18)], PAIRS
    (tmp_path / "stdin").write_bytes(b"image")
    with (tmp_path / "stdin").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        for example in examples(command):
            for part in example.replace("|", "&&").split("&&"):
                words = shlex.split(part.partition(" > ")[0])
                if words[0] == "shazimctl" and not {"--follow", "--watch"} & set(words):
                    assert (run(*words[1:]).status, words) == (1 if command == "compare" else 0, words)


def test_the_help_of_one_command_is_that_of_the_whole_parser(run: Any) -> None:
    """Building only the parser that is needed changes nothing of what is said."""
    for command, whole in commands(parser()).items():
        assert run(command, "--help").out == whole.format_help()


@pytest.mark.parametrize(
    "words", [["--socket", "x", "status"], ["--socket=x", "status"], ["--socket", "status", "status"]]
)
def test_a_socket_before_the_command_is_no_command(words: list[str]) -> None:
    """The command is found behind --socket, whatever its value."""
    from shazimd.cli import command_of

    assert command_of(words) == "status"


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--socket", "PATH"),
        ("model", "list", "--socket=PATH"),
        ("model", "--socket", "PATH", "list"),
        ("--socket", "/nowhere", "status", "--socket", "PATH"),
        ("--socket", "PATH", "model", "list"),
    ],
)
def test_the_socket_may_be_given_after_the_command(
    run: Any, socket_path: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """--socket counts before and after the command and its verb, and the last one wins."""
    monkeypatch.setenv("SHAZIMD_SOCKET", "/nowhere")
    assert run(*(word.replace("PATH", socket_path) for word in words)).status == 0


# ---- light


def test_nothing_heavy_is_imported(socket_path: str) -> None:
    """`status` loads none of the modules that would make it slow, and no module of the daemon's rooms."""
    program = (
        "import sys; from shazimd.cli import run; status = run(['status']); print(*sys.modules, file=sys.stderr);"
        "sys.exit(status)"
    )
    # -S: what a virtual environment's .pth files import is not ours
    command = [sys.executable, "-S", "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    loaded = set(done.stderr.split())
    heavy = {"numpy", "lmdb", "PIL", "msgspec", "tensorflow", "structlog", "rich", "uvicorn", "starlette", "anyio"}
    costly = {
        "typing",
        "dataclasses",
        "http",
        "http.client",
        "urllib.parse",
        "email",
        "logging",
        "tempfile",
        "socket",
        "shutil",
    }
    ours = {name for name in loaded if name.startswith("shazimd.")}
    assert loaded & (heavy | costly) == set()
    assert ours == {
        "shazimd.cli",
        "shazimd.cli.output",
        "shazimd.cli.status",
        "shazimd.client",
        "shazimd.errors",
        "shazimd.paths",
        "shazimd.server",
        "shazimd.server.parameters",
        "shazimd.server.verbs",
        "shazimd.text",
    }


# ---- decisions and failures

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


def test_decisions_are_exported_and_imported(run: Any, service: FakeService, tmp_path: Path) -> None:
    """An export has all that an import needs, and no paths; a bad line is named."""
    service.decided = [DECISION]
    exported = run("decisions", "--export")
    line = {key: DECISION[key] for key in ("kind", "contents", "keep", "uid", "time")}
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
