"""The OpenAPI 3.1 document of the verbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_type_hints

import msgspec

from shazimd import __version__, protocol
from shazimd.protocol import cluster, groups, status
from shazimd.server import verbs
from shazimd.server.cluster_verbs import FOREIGN_BATCH, PACKED
from shazimd.server.parameters import Parameter
from shazimd.server.verbs import (
    DECISIONS,
    JSON,
    JSON_LINES,
    MODEL,
    PICTURE,
    TWO_PICTURES,
    Verb,
)

_BINARY = {"type": "string", "format": "binary"}
_PICTURE = {**_BINARY, "minLength": 1}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_BODIES: dict[str, dict[str, Any]] = {
    DECISIONS: {JSON_LINES: {"schema": {"$ref": "#/components/schemas/DecisionLine"}}},
    FOREIGN_BATCH: {
        kind: {"schema": {"type": "object", "properties": dict.fromkeys(("put", "remove", "contents"), _OBJECTS)}}
        for kind in (JSON, PACKED)
    },
    PICTURE: {"application/octet-stream": {"schema": _PICTURE}},
    MODEL: {"application/octet-stream": {"schema": _BINARY}},
    TWO_PICTURES: {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"a": _BINARY, "b": _BINARY},
                "required": ["a", "b"],
                "additionalProperties": False,
            }
        }
    },
}


def document(all_verbs: Iterable[Verb]) -> dict[str, Any]:
    """The document. The schema of JSON lines is that of a line."""
    names = [
        "ErrorReply",
        "DecisionLine",
        *dict.fromkeys(verb.reply.type_name for verb in all_verbs if verb.reply.type_name),
    ]
    types = [_message(name) for name in names]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_name = dict(zip(names, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for verb in all_verbs:
        paths.setdefault(verb.path, {})[verb.method.lower()] = _operation(verb, by_name)
    return {
        "openapi": "3.1.0",
        "info": {"title": "shazimd", "version": __version__, "description": protocol.__doc__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _message(name: str) -> Any:
    """The type of a message, by the name that the table of verbs has."""
    if beside := getattr(verbs, name, None):
        return msgspec.defstruct(name, list(get_type_hints(beside).items()), namespace={"__doc__": beside.__doc__})
    return next(getattr(module, name) for module in (protocol, cluster, groups, status) if hasattr(module, name))


def _operation(verb: Verb, schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    reply = verb.reply
    untyped = {"type": "object" if reply.media_type == JSON else "string"}
    schema = schemas[reply.type_name] if reply.type_name else untyped
    operation: dict[str, Any] = {
        "operationId": verb.name,
        "summary": verb.summary,
        "parameters": [_parameter(parameter) for parameter in verb.parameters],
        "responses": {
            str(reply.status): {"description": "answered", "content": {reply.media_type: {"schema": schema}}},
            "default": {"description": "an error", "content": {JSON: {"schema": schemas["ErrorReply"]}}},
        },
    }
    if verb.body:
        operation["requestBody"] = {"required": verb.body != MODEL, "content": _BODIES[verb.body]}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    default = {"default": parameter.default} if parameter.default else {}
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.kind.schema | default,
    }
