from __future__ import annotations

import gc
import gzip
import http.client
import io
import os
import socket
import tarfile
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import (
    Answer,
    Hub,
    archive,
    archive_folder,
    archive_of,
    body,
    chunk_cut_short,
    redirect,
    running_hub,
    sha256,
    unannounced,
)
from patience import PATIENCE_S

from shazimd.errors import ModelError
from shazimd.models import fetch as fetch_module
from shazimd.models.fetch import fetch, split_digest

FILES = {"./saved_model.pb": b"graph" * 1000, "./variables/variables.index": b"index", "./LICENSE": b"free"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def get(handle: str, scratch: Path, stall_timeout_s: float = PATIENCE_S) -> Path:
    return Path(fetch(handle, str(scratch), stall_timeout_s, progress=lambda _: None))


def files_below(folder: Path) -> dict[str, bytes]:
    return {"./" + str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_handle_is_fetched_as_tensorflow_hub_asks(hub: Hub, tmp_path: Path) -> None:
    """The archive is asked for with tf-hub-format=compressed, and unpacked."""
    handle = hub.serve("google/m/1", body(archive(FILES)))
    assert files_below(get(handle, tmp_path)) == FILES
    assert hub.asked == ["/google/m/1?tf-hub-format=compressed"]


def test_only_the_unpacked_model_is_left(hub: Hub, tmp_path: Path) -> None:
    """The archive does not take up the disk beside it."""
    get(hub.serve("m", body(archive(FILES))), tmp_path)
    assert os.listdir(tmp_path) == ["saved_model"]


def test_a_query_of_the_handle_is_kept(hub: Hub, tmp_path: Path) -> None:
    """What the handle asks for already stays asked for."""
    hub.answers["/m?key=a+b&tf-hub-format=compressed"] = body(archive(FILES))
    assert files_below(get(f"http://127.0.0.1:{hub.port}/m?key=a%20b", tmp_path)) == FILES


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(hub: Hub, tmp_path: Path, code: int) -> None:
    """tfhub.dev sends its visitors on; every kind of redirect is understood."""
    hub.answers["/elsewhere.tar.gz"] = body(archive(FILES))
    handle = hub.serve("m", redirect("/elsewhere.tar.gz", code))
    assert files_below(get(handle, tmp_path)) == FILES


def test_a_redirect_from_https_to_http_is_refused() -> None:
    """Nobody on the way may change the model."""
    request = urllib.request.Request("https://example.org/m")
    with pytest.raises(ModelError, match=r"redirected to http://example.org/m, expected to stay with https"):
        fetch_module._SafeRedirect().redirect_request(
            request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), "http://example.org/m"
        )


def test_the_digest_of_the_archive_is_checked(hub: Hub, tmp_path: Path) -> None:
    """The right digest, in either case, lets the model in."""
    content = archive(FILES)
    handle = hub.serve("m", body(content))
    assert files_below(get(f"{handle}#sha256={sha256(content).upper()}", tmp_path)) == FILES


def test_a_wrong_digest_is_refused_before_unpacking(hub: Hub, tmp_path: Path) -> None:
    """The message has both digests; nothing was unpacked."""
    content = archive(FILES)
    handle = hub.serve("m", body(content))
    with pytest.raises(ModelError, match=f"wrong digest, found SHA-256 {sha256(content)}, expected {'0' * 64}"):
        get(f"{handle}#sha256={'0' * 64}", tmp_path)
    assert not (tmp_path / "saved_model").exists()


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "0" * 65])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    """A pin with a typing error does not become no pin."""
    with pytest.raises(ModelError, match="expected 64 hex digits"):
        split_digest(f"https://example.org/m#sha256={digest}")


