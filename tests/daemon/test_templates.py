"""Pictures of one template in a watched folder: no alert for different content, and the right one for a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess, daemon_process
from PIL import Image

from benchmarks.quality.families import TUNED, picture

FILED = {"forms": 12, "tickets": 12, "cartons": 8}
"""Pictures of each family that land, all different."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    with daemon_process(tmp_path) as daemon:
        yield daemon


def on_a_canvas(image: Image.Image) -> Image.Image:
    """The picture on a larger canvas with a border, as in a screenshot."""
    canvas = Image.new("RGB", (image.width + 300, image.height + 160), (62, 68, 80))
    canvas.paste((225, 225, 230), (100, 30, image.width + 200, image.height + 120))
    canvas.paste(image, (150, 70))
    return canvas


def test_different_content_of_one_template_is_silent_and_a_screenshot_is_not(daemon: DaemonProcess) -> None:
    """Each screenshot raises exactly one alert, a copy, and names the picture on it. Of the rest, at most a line at
    info for each file names a related picture."""
    daemon.start()
    daemon.settled()
    for family, count in FILED.items():
        for number in range(count):
            picture(family, TUNED, number).save(daemon.root / f"{family}-{number}.png")
    daemon.settled()
    assert daemon.status()["images"] == sum(FILED.values())
    assert daemon.events("near_duplicate") == []
    told = [event["path"] for event in daemon.events("related_image") if event["level"] == "info"]
    assert len(told) == len(set(told)) > 0
    for family in FILED:
        on_a_canvas(picture(family, TUNED, 5)).save(daemon.root / f"{family}-screenshot.png")
        daemon.wait_for("near_duplicate", path=str(daemon.root / f"{family}-screenshot.png"))
    daemon.settled()
    alerts = [(alert["verdict"], Path(alert["match"]).name) for alert in daemon.events("near_duplicate")]
    assert alerts == [("copy", f"{family}-5.png") for family in FILED]
