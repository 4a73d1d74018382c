from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import worker_jobs
from drawn import encoded, photograph, picture
from patience import PATIENCE_S, has_ended, wait_for

from shazimd.errors import InternalError, NotAnImage, TooLarge, WorkerFailed, WorkerLost
from shazimd.imaging.extract import Extractor
from shazimd.models.model import bundled
from shazimd.types import Verdict
from shazimd.workers import jobs, keeper, process
from shazimd.workers import pool as pools
from shazimd.workers.pool import WorkerPool

HERE = os.path.dirname(__file__)


@pytest.fixture(scope="module", autouse=True)
def _workers_find_the_jobs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def pool(_workers_find_the_jobs: None) -> Iterator[WorkerPool]:
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        yield pool


@contextlib.contextmanager
def _standing_still(pool: WorkerPool) -> Iterator[int]:
    """The pool's only worker, which finishes no job meanwhile."""
    worker = pool.submit(worker_jobs.process_id).result()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield worker
    finally:
        os.kill(worker, signal.SIGCONT)


def test_a_picture_is_fingerprinted_elsewhere(pool: WorkerPool) -> None:
    """The same fingerprint as in this process, and the query too."""
    data = encoded(picture(), "PNG")
    expected = Extractor(None, 1_000_000).query(data)
    found = pool.query(data, None).result()
    kept = pool.fingerprint(data, None).result()
    assert (kept.signals.hashes, kept.pixels) == (
        expected.fingerprint.signals.hashes,
        expected.fingerprint.pixels,
    )
    assert kept.features == expected.fingerprint.features == found.fingerprint.features
    assert [(s.hashes[0], s.hashes[1]) for s in found.orientations] == [
        (s.hashes[0], s.hashes[1]) for s in expected.orientations
    ]
    assert found.features == expected.features
    assert pool.submit(worker_jobs.process_id).result() != os.getpid()


def test_a_worker_serves_a_process_with_many_open_files() -> None:
    """Its socket keeps its number, and select(2) takes none over 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"needs 1,200 open files, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    with contextlib.ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while held.enter_context(open(os.devnull)).fileno() < 1030:
            pass
        pool = held.enter_context(WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000))
        first = pool.submit(worker_jobs.process_id).result()
        wait_for(lambda: psutil.Process(first).status() in (psutil.STATUS_SLEEPING, psutil.STATUS_IDLE))
        assert first == pool.submit(worker_jobs.process_id).result()


def test_errors_come_back_as_they_are(pool: WorkerPool) -> None:
    """What is wrong with a picture is told by the same error, with its message."""
    with pytest.raises(NotAnImage, match="begins with the bytes 6e 6f 20 70"):
        pool.fingerprint(b"no picture", None).result()
    with pytest.raises(TooLarge, match="2000x1000"):
        pool.query(encoded(picture(2000, 1000), "PNG"), None).result()
    with pytest.raises(NotAnImage, match=r"^because$"):
        pool.submit(worker_jobs.refuse, "because").result()


def test_a_mistake_of_ours_fails_the_job_and_says_where(pool: WorkerPool) -> None:
    """An exception that is not ours becomes WorkerFailed, with the traceback as a note; the worker is renewed."""
    before = pool.submit(worker_jobs.process_id).result()
    error = pool.submit(worker_jobs.blunder).exception()
    assert isinstance(error, WorkerFailed)
    assert error.message == "the job failed: KeyError: 'a mistake of ours'"
    assert "in blunder" in error.__notes__[0]
    assert pool.submit(worker_jobs.process_id).result() != before


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        (worker_jobs.crash, (), r"the job crashed its worker: signal 11 \(SIGSEGV\)"),
        (worker_jobs.leave, (3,), "the job ended its worker: exit status 3"),
        (worker_jobs.use_up_time, (), "the job took more processor time than a picture of its size may"),
    ],
    ids=["crash", "exit", "time"],
)
def test_a_crash_costs_one_job(
    pool: WorkerPool, job: Callable[..., int], arguments: tuple[int, ...], message: str
) -> None:
    """The job fails with the reason; those that wait behind it are done by another worker."""
    before = pool.submit(worker_jobs.process_id).result()
    doomed = pool.submit(job, *arguments)
    behind = pool.submit(worker_jobs.process_id)
    with pytest.raises(WorkerFailed, match=message):
        doomed.result()
    assert behind.result() != before


def test_a_storm_of_crashes_passes() -> None:
    """Every other job crashes, on two workers: each other one is done."""
    with WorkerPool(processes=2, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        crashes = []
        sums = []
        for number in range(6):
            crashes.append(pool.submit(worker_jobs.crash))
            sums.append(pool.submit(worker_jobs.add, number, 1))
        assert [future.result() for future in sums] == list(range(1, 7))
        assert all(isinstance(future.exception(), WorkerFailed) for future in crashes)


def test_a_job_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the job fails, its worker is gone and another takes its place."""
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        process = psutil.Process(pool.submit(worker_jobs.process_id).result())
        worker = pool._keepers[0]._worker
        assert worker is not None
        monkeypatch.setattr(worker, "_timeout_s", 0.1)  # of this worker alone: the next may be slow on a busy machine
        with pytest.raises(WorkerFailed, match=r"the job took longer than 0\.1 s"):
            pool.submit(worker_jobs.stop_answering).result()
        assert pool.submit(worker_jobs.add, 1, 2).result() == 3
        assert not process.is_running()


