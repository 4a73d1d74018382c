from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hub_server import Hub, body, running_hub
from patience import has_ended, wait_for

from shazimd.errors import ModelError
from shazimd.models.model import EmbeddingModel
from shazimd.models.registry import Registry, _listen

DATA = Path(__file__).parent / "data"
MIB = 1 << 20
FLOAT, UINT8 = str(DATA / "tiny_float32.tflite"), str(DATA / "tiny_uint8.tflite")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server that is asked by our own fetch, whether tensorflow_hub is installed or not."""
    without = tmp_path / "without"
    without.mkdir()
    (without / "tensorflow_hub.py").write_text("raise ImportError('not in this test')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(without), os.environ.get("PYTHONPATH", "")]))
    with running_hub() as hub:
        yield hub


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_an_installed_model_is_found_and_runs(models: Path) -> None:
    """Found by its handle, listed, and kept under the directory, not where it came from."""
    registry = Registry(str(models))
    info = registry.install(FLOAT)
    assert registry.find(FLOAT) == info
    assert registry.list() == [info]
    assert Path(info.path).is_relative_to(models)
    assert EmbeddingModel(info).embed(np.full((1, 8, 6, 3), 200, np.uint8)).shape == (1, info.output_width)


def test_a_model_that_was_sent_is_kept_under_its_name(models: Path) -> None:
    """Nothing is opened or fetched by that name, and its file is not left behind."""
    info = Registry(str(models)).install("/nowhere/m.tflite", data=Path(FLOAT).read_bytes())
    assert Registry(str(models)).find("/nowhere/m.tflite") == info
    assert EmbeddingModel(info).embed(np.full((1, 8, 6, 3), 200, np.uint8)).shape == (1, info.output_width)
    assert {path.name for path in models.rglob("*") if path.is_file()} == {"model.tflite", "model.json"}


def packed(**files: bytes) -> bytes:
    """A tar.gz of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("handle", "data", "message"),
    [
        ("sent", b"no model", "sent: "),
        ("sent", packed(a=b""), "sent: not a model, found a, expected saved_model.pb"),
        ("sent", packed(a=b"1" * 5000)[:-10], "sent: not a whole tar.gz archive"),
        ("sent#sha256=" + "0" * 64, b"x", "wrong digest"),
    ],
    ids=["no archive", "no model in it", "cut short", "another digest"],  # an archive's bytes tell the time
)
def test_what_was_sent_and_is_no_model_is_refused(models: Path, handle: str, data: bytes, message: str) -> None:
    """The error names the handle and what was found, and nothing is kept."""
    with pytest.raises(ModelError, match=message):
        Registry(str(models)).install(handle, data=data)
    assert [path for path in models.rglob("*") if path.is_file()] == []


def test_models_outlive_the_process(models: Path) -> None:
    """Another registry on the same directory knows them, oldest first."""
    installed = [Registry(str(models)).install(handle) for handle in (UINT8, FLOAT)]
    assert Registry(str(models)).list() == installed


def test_a_moved_store_keeps_its_models(models: Path, tmp_path: Path) -> None:
    """A model's path is where its record lies."""
    info = Registry(str(models)).install(FLOAT)
    moved = models.rename(tmp_path / "moved")
    found = Registry(str(moved)).find(FLOAT)
    assert found == replace(info, path=info.path.replace(str(models), str(moved)))


def test_nothing_is_installed_at_first(models: Path) -> None:
    """A directory that is not there yet is an empty one."""
    assert Registry(str(models)).list() == []
    assert Registry(str(models)).find(FLOAT) is None


def test_the_same_bytes_from_two_handles(models: Path, tmp_path: Path) -> None:
    """One id, so vectors are shared; and each handle is found again."""
    copy = shutil.copy(FLOAT, tmp_path / "copy.tflite")
    registry = Registry(str(models))
    first, second = registry.install(FLOAT), registry.install(str(copy))
    assert first.id == second.id
    assert [registry.find(FLOAT), registry.find(str(copy))] == [first, second]


