"""The recipes of docs/how-to.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from daemon_process import SCRIPTS, DaemonProcess, daemon_process, drawing
from patience import PATIENCE_S
from PIL import ImageOps

from shazimd import config
from shazimd.config import WatchConfig
from shazimd.daemon.roots import configured_roots
from shazimd.errors import ConfigError

HOW_TO = Path(__file__).resolve().parents[2] / "docs/how-to.md"


def recipe(title: str) -> str:
    """The first configuration below a heading."""
    section = HOW_TO.read_text().partition(f"\n## {title}")[2]
    found = re.search(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_an_upload_alerts_for_a_banned_image_and_for_no_other_upload(tmp_path: Path) -> None:
    """The recipe for a moderation desk, with its folders moved here and without its hook."""
    raw: dict[str, Any] = tomllib.loads(recipe("A moderation desk").replace("/srv/", f"{tmp_path}/"))
    assert config.parse(raw, "how-to").hook[0].command is not None
    text = recipe("A moderation desk").replace("/srv/", f"{tmp_path}/").partition("[[hook]]")[0]
    (tmp_path / "config.toml").write_text(text)
    bank, uploads = tmp_path / "bank", tmp_path / "uploads"
    for folder in (bank, uploads):
        folder.mkdir()
    drawing(1).save(bank / "banned.png")
    with daemon_process(tmp_path, "--config", str(tmp_path / "config.toml")) as daemon:
        daemon.start("--model", "bundled")
        daemon.settled()
        drawing(2).save(uploads / "harmless.png")
        drawing(2).save(uploads / "harmless again.png")
        ImageOps.mirror(drawing(1)).resize((300, 225)).save(uploads / "edited.jpg")
        alert = daemon.wait_for("near_duplicate", path=str(uploads / "edited.jpg"))
        assert (alert["verdict"], alert["match"], alert["matches"]) == ("copy", str(bank / "banned.png"), 1)
        assert alert["bank"] == str(bank)
        assert daemon.ctl("alerts").stdout.endswith(f"banned.png (bank {bank})\n")
        daemon.settled()
        assert len(daemon.events("near_duplicate")) == 1
        drawing(2).save(bank / "now banned.png")
        daemon.settled()
        drawing(2).resize((200, 150)).save(uploads / "third.png")
        alert = daemon.wait_for("near_duplicate", path=str(uploads / "third.png"))
        assert alert["match"] == str(bank / "now banned.png")
        assert uploaded_before(daemon, bank / "now banned.png") >= {"harmless.png", "harmless again.png"}


def uploaded_before(daemon: DaemonProcess, image: Path) -> set[str]:
    lines = daemon.ctl("find", str(image)).stdout.splitlines()[1:]
    return {line.partition(" at ")[0].rpartition("/")[2] for line in lines}


@contextmanager
def following(title: str, tmp_path: Path, *folders: str, text: str | None = None) -> Iterator[DaemonProcess]:
    """A daemon with the configuration of a recipe, its folders moved here, before its start."""
    text = recipe(title) if text is None else text
    text = re.sub(r"processes = \d+", "processes = 1", text)
    moved = re.sub(r'"(/[^"]+|~[^"]+)"', lambda found: f'"{tmp_path}/{found[1].lstrip("/~")}"', text)
    (tmp_path / "config.toml").write_text(moved)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with daemon_process(tmp_path, "--config", str(tmp_path / "config.toml")) as daemon:
        yield daemon


def test_a_picture_of_the_card_is_known_from_the_nas(tmp_path: Path) -> None:
    """The recipe for a NAS: its folder raises no alert itself, and the card's pictures are compared with it."""
    nas, card = "mnt/nas/photos", "Pictures/from-card"
    with following("A photographer", tmp_path, nas, card) as daemon:
        drawing(1).save(tmp_path / nas / "1.png")
        daemon.start()
        daemon.settled()
        drawing(1).save(tmp_path / card / "again.png")
        assert daemon.wait_for("near_duplicate")["match"] == str(tmp_path / nas / "1.png")
        daemon.settled()
        planned = daemon.ctl("clean", "--reference", str(tmp_path / nas), "--root", str(tmp_path / card))
        assert f"trash     {tmp_path / card}/again.png" in planned.stdout
        assert (tmp_path / card / "again.png").exists()