def test_a_job_that_takes_too_much_memory_fails_alone(pool: WorkerPool) -> None:
    """The message tells the limit, and less memory is granted; those with a large picture have more."""
    with pytest.raises(WorkerFailed, match=r"ran out of memory: by the size of its picture it may have 3\d\d MiB"):
        pool.submit(worker_jobs.allocate, 400).result()
    with pytest.raises(WorkerFailed, match="ran out of memory: by the size of its picture it may have 512 MiB"):
        pool.submit(worker_jobs.allocate_for_picture, 600, 10**8).result()
    assert pool.submit(worker_jobs.allocate_for_picture, 400, 10**8).result() == 400 << 20
    assert pool.submit(worker_jobs.allocate, 200).result() == 200 << 20


def test_a_picture_that_failed_is_not_kept() -> None:
    """Not even until the next collection of garbage: after one of 300 MiB there is no room for another beside it."""
    with WorkerPool(processes=1, memory_mb=1024, timeout_s=60, max_pixels=1_000_000) as pool:
        for _ in range(3):
            with pytest.raises(NotAnImage):
                pool.fingerprint(bytes(300 << 20), None).result()


def test_a_worker_that_died_while_idle_costs_no_job(pool: WorkerPool) -> None:
    """As when the kernel takes it because memory is short."""
    process = psutil.Process(pool.submit(worker_jobs.process_id).result())
    process.kill()
    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE)
    assert pool.submit(worker_jobs.add, 1, 2).result() == 3


def test_an_answer_of_another_type_is_refused(pool: WorkerPool) -> None:
    """What comes back is checked, not trusted: the worker may be a stranger by now."""
    with pytest.raises(WorkerFailed, match="not what lies returns"):
        pool.submit(worker_jobs.lies).result()


def test_a_worker_has_few_rights(pool: WorkerPool) -> None:
    """Memory is limited, nothing can be written, no rights gained, no core left; one thread; neither TensorFlow, nor
    SciPy and PyWavelets, which only other hashes of imagehash need."""
    worker = psutil.Process(pool.submit(worker_jobs.process_id).result())
    limits = {
        psutil.RLIMIT_DATA: 512 << 20,
        psutil.RLIMIT_CORE: 0,
        psutil.RLIMIT_FSIZE: 0,
    }
    assert {kind: worker.rlimit(kind)[1] for kind in limits} == limits
    assert all(soft <= limits[kind] for kind in limits for soft in worker.rlimit(kind)[:1])
    with open(f"/proc/{worker.pid}/status") as status:
        fields = dict(line.split(":\t", 1) for line in status.read().splitlines())
    shown = {name: fields[name] for name in ("NoNewPrivs", "Threads", "CapEff", "CapPrm")}
    assert shown == {"NoNewPrivs": "1", "Threads": "1", "CapEff": "0" * 16, "CapPrm": "0" * 16}
    unwanted = ["tensorflow", "scipy", "pywt", "lmdb", "starlette", "uvicorn"]
    unwanted += [] if find_spec("rawpy") else ["multiprocessing"]  # which rawpy, of an extra, imports
    assert pool.submit(worker_jobs.loaded, unwanted).result() == []