def test_the_newest_of_a_handle_is_found(models: Path, tmp_path: Path) -> None:
    """A handle whose bytes changed gives the new model once it was installed again; back again, the old."""
    handle = tmp_path / "m.tflite"
    registry = Registry(str(models))
    for content in (FLOAT, UINT8, FLOAT):
        shutil.copy(content, handle)
        info = registry.install(str(handle))
        assert registry.find(str(handle)) == info
    assert len(registry.list()) == 2


def test_installing_again_repairs_a_damaged_model(models: Path) -> None:
    """What LiteRT would have been handed is replaced."""
    registry = Registry(str(models))
    info = registry.install(FLOAT)
    Path(info.path).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        EmbeddingModel(info)
    EmbeddingModel(registry.install(FLOAT))


def test_a_failed_installation_leaves_nothing(models: Path, hub: Hub) -> None:
    """The handle and the reason are told; what was installed before stays."""
    registry = Registry(str(models))
    before = registry.install(FLOAT)
    with pytest.raises(ModelError, match=rf"http://127.0.0.1:{hub.port}/m: the server answered HTTP 404"):
        registry.install(f"http://127.0.0.1:{hub.port}/m")
    assert registry.list() == [before]
    assert os.listdir(models) == [Path(before.path).parent.name]


def test_what_is_no_flatbuffer_is_refused(models: Path, tmp_path: Path) -> None:
    """A file that LiteRT can't run never gets a record."""
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8")
    with pytest.raises(ModelError, match="LiteRT can't run this flatbuffer"):
        Registry(str(models)).install(str(photo))
    assert os.listdir(models) == []


def test_progress_is_passed_on(models: Path, hub: Hub) -> None:
    """In the words of the process that does the work."""
    told = list[str]()
    with pytest.raises(ModelError, match=r"not a whole tar.gz archive"):
        Registry(str(models)).install(hub.serve("m", body(b"12345")), told.append)
    assert told == ["downloaded 0.0 MiB of 0.0"]


def test_a_progress_that_raises_ends_the_installation(models: Path, hub: Hub) -> None:
    """Its exception comes through, and nothing stays behind."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    handle = hub.serve("m", body(b"1" * MIB, announced=2 * MIB, rest=hub.silent))
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        Registry(str(models)).install(handle, interrupt)
    assert os.listdir(models) == []
    assert set(psutil.Process().children()) <= before


def test_without_tensorflow_the_message_says_what_to_install(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon runs without it; only converting needs it. What others print is not taken for an answer."""
    code = "print('chatter', flush=True); raise ModuleNotFoundError('No module', name='tensorflow')"
    (tmp_path / "tensorflow.py").write_text(code)
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"install it with: .* -m pip install .*(tensorflow|shazimd\[hub\])"):
        Registry(str(models)).install(str(tmp_path))


