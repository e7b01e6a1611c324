"""The HTTP API as an OpenAPI 3.1 document, made of the route table itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from gates import __version__
from gates.api.answer import answer_json, as_json
from gates.api.intake import MAX_PARTS
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
    "jobs": "Prompts submitted to the farm.",
    "instances": "The ComfyUI processes of the farm.",
    "events": "What changes, as it changes.",
    "service": "This server.",
    "kept": "Routes of the pack that came before, for scripts that use them.",
}
"""Tag -> what its routes are about."""


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    """The content of a JSON answer of that schema."""
    return {"application/json": {"schema": schema}}


SERVICE = {
    "/healthz": (
        "Whether the broker and its store work. Asks for no token.",
        {"200": "They do.", "503": "The store does not answer."},
        json_content({"type": "object", "properties": {"status": {"type": "string"}, "reason": {"type": "string"}}}),
    ),
    "/metrics": (
        "The figures of this broker, as Prometheus reads them.",
        {"200": "The figures."},
        {"text/plain": {}},
    ),
    "/openapi.json": ("This document.", {"200": "This document."}, json_content({"type": "object"})),
}
"""The server's own addresses: what each is, its answers, and their content."""


def mount_document(app: web.Application, routes: Iterable[Route], prefix: str) -> None:
    """Puts the document of the routes at ``/openapi.json``. Asks for no token: it holds nothing of the farm."""
    body = as_json(describe(routes, prefix))

    async def document(http: web.Request) -> web.Response:
        return answer_json(body, http.headers.get("If-None-Match", ""))

    app.router.add_get("/openapi.json", document)


def describe(routes: Iterable[Route], prefix: str = "") -> dict[str, Any]:
    """The document of those routes and of the server's own; ``prefix``: the sub-path that they lie below, if any."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    for path, (about, statuses, content) in SERVICE.items():
        answers = {status: {"description": text, "content": content} for status, text in statuses.items()}
        paths[path] = {"get": {"summary": about, "tags": ["service"], "responses": {**answers, **_refusals()}}}
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
        # Bytes of no named kind are taken too, for callers that can't say more; who reads this can.
        kinds = [kind for kind in CONTENT_TYPES[route.body] if kind != "application/octet-stream"]
        return {"required": True, "content": {kind: {} for kind in kinds}}
    required = [field.name for field in route.fields if field.required]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: field_schema(field) for field in route.fields},
        "additionalProperties": route.lenient,
    }
    if required:
        schema["required"] = required
    if route.body == "form":
        # More parts are passed over, but each has one name and one value.
        schema |= {"maxProperties": MAX_PARTS, "additionalProperties": {"type": "string"}}
    return {
        "required": True,
        "content": {CONTENT_TYPES[route.body][0]: {"schema": schema}},
    }


def _answer(route: Route, schemas: Schemas) -> dict[str, Any]:
    if isinstance(route.answer, str):
        return {"description": route.about, "content": {each: {} for each in route.answer.split(", ")}}
    return {"description": route.about, "content": json_content(schemas.of(route.answer))}


def _refusals(statuses: Iterable[str] = ("400", "401", "403", "421", "429")) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _errors(route: Route) -> dict[str, Any]:
    statuses = set(ERRORS)
    if not route.changes:
        statuses.discard("409")
    if route.body not in ("image", "archive", "form"):
        statuses.discard("422")
    answers = _refusals(statuses)
    if not route.changes:
        answers["304"] = {"description": "What the asker has (If-None-Match) is what it would get."}
    return answers
