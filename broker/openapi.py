"""The HTTP API as an OpenAPI 3.1 document, made of the route table itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gates import __version__
from gates.api.route import Field, Route
from gates.guard import CONTENT_TYPES

from .schema import NAME, PATH_SCHEMAS, Schemas, field_schema

ERRORS = {
    "400": "The input is not of the accepted form.",
    "401": "A bearer token is needed.",
    "403": "The token's role does not allow it, or another site's page sent it.",
    "404": "Nothing is stored there.",
    "409": "The state has moved on; `details` tells how it is now.",
    "413": "More than the limits allow.",
    "421": "This server does not answer for that host.",
    "422": "The bytes are no image or archive that is accepted.",
    "429": "Too many in a short time.",
    "503": "The store does not answer, or too much is going on; try again.",
}
"""Status -> what it says, whatever the route."""

ERROR_SHAPE = {"error": {"type": str, "message": str, "details": dict[str, Any]}}

TAGS = {
    "gates": "What waits for a decision.",
    "decisions": "What was decided.",
    "buses": "Named places with the last passed image and mask.",
    "pools": "Curated sets of images.",
    "instances": "The ComfyUI processes of the farm.",
    "events": "What changes, as it changes.",
    "service": "This server.",
    "kept": "Routes of the pack that came before, for scripts that use them.",
}
"""Tag -> what its routes are about."""


def describe(routes: Iterable[Route], service: dict[str, dict[str, Any]], prefix: str = "") -> dict[str, Any]:
    """The document of those routes. ``service``: path items of the server's own; ``prefix``: its sub-path, if any."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    for path, item in service.items():
        paths[path] = item
    schemas.components["Error"] = schemas.of(ERROR_SHAPE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gatebus",
            "version": __version__,
            "description": "Gates, buses and pools of ComfyUI workflows. A GET never decides anything.",
        },
        "servers": [{"url": prefix or "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {status: _error(text) for status, text in ERRORS.items()},
        },
    }


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    """The content of a JSON answer of that schema."""
    return {"application/json": {"schema": schema}}


def _error(about: str) -> dict[str, Any]:
    return {"description": about, "content": json_content({"$ref": "#/components/schemas/Error"})}


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.run.__module__.rpartition('.')[2]}_{route.run.__name__}",
        "summary": route.about,
        "description": f"Needs the role {route.role}, where tokens are configured.",
        "tags": [_tag(route.path)],
        "parameters": [*_path_parameters(route.path), *(_query_parameter(field) for field in route.query)],
        "responses": {"200": _answer(route, schemas), **_errors(route)},
    }
    if route.body:
        operation["requestBody"] = _body(route)
    if route.path.startswith("/gatebus"):
        return operation
    return {**operation, "deprecated": True}


def _tag(path: str) -> str:
    first, second = path.split("/")[1:3]
    if first != "gatebus":
        return "kept"
    return second if second in TAGS else "service"


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": PATH_SCHEMAS.get(name, NAME)}
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameter(field: Field) -> dict[str, Any]:
    schema = field_schema(field)
    return {
        "name": field.name,
        "in": "query",
        "required": field.required,
        "description": schema.pop("description"),
        "schema": schema,
    }


def _body(route: Route) -> dict[str, Any]:
    if route.body not in ("json", "form"):
        return {"required": True, "content": {each: {} for each in CONTENT_TYPES[route.body]}}
    required = [field.name for field in route.fields if field.required]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: field_schema(field) for field in route.fields},
        "additionalProperties": route.lenient,
    }
    if required:
        schema["required"] = required
    return {
        "required": True,
        "content": {CONTENT_TYPES[route.body][0]: {"schema": schema}},
    }


def _answer(route: Route, schemas: Schemas) -> dict[str, Any]:
    if isinstance(route.answer, str):
        return {"description": route.about, "content": {each: {} for each in route.answer.split(", ")}}
    return {"description": route.about, "content": json_content(schemas.of(route.answer))}


def _errors(route: Route) -> dict[str, Any]:
    statuses = set(ERRORS)
    if not route.changes:
        statuses.discard("409")
    if route.body not in ("image", "archive", "form"):
        statuses.discard("422")
    answers: dict[str, Any] = {status: {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}
    if not route.changes:
        answers["304"] = {"description": "What the asker has (If-None-Match) is what it would get."}
    return answers
