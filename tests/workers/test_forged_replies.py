"""A worker that a picture has taken over sends any reply: it changes no other file's row, no start, no later answer."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import daemon_process as daemon_process_module
import forging_worker
import pytest
from daemon_process import DaemonProcess, daemon_process
from forged_kinds import BYTES, FEATURES, FRAMES, KINDS, VALUES

from shazimd.errors import WorkerFailed
from shazimd.fingerprint import Fingerprint
from shazimd.models.model import bundled
from shazimd.store.lmdb_store import open_store
from shazimd.types import FileState
from shazimd.words.packing import ASKED_MAX, FEATURE
from shazimd.workers import checks, jobs, messages
from shazimd.workers.messages import MalformedReply

HERE = Path(__file__).parent
LANDED = [*list(VALUES)[::12], *(kind for kind in BYTES if "the code" not in kind), "the code internal", *FRAMES]
"""Kinds of the test with a real daemon: each costs two workers, so every twelfth value, and one code of an error,
stand for the others, which the same checks refuse in ``test_a_forged_reply_is_refused``."""
if "SHAZIMD_LONG" in os.environ:
    LANDED = KINDS
HONEST_ANYWAY = {"and a byte", "and junk", "and itself again", "and one to the next job"}
"""Surplus bytes behind a sound reply are found before it is used, or before the next job is sent."""


def test_the_list_is_long() -> None:
    """More than a hundred kinds."""
    assert len(set(KINDS)) > 150


@pytest.mark.parametrize("kind", [*VALUES, *(kind for kind in BYTES if not kind.startswith("a failure"))])
def test_a_forged_reply_is_refused(kind: str) -> None:
    """By its bytes, or by the values in it; the honest one is not."""
    model = bundled()
    arguments = (b"picture", model, 1_000_000, True)
    good = forging_worker.honest(b"picture", model)
    checks.checked(jobs.query, arguments, messages.unpack_reply(messages.pack_result(good), jobs.query))
    forging_worker.taken_over[:] = [kind]
    try:
        forged = forging_worker.pack_result(good)
    finally:
        forging_worker.taken_over.clear()
    with pytest.raises(WorkerFailed if "code" in kind else MalformedReply):
        checks.checked(jobs.query, arguments, messages.unpack_reply(forged, jobs.query))


@pytest.mark.parametrize("forged", FEATURES.values(), ids=FEATURES)
def test_a_forged_part_of_a_query_is_refused(forged: bytes) -> None:
    """Features without their points, to be kept and to be asked."""
    query, arguments = forging_worker.honest(b"picture", None), (b"picture", None, 1_000_000)
    assert checks.checked(jobs.query_without_points, arguments, query)
    for part in (
        replace(query, features=forged),
        replace(query, fingerprint=replace(query.fingerprint, features=forged)),
    ):
        with pytest.raises(MalformedReply):
            checks.checked(jobs.query_without_points, arguments, part)


@pytest.mark.parametrize("length", [-1, 1, FEATURE.itemsize])
def test_forged_points_are_refused(length: int) -> None:
    """Other numbers of bytes than points have, and more points than a query may have."""
    points = bytes(ASKED_MAX * FEATURE.itemsize + length)
    assert checks.checked(jobs.points, (b"picture", 1_000_000), points[: ASKED_MAX * FEATURE.itemsize][: 24 * 9])
    with pytest.raises(MalformedReply):
        checks.checked(jobs.points, (b"picture", 1_000_000), points)


def test_every_job_has_a_check() -> None:
    """A new job of the workers needs one."""
    public = {value for name, value in vars(jobs).items() if callable(value) and value.__module__ == jobs.__name__}
    assert {job for job in public if not job.__name__.startswith("_")} == set(checks.CHECKS)


@pytest.mark.timeout(1800)
def test_no_forged_reply_changes_anything_but_its_own_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind lands beside an innocent file, which has the row of an honest worker, and is found, also after a start
    with honest workers; the forger's file is listed as failed, in a short line."""
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    monkeypatch.setattr(daemon_process_module, "PATIENCE_S", 500.0)
    with daemon_process(tmp_path, "--model", "bundled", str(tmp_path / "root")) as daemon:
        daemon.program = [sys.executable, str(HERE / "forging_daemon.py")]
        _land(daemon.root, "first.png", b"first")
        daemon.start()
        daemon.settled()
        assert daemon.process is not None
        first = daemon.process.pid
        for number in _numbers():
            _land(daemon.root, f"{number}-forged.png", f"FORGE:{number}!".encode())
            _land(daemon.root, f"{number}-innocent.png", f"innocent {number}".encode())
        daemon.settled()
        assert (first, None) == (daemon.process.pid, daemon.process.poll())
        assert 1 == daemon.ctl("duplicates").returncode  # none found
        failed = [json.loads(line) for line in daemon.ctl("failed", "--json").stdout.splitlines()]
        assert 0 == daemon.stop()
        known = _rows(daemon)
        assert {path: known[path] for path in known if b"innocent" in path} == {
            os.fsencode(daemon.root / f"{number}-innocent.png"): _expected(f"innocent {number}".encode())
            for number in _numbers()
        }
        reasons = {Path(each["path"]).name: each for each in failed}
        for number in _numbers():
            kind = KINDS[number]
            own = known[os.fsencode(daemon.root / f"{number}-forged.png")]
            if own is None:
                text = reasons[f"{number}-forged.png"]["reason"]
                assert len(text) < 3000
                assert text.isprintable()
            else:
                assert kind in HONEST_ANYWAY
                assert own == _expected(f"FORGE:{number}!".encode())
        daemon.program = None
        daemon.start()
        daemon.settled()
        assert 0 == daemon.ctl("store", "--store", str(daemon.store), "check").returncode
        asked = tmp_path / "asked.png"
        asked.write_bytes((daemon.root / "0-innocent.png").read_bytes())
        assert "0-innocent.png" in daemon.ctl("find", str(asked)).stdout
        assert 1 == daemon.ctl("duplicates").returncode  # none found


