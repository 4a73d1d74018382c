"""Two hosts, each a daemon in this process, and a link between them."""

from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path
from typing import Any, Literal

from daemon_process import drawing
from patience import wait_for
from PIL import Image

from shazimd.config import ClusterConfig, Config, MatchConfig, ModelConfig, StoreConfig, WatchConfig, WorkersConfig
from shazimd.daemon.app import App
from shazimd.daemon.service import DaemonService
from shazimd.posix.sealed import SealedBytes
from shazimd.protocol import FindReply
from shazimd.protocol.cluster import ChangesPage, ForeignReply, UndecidedFile
from shazimd.words.packing import HEADER, VERSION


class Host:
    """A daemon in this process, without a server."""

    def __init__(
        self,
        folder: Path,
        name: str | None,
        features: Literal["keep", "fetch"] = "keep",
        roots: tuple[WatchConfig, ...] = (),
        *,
        verify: bool = True,
    ) -> None:
        """``roots``: more of them."""
        self.root = folder / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.config = Config(
            watch=(WatchConfig(path=str(self.root), settle_ms=50), *roots),
            model=ModelConfig(handle="none"),
            match=MatchConfig(verify=verify),
            workers=WorkersConfig(processes=1),
            store=StoreConfig(path=str(folder / "store")),
            cluster=ClusterConfig(host=name, features=features),
        )
        self.app = App(self.config, lambda: self.config)
        self.service = DaemonService(self.app)
        self.app.start()
        self.idle()

    def idle(self) -> None:
        """Wait until all that is on the disk is known."""
        wait_for(lambda: self.service.status()["state"] == "ready" and self.service.status()["pending"] == 0)

    def known(self, images: int) -> None:
        wait_for(lambda: self.service.status()["images"] == images and self.service.status()["pending"] == 0)

    def find(self, image: bytes) -> list[str]:
        return [match["path"] for match in self.ask(image)["matches"]]

    def ask(self, image: bytes) -> FindReply:
        return self.service.find(SealedBytes(image), None, None, None)

    def feed(self, after: str | None = None) -> tuple[dict[str, str | None], str, list[ChangesPage]]:
        """All changes after a position: the content of each file, the last position, and the pages."""
        files: dict[str, str | None] = {}
        pages: list[ChangesPage] = []
        while not pages or not pages[-1]["complete"]:
            pages.append(self.service.changes(after, 2))
            after = pages[-1]["after"]
            files |= {each["path"]: each["content"] for each in pages[-1]["changes"]}
        assert after is not None
        return files, after, pages

    def close(self) -> None:
        self.app.stop()
        self.app.close()


def told(source: Host, target: Host, name: str, *, since: int = 0, after: str | None = None) -> ForeignReply:
    """Tell one host of the files of another, as a link does."""
    states = [each for page in source.feed(after)[2] for each in page["changes"]]
    put = [{**each, "since": since} for each in states if each["content"]]
    remove = [{"path": each["path"]} for each in states if each["content"] is None]
    missing = target.service.put_foreign(name, body(put=put, remove=remove), "p1", complete=False, packed=False)[
        "missing"
    ]
    contents = source.service.fingerprints([bytes.fromhex(each) for each in missing])
    return target.service.put_foreign(
        name, body(put=put, remove=remove, contents=contents), "p1", complete=True, packed=False
    )


def decide(host: Host, undecided: UndecidedFile, order: int) -> None:
    host.service.decide_foreign(undecided["id"], order, bytes.fromhex(undecided["content"]))


def body(**lists: Any) -> bytes:
    return json.dumps(lists).encode()


def png(folder: Path, seed: int) -> bytes:
    drawing(seed).save(folder / f"{seed}.png")
    return (folder / f"{seed}.png").read_bytes()


class FeatureLink:
    """Brings one host's features to another, as a link that fetches them does."""

    def __init__(self, source: Host, target: Host) -> None:
        self.brought: list[str] = []
        self._ended = threading.Event()
        self._hosts = source, target
        self._thread = threading.Thread(target=self._run)
        target.service.wanted_features(0)  # the link is there
        self._thread.start()

    def _run(self) -> None:
        source, target = self._hosts
        while not self._ended.wait(0.01):
            if wanted := target.service.wanted_features(0):
                found = source.service.fingerprints([bytes.fromhex(digest) for digest in wanted])
                features = {each["content"]: each["features"] for each in found}
                rows = [{"content": digest, "features": features.get(digest, "")} for digest in wanted]
                target.service.put_features(body(contents=rows))
                self.brought += wanted

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def bomb() -> str:
    """Features whose pictures are a small file that would be 3 GB of pixels."""
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    return base64.b64encode(HEADER.pack(VERSION, 0, 320, 240, 0) + buffer.getvalue()).decode()


TOO_MANY = base64.b64encode(HEADER.pack(VERSION, 0, 0, 0, 65535)).decode()
"""Features of which none follows."""
