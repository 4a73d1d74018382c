"""A loopback server that answers handles as TensorFlow Hub does, and badly where a test asks for that."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Hub:
    """``answers`` maps a path, query included, to what is done when it is asked for; all others get a 404."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def serve(self, name: str, answer: Answer) -> str:
        """The handle of a model whose archive is served by ``answer``."""
        self.answers[f"/{name}?tf-hub-format=compressed"] = answer
        return f"http://127.0.0.1:{self.port}/{name}"

    def silent(self, request: BaseHTTPRequestHandler) -> None:
        """Accepts, then says nothing until the server is closed."""
        self.closing.wait()


@contextmanager
def running_hub() -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(self.path)
            hub.answers.get(self.path, missing)(self)

        def log_message(self, *arguments: object) -> None:
            """Nothing: a test's output is for the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def missing(request: BaseHTTPRequestHandler) -> None:
    request.send_error(404)


def body(
    content: bytes, kind: str = "application/gzip", announced: int | None = None, rest: Answer | None = None
) -> Answer:
    """Answers with ``content``, announcing a length (its own, or ``announced``), then does ``rest``."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content) if announced is None else announced))
        request.end_headers()
        request.wfile.write(content)
        if rest is not None:
            rest(request)

    return answer


def unannounced(content: bytes) -> Answer:
    """Answers without a length: the end of the connection is the end of the content."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)

    return answer


def chunk_cut_short(request: BaseHTTPRequestHandler) -> None:
    """Announces a chunk and closes the connection within it."""
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"ffff\r\nonly this")


def redirect(url: str, code: int = 302) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Location", url)
        request.end_headers()

    return answer


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.gz of these files."""
    return archive_of([(tarfile.TarInfo(name), content) for name, content in files.items()])


def archive_of(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def archive_folder(folder: Path) -> bytes:
    """A tar.gz of what a folder holds, named as TensorFlow Hub does: ``./saved_model.pb``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