def whole_and_half() -> tuple[bytes, bytes]:
    whole = archive({"saved_model.pb": os.urandom(100_000)})
    return whole, whole[: len(whole) // 2]


def plain_tar_cut_short() -> bytes:
    return gzip.decompress(archive({"saved_model.pb": b"x" * 100_000}))[:50_000]


def escaping(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return archive_of([(tarfile.TarInfo("saved_model.pb"), b""), (member, b"")])


WHOLE, HALF = whole_and_half()
BROKEN: dict[str, tuple[Answer, str]] = {
    "broken off": (body(HALF, announced=len(WHOLE)), rf"broke off, found {len(HALF)} bytes, expected {len(WHOLE)}"),
    "broken off in a chunk": (chunk_cut_short, "the download broke off: IncompleteRead"),
    "broken off unnoticed": (unannounced(HALF), "not a whole tar.gz archive: Compressed file ended before"),
    "plain tar broken off": (unannounced(plain_tar_cut_short()), "not a whole tar.gz archive: unexpected end of data"),
    "damaged": (body(WHOLE[:-8] + b"\0" * 8), "CRC check failed"),
    "a web page": (body(b"<html>Log in</html>", "text/html"), "not a whole tar.gz archive: file could not be opened"),
    "empty": (body(b""), "not a whole tar.gz archive"),
    "no model": (
        body(archive({"README": b"hi", "a.txt": b""})),
        "not a model, found README, a.txt, expected saved_mod",
    ),
    "an empty archive": (body(archive({})), "not a model, found nothing, expected saved_model.pb"),
    "climbing out": (body(escaping("../evil")), "the archive holds '../evil', expected names that stay inside"),
    "an absolute name": (body(escaping("/evil")), "the archive holds '/evil', expected names that stay inside"),
    "beside": (body(escaping("../saved_model_evil")), "expected names that stay inside"),
    "a link": (body(escaping("link", tarfile.SYMTYPE, "/etc")), "holds 'link', expected only files and directories"),
    "a hard link": (body(escaping("link", tarfile.LNKTYPE, "saved_model.pb")), "expected only files and directories"),
    "a device": (body(escaping("null", tarfile.CHRTYPE)), "expected only files and directories"),
    "going round": (redirect("/m?tf-hub-format=compressed"), "the server answered HTTP 302"),
}


@pytest.mark.parametrize(("answer", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_download_says_what_is_wrong(hub: Hub, tmp_path: Path, answer: Answer, message: str) -> None:
    """Every fault ends in an error that names the handle, and in no file outside the scratch directory."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    handle = hub.serve("m", answer)
    with pytest.raises(ModelError, match=message) as caught:
        get(handle, scratch)
    assert str(caught.value).startswith(f"{handle}: ")
    assert os.listdir(tmp_path) == ["scratch"]


def test_a_server_that_does_not_know_the_model(hub: Hub, tmp_path: Path) -> None:
    """The status is told."""
    with pytest.raises(ModelError, match="the server answered HTTP 404 Not Found"):
        get(f"http://127.0.0.1:{hub.port}/nothing", tmp_path)


def test_a_server_that_is_away(tmp_path: Path) -> None:
    """So is a refused connection."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(ModelError, match=r"can't be reached: .*Connection refused"):
            get(f"http://127.0.0.1:{held.getsockname()[1]}/m", tmp_path)


def test_a_name_that_is_no_address(tmp_path: Path) -> None:
    """A malformed handle is the user's to mend, not a traceback."""
    with pytest.raises(ModelError, match=r"^http://\[x: "):
        get("http://[x", tmp_path)


def test_a_server_that_hangs(hub: Hub, tmp_path: Path) -> None:
    """Silence before the answer is given up after the stall timeout."""
    expect_silence(hub.serve("m", hub.silent), tmp_path)


def test_a_server_that_stalls_half_way(hub: Hub, tmp_path: Path) -> None:
    """So is silence in the middle of it."""
    expect_silence(hub.serve("m", body(HALF, announced=len(WHOLE), rest=hub.silent)), tmp_path)


def expect_silence(handle: str, folder: Path) -> None:
    with warnings.catch_warnings():
        # http.client leaves the socket to the garbage collector when an answer does not begin in time.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(ModelError, match=r"the server said nothing for 0\.1 s"):
            get(handle, folder, stall_timeout_s=0.1)
        gc.collect()


def test_an_endless_download_is_stopped(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is not filled by a server."""
    monkeypatch.setattr(fetch_module, "ARCHIVE_BYTES_MAX", 1000)
    with pytest.raises(ModelError, match="the archive is larger than 1000 bytes"):
        get(hub.serve("m", body(WHOLE)), tmp_path)


def test_an_archive_that_swells_is_stopped(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor by what a small archive unpacks to."""
    monkeypatch.setattr(fetch_module, "UNPACKED_BYTES_MAX", 100_000)
    with pytest.raises(ModelError, match="unpacks to more than 100000 bytes"):
        get(hub.serve("m", body(archive({"a": b"\0" * 60_000, "b": b"\0" * 60_000}))), tmp_path)


def test_progress_is_told_in_words(hub: Hub, tmp_path: Path) -> None:
    """The last word of a download is all of it."""
    content, told = archive({"saved_model.pb": os.urandom(2 << 20)}), list[str]()
    fetch(hub.serve("m", body(content)), str(tmp_path), PATIENCE_S, told.append)
    assert told[-1] == "downloaded 2.0 MiB of 2.0"


def test_a_directory_is_used_where_it_is(tmp_path: Path) -> None:
    """As a path, or as a file:// address with its escapes."""
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    assert [get(str(folder), tmp_path), get(folder.as_uri(), tmp_path)] == [folder, folder]


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    """The message says what lies there."""
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ModelError, match=r"not a model, found holiday\.jpg, expected saved_model\.pb"):
        get(str(tmp_path), tmp_path)


@pytest.mark.parametrize("handle", ["/gone", "file:///gone", "", "/dev/zero", "a\0b"])
def test_a_path_that_leads_to_no_file_is_refused(tmp_path: Path, handle: str) -> None:
    """Missing, empty, a device without end: none is waited for."""
    with pytest.raises(ModelError, match=r"no such file or directory|null byte"):
        get(handle, tmp_path)


def test_the_digest_of_a_file_is_checked(tmp_path: Path) -> None:
    """A flatbuffer can be pinned like an archive."""
    path = tmp_path / "m.tflite"
    path.write_bytes(b"flat")
    assert get(f"{path}#sha256={sha256(b'flat')}", tmp_path) == path
    with pytest.raises(ModelError, match="wrong digest"):
        get(f"{path}#sha256={sha256(b'other')}", tmp_path)


def test_a_directory_cannot_be_pinned(tmp_path: Path) -> None:
    """It has no digest; to ignore the pin would be to promise too much."""
    with pytest.raises(ModelError, match="a directory has no digest"):
        get(f"{tmp_path}#sha256={'0' * 64}", tmp_path)


@pytest.mark.parametrize("handle", ["gs://bucket/m", "ftp://example.org/m"])
def test_other_schemes_are_refused(tmp_path: Path, handle: str) -> None:
    """The message says which would be understood."""
    with pytest.raises(ModelError, match="is not understood, expected https://, file://, a directory or a file"):
        get(handle, tmp_path)


def test_an_archive_made_of_a_folder_comes_back_whole(hub: Hub, tmp_path: Path) -> None:
    """Directories in the archive are made, empty ones too."""
    folder = tmp_path / "m"
    (folder / "assets").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    unpacked = get(hub.serve("m", body(archive_folder(folder))), tmp_path)
    assert sorted(os.listdir(unpacked)) == ["assets", "saved_model.pb"]
