"""Every command that a document for users shows in a block is run: here, or in the test or CI step that is named."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from daemon_process import daemon_process, drawing
from test_documents import CHECKOUT, blocks

HERE = "tests/docs/test_examples.py"
HOW_TO = "tests/docs/test_how_to.py"
SERVICE = "tests/boot/test_service.py"

DOCUMENTS = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")]

RUN_BY = {
    "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/shazimd ~/Pictures": (".ci/run", "readme run"),
    "python3 -m venv .venv && .venv/bin/pip install -q '.[hub,test]' && .venv/bin/pytest -n auto": (
        ".ci/run",
        "readme test",
    ),
    ".venv/bin/shazimctl find ~/Downloads/holiday.jpg": (HERE, "def test_the_readme_asks_about_a_picture"),
    "sudo python3 -m venv /opt/shazimd": ("tests/boot/conftest.py", "/opt/shazimd"),
    "sudo /opt/shazimd/bin/pip install .": ("tests/boot/conftest.py", "/opt/shazimd"),
    "sudo /opt/shazimd/bin/shazimctl service install /srv/photos": (SERVICE, '"/opt/shazimd/bin/shazimctl", "service"'),
    'sudo usermod -aG shazimd "$USER"': (SERVICE, '"usermod", "-aG", "shazimd"'),
    "systemctl status shazimd": (SERVICE, '"systemctl", "status", "shazimd"'),
    "journalctl -u shazimd -p warning -o cat": (SERVICE, '"journalctl", "-u", "shazimd", "-p", "warning", "-o", "cat"'),
    "journalctl SHAZIMD_VERDICT=exact -o cat --output-fields=SHAZIMD_PATH": (SERVICE, "--output-fields=SHAZIMD_PATH"),
    "systemd-analyze security shazimd": (SERVICE, '"systemd-analyze", "security"'),
    "shazimctl service install --user ~/Pictures": (SERVICE, '"service", "install", "--user"'),
    "sudo shazimctl service install /srv/photos": ("tests/boot/test_package.py", '"service", "install", "--yes"'),
    "pipx install .": (".ci/run", 'pipx" install'),
    "uv tool install .": (".ci/run", "tool install"),
    "/usr/bin/python3 scripts/build_deb.py": ("tests/boot/conftest.py", "scripts/build_deb.py"),
    "sudo apt install ./shazimd_*.deb": ("tests/boot/conftest.py", "build_deb.py"),
    "export PHOTOS=/srv/photos": (".ci/run", "PHOTOS="),
    "docker compose -f packaging/compose.yaml up -d": (".ci/run", "-f packaging/compose.yaml"),
    "docker compose -f packaging/compose.yaml exec shazimd shazimctl find /photos/ski.jpg": (
        "tests/boot/test_container.py",
        '"shazimctl", "find", "/photos/1.png"',
    ),
    "docker compose -f packaging/compose.yaml logs -f": (".ci/run", "-f packaging/compose.yaml"),
    "shazimd --store /data/shazimd.store --model none /data/images": (HOW_TO, "A data team"),
    "shazimctl wait --compared": (HOW_TO, "A data team"),
    "shazimctl duplicates --json > groups.ndjson": (HOW_TO, "A data team"),
    "shazimctl duplicates --all --threshold 0.9 --json > pairs.ndjson": (HOW_TO, "A data team"),
    "sudo shazimctl store backup /mnt/backup/shazimd": (HERE, "def test_the_backup"),
    "sudo shazimctl store check": (HERE, "def test_the_backup"),
    "sudo shazimctl store compact": (HERE, "def test_the_backup"),
    "sudo systemctl stop shazimd.socket shazimd.service && sudo shazimctl store restore /mnt/backup/shazimd": (
        HERE,
        "def test_the_backup",
    ),
    "sudo systemctl start shazimd.socket shazimd.service": (HERE, "def test_the_backup"),
}
"""The file that runs a command, and words of the step there."""


def shown(document: Path) -> list[str]:
    """The commands in a document's blocks, without comments. Those of the tutorial's sessions are run in their order by
    tests/docs/test_tutorial.py, and requests by curl in tests/test_documents.py."""
    lines = "".join(blocks(document, "sh")).splitlines()
    lines += [line[2:] for line in "".join(blocks(document, "")).splitlines() if line.startswith("$ ")]
    return [line.partition("   #")[0].strip() for line in lines if not line.startswith("curl ")]


def test_every_command_that_is_shown_is_run_somewhere() -> None:
    """And no step is named that no document shows, or that there is not."""
    assert {command for document in DOCUMENTS for command in shown(document)} == set(RUN_BY)
    for file, words in RUN_BY.values():
        assert words in (CHECKOUT / file).read_text(), (file, words)


def test_the_variable_of_the_compose_file_is_exported() -> None:
    """Every command of compose asks for it, not only the first."""
    commands = shown(CHECKOUT / "docs/operations.md")
    composed = [command for command in commands if "-f packaging/compose.yaml" in command]
    assert commands[commands.index(composed[0]) - 1].startswith("export PHOTOS=")
    assert [command for command in composed if command.startswith("PHOTOS=")] == []


def test_the_readme_asks_about_a_picture(tmp_path: Path) -> None:
    """Its output has the form that is shown: the number, then path, score and verdict."""
    (example,) = (text for text in blocks(CHECKOUT / "README.md", "") if "shazimctl find" in text)
    command, number, *matches = example.splitlines()
    words = shlex.split(command.removeprefix("$ "))
    with daemon_process(tmp_path) as daemon:
        for copy in ("holiday.jpg", "again.jpg"):
            drawing(1).save(daemon.root / copy)
        daemon.start()
        daemon.settled()
        said = daemon.ctl(*words[1:-1], str(daemon.root / "holiday.jpg")).stdout.splitlines()
    assert number == f"Found {len(matches)} image(s)"
    assert matches[0].replace("/home/ada/Pictures", str(daemon.root)) in said
    assert said[0] == "Found 2 image(s)"


def test_the_backup_of_the_manual_is_made_and_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of docs/operations.md, in their order: afterwards what was forgotten meanwhile is known again."""
    text = (CHECKOUT / "docs/operations.md").read_text().partition("\n## Back up\n")[2]
    lines = text.partition("```sh\n")[2].partition("```")[0].replace("/mnt/backup", str(tmp_path)).splitlines()
    with daemon_process(tmp_path) as daemon:
        monkeypatch.setenv("STATE_DIRECTORY", str(daemon.store))
        drawing(1).save(daemon.root / "a.png")
        daemon.start()
        daemon.settled()
        for line in lines:
            for command in line.split(" && "):
                words = shlex.split(command, comments=True)
                assert words.pop(0) == "sudo"
                if words[:2] == ["systemctl", "stop"]:
                    daemon.stop()
                elif words[:2] == ["systemctl", "start"]:
                    daemon.start()
                else:
                    done = daemon.ctl(*words[1:])
                    assert done.returncode == 0, done.stderr
                if "backup" in words:
                    (daemon.root / "a.png").unlink()
                    daemon.settled()
                    assert daemon.status()["images"] == 0
        daemon.settled()
        assert daemon.status()["images"] == 1  # its folder is empty, so the file is kept as on an absent disk