def test_a_worker_is_small_after_all_kinds_of_jobs() -> None:
    """Shared pages counted; those of the libraries do not stay."""
    original, copy = photograph(), photograph().resize((360, 270))
    model = bundled()
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        known = pool.fingerprint(encoded(original, "JPEG"), model).result()
        asked = pool.query(encoded(copy, "JPEG"), model).result()
        found = pool.submit(jobs.verify_all, asked.features, [known.features]).result()
        assert found[0].verdict is Verdict.COPY
        worker = psutil.Process(pool.submit(worker_jobs.process_id).result())
        wait_for(lambda: worker.memory_info().rss < 58 << 20)


def test_the_pools_side_loads_no_decoder() -> None:
    """The daemon's own process stays small."""
    program = (
        "import sys, shazimd.workers.pool as w; "
        "print([m for m in ('cv2', 'PIL', 'pillow_heif', 'ai_edge_litert', 'tensorflow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_signals_that_stop_the_daemon_do_not_stop_its_workers(pool: WorkerPool) -> None:
    """Ctrl-C and systemd's SIGTERM reach the whole group; the job in hand is finished all the same."""
    assert pool.submit(worker_jobs.interrupt_self).result() == 1


def test_what_is_asked_goes_before_what_is_scanned() -> None:
    """A query overtakes the fingerprints that wait."""
    data = encoded(picture(), "PNG")
    done: list[str] = []
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        with _standing_still(pool):
            for _ in range(9):
                pool.fingerprint(data, None).add_done_callback(lambda _: done.append("scan"))
            pool.query(data, None).query.add_done_callback(lambda _: done.append("query"))
        wait_for(lambda: len(done) == 10)
    assert done.index("query") <= 1  # the first of the fingerprints had begun


def test_two_free_workers_share_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """They make of it what one makes. A large file is decoded once, and a busy worker is not waited for."""
    data, model = encoded(photograph(), "JPEG"), bundled()
    monkeypatch.setattr(pools, "CLOSE_S", 0.0)
    with WorkerPool(processes=2, memory_mb=512, timeout_s=60, max_pixels=1_000_000, model=model) as pool:

        def shared(asked: bytes) -> pools.StartedQuery:
            wait_for(lambda: pool._jobs.has_free(2))
            return pool.query(asked, model)

        wait_for(lambda: pool._jobs.has_free(2))
        for started in (pool.arrival(data, model), shared(data)):
            assert started.points is not None
            assert repr(jobs.query(data, model, 1_000_000, True)) == repr(started.result())
            assert repr(jobs.query_without_points(data, model, 1_000_000)) == repr(started.without_points())
        with pytest.raises(NotAnImage):
            shared(b"no picture").result()
        monkeypatch.setattr(pools, "SHARED_BYTES_MAX", len(data) - 1)
        assert shared(data).points is None
        monkeypatch.setattr(pools, "SHARED_BYTES_MAX", len(data))
        wait_for(pool.submit(worker_jobs.stop_answering).running)
        assert pool.query(data, model).points is None


def test_without_features_no_worker_is_asked_for_them() -> None:
    with WorkerPool(processes=2, memory_mb=512, timeout_s=60, max_pixels=1_000_000, features=False) as pool:
        wait_for(lambda: pool._jobs.has_free(2))
        started = pool.query(encoded(picture(), "PNG"), None)
        assert (None, None, b"") == (started.points, started.without_points(), started.result().features)


def test_a_cancelled_job_is_not_done() -> None:
    """It is passed over when its turn comes."""
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        with _standing_still(pool):
            first = pool.submit(worker_jobs.add, 1, 1)
            wait_for(first.running)
            waiting = pool.submit(worker_jobs.crash)
            assert waiting.cancel()
        assert (first.result(), pool.submit(worker_jobs.add, 2, 2).result()) == (2, 4)


def test_closing_finishes_what_has_begun_and_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that have not begun are cancelled; closing again does nothing; no job is taken after."""
    monkeypatch.setattr(pools, "CLOSE_S", PATIENCE_S)
    pool = WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000)
    closing = threading.Thread(target=pool.close)
    with _standing_still(pool) as worker:
        process = psutil.Process(worker)
        begun = pool.submit(worker_jobs.add, 1, 2)
        wait_for(begun.running)
        waiting = pool.submit(worker_jobs.add, 1, 2)
        closing.start()
        wait_for(waiting.cancelled)
        assert not begun.done()
    closing.join()
    pool.close()
    assert begun.result() == 3
    assert not process.is_running()
    with pytest.raises(InternalError, match="closed"):
        pool.submit(worker_jobs.add, 1, 2)


def test_closing_does_not_wait_long_for_what_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker is killed, and the job is not done again by another."""
    monkeypatch.setattr(pools, "CLOSE_S", 0.0)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=600, max_pixels=1_000_000) as pool:
        begun = pool.submit(worker_jobs.stop_answering)
        wait_for(begun.running)
    assert isinstance(begun.exception(), CancelledError)


