"""The recipes of docs/how-to.md."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, daemon_process, drawing
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


def test_a_bank_that_is_not_watched_is_refused(tmp_path: Path) -> None:
    """Nothing would ever match it."""
    watch = [WatchConfig(path=str(tmp_path), only_against=("/srv/bank",))]
    with pytest.raises(ConfigError, match="only_against has /srv/bank, expected a watched directory or one below it"):
        configured_roots(watch)
