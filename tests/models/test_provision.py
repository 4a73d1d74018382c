from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from installing import installing_elsewhere
from patience import PATIENCE_S

from shazimd.errors import Forbidden, StoreFull
from shazimd.models import provision
from shazimd.models.model import ModelInfo
from shazimd.models.provision import Provision
from shazimd.models.registry import Registry

TINY = str(Path(__file__).parent / "data" / "tiny_float32.tflite")


@contextmanager
def started(models: Path, handle: str) -> Iterator[tuple[Provision, queue.SimpleQueue[ModelInfo]]]:
    """A provision at work, and the models that it hands over."""
    used: queue.SimpleQueue[ModelInfo] = queue.SimpleQueue()
    providing = Provision(Registry(str(models)), handle)
    providing.start(used.put)
    try:
        yield providing, used
    finally:
        providing.stop()


def test_a_model_that_is_missing_is_installed_and_used(tmp_path: Path) -> None:
    """It is handed over once it is on the disk, and the first try is over then."""
    with started(tmp_path / "models", TINY) as (providing, used):
        assert used.get(timeout=PATIENCE_S).source == TINY
        assert providing.first_try.wait(PATIENCE_S)
    assert providing.fault is None


def test_a_handle_that_leads_nowhere_is_told_and_holds_nothing_up(tmp_path: Path) -> None:
    """The reason is kept for the status, and the first try is over."""
    with started(tmp_path / "models", str(tmp_path / "none.tflite")) as (providing, used):
        assert providing.first_try.wait(PATIENCE_S)
        assert "none.tflite" in str(providing.fault)
        assert providing.status(None)["state"] == "missing"
    assert used.empty()


def test_a_model_that_could_not_be_taken_into_use_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full: the reason is kept for the status, as JSON takes it, and nothing waits for the second try."""
    monkeypatch.setattr(provision, "RETRY_FIRST_S", 0.02)
    used: queue.SimpleQueue[ModelInfo] = queue.SimpleQueue()
    faults, seen = [StoreFull("/\udcff: no space left")], list[object]()
    providing = Provision(Registry(str(tmp_path / "models")), TINY)

    def use(model: ModelInfo) -> None:
        seen.append((providing.fault, providing.will_come()))
        if faults:
            raise faults.pop()
        used.put(model)

    providing.start(use)
    assert used.get(timeout=PATIENCE_S).source == TINY
    providing.stop()
    assert seen == [(None, True), ("/\\xff: no space left", False)]
    assert providing.fault is None


def test_another_process_that_installs_it_is_waited_for(tmp_path: Path) -> None:
    """No fault is told meanwhile, and its model is used without a second installation."""
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    theirs = Registry(str(elsewhere)).install(TINY)
    with installing_elsewhere(models), started(models, TINY) as (providing, used):
        assert (providing.first_try.wait(0.2), providing.status(None)["state"]) == (False, "installing")
        shutil.copytree(elsewhere, models, dirs_exist_ok=True)
        found = used.get(timeout=PATIENCE_S)
        assert (found.id, found.installed_at) == (theirs.id, theirs.installed_at)
        assert providing.first_try.wait(PATIENCE_S)


def test_stopping_does_not_wait_for_another_process(tmp_path: Path) -> None:
    """Whoever stands waiting for it goes on."""
    with installing_elsewhere(tmp_path / "models"), started(tmp_path / "models", TINY) as (providing, _):
        providing.stop()
        assert providing.first_try.is_set()


def test_no_path_is_opened_for_a_client(tmp_path: Path) -> None:
    """A directory that is not configured is refused with the same words, whether it is there or not, before a look."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "divorce.pdf").touch()
    providing = Provision(Registry(str(tmp_path / "models")), TINY)
    for path in (tmp_path / "secret", tmp_path / "nothing"):
        with pytest.raises(Forbidden) as refused:
            providing.install(str(path))
        expected = "expected the configured handle, a URL, or the bytes of a model in the body"
        assert str(refused.value) == f"{path}: {expected}; no path is opened for a client"