def test_files_are_given_up_and_questions_are_not() -> None:
    """The job of a scan ends with its worker, those that wait are cancelled; later ones are done."""
    with WorkerPool(processes=1, memory_mb=512, timeout_s=600, max_pixels=1_000_000) as pool:
        with _standing_still(pool) as first:
            asked = pool.submit(worker_jobs.add, 1, 1)
            wait_for(asked.running)
            waiting = pool.submit_later(worker_jobs.add, 1, 2)
            pool.abandon_files()
            assert waiting.cancelled()
        assert asked.result() == 2
        hanging = pool.submit_later(worker_jobs.stop_answering)
        wait_for(hanging.running)
        pool.abandon_files()
        assert isinstance(hanging.exception(), CancelledError)
        assert first != pool.submit_later(worker_jobs.process_id).result()


def test_a_file_is_given_up_while_its_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no worker to end then; the job does not begin in it."""
    starting, may_start = threading.Event(), threading.Event()

    def started_late(*arguments: Any) -> process.WorkerProcess:
        starting.set()
        assert may_start.wait(PATIENCE_S)
        return process.WorkerProcess(*arguments)

    with WorkerPool(processes=1, memory_mb=512, timeout_s=600, max_pixels=1_000_000) as pool:
        worker = psutil.Process(pool.submit(worker_jobs.process_id).result())
        monkeypatch.setattr(keeper, "WorkerProcess", started_late)
        worker.kill()
        wait_for(lambda: worker.status() == psutil.STATUS_ZOMBIE)
        hanging = pool.submit_later(worker_jobs.stop_answering)
        assert starting.wait(PATIENCE_S)
        pool.abandon_files()
        may_start.set()
        assert isinstance(hanging.exception(), CancelledError)
        assert pool.submit_later(worker_jobs.add, 1, 2).result() == 3


def test_workers_die_with_the_daemon() -> None:
    """Killed outright, it leaves no worker behind, not even one in the middle of a job."""
    program = (
        "import worker_jobs; from shazimd.workers.pool import WorkerPool; "
        "pool = WorkerPool(1, 512, 60, 1000); print(pool.submit(worker_jobs.process_id).result(), flush=True); "
        "pool.submit(worker_jobs.stop_answering).result()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=HERE) as daemon:
        assert daemon.stdout is not None
        worker = psutil.Process(int(daemon.stdout.readline()))
        daemon.send_signal(signal.SIGKILL)
    wait_for(lambda: has_ended(worker))


def test_a_worker_that_cannot_start_fails_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, for each job, and without starting workers over and over."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        for _ in range(2):
            with pytest.raises(WorkerLost, match="the start ended its worker: exit status 1; not the picture's fault"):
                pool.submit(worker_jobs.add, 1, 2).result()


def test_without_an_interpreter_each_job_fails_until_there_is_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a virtual environment is replaced by a newer one."""
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        worker = pool.submit(worker_jobs.process_id).result()
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"no worker can be started: .*No such file"):
            pool.submit(worker_jobs.add, 1, 2).result()
        monkeypatch.undo()
        assert pool.submit(worker_jobs.add, 1, 2).result() == 3


