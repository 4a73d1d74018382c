"""An ingest with a real store and index; only the decoder is a fake."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
from first_hashes import first_hashes
from patience import PATIENCE_S, tick

from shazimd.errors import ModelError, NotAnImage, ShazimdError, WorkerFailed, WorkerLost
from shazimd.fingerprint import Fingerprint, Query, Signals
from shazimd.index.flat import FlatIndex
from shazimd.ingest.alerts import Alerts
from shazimd.ingest.commit import Committer
from shazimd.ingest.disk import Picture
from shazimd.ingest.ingest import Ingest
from shazimd.ingest.moves import apply_move
from shazimd.ingest.rules import IngestRules, MatchSettings
from shazimd.models.model import ModelInfo
from shazimd.search.library import Library
from shazimd.search.query import Search
from shazimd.store.base import Store
from shazimd.store.lmdb_store import open_store
from shazimd.telemetry.metrics import Metrics
from shazimd.types import DEFAULT_WEIGHTS, FileRow, Verdict, digest_of

MODEL = ModelInfo("m", "m", "00", "", 1, 1, 64)


class FakeDecoders:
    """A picture is any bytes but those that begin with "bad"; its hashes and its vector come from its bytes."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []
        self.number = 0
        """the hashes of all pictures, if set"""
        self.has_model = True
        self.features = b""
        self.pixels: bytes | None = None
        """the name of all pictures' pixels"""
        self.losses = 0
        """how many workers are lost from now on"""
        self.model_fails = False
        self.meanwhile: Callable[[], object] = lambda: None
        """what happens on the disk while a picture is decoded"""

    def fingerprint(self, data: Picture, model: ModelInfo | None) -> Future[Fingerprint]:
        content = bytes(data)
        self.decoded.append(content)
        self.meanwhile()
        done: Future[Fingerprint] = Future()
        if self.losses > 0:
            self.losses -= 1
            done.set_exception(WorkerLost("killed; not the picture's fault"))
        elif self.model_fails:
            done.set_exception(ModelError("it can't be opened"))
        elif content.startswith(b"bad"):
            done.set_exception(NotAnImage("no picture"))
        elif content.startswith(b"crash"):
            done.set_exception(WorkerFailed("crashed its worker"))
        else:
            number = self.number or int.from_bytes(digest_of(content)[:8], "big")
            signs = np.array([1 if number >> bit & 1 else -1 for bit in range(64)], np.float32)
            vector = signs / np.float32(8) if self.has_model else None
            signals = Signals(first_hashes(number, number), vector)
            name = model.id if model else None
            done.set_result(Fingerprint(signals, name, 4, 3, "PPM", self.pixels, features=self.features))
        return done

    def arrival(self, data: Picture, model: ModelInfo | None) -> Future[Query]:
        done: Future[Query] = Future()
        try:
            fingerprint = self.fingerprint(data, model).result()
        except ShazimdError as error:
            done.set_exception(error)
        else:
            done.set_result(Query(fingerprint, (fingerprint.signals,), fingerprint.features))
        return done


class Bench:
    """An ingest with all below it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.store: Store = open_store(str(folder / "store"), 64 << 20)
        self.decoders = FakeDecoders()
        self.library = Library(self.store, lambda _, __: FlatIndex(), MODEL)
        self.library.loaded.result(PATIENCE_S)  # its reads of the store are none of an ingest
        self.committer = Committer(self.store)
        self.alerts = Alerts(self.store, self.committer)
        self.is_silent = False
        self.verdicts = frozenset(Verdict)
        self.banks: tuple[bytes, ...] = ()
        self.ingest = Ingest(
            self.library,
            self.committer,
            self.decoders,
            Search(self.library, None),
            self.alerts,
            IngestRules(self, MatchSettings(0.75, DEFAULT_WEIGHTS, frozenset(Verdict)), max_file_bytes=1000),
            Metrics(),
        )

    def silent(self, path: bytes) -> bool:
        return self.is_silent

    def follows_symlinks(self, path: bytes) -> bool:
        return True

    def needs_sniff(self, path: bytes) -> bool:
        return False

    def only_against(self, path: bytes) -> tuple[bytes, ...]:
        return self.banks

    def stalling(self, path: bytes) -> bytes | None:
        return None

    def matching(self, path: bytes, general: MatchSettings) -> MatchSettings:
        return replace(general, verdicts=self.verdicts)

    def close(self) -> None:
        self.committer.close()
        self.library.close()
        self.store.close()

    def write(self, name: str, data: bytes) -> bytes:
        path = self.root / name
        if path.exists():
            tick()
        path.write_bytes(data)
        return os.fsencode(path)

    def look(self, name: str, data: bytes | None = None) -> bytes:
        """Write a file, if data is given, and ingest it."""
        path = os.fsencode(self.root / name) if data is None else self.write(name, data)
        self.outcome = self.ingest.ingest(path)
        return path

    def rename(self, old: str, new: str, *, told: bool) -> None:
        """``told``: the kernel spoke of it, and the store has followed."""
        (self.root / old).rename(self.root / new)
        if told:
            paths = os.fsencode(self.root / old), os.fsencode(self.root / new)
            self.store.write(lambda writer: apply_move(writer, *paths))

    def row(self, path: bytes) -> FileRow | None:
        with self.store.read() as reader:
            return reader.file(path)

    def told(self) -> list[tuple[str, str]]:
        """The alerts in the store, as (name, name of the match)."""
        with self.store.read() as reader:
            assert not list(reader.pending_alerts())
            alerts = [alert for _, alert in reader.alerts()]
        return [(os.path.basename(alert["path"]), os.path.basename(alert["match"])) for alert in alerts]