def test_an_import_is_silent_and_its_duplicates_are_listed(tmp_path: Path) -> None:
    """The recipe for a large import: no alert, also after the first scan."""
    with following("A large import", tmp_path, "srv/photos") as daemon:
        daemon.start()
        daemon.settled()
        for number in range(3):
            drawing(1).save(tmp_path / f"srv/photos/{number}.png")
        daemon.settled(compared=True)
        assert daemon.events("near_duplicate") == []
        assert re.search(r"no alerts for another 1(2 h|1 h [0-9]+ min)$", daemon.ctl("status").stdout, re.MULTILINE)
        assert daemon.ctl("duplicates").stdout.startswith("3 images, ")


def test_duplicates_of_a_training_set_are_lines_of_json(tmp_path: Path) -> None:
    """The recipe for a data team: its four commands, as they stand there."""
    images = tmp_path / "data/images"
    images.mkdir(parents=True)
    for number in range(3):
        drawing(number % 2).save(images / f"{number}.png")
    section = HOW_TO.read_text().partition("\n## A data team")[2]
    found = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    first, *rest = found[1].replace("/data/", f"{tmp_path}/data/").splitlines()
    folder = tempfile.mkdtemp(prefix="sz-")  # a socket's path is at most 107 bytes
    environ = {**os.environ, "RUNTIME_DIRECTORY": folder, "SHAZIMD_SOCKET": f"{folder}/shazimd.sock"}
    environ["PATH"] = f"{SCRIPTS}:{environ['PATH']}"
    with subprocess.Popen(first.split(), env=environ, stderr=subprocess.DEVNULL) as daemon:
        try:
            subprocess.run(["shazimctl", "wait", "--timeout", str(PATIENCE_S)], env=environ, check=True)
            for command in rest:
                subprocess.run(command, shell=True, env=environ, cwd=tmp_path, check=True)
        finally:
            daemon.terminate()
    shutil.rmtree(folder)  # the daemon has removed its socket
    [group] = map(json.loads, (tmp_path / "groups.ndjson").read_text().splitlines())
    assert {member["path"] for member in group["members"]} == {f"{images}/0.png", f"{images}/2.png"}
    pairs = [json.loads(line) for line in (tmp_path / "pairs.ndjson").read_text().splitlines()]
    assert [pair["score"] for pair in pairs if pair["match"] in (f"{images}/0.png", f"{images}/2.png")] == [1.0]


def test_a_test_set_is_kept_apart_from_the_training_set(tmp_path: Path) -> None:
    """The test set first; after the reload each training image that shows what one of it shows raises an alert."""
    text = HOW_TO.read_text().partition("To keep a test set apart")[2]
    both = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    alone, mark, _ = both.partition('[[watch]]\npath = "/data/train"')
    assert mark
    with following("", tmp_path, "data/test", "data/train", text=alone) as daemon:
        for number in range(2):
            drawing(1).save(tmp_path / f"data/train/{number}.png")
        drawing(2).save(tmp_path / "data/train/2.png")
        drawing(1).save(tmp_path / "data/test/1.png")
        daemon.start()
        daemon.settled()
        (tmp_path / "config.toml").write_text(both.replace("/data/", f"{tmp_path}/data/"))
        assert daemon.ctl("reload").returncode == 0
        assert daemon.ctl("wait", "--timeout", str(PATIENCE_S)).returncode == 0
        alerts = [json.loads(line) for line in daemon.ctl("alerts", "--json").stdout.splitlines()]
        assert {alert["path"] for alert in alerts} == {f"{tmp_path}/data/train/{number}.png" for number in range(2)}
        assert {(alert["match"], alert["bank"]) for alert in alerts} == {
            (f"{tmp_path}/data/test/1.png", f"{tmp_path}/data/test")
        }


def test_a_job_on_a_cluster_has_its_images_found_at_once(tmp_path: Path) -> None:
    """The recipe for a cluster: a rescan of the job's folder finds them before the next comparison, and stdin is asked
    about."""
    with following("A cluster", tmp_path, "shared/images") as daemon:
        daemon.start()
        daemon.settled()
        run = tmp_path / "shared/images/run-17"
        run.mkdir()
        drawing(1).save(run / "1.png")
        assert daemon.ctl("rescan", str(run)).returncode == 0
        assert daemon.ctl("wait", "--timeout", str(PATIENCE_S)).returncode == 0
        found = daemon.ctl("find", "-", stdin=(run / "1.png").read_bytes())
        assert found.stdout.endswith(f"{run}/1.png at 100% exact\n")


def test_a_bank_that_is_not_watched_is_refused(tmp_path: Path) -> None:
    """Nothing would ever match it."""
    watch = [WatchConfig(path=str(tmp_path), only_against=("/srv/bank",))]
    with pytest.raises(ConfigError, match="only_against has /srv/bank, expected a watched directory or one below it"):
        configured_roots(watch)
