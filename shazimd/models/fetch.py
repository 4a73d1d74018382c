"""Gets a model's files onto this machine: from a TensorFlow Hub handle, a directory or a file.

A handle is the address of a model. Fetching follows https://www.tensorflow.org/hub/hosting: GET the handle with
``tf-hub-format=compressed`` added to its query, follow redirects, unpack the tar.gz. The package ``tensorflow_hub``
does the same, with a cache, but without a timeout or a digest: ``convert`` uses it where it is installed.

A handle may end in ``#sha256=<hex>``: the archive, or the file, must have that digest.

A model is a program, and TensorFlow runs it during conversion: fetch from trusted sources only.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tarfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from shazimd.errors import ModelError

Progress = Callable[[str], None]

MIB = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
BLOCK_BYTES = MIB // 4
ARCHIVE_BYTES_MAX = 1024 * MIB
"""Several times the largest image model that runs at a useful speed on a CPU."""
UNPACKED_BYTES_MAX = 4 * ARCHIVE_BYTES_MAX


def fetch(handle: str, scratch: str, stall_timeout_s: float, progress: Progress) -> str:
    """The path of the model's SavedModel directory, or of its flatbuffer, on this machine.

    Downloads go into the existing directory ``scratch``; local models stay in place. A server's silence is bounded by
    ``stall_timeout_s``. Raises ModelError, naming the handle, unless the model is complete.
    """
    try:
        address, digest = split_digest(handle)
        if urlsplit(address).scheme in ("http", "https"):
            path = _fetch_archive(address, digest, scratch, stall_timeout_s, progress)
        else:
            path = _find_local(address, digest)
        _check_saved_model(path)
    except ModelError as error:
        raise ModelError(f"{handle}: {error}") from error
    except (OSError, ValueError, EOFError, http.client.HTTPException, tarfile.TarError, zlib.error) as error:
        raise ModelError(f"{handle}: {_explain(error, stall_timeout_s)}") from error
    return path


def find_file(handle: str, address: str) -> str:
    """The path of a file on this machine, for an address that is a path or file://, with a digest or without.

    Raises ModelError, naming the handle, for a wrong digest and for all that is no file."""
    try:
        path = _find_local(*split_digest(address), "a file")
    except ModelError as error:
        raise ModelError(f"{handle}: {error}") from error
    except OSError as error:
        raise ModelError(f"{handle}: {error.strerror}, expected a file") from error
    if os.path.isdir(path):
        raise ModelError(f"{handle}: a directory, expected a file")
    return path


def open_given(handle: str, path: str, scratch: str) -> str:
    """As ``fetch`` for a model whose file is here: a flatbuffer, or the tar.gz of a SavedModel."""
    try:
        _, digest = split_digest(handle)
        if digest is not None:
            _check_file(path, digest)
        with open(path, "rb") as file:
            is_archive = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        if not is_archive:
            return path
        target = os.path.join(scratch, "saved_model")
        os.mkdir(target)
        _unpack(path, target)
        _check_saved_model(target)
    except ModelError as error:
        raise ModelError(f"{handle}: {error}") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ModelError(f"{handle}: {_explain(error, 0)}") from error
    return target


def split_digest(handle: str) -> tuple[str, str | None]:
    """A handle's address and its SHA-256 (hex, lower case), if any.

    >>> split_digest("https://tfhub.dev/google/m/1")
    ('https://tfhub.dev/google/m/1', None)
    """
    address, separator, digest = handle.partition("#sha256=")
    if separator and not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise ModelError(f'sha256 is "{digest}", expected 64 hex digits')
    return address, digest.lower() or None


def _find_local(address: str, digest: str | None, expected: str = "a SavedModel directory or a flatbuffer") -> str:
    parts = urlsplit(address)
    if "://" in address and parts.scheme != "file":
        raise ModelError(f"{parts.scheme}:// is not understood, expected https://, file://, a directory or a file")
    path = unquote(parts.path, errors="surrogateescape") if parts.scheme == "file" else address
    if not (os.path.isdir(path) or os.path.isfile(path)):
        raise ModelError(f"no such file or directory, expected {expected}")
    if digest is not None:
        _check_file(path, digest)
    return path


def _check_file(path: str, digest: str) -> None:
    if os.path.isdir(path):
        raise ModelError("a directory has no digest, expected an archive's address or a file before #sha256=")
    with open(path, "rb") as file:
        _check_digest(hashlib.file_digest(file, "sha256").hexdigest(), digest)


def _check_digest(found: str, expected: str) -> None:
    if found != expected:
        raise ModelError(f"wrong digest, found SHA-256 {found}, expected {expected}")


def _check_saved_model(path: str) -> None:
    if os.path.isdir(path) and not os.path.isfile(os.path.join(path, "saved_model.pb")):
        names = sorted(os.listdir(path))
        raise ModelError(f"not a model, found {', '.join(names[:5]) or 'nothing'}, expected saved_model.pb among it")


def _fetch_archive(address: str, digest: str | None, scratch: str, stall_timeout_s: float, progress: Progress) -> str:
    archive, target = os.path.join(scratch, "archive"), os.path.join(scratch, "saved_model")
    found = _download(_compressed(address), archive, stall_timeout_s, progress)
    if digest is not None:
        _check_digest(found, digest)
    os.mkdir(target)
    _unpack(archive, target)
    os.unlink(archive)
    return target


def _compressed(address: str) -> str:
    """The URL of the archive.

    >>> _compressed("https://tfhub.dev/google/m/1")
    'https://tfhub.dev/google/m/1?tf-hub-format=compressed'
    """
    parts = urlsplit(address)
    query = [*parse_qsl(parts.query), ("tf-hub-format", "compressed")]
    return parts._replace(query=urlencode(query)).geturl()


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to an unprotected scheme."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise ModelError(f"redirected to {newurl}, expected to stay with https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, path: str, stall_timeout_s: float, progress: Progress) -> str:
    """Write the URL's content to ``path``; its SHA-256."""
    sha256, received = hashlib.sha256(), 0
    opener = urllib.request.build_opener(_SafeRedirect)
    with opener.open(url, timeout=stall_timeout_s) as response, open(path, "xb") as file:
        announced = response.headers["Content-Length"]
        of_all = f" of {int(announced) / MIB:.1f}" if announced else ""
        for block in _blocks(response):
            file.write(block)
            sha256.update(block)
            received += len(block)
            progress(f"downloaded {received / MIB:.1f} MiB{of_all}")
            if received > ARCHIVE_BYTES_MAX:
                raise ModelError(f"the archive is larger than {ARCHIVE_BYTES_MAX} bytes")
    # http.client takes a connection that closes early for the end (read(n), Python 3.11).
    if announced is not None and received != int(announced):
        raise ModelError(f"the download broke off, found {received} bytes, expected {announced}")
    return sha256.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _unpack(archive: str, target: str) -> None:
    """Extract files and directories; ``tarfile``'s data filter keeps them inside ``target`` and refuses devices."""
    left = UNPACKED_BYTES_MAX
    with tarfile.open(archive) as tar:
        for member in tar:
            left -= member.size
            if left < 0:
                raise ModelError(f"the archive unpacks to more than {UNPACKED_BYTES_MAX} bytes")
            if not (member.isreg() or member.isdir()):
                raise ModelError(f"the archive holds {member.name!r}, expected only files and directories")
            outside = f"the archive holds {member.name!r}, expected names that stay inside it"
            if member.name.startswith("/"):  # the filter would only cut the slash off
                raise ModelError(outside)
            try:
                tar.extract(member, target, filter="data")
            except tarfile.FilterError as error:
                raise ModelError(outside) from error
        # tarfile stops at the end mark; gzip's CRC of the whole archive comes after it.
        for _ in _blocks(cast(IO[bytes], tar.fileobj)):
            pass


def _explain(error: Exception, stall_timeout_s: float) -> str:
    """Put a foreign exception into words for the person who gave the handle."""
    cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    if isinstance(cause, TimeoutError):
        return f"the server said nothing for {stall_timeout_s:g} s"
    if isinstance(error, HTTPError):
        error.close()  # it holds the connection
        return f"the server answered HTTP {error.code} {error.reason}, expected an archive"
    if isinstance(error, URLError):
        return f"can't be reached: {cause}"
    if isinstance(error, http.client.HTTPException):
        return f"the download broke off: {error or type(error).__name__}"
    if isinstance(error, (tarfile.TarError, EOFError, zlib.error)):
        return f"not a whole tar.gz archive: {' '.join(str(error).split())}"
    return str(error)