def test_a_stop_gives_up_files_that_take_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no row afterwards, so the next start looks at them again."""
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    config = tmp_path / "config.toml"
    config.write_text("[workers]\nprocesses = 1\ntimeout_s = 3600\n")
    with daemon_process(tmp_path, "--config", str(config), "--model", "bundled", str(tmp_path / "root")) as daemon:
        daemon.program = [sys.executable, str(HERE / "forging_daemon.py")]
        _land(daemon.root, "innocent.png", b"innocent")
        daemon.start()
        daemon.settled()
        for number in range(3):
            _land(daemon.root, f"{number}-hangs.png", b"HANG!" + bytes([number]))
        daemon.wait_until(lambda: daemon.status()["pending"] == 3)
        assert 0 == daemon.stop()
        assert {b"innocent.png"} == {os.path.basename(path) for path in _rows(daemon)}
        daemon.program = None
        daemon.start()
        daemon.settled()
        assert 4 == daemon.status()["images"]


def _numbers() -> list[int]:
    return [KINDS.index(kind) for kind in LANDED]


def _land(root: Path, name: str, data: bytes) -> None:
    (root / name).write_bytes(forging_worker.png() + data)


def _expected(data: bytes) -> tuple[object, ...]:
    return _facts(forging_worker.honest(forging_worker.png() + data, bundled()).fingerprint)


def _facts(kept: Fingerprint) -> tuple[object, ...]:
    vector = None if kept.signals.fv is None else kept.signals.fv.tobytes()
    own = kept.signals.hashes, kept.turned, kept.pixels, kept.width, kept.height, kept.format
    return (*own, vector, kept.model, kept.features)


def _rows(daemon: DaemonProcess) -> dict[bytes, tuple[object, ...] | None]:
    """The facts of every file; None for a failed one."""
    store = open_store(str(daemon.store), 1 << 30)
    try:
        with store.read() as reader:
            return {
                path: None
                if row.state is FileState.FAILED or row.content is None
                else _facts(reader.fingerprint(row.content, bundled().id))
                for path, row in reader.walk(os.fsencode(daemon.root))
            }
    finally:
        store.close()
