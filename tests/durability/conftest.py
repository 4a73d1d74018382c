from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """``mount(name, *arguments)`` mounts at a new directory for the length of a test, which is skipped where that isn't
    allowed; the mount point."""
    points: list[Path] = []

    def mount(name: str, *arguments: str) -> Path:
        point = tmp_path / name
        point.mkdir(exist_ok=True)
        command = ["mount", *arguments, str(point)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"mounting is needed, which takes root: {error}")
        points.append(point)
        return point

    yield mount
    for point in reversed(points):
        if point.is_mount():
            subprocess.run(["umount", "--lazy", str(point)], check=True)