def test_a_conversion_that_dies_tells_its_last_words(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed for memory, or crashed in native code: the status and what it said are in the message."""
    code = "import os, sys; print('out of memory', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    (tmp_path / "tensorflow.py").write_text(code)
    (tmp_path / "saved_model.pb").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelError, match="the conversion ended with status -9 and said out of memory"):
        Registry(str(models)).install(str(tmp_path))
    assert os.listdir(models) == []


def test_half_a_message_is_none() -> None:
    """A process that was killed while it spoke has told nothing of how it ended."""
    code = """print('{"progress": "converting"}\\n{"installed": ', end='')"""
    told = list[str]()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert _listen(process, told.append) == {}
    assert told == ["converting"]


def test_an_installation_takes_only_so_long(models: Path, hub: Hub) -> None:
    """The limit is for all of it, however lively the server."""
    with pytest.raises(ModelError, match="not installed, not done in 1 s"):
        Registry(str(models), timeout_s=1).install(hub.serve("m", hub.silent))


def test_a_silent_server_is_given_up(models: Path, hub: Hub) -> None:
    """The stall timeout reaches the process that downloads."""
    with pytest.raises(ModelError, match=r"the server said nothing for 0\.1 s"):
        Registry(str(models), stall_timeout_s=0.1).install(hub.serve("m", hub.silent))


def test_closing_stops_the_installation_under_way(models: Path, hub: Hub) -> None:
    """So that a daemon can end; later ones are refused, what is installed stays readable."""
    registry = Registry(str(models))
    registry.install(FLOAT)
    caught = list[ModelError]()

    def install() -> None:
        try:
            registry.install(hub.serve("m", hub.silent))
        except ModelError as error:
            caught.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    wait_for(lambda: hub.asked)
    registry.close()
    thread.join()
    assert [str(error).rpartition(": ")[2] for error in caught] == ["not installed, shutting down"]
    with pytest.raises(ModelError, match="not installed, shutting down"):
        registry.install(UINT8)
    assert [info.source for info in registry.list()] == [FLOAT]


def test_only_one_installation_at_a_time(models: Path, hub: Hub) -> None:
    """Another one, by whatever process, is refused and does not disturb the first."""
    registry = Registry(str(models))
    handle = hub.serve("m", hub.silent)

    def install() -> None:
        with pytest.raises(ModelError, match="shutting down"):
            registry.install(handle)

    thread = threading.Thread(target=install)
    thread.start()
    wait_for(lambda: hub.asked)
    with pytest.raises(ModelError, match=r"another installation in .* is under way"):
        Registry(str(models)).install(FLOAT)
    assert len(os.listdir(models)) == 1
    registry.close()
    thread.join()


def test_a_killed_daemon_leaves_no_process_and_no_model(models: Path, hub: Hub) -> None:
    """After kill -9 the converting process ends too, and the next installation clears away what was left."""
    code = "import sys; from shazimd.models.registry import Registry; Registry(sys.argv[1]).install(sys.argv[2])"
    handle = hub.serve("m", hub.silent)
    with subprocess.Popen([sys.executable, "-c", code, str(models), handle]) as daemon:
        wait_for(lambda: hub.asked)
        (converter,) = psutil.Process(daemon.pid).children()
        daemon.send_signal(signal.SIGKILL)
    wait_for(lambda: has_ended(converter))
    assert Registry(str(models)).list() == []
    info = Registry(str(models)).install(FLOAT)
    assert os.listdir(models) == [Path(info.path).parent.name]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"id": 7}', b"\xff"])
def test_a_damaged_record_is_named(models: Path, content: bytes) -> None:
    """Not passed over: the message says which file, and what to do."""
    registry = Registry(str(models))
    record = Path(registry.install(FLOAT).path).with_name("model.json")
    record.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{record}: damaged, .*; remove its directory and install"):
        registry.list()


def test_a_flatbuffer_without_a_record_is_no_model(models: Path) -> None:
    """The record is moved in last, so a crash before that has installed nothing."""
    registry = Registry(str(models))
    Path(registry.install(FLOAT).path).with_name("model.json").unlink()
    assert registry.list() == []


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """The operating system's reason is told with the handle."""
    (tmp_path / "models").touch()
    with pytest.raises(ModelError, match=r"tiny_float32.tflite: can't be installed in .*models: "):
        Registry(str(tmp_path / "models")).install(FLOAT)


def test_a_store_whose_path_is_not_utf8_and_looks_like_a_pattern(tmp_path: Path) -> None:
    """A store may lie anywhere."""
    registry = Registry(os.fsdecode(os.fsencode(tmp_path) + b"/\xff[ab]*"))
    info = registry.install(FLOAT)
    assert registry.list() == [info]
    EmbeddingModel(info)
    with pytest.raises(ModelError, match="no such file"):
        registry.install("/gone")
