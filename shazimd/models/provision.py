"""Provides the daemon's model: at once if bundled or installed; else in the background, with retries."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import structlog

from shazimd.errors import Forbidden, ModelError, StoreError
from shazimd.models.model import BUNDLED, ModelInfo, check_digest, check_runtime
from shazimd.models.registry import Registry, UnderWay
from shazimd.protocol.status import InstalledModel, InstallProgress, ModelStatus
from shazimd.text import printable

log = structlog.get_logger()

NO_MODEL = "none"
RETRY_FIRST_S = 60.0
RETRY_MAX_S = 3600.0
"""168 attempts in a week without a network."""
STAGED_LOOK_S = 5.0
"""How often to look for a staged model between two attempts."""
UNDER_WAY_S = 1.0
"""How often to look for the result of another process, such as shazimd-model.service."""


class Provision:
    """Provides the model of a configured handle from a registry."""

    def __init__(self, registry: Registry, handle: str, *, staged: str | None = None) -> None:
        """``staged`` is the directory of a registry that another process fills: its models are taken over."""
        self._registry = registry
        self._handle = handle
        self._staged = staged
        self._stopping = threading.Event()
        self.first_try = threading.Event()
        """set when the model is there, can't be had yet, or none is wanted"""
        self._thread: threading.Thread | None = None
        self._use: Callable[[ModelInfo], None] = lambda _: None
        self._is_tried = handle in (NO_MODEL, BUNDLED)
        self.fault: str | None = None
        """why there is no model yet"""

    def installed(self) -> ModelInfo | None:
        """The configured model if installed, here or by the other process, and undamaged; else the fault is logged."""
        if self._handle == NO_MODEL:
            return None
        try:
            with suppress(UnderWay):
                self._take_over()
            if model := self._registry.find(self._handle):
                check_digest(model)
                check_runtime(model)
                self.first_try.set()
        except ModelError as error:
            self._log_fault(error)
            return None
        return model

    def start(self, use: Callable[[ModelInfo], None]) -> None:
        """Install the model in the background, then call ``use``, again later after a StoreError; a bundled model is
        never fetched."""
        self._use = use
        if self._handle in (NO_MODEL, BUNDLED):
            self.first_try.set()
        else:
            log.info("model_installing", handle=self._handle)
            self._thread = threading.Thread(target=self._run, name="model", daemon=True)
            self._thread.start()

    def will_come(self) -> bool:
        """Whether the first try to install a model is still to end: a later one may never succeed."""
        return not self._is_tried

    def stop(self) -> None:
        self._stopping.set()
        self.first_try.set()
        self._registry.close()
        if self._thread:
            self._thread.join()

    def status(self, model: ModelInfo | None) -> ModelStatus:
        """The model as in ``GET /v1/status``."""
        if model:
            return {"state": "installed", "handle": model.source, "id": model.id, "width": model.output_width}
        if self._handle == NO_MODEL:
            return {"state": "none", "handle": self._handle, "id": None, "reason": self.fault}
        return {
            "state": "missing" if self.fault else "installing",
            "handle": self._handle,
            "id": None,
            "reason": self.fault,
        }

    def list(self, active: str | None) -> list[InstalledModel]:
        """The models as in ``GET /v1/models``."""
        return [_on_the_wire(model, active) for model in self._registry.list()]

    def install(self, handle: str, data: bytes | None = None) -> Iterator[InstallProgress]:
        """Install a model and report each step; the daemon switches to its configured model.

        ``data`` as for ``Registry.install``. Raises Forbidden at once for a handle that names a file or directory other
        than the configured one: a client must not have the daemon open files that are closed to the client."""
        if data is None and handle not in (self._handle, BUNDLED) and not handle.startswith(("http://", "https://")):
            expected = "expected the configured handle, a URL, or the bytes of a model in the body"
            raise Forbidden(f"{handle}: {expected}; no path is opened for a client")
        return self._install(handle, data)

    def _install(self, handle: str, data: bytes | None) -> Iterator[InstallProgress]:
        steps: queue.SimpleQueue[str | ModelInfo | ModelError] = queue.SimpleQueue()

        def run() -> None:
            try:
                steps.put(self._registry.install(handle, steps.put, data))
            except ModelError as error:
                steps.put(error)

        threading.Thread(target=run, name="model-install", daemon=True).start()
        while isinstance(step := steps.get(), str):
            yield {"stage": step}
        if isinstance(step, ModelError):
            raise step
        if handle == self._handle:
            self._use(step)
        yield {"stage": "installed", "model": _on_the_wire(step, step.id if handle == self._handle else None)}

    def _run(self) -> None:
        delay_s = RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                self._take_over()
                self._use(self.installed() or self._registry.install(self._handle))
            except UnderWay:
                self._stopping.wait(UNDER_WAY_S)
            except (ModelError, StoreError) as error:
                self._log_fault(error, retry_s=delay_s)
                self._is_tried = self._is_tried or not self._stopping.is_set()
                self.first_try.set()
                self._pause(delay_s)
                delay_s = min(2 * delay_s, RETRY_MAX_S)
            else:
                self.fault = None
                self._is_tried = True
                self.first_try.set()
                return

    def _pause(self, seconds: float) -> None:
        """Wait, or until a model is staged."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopping.wait(min(left, STAGED_LOOK_S)):
            with suppress(ModelError):  # the attempt names it
                if self._staged is not None and Registry(self._staged).find(self._handle):
                    return

    def _take_over(self) -> None:
        if self._staged is not None:
            self._registry.adopt(self._staged, self._handle)

    def _log_fault(self, error: ModelError | StoreError, **facts: float) -> None:
        if (fault := printable(str(error))) != self.fault and not self._stopping.is_set():
            self.fault = fault
            log.warning("model_missing", handle=self._handle, reason=self.fault, matching="hashes only", **facts)


def _on_the_wire(model: ModelInfo, active: str | None) -> InstalledModel:
    return {
        "id": model.id,
        "source": model.source,
        "output_width": model.output_width,
        "size_bytes": os.path.getsize(model.path),
        "licence": model.licence,
        "active": model.id == active,
    }
