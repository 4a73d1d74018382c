"""The completions that lie in the package."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shazimd.cli import parser, run
from shazimd.cli.completion import SHELLS, script_path


def words_of(of: argparse.ArgumentParser) -> Iterator[str]:
    """Every command, verb and long option below a parser."""
    for action in of._actions:
        yield from (option.lstrip("-") for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield name
                yield from words_of(sub)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_command_and_option(shell: str) -> None:
    """What the parser takes, the script completes; if not, run scripts/completions.py."""
    script = Path(script_path(shell)).read_text(encoding="utf-8")
    assert {word for word in words_of(parser()) if word not in script} == set()


def test_completion_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """`shazimctl completion SHELL` gives the file as it is."""
    for shell in SHELLS:
        assert run(["completion", shell]) == 0
        assert capsys.readouterr().out == Path(script_path(shell)).read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("du", {"duplicates"}),
        ("find --th", {"--threshold"}),
        ("model ", {"install", "list"}),
        ("completion ", set(SHELLS)),
    ],
)
def test_bash_completes(typed: str, expected: set[str]) -> None:
    """Bash itself, given the script and what was typed, offers what fits."""
    words = typed.split(" ")
    program = (
        'source "$1"; shift; COMP_WORDS=(shazimctl "$@"); COMP_CWORD=$#; _shtab_shazimctl; printf "%s\\n" '
        '"${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", program, "bash", script_path("bash"), *words]
    offered = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert expected <= set(offered)
    assert all(word.startswith(words[-1]) for word in offered)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_valid(shell: str) -> None:
    """The shell itself finds no fault in the syntax."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", script_path(shell)], check=True)
