"""The table of what there is, and the OpenAPI document made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shazimd import __version__, protocol
from shazimd.server.parameters import Parser

Handler = Callable[[Request, dict[str, Any]], Awaitable[Response]]

_BINARY = {"type": "string", "format": "binary"}
BODIES: dict[str, dict[str, Any]] = {
    "picture": {"application/octet-stream": {"schema": _BINARY}},
    "pictures": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"a": _BINARY, "b": _BINARY}, "required": ["a", "b"]}
        }
    },
}


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    handler: Handler
    reply: Any
    """type of the JSON answer, or of each line or event; None where it is no JSON"""
    media_type: str = "application/json"
    parameters: Mapping[str, Parser] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    body: str | None = None
    """a key of BODIES"""
    status: int = 200


def openapi(endpoints: list[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these endpoints."""
    replies = [protocol.ErrorReply, *(e.reply for e in endpoints if e.reply is not None)]
    schemas, components = msgspec.json.schema_components(replies, ref_template="#/components/schemas/{name}")
    by_reply = {id(reply): schema for reply, schema in zip(replies, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        schema = by_reply.get(id(endpoint.reply), {"type": "string"})
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schema, schemas[0])
    return {
        "openapi": "3.1.0",
        "info": {"title": "shazimd", "version": __version__, "description": protocol.__doc__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(endpoint: Endpoint, reply: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": (endpoint.handler.__doc__ or "").strip().split("\n")[0],
        "parameters": [_parameter(name, name in endpoint.required) for name in endpoint.parameters],
        "responses": {
            str(endpoint.status): {"description": "answered", "content": {endpoint.media_type: {"schema": reply}}},
            "default": {"description": "an error", "content": {"application/json": {"schema": error}}},
        },
    }
    if endpoint.body:
        operation["requestBody"] = {"required": True, "content": BODIES[endpoint.body]}
    return operation


_PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "threshold": ("least score of what geometry does not confirm", {"type": "number", "minimum": 0, "maximum": 1}),
    "weights": ("AH,DH,FV: what each signal counts for", {"type": "string", "examples": ["1,1,2"]}),
    "limit": ("most of them", {"type": "integer", "minimum": 1}),
    "since": ("only alerts with a greater id", {"type": "integer", "minimum": 0}),
    "after": ("only contents with a greater id", {"type": "integer", "minimum": 0}),
    "path": ("absolute, percent-encoded bytes", {"type": "string"}),
    "deleted": ("forget all contents without files", {"type": "string", "enum": ["true"]}),
    "content": ("BLAKE2b-256 digest of the file's bytes", {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
    "handle": ("URL or SavedModel directory of a model", {"type": "string"}),
}


def _parameter(name: str, required: bool) -> dict[str, Any]:
    description, schema = _PARAMETERS[name]
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}
