from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon_process import drawing
from host_pair import Host, png, told
from patience import PATIENCE_S

from shazimd.search import fetching


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with closing(Host(tmp_path / "a", "a")) as a, closing(Host(tmp_path / "b", "b")) as b:
        yield a, b


@pytest.fixture(scope="module")
def shared_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host, Any, Any]]:
    """Two hosts, the first with a picture; the state of its file, and its fingerprint."""
    folder = tmp_path_factory.mktemp("pair")
    with closing(Host(folder / "a", "a")) as a, closing(Host(folder / "b", "b")) as b:
        png(a.root, 1)
        a.known(1)
        (state,) = a.service.changes(None, 10)["changes"]
        (content,) = a.service.fingerprints([bytes.fromhex(state["content"] or "")])
        yield a, b, state, content


@pytest.fixture
def fetching_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Host, Host]]:
    """The second fetches the features of the first's pictures: an original, and one that lands there later. A search
    waits for a link that is there as long as a test does."""
    monkeypatch.setattr(fetching, "WAIT_S", PATIENCE_S)
    with closing(Host(tmp_path / "a", "a")) as a, closing(Host(tmp_path / "b", "b", "fetch")) as b:
        drawing(1).save(a.root / "original.png")
        a.known(1)
        assert told(a, b, "a", since=5) == {"missing": [], "refused": []}
        assert told(a, b, "a", since=5) == {"missing": [], "refused": []}
        yield a, b
