"""The container image, without building it; tests/boot/test_container.py runs its settings."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

DOCKERFILE = Path(__file__).resolve().parents[2] / "packaging/Dockerfile"


@pytest.mark.parametrize("user", [65532, 1000])
def test_any_user_may_write_the_store(user: int) -> None:
    """Also one that is given with user: in the compose file: without capabilities it can't take the directory."""
    if os.geteuid() != 0:
        pytest.skip("acting as another user needs root")
    (words,) = re.findall(r"^RUN (install -d .+) /var/lib/shazimd$", DOCKERFILE.read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory(dir="/tmp") as volume:
        subprocess.run([*words.split(), volume], check=True)
        write = ["mkdir", f"{volume}/models"]
        assert subprocess.run(write, user=user, group=user, extra_groups=[], check=False).returncode == 0
