"""`shazimctl` whatever the command: trouble, help, options, and a light start."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from asking import PAIRS, group, shazimctl
from fake_service import FakeService, alert
from patience import PATIENCE_S

from shazimd import __version__
from shazimd.cli import command_names, parser
from shazimd.client import Client
from shazimd.errors import Unavailable


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
        (("find", "--weights", "1,2", "x"), "expected 3 numbers >= 0 that are not all zero"),
        (("find", "--weights", "0,0,0", "x"), "expected 3 numbers >= 0 that are not all zero"),
        (("find", "--weights", "1,1,inf", "x"), "expected 3 numbers >= 0 that are not all zero"),
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


@pytest.mark.parametrize(
    "words",
    [
        ("forget", ""),
        ("forget", "--ignore", ""),
        ("forget", "--unignore", ""),
        ("rescan", ""),
        ("failed", "--retry", ""),
        ("clean", "--root", ""),
        ("clean", "--apply", "--reference", ""),
        ("store", "--store", "", "compact"),
        ("store", "restore", ""),
    ],
)
def test_an_empty_path_is_not_the_working_directory(run: Any, service: FakeService, words: tuple[str, ...]) -> None:
    """The variable of a script may be empty."""
    said = run(*words)
    assert (said.status, "'' found, expected a path" in said.err, service.asked) == (2, True, [])


def test_a_closed_pipe_is_no_complaint(socket_path: str, service: FakeService) -> None:
    """`shazimctl ... | head -1` ends quietly."""
    service.stored = [alert(number) for number in range(1, 2001)]
    process = shazimctl("alerts", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(PATIENCE_S)) == ("", 141)
    process.stderr.close()


def test_an_answer_that_cannot_be_written_is_told(socket_path: str) -> None:
    """A full disk behind standard output is an error in words, not a success nor a traceback."""
    with open("/dev/full", "w") as full:
        process = shazimctl("status", stdout=full)
        _, err = process.communicate()
    assert (process.returncode, err) == (5, "shazimctl: standard output: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_answer(socket_path: str, service: FakeService, closed: str) -> None:
    """Nor the exit status, and no message comes into the output."""
    program = [sys.executable, "-c", "from shazimd.cli import main; main()"]
    answers = []
    for redirection in ("", closed):
        for words in ("find --json ski.jpg", "find --json none.jpg", "decisions --import -", "fnid"):
            command = ["sh", "-c", f'"$@" {redirection}', "sh", *program, *words.split()]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            answers.append((done.returncode, done.stdout, done.stderr))
    assert [status for status, _, _ in answers[:4]] == [0, 4, 1, 2]
    is_open = [True, ">&-" not in closed.split(), "2>&-" not in closed]
    expected = [tuple(part if kept else "" for part, kept in zip(said, is_open, strict=True)) for said in answers[:4]]
    assert answers[4:] == expected


def test_an_error_of_the_system_names_its_file(
    run: Any, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the working directory, which may have been removed."""
    with monkeypatch.context() as patch:
        patch.setattr(Client, "forget", Mock(side_effect=PermissionError(13, "Permission denied", "/a\n")))
        said = run("forget", "/x")
    assert (said.status, said.err) == (5, "shazimctl: /a\\n: Permission denied\n")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    said = run("forget", "x")
    assert (said.status, said.err) == (5, "shazimctl: the working directory: No such file or directory\n")
    assert run("forget", "/srv/p/x").status == 0


def test_an_interrupt_ends_without_a_traceback(service: FakeService, socket_path: str) -> None:
    """Ctrl-C in the middle of a question is exit status 130 and silence."""
    service.holds = threading.Event()
    process = shazimctl("find", "ski.jpg")
    assert service.working.acquire(timeout=PATIENCE_S)
    process.send_signal(signal.SIGINT)
    assert (*process.communicate(), process.returncode) == ("", "", 130)
    service.holds.set()


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


@pytest.mark.parametrize("command", command_names())
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
        "shazimd.posix",
        "shazimd.posix.streams",
        "shazimd.server",
        "shazimd.server.parameters",
        "shazimd.server.verbs",
        "shazimd.text",
    }