def test_a_renewal_without_a_free_descriptor_costs_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the thread that gives the jobs: a later job's attempt starts a worker."""
    made = socket.socketpair
    failed = threading.Event()

    def once_refused() -> tuple[socket.socket, socket.socket]:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return made()

    monkeypatch.setattr(keeper, "JOBS_A_WORKER", 1)
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        pool.submit(worker_jobs.add, 1, 2).result()
        monkeypatch.setattr(socket, "socketpair", once_refused)
        pool.submit(worker_jobs.add, 1, 2).result(PATIENCE_S)
        assert failed.wait(PATIENCE_S)
        assert pool.submit(worker_jobs.add, 1, 2).result(PATIENCE_S) == 3


def test_a_job_whose_worker_is_killed_from_outside_is_done_by_another() -> None:
    """Once; whoever kills each of its workers gets it to fail, and the error tells that it was not the picture."""
    with WorkerPool(processes=1, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        first = pool.submit(worker_jobs.process_id).result()
        job = pool.submit(worker_jobs.stop_answering_in, first)
        wait_for(job.running)
        os.kill(first, signal.SIGKILL)
        assert job.result() == 1
        with pytest.raises(WorkerLost, match=r"killed by signal 9 \(SIGKILL\).*not the picture's fault"):
            pool.submit(worker_jobs.killed).result()
        assert pool.submit(worker_jobs.add, 1, 2).result() == 3


def test_an_idle_pool_does_nothing() -> None:
    """Its threads and its workers wait without a timer: once memory was given back, none of them wakes up."""
    others = psutil.Process().children()
    with WorkerPool(processes=2, memory_mb=512, timeout_s=60, max_pixels=1_000_000) as pool:
        for _ in range(4):
            pool.submit(worker_jobs.add, 1, 2).result()
        tasks = [Path(f"/proc/self/task/{thread.native_id}") for thread in threading.enumerate() if _is_ours(thread)]
        children = [child for child in psutil.Process().children() if child not in others]
        tasks += [Path(f"/proc/{child.pid}") for child in children]
        assert len(tasks) >= 4
        wait_for(lambda: all(_state(task) == "S" for task in tasks))
        wait_for(lambda: _stand_still(tasks))


def _stand_still(tasks: list[Path]) -> bool:
    before = [_switches(task) for task in tasks]
    time.sleep(0.5)  # in which any timer would wake up once
    return [_switches(task) for task in tasks] == before


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("worker-")


def _state(task: Path) -> str:
    return (task / "stat").read_text().rsplit(")", 1)[1].split()[0]


def _switches(task: Path) -> list[str]:
    return [line for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line]


def test_a_reply_that_is_too_long_is_not_read(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker can't make the daemon allocate what it announces."""
    monkeypatch.setattr(process, "REPLY_BYTES_MAX", 4)
    with pytest.raises(WorkerFailed, match="expected at most 4"):
        pool.submit(worker_jobs.add, 1, 2).result()
    monkeypatch.undo()
    assert pool.submit(worker_jobs.add, 1, 2).result() == 3
