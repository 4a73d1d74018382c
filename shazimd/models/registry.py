"""The models kept under a store, and the bundled model.

    DIRECTORY/<id>-<source>/model.tflite     the flatbuffer, or model.onnx
                            LICENSE          if one came with it
                            model.json       its ModelInfo; moved in last: without it there is no model
    DIRECTORY/.incoming-*                    an installation under way, or the rest of a crashed installation

``<source>`` is 8 hex digits of the handle's SHA-256: two handles may lead to the same bytes, and each is found again
without a network. A handle that gave other bytes when installed again keeps both models; ``find`` takes the newer.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from shazimd.errors import ModelError
from shazimd.models.model import BUNDLED, LICENCE, RECORD, ModelInfo, bundled, check_digest, read_record
from shazimd.posix import files

INCOMING = ".incoming-"
GIVEN = "given"
"""A model that was sent, in the directory of its installation."""
SHUTTING_DOWN = "shutting down"
Models: TypeAlias = list[ModelInfo]


class UnderWay(ModelError):
    """Another process is installing into the same directory."""


class Registry:
    """The installed models of one store. Safe to use from several threads.

    ``stall_timeout_s`` bounds a server's silence, ``timeout_s`` a whole installation: MobileNet V2 1.4 takes half a
    minute at 10 Mbit/s, and some 20 s to convert.
    """

    def __init__(self, directory: str, *, stall_timeout_s: float = 30.0, timeout_s: float = 1800.0) -> None:
        self._directory = directory
        self._stall_timeout_s = stall_timeout_s
        self._timeout_s = timeout_s
        self._mutex = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = ""
        """why the process was killed by us"""
        self._closed = False

    def list(self) -> Models:
        """Every installed model, oldest first. Raises ModelError, naming the file, for a damaged record."""
        records = glob.glob(os.path.join(glob.escape(self._directory), "*", RECORD))
        return sorted((read_record(record) for record in records), key=lambda info: info.installed_at)

    def find(self, handle: str) -> ModelInfo | None:
        """The newest model installed from this handle, None when there is none; the bundled model needs no install."""
        if handle == BUNDLED:
            return bundled()
        return next((info for info in reversed(self.list()) if info.source == handle), None)

    def install(
        self, handle: str, progress: Callable[[str], None] | None = None, data: bytes | None = None
    ) -> ModelInfo:
        """Fetch, convert, check and keep a model; on failure nothing has changed.

        ``data`` is the model itself, a flatbuffer or the tar.gz of a SavedModel: nothing is fetched then.

        Runs for minutes, in a process of its own. ``progress`` gets each step in words. Raises ModelError
        with the reason: the handle leads nowhere or to no model, TensorFlow is missing, the disk is full, or ``close``
        was called; UnderWay, a ModelError, at once during another installation.
        """
        if handle == BUNDLED:
            return bundled()
        try:
            os.makedirs(self._directory, exist_ok=True)
            with self._alone(handle), tempfile.TemporaryDirectory(prefix=INCOMING, dir=self._directory) as staging:
                if data is not None:
                    Path(staging, GIVEN).write_bytes(data)
                self._convert(handle, staging, progress or (lambda _: None))
                return self._admit(staging)
        except OSError as error:
            raise ModelError(f"{handle}: can't be installed in {self._directory}: {error}") from error

    def adopt(self, directory: str, handle: str) -> None:
        """Copy the newest model of a handle from the registry that another process keeps in ``directory``, unless this
        one has it or a newer one. Raises ModelError; UnderWay while a model is being installed there."""
        if not os.path.isdir(directory):
            return
        try:
            with Registry(directory)._alone(handle, clean=False):
                theirs, ours = Registry(directory).find(handle), self.find(handle)
                if theirs is None or (ours is not None and ours.installed_at >= theirs.installed_at):
                    return
                os.makedirs(self._directory, exist_ok=True)
                with self._alone(handle), tempfile.TemporaryDirectory(prefix=INCOMING, dir=self._directory) as staging:
                    for name in (os.path.basename(theirs.path), LICENCE, RECORD):
                        if os.path.exists(source := os.path.join(os.path.dirname(theirs.path), name)):
                            shutil.copyfile(source, os.path.join(staging, name))
                    self._admit(staging)
        except OSError as error:
            raise ModelError(f"{handle}: can't be taken over from {directory}: {error}") from error

    def close(self) -> None:
        """Stop an installation under way and refuse others. Closing twice is fine."""
        with self._mutex:
            self._closed = True
            process = self._process
        if process is not None:
            self._stop(process, SHUTTING_DOWN)

    @contextmanager
    def _alone(self, handle: str, *, clean: bool = True) -> Iterator[None]:
        """Exclude other installations in this directory, by any process, and remove the rests of crashed ones."""
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            if not files.try_lock(directory):
                raise UnderWay(f"{handle}: another installation in {self._directory} is under way")
            for left in glob.glob(os.path.join(glob.escape(self._directory), INCOMING + "*")) if clean else ():
                shutil.rmtree(left)
            yield
        finally:
            os.close(directory)

    def _convert(self, handle: str, staging: str, progress: Callable[[str], None]) -> None:
        with tempfile.TemporaryFile() as chatter:
            with self._started(handle, staging, chatter) as process:
                timer = threading.Timer(self._timeout_s, self._stop, [process, f"not done in {self._timeout_s:g} s"])
                timer.start()
                try:
                    last = _listen(process, progress)
                finally:
                    timer.cancel()
            if "installed" not in last:
                why = self._stopped or _last_words(chatter, process.returncode)
                raise ModelError(last.get("error") or f"{handle}: not installed, {why}")

    @contextmanager
    def _started(self, handle: str, staging: str, chatter: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """The converting process, which has ended on leaving the context."""
        with self._mutex:
            if self._closed:
                raise ModelError(f"{handle}: not installed, {SHUTTING_DOWN}")
            self._stopped = ""
            self._process = process = self._start(handle, staging, chatter)
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
            finally:
                with self._mutex:
                    self._process = None

    def _start(self, handle: str, staging: str, chatter: IO[bytes]) -> subprocess.Popen[bytes]:
        given = os.path.join(staging, GIVEN)
        program = [sys.executable, "-m", "shazimd.models.convert", f"--stall-timeout={self._stall_timeout_s}"]
        options = [f"--given={given}"] if os.path.exists(given) else []
        return subprocess.Popen(
            [*program, *options, "--", handle, staging],
            env=os.environ | {"TMPDIR": staging},  # TensorFlow's temporary files go with the rest
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=chatter,
        )

    def _stop(self, process: subprocess.Popen[bytes], why: str) -> None:
        with self._mutex:
            if self._process is process:
                self._stopped = why
                process.kill()

    def _admit(self, staging: str) -> ModelInfo:
        """Move a converted model into place. Equal names mean equal bytes, so replacing file by file is safe: damage
        is repaired, and a crash in between leaves the old or the new version of each file."""
        info = read_record(os.path.join(staging, RECORD))
        check_digest(info)
        program = os.path.basename(info.path)
        source = hashlib.sha256(os.fsencode(info.source)).hexdigest()[:8]
        target = os.path.join(self._directory, f"{info.id}-{source}")
        os.makedirs(target, exist_ok=True)
        for name in (program, LICENCE, RECORD):
            if os.path.exists(os.path.join(staging, name)):
                files.replace(os.path.join(staging, name), os.path.join(target, name))
        files.sync(self._directory)
        files.sync(os.path.dirname(os.path.abspath(self._directory)))
        return replace(info, path=os.path.join(target, program))


def _listen(process: subprocess.Popen[bytes], progress: Callable[[str], None]) -> dict[str, Any]:
    """Pass progress on; the final message, empty when the process ended without any."""
    assert process.stdout is not None
    last: dict[str, Any] = {}
    for line in process.stdout:
        if not line.endswith(b"\n"):
            break  # killed while writing
        message = msgspec.json.decode(line, type=dict[str, Any])
        if "progress" in message:
            progress(message["progress"])
        else:
            last = message
    return last


def _last_words(chatter: IO[bytes], status: int) -> str:
    """The reason of a process that ended without a final message."""
    chatter.seek(0)
    lines = chatter.read().decode(errors="replace").split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"the conversion ended with status {status} and said {words}"