def test_a_client_installs_the_configured_model_or_sends_one(tmp_path: Path) -> None:
    """The configured handle is opened, and bytes are kept under any name."""
    providing = Provision(Registry(str(tmp_path / "models")), TINY)
    *_, last = providing.install(TINY)
    assert last["model"]["source"] == TINY
    *_, last = providing.install("/home/me/m.tflite", Path(TINY).read_bytes())
    assert last["model"]["source"] == "/home/me/m.tflite"
    assert [model["source"] for model in providing.list(None)] == [TINY, "/home/me/m.tflite"]


def staged_model(tmp_path: Path) -> str:
    """A directory in which another process has installed the tiny model."""
    staged = str(tmp_path / "staged")
    Registry(staged).install(TINY)
    return staged


def test_a_staged_model_is_taken_over(tmp_path: Path) -> None:
    """It is found at once, is copied with its record, and does without the other directory from then on."""
    staged = staged_model(tmp_path)
    model = Provision(Registry(str(tmp_path / "models")), TINY, staged=staged).installed()
    assert model is not None
    assert Path(model.path).is_relative_to(tmp_path / "models")
    assert (model.id, model.installed_at) == (Registry(staged).list()[0].id, Registry(staged).list()[0].installed_at)
    shutil.rmtree(staged)
    assert Provision(Registry(str(tmp_path / "models")), TINY, staged=staged).installed() == model


def test_a_staged_model_of_another_handle_is_left(tmp_path: Path) -> None:
    """Only the configured model is taken over, and nothing is written for others."""
    staged = staged_model(tmp_path)
    assert Provision(Registry(str(tmp_path / "models")), "other.tflite", staged=staged).installed() is None
    assert not (tmp_path / "models").exists()


def test_a_staged_model_that_is_damaged_is_not_taken_over(tmp_path: Path) -> None:
    """The fault is told, and the store gets none of it."""
    staged = staged_model(tmp_path)
    next(Path(staged).rglob("model.tflite")).write_bytes(b"damage")
    providing = Provision(Registry(str(tmp_path / "models")), TINY, staged=staged)
    assert providing.installed() is None
    assert "model.tflite" in str(providing.fault)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_that_is_being_staged_is_waited_for(tmp_path: Path) -> None:
    """Its process is not disturbed, and the daemon does not try by itself meanwhile."""
    staged, used = tmp_path / "staged", queue.SimpleQueue[ModelInfo]()
    elsewhere = str(tmp_path / "elsewhere")
    theirs = Registry(elsewhere).install(TINY)
    providing = Provision(Registry(str(tmp_path / "models")), TINY, staged=str(staged))
    with installing_elsewhere(staged):
        (staged / ".incoming-x").mkdir()
        providing.start(used.put)
        assert (providing.first_try.wait(0.2), providing.status(None)["state"]) == (False, "installing")
        assert (staged / ".incoming-x").exists()
        shutil.copytree(elsewhere, staged, dirs_exist_ok=True)
    assert used.get(timeout=PATIENCE_S).installed_at == theirs.installed_at
    providing.stop()


def test_a_model_that_is_staged_later_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts, which fail without a network, the daemon looks for it."""
    monkeypatch.setattr(provision, "STAGED_LOOK_S", 0.02)
    staged, used, handle = str(tmp_path / "staged"), queue.SimpleQueue[ModelInfo](), str(tmp_path / "later.tflite")
    providing = Provision(Registry(str(tmp_path / "models")), handle, staged=staged)
    providing.start(used.put)
    assert providing.first_try.wait(PATIENCE_S)
    Registry(staged).install(handle, data=Path(TINY).read_bytes())
    assert used.get(timeout=PATIENCE_S).source == handle
    providing.stop()
    assert providing.fault is None
