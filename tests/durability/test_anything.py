"""A folder of anything leaves a daemon that runs, and no file without an outcome."""

from __future__ import annotations

from pathlib import Path

import pytest
from anything import made, outcomes


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_of_spoilt_pictures(tmp_path: Path) -> None:
    """500 files of every format, most of them spoilt: each is indexed or failed, and the daemon goes on."""
    result = outcomes(tmp_path, made(0, 500))
    assert result.faults == []
    assert result.counts.total() == 500
    assert sum(count for outcome, count in result.counts.items() if outcome.startswith("indexed")) > 150
