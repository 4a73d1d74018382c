"""A worker that an attacker has taken over can do nothing but answer."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import break_out
import pytest
import worker_jobs

from shazimd.errors import WorkerLost
from shazimd.models.model import bundled
from shazimd.posix import landlock, seccomp
from shazimd.workers.pool import WorkerPool

HERE = os.path.dirname(__file__)
MUST_LEAD_OUT = """
read a photo
see that a photo is there
write a photo
write a photo by a map
delete a photo
rename a photo
fork
run a program
run a program in memory
memory to write and run
load a library
kill the daemon
have the kernel send a signal
limit the daemon
raise a limit
ask the daemon
connect by TCP
an abstract socket
""".strip().splitlines()
"""Without confinement, on every machine."""


class _Daemon(NamedTuple):
    """What an attacker would reach for, in the test's own process: it is the parent of the workers."""

    folder: Path
    secret: ctypes.Array[ctypes.c_char]
    targets: tuple[str, int, int, int]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[_Daemon]:
    for name in ("photo", *"123456789"):
        (tmp_path / name).write_bytes(b"picture")
    secret = ctypes.create_string_buffer(b"secret!!", 8)
    with ExitStack() as opened:
        listeners = [opened.enter_context(socket.socket(family)) for family in (socket.AF_UNIX,) * 2]
        listeners[0].bind(str(tmp_path / "socket"))
        listeners[1].bind(f"\0shazimd-test-{os.getpid()}")
        for listener in listeners:
            listener.listen()
        tcp = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        targets = str(tmp_path), os.getpid(), ctypes.addressof(secret), tcp.getsockname()[1]
        yield _Daemon(tmp_path, secret, targets)


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
            yield pool


def _skip_without(pool: WorkerPool, *layers: str) -> None:
    pool.submit(worker_jobs.process_id).result()
    missing = [reason for reason in pool.missing_layers() or () if reason.startswith(layers)]
    if missing:
        pytest.skip(f"the kernel lacks {missing}")


def test_the_ways_lead_out_without_confinement(victim: _Daemon) -> None:
    """The same program outside a worker: a way that leads nowhere here would prove nothing there."""
    program = [sys.executable, break_out.__file__, json.dumps(victim.targets)]
    tried = json.loads(subprocess.run(program, capture_output=True, check=True).stdout)
    assert [way for way in MUST_LEAD_OUT if not tried[way]] == []


def test_no_way_leads_out_of_a_worker(pool: WorkerPool, victim: _Daemon) -> None:
    """Each is refused, and nothing has changed: no file, no memory of the daemon, no file beside the photos."""
    _skip_without(pool, "Landlock", "seccomp")
    tried = pool.submit(break_out.try_all, *victim.targets).result()
    assert [way for way, worked in tried.items() if worked] == []
    assert sorted(os.listdir(victim.folder)) == [*"123456789", "photo", "socket"]
    assert {path.read_bytes() for path in victim.folder.iterdir() if path.is_file()} == {b"picture"}
    assert victim.secret.raw == b"secret!!"


def test_every_other_system_call_is_refused(pool: WorkerPool) -> None:
    """By its number, also by the numbers of x32; in the worker, which goes on."""
    _skip_without(pool, "seccomp")
    assert pool.submit(break_out.sweep, True).result() == []


def test_threads_still_start(pool: WorkerPool) -> None:
    """Libraries may use some; they are confined as the worker is."""
    assert pool.submit(worker_jobs.threads, 8).result() == 8


def test_a_worker_has_one_descriptor_and_no_environment(pool: WorkerPool) -> None:
    """Its socket; the standard streams lead nowhere. Variables of the daemon may hold secrets."""
    assert pool.submit(worker_jobs.environment).result() == []
    worker = pool.submit(worker_jobs.process_id).result()
    opened = {int(path.name): os.readlink(path) for path in Path(f"/proc/{worker}/fd").iterdir()}
    assert [opened.pop(stream) for stream in range(3)] == ["/dev/null"] * 3
    assert [path.partition(":")[0] for path in opened.values()] == ["socket"]


def test_a_secret_in_the_environment_never_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its first memory, which the kernel fills with the environment at the start."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        worker = pool.submit(worker_jobs.process_id).result()
        assert b"SECRET" not in Path(f"/proc/{worker}/environ").read_bytes()


def test_a_worker_that_cannot_be_confined_has_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why, and ends."""
    (tmp_path / "sitecustomize.py").write_text(
        "from shazimd.workers import confinement\n"
        "def confine(): raise OSError('not in this test')\n"
        "confinement.confine = confine\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        error = pool.query(b"", None).query.exception()
    assert isinstance(error, WorkerLost)
    assert str(error) == "the start failed: OSError: not in this test; not the picture's fault"


def test_nothing_is_written_to_the_daemons_error_stream(capfd: pytest.CaptureFixture[str]) -> None:
    """LiteRT greets there when it opens a model, and each start would be a line in the journal."""
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000, model=bundled()) as pool:
        pool.query(b"", bundled()).query.exception()
    assert capfd.readouterr().err == ""


def test_layers_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is missing where the kernel has all."""
    if not (landlock.abi() and seccomp.architecture() and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")):
        pytest.skip("the kernel lacks Landlock or seccomp")
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        pool.submit(worker_jobs.process_id).result()
        assert [layer for layer in pool.missing_layers() or () if not layer.startswith("network")] == []
