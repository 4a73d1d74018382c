"""Anything at the borders: features, rows, settings and requests that no program of ours has written.

Short here; for an hour of each: SHAZIMD_EXAMPLES=100000 pytest tests/fuzz --timeout 7200
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
import pytest
from drawn import encoded, photograph
from fake_service import FakeService, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S

from shazimd.client import Client
from shazimd.config import Config, parse
from shazimd.daemon import decide
from shazimd.errors import BadInput, ConfigError, StoreDamaged
from shazimd.fingerprint import Query
from shazimd.imaging.extract import Extractor
from shazimd.imaging.verify import verify_all
from shazimd.ingest.commit import Committer
from shazimd.store import records
from shazimd.words.packing import check_packed, unpack_words

EXAMPLES = int(os.environ.get("SHAZIMD_EXAMPLES", "80"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@cache
def query() -> Query:
    return Extractor(None, 1_000_000).query(encoded(photograph(), "PNG"))


def rows() -> list[bytes]:
    return [
        records.encode(records.to_record(bytes(32), query().fingerprint)),
        records.encode_pending_alert(b"/p/a.jpg", query()),
        records.encode(records.FileRecord(1, 2, 3, 4, b"why", 5, 6)),
        records.encode_json({"path": "/p", "score": 0.5}),
    ]


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 4), st.binary(max_size=4)), max_size=6)
"""Positions, numbers of bytes to remove there, and bytes to put in their place."""


def spoilt(sound: bytes, changes: list[tuple[int, int, bytes]], kept: float) -> bytes:
    """Sound bytes with some replaced, inserted or removed, and the end cut off."""
    data = bytearray(sound)
    for at, removed, put in changes:
        at %= len(data) + 1
        data[at : at + removed] = put
    return bytes(data[: round(len(data) * kept)])


KEPT = st.just(1.0) | st.floats(0, 1)
FEATURES = st.builds(lambda changes, kept: spoilt(query().fingerprint.features, changes, kept), CHANGES, KEPT)
ROWS = st.builds(lambda number, changes, kept: spoilt(rows()[number], changes, kept), st.integers(0, 3), CHANGES, KEPT)


@fuzzed
@given(packed=FEATURES | st.binary(max_size=60))
def test_features_that_pass_the_check_can_be_compared(packed: bytes) -> None:
    """What the daemon takes from a worker, other workers compare, and its words can be looked up."""
    try:
        check_packed(packed)
    except ValueError:
        return
    assert len(verify_all(query().features, [packed])) == 1
    assert len(verify_all(packed, [query().fingerprint.features])) == 1
    unpack_words(packed)


@fuzzed
@given(raw=ROWS | st.binary(max_size=40))
def test_rows_are_read_or_damaged(raw: bytes) -> None:
    """A row of any bytes is a value or StoreDamaged; nothing else ends a reader."""
    for read in (
        lambda: records.decode(raw, records.ContentRecord),
        lambda: records.sound_pending_alert(raw, None),
        lambda: records.decode_file(raw),
        lambda: records.sound_json(raw),
    ):
        with suppress(StoreDamaged):
            read()


class Taker:
    """A committer that takes each operation and runs none."""

    def submit(self, _work: object) -> Future[list[int]]:
        taken: Future[list[int]] = Future()
        taken.set_result([1])
        return taken


LINE = b'{"kind": "keep", "contents": ["%s"], "keep": "%s", "keep_path_b64": "L2E="}' % (b"ab" * 32, b"ab" * 32)


@fuzzed
@given(body=st.builds(spoilt, st.just(LINE), CHANGES, KEPT) | st.binary(max_size=40))
def test_decisions_are_taken_or_bad_input(body: bytes) -> None:
    """Lines of any bytes, such as those that are not UTF-8."""
    with suppress(BadInput):
        decide.add(cast(Committer, Taker()), body, 0, accept_unknown=True)


KEYS = [field.name for field in msgspec.structs.fields(Config)]


def _names() -> list[str]:
    tables = [
        msgspec.structs.fields(type(getattr(Config(), key)))
        for key in KEYS
        if not isinstance(getattr(Config(), key), tuple)
    ]
    return sorted({field.name for table in tables for field in table} | {"path", "sniff", "url", "command", "name"})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("/tmp") | st.just("7d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_names()) | st.text(max_size=8), inner),
    max_leaves=8,
)


@fuzzed
@given(raw=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=4))
def test_settings_are_taken_or_refused_by_name(raw: dict[str, object]) -> None:
    """Any tree of values is a configuration or a ConfigError that names the file."""
    refused = ""
    try:
        parse(raw, name="x.toml")
    except ConfigError as error:
        refused = str(error)
    assert refused == "" or refused.startswith("x.toml: ")


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(FakeService(), Path(tmp_path_factory.mktemp("f"))) as path:
        yield path


TOKENS = st.sampled_from(
    [
        *(
            b"GET",
            b"POST",
            b"DELETE",
            b"PUT",
            b"OPTIONS",
            b" ",
            b"/v1/status",
            b"/v1/find",
            b"/v1/alerts?since=",
            b"/openapi.json",
        ),
        *(
            b" HTTP/1.1",
            b" HTTP/1.0",
            b" HTTP/9.9",
            b"\r\n",
            b"\n",
            b"Host: x",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked",
        ),
        *(
            b"Content-Type: multipart/form-data; boundary=b",
            b"--b",
            b"5\r\nhello",
            b"0\r\n\r\n",
            b"99999999999999999999",
            b"%00%ff",
            b"-1",
        ),
    ]
)
REQUESTS = st.lists(TOKENS | st.binary(max_size=6), max_size=14).map(b"".join)


@fuzzed
@given(request=REQUESTS)
def test_any_bytes_on_the_socket_leave_a_server_that_answers(socket_path: str, request: bytes) -> None:
    """Whatever comes, the answer is none of an error of ours, and the next question has its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(socket_path)
        with suppress(ConnectionError):
            connection.sendall(request + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert Client(socket_path).status()["state"]
