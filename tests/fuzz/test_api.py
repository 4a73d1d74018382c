"""Every operation of GET /openapi.json, by schemathesis: requests that the document allows are understood."""

from __future__ import annotations

import os
from typing import Any

import pytest
from fake_service import FakeService
from hypothesis import HealthCheck, Phase, given, settings
from starlette.types import Receive, Scope, Send

from shazimd.server.app import create_app
from shazimd.server.users import Peer

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

EXAMPLES = int(os.environ.get("SHAZIMD_EXAMPLES", "5"))
WAITING = ("/v1/events", "/v1/changes")
"""Operations that answer when something happens."""
ONE_OF_SOME = ("/v1/forget",)
"""Operations of which the document can't say which parameters exclude each other."""
JSON_LINES = "application/x-ndjson"
"""Bodies that schemathesis can't make; tests/fuzz/test_fuzz.py makes them."""


def app() -> Any:
    """The application, asked by the user of the tests: the socket tells that otherwise."""
    inner, peer = create_app(FakeService(), max_body_bytes=1 << 20), Peer(os.getuid(), frozenset())

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["peer"] = peer
        await inner(scope, receive, send)

    return asked


def test_every_operation_answers_as_it_says() -> None:
    """The status, the type and the fields of each answer are those of the document, and its parameters are accepted."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app())
    known = schemathesis.checks
    checks = [
        *(known.not_a_server_error, known.status_code_conformance),
        *(known.content_type_conformance, known.response_schema_conformance),
    ]
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in WAITING or JSON_LINES in operation.get_request_payload_content_types():
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def answers(case: Any) -> None:
            answer = case.call()
            case.validate_response(answer, checks=checks)
            if case.operation.path not in ONE_OF_SOME:
                assert answer.status_code != 400, answer.text

        answers()
        asked += 1
    assert asked > 25
