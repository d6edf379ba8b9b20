"""The OpenAPI document, made from the routes themselves, so that it can't say anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pyrep.api.routes import PREFIX, Answers, Route
from pyrep.version import __version__

__all__ = ["openapi_document"]

Json = dict[str, Any]

_ERROR: Json = {
    "type": "object",
    "description": "What was raised: its class, and the exit code of a command that ends with it.",
    "properties": {
        "error": {"type": "string"},
        "message": {"type": "string"},
        "hint": {"type": ["string", "null"]},
        "exit_code": {"type": "integer"},
    },
    "required": ["error", "message", "hint", "exit_code"],
}
_STATUS = {Answers.JSON: "200", Answers.JOB: "202", Answers.OCTETS: "200", Answers.NOTHING: "204"}
_SAYS = {
    Answers.JSON: "The answer.",
    Answers.JOB: "A job; or, with status 200, that there is nothing to do.",
    Answers.OCTETS: "The bytes.",
    Answers.NOTHING: "It is done.",
}


def openapi_document(routes: Sequence[Route]) -> Json:
    """Return the document, OpenAPI 3.1."""
    kinds = {one.asked for one in routes}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(
        ordered, ref_template="#/components/schemas/{name}"
    )
    names = {
        kind: schema["$ref"].rpartition("/")[2]
        for kind, schema in zip(ordered, schemas, strict=True)
    }
    paths: dict[str, Json] = {}
    for one in sorted(routes, key=lambda one: (one.path, one.method)):
        operation = _operation(one, components[names[one.asked]], names[one.asked])
        paths.setdefault(PREFIX + one.path, {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pyrep",
            "version": __version__,
            "description": "One storage system, on a unix socket.",
        },
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR}},
    }


def _operation(route: Route, schema: Json, name: str) -> Json:
    made: Json = {
        "summary": route.summary,
        "operationId": route.handler.__name__,
        "parameters": [
            {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
            for part in route.parts
            if part[0] == "{"
        ],
        "responses": {
            _STATUS[route.answers]: {
                "description": _SAYS[route.answers],
                **_content(route.answers),
            },
            "default": {
                "description": "It was refused, or failed.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if route.method == "POST":
        reference = {"schema": {"$ref": f"#/components/schemas/{name}"}}
        made["requestBody"] = {"content": {"application/json": reference}}
        return made
    required = set(schema.get("required", ()))
    made["parameters"] += [
        {"name": field, "in": "query", "required": field in required, "schema": kind}
        for field, kind in schema.get("properties", {}).items()
    ]
    if route.method == "PUT":
        made["requestBody"] = {"content": {"application/octet-stream": {}}, "required": True}
    return made


def _content(answers: Answers) -> Json:
    if answers is Answers.NOTHING:
        return {}
    kind = "application/octet-stream" if answers is Answers.OCTETS else "application/json"
    return {"content": {kind: {}}}
