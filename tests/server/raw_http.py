"""Requests as bytes on a Unix socket, and their answers."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

from patience import PATIENCE_S

IMAGE = b"image of a ski"


def connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(path)
    return connection


def talk(path: str, sent: bytes) -> tuple[int, bytes, bytes]:
    """Send bytes, read until the server closes: status, head, body. The request must ask for the close."""
    with connect(path) as connection:
        with contextlib.suppress(BrokenPipeError):  # refused before all was sent
            connection.sendall(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # as a close with unread bytes ends, once all was read
            while chunk := connection.recv(65536):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


def ask(path: str, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, Any]:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    status, _, answer = talk(path, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return status, json.loads(answer)


def error(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


FORM = "Content-Type: multipart/form-data; boundary=X"


def form(**files: bytes) -> bytes:
    parts = [
        b'--X\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--X--\r\n"
