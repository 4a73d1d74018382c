"""What the documents show is run, parsed or looked up, so that it stays true."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, daemon_process, drawing

from shazim import ShazimEngine
from shazimd import __version__, config
from shazimd.cli import command_names
from shazimd.cli import parser as shazimctl_parser
from shazimd.daemon.main import parser as shazimd_parser
from shazimd.models.registry import Registry

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    CHECKOUT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
]
DOCUMENTS += sorted((CHECKOUT / "docs").glob("*.md"))
TINY_MODEL = CHECKOUT / "tests/models/data/tiny_float32.tflite"
SOCKET = "/run/shazimd/shazimd.sock"
PARSERS = {"shazimd": shazimd_parser(), "shazimctl": shazimctl_parser()}


def blocks(document: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in fenced if language in languages]


def command_lines(document: Path) -> Iterator[str]:
    """Whatever is shown as something to type: lines of shell blocks, lines after a prompt, and words in backticks."""
    for line in "".join(blocks(document, "sh")).splitlines():
        yield line
    for line in "".join(blocks(document, "")).splitlines():
        if line.startswith("$ "):
            yield line.removeprefix("$ ")
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


def commands(document: Path) -> Iterator[list[str]]:
    """The command lines as words: without sudo, comments, redirections and the brackets of what may be left out."""
    for line in command_lines(document):
        for part in re.split(r"&&|\|", re.sub(r"\s[<>]\s+\S+", "", line)):  # without redirections
            try:
                words = shlex.split(re.sub(r"\[[^]]*\]", "", part), comments=True)
            except ValueError:  # an apostrophe in a line that is no command
                continue
            words = words[1:] if words[:1] == ["sudo"] else words
            if words:
                yield [words[0].rpartition("/")[2], *words[1:]]


def is_ours(words: list[str]) -> bool:
    return words[0] in PARSERS and words != ["shazimctl"]


@pytest.mark.parametrize(
    "words", [words for document in DOCUMENTS for words in commands(document) if is_ours(words)], ids=" ".join
)
def test_a_command_that_is_shown_is_understood(words: list[str]) -> None:
    """No document shows a command, a verb or an option that there is not."""
    try:
        PARSERS[words[0]].parse_args(words[1:])
    except SystemExit:
        pytest.fail(f"{' '.join(words)} is no command")


def test_commands_are_found_in_the_documents() -> None:
    """The test above would pass with none."""
    shown = [" ".join(words) for document in DOCUMENTS for words in commands(document) if is_ours(words)]
    assert {"shazimd ~/Pictures", "shazimctl service install /srv/photos", "shazimctl store check"} <= set(shown)


def test_the_readme_lists_every_command() -> None:
    """A command that is added is told there."""
    section = (CHECKOUT / "README.md").read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    named = {word for span in re.findall(r"`([^`]+)`", section) for word in span.split()}
    assert set(command_names()) - named == set()


def configs() -> Iterator[tuple[str, str]]:
    """(name, text) of each config that is shown."""
    for document in DOCUMENTS:
        yield from ((f"{document.name}:{number}", text) for number, text in enumerate(blocks(document, "toml")))
    page = (CHECKOUT / "man/shazimd.toml.5").read_text().partition(".SH EXAMPLE\n")[2]
    example = page.partition(".RS\n")[2].partition(".RE\n")[0]
    yield "shazimd.toml.5", example.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\")


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in configs()])
def test_a_config_that_is_shown_is_accepted(text: str) -> None:
    """Every key and value in it is known."""
    assert config.parse(tomllib.loads(text), "example") != config.Config()


def links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                yield document, target


@pytest.mark.parametrize(("document", "target"), [pytest.param(d, t, id=f"{d.name}-{t}") for d, t in links()])
def test_a_link_leads_somewhere(document: Path, target: str) -> None:
    """A file that a document points to is there."""
    assert (document.parent / target).exists()


def test_the_changelog_tells_of_this_version() -> None:
    """Its newest heading is the version."""
    headings = re.findall(r"^## (\S+)", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the pictures that the documents speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    drawing(1).save("ski.jpg")
    drawing(1).rotate(2).save("ski2.jpg")
    shutil.copy("ski.jpg", "images/ski_copy.jpg")
    return tmp_path


def have_default_model(store: Path) -> None:
    """Put a tiny model where the default one is looked for, so that none is fetched."""
    tiny = Registry(str(store / "models")).install(str(TINY_MODEL))
    record = Path(tiny.path).with_name("model.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"source": config.DEFAULT_MODEL}))


def values_of(code: str) -> list[Any]:
    """What each expression of a program comes to, where it stands."""
    names: dict[str, Any] = {}
    values = []
    for line in ast.parse(code).body:
        if isinstance(line, ast.Expr):
            values.append(eval(compile(ast.Expression(line.value), "README.md", "eval"), names))
        else:
            exec(compile(ast.Module([line], []), "README.md", "exec"), names)
    return values


def test_the_engine_of_the_original_runs_offline_by_its_name(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/from-shazim.md: the bundled model needs no network, and the copy is found."""
    monkeypatch.setenv("STATE_DIRECTORY", str(pictures / "state"))
    (code,) = blocks(CHECKOUT / "docs/from-shazim.md", "python")
    matches = values_of(code)[-1]
    assert matches == [(str(pictures / "images/ski_copy.jpg"), pytest.approx(1, abs=1e-3))]
    assert ShazimEngine().load_image("ski.jpg").fv is not None


def test_the_python_example_runs(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives what its comments say: matches best first, three similarities, three signals."""
    monkeypatch.setenv("STATE_DIRECTORY", str(pictures / "state"))
    have_default_model(pictures / "state")
    (code,) = blocks(CHECKOUT / "README.md", "python")
    *_, matches, difference, signals = values_of(code)
    assert matches == [(str(pictures / "images/ski_copy.jpg"), pytest.approx(1, abs=1e-3))]  # kept as float16
    assert list(difference) == ["dah", "ddh", "dfv"]
    assert all(0 <= similarity <= 1 for similarity in difference.values())
    assert all(signal is not None for signal in signals)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A running daemon that knows one picture."""
    with daemon_process(tmp_path_factory.mktemp("documents")) as daemon:
        drawing(1).save(daemon.root / "ski_copy.jpg")
        daemon.start()
        daemon.settled()
        yield daemon


CURLS = [words for document in DOCUMENTS for words in commands(document) if words[0] == "curl"]


def test_curl_is_shown() -> None:
    """The test below would pass with no example."""
    assert {words[-1].rpartition("/")[2].partition("?")[0] for words in CURLS} == {"find", "events", "metrics"}


@pytest.mark.parametrize("words", CURLS, ids=" ".join)
def test_curl_gets_what_is_shown(words: list[str], daemon: DaemonProcess, pictures: Path) -> None:
    """Each line is answered with success and with what its address says."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    asked = [daemon.socket if word == SOCKET else word for word in words]
    with subprocess.Popen([*asked, "-s", "-D", "-"], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        assert curl.stdout.readline().split()[1] == b"200"
        if "/events" in words[-1]:  # goes on until it is ended
            curl.terminate()
            return
        answer = curl.stdout.read().partition(b"\r\n\r\n")[2]
    if "/find" in words[-1]:
        assert json.loads(answer)["matches"][0]["path"] == os.path.join(daemon.root, "ski_copy.jpg")
    else:
        assert b"\nshazimd_images 1" in answer
