"""The OpenAPI 3.1 document, generated from the table of routes and their Structs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from can_stream.version import VERSION
from stream_server.access.access import CSRF_HEADER, SESSION_COOKIE
from stream_server.http.api import Route
from stream_server.http.bodies import ErrorBody

_REF: Final = "#/components/schemas/{name}"


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Every route: who may call it, what goes in and out."""
    listed = list(routes)
    types = {type_ for route in listed for type_ in (route.request_type, route.response_type)}
    structs = [type_ for type_ in types if isinstance(type_, type)]
    structs.sort(key=lambda type_: type_.__name__)
    _, schemas = msgspec.json.schema_components([*structs, ErrorBody], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "stream-server", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SESSION_COOKIE,
                    "description": f"Unsafe methods need the header {CSRF_HEADER} as well.",
                },
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "x-needs": route.needs,
        "security": _security(route),
        "parameters": _parameters(route),
        "responses": {str(_success(route)): _response(route), "default": _error_response()},
    }
    if route.request_type is not None:
        content = {"application/json": {"schema": _reference(route.request_type)}}
        operation["requestBody"] = {"required": not route.empty_body, "content": content}
    return operation


def _operation_id(route: Route) -> str:
    return "_".join([route.method.lower(), *re.findall(r"[a-z0-9_]+", route.path.replace("/api/v1/", ""))])


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.needs == "open":
        return []
    return [{"bearer": []}] if route.needs == "agent" else [{"bearer": []}, {"session": []}]


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    return in_path + [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]


def _success(route: Route) -> int:
    return 101 if route.response_type is None else route.status


def _response(route: Route) -> dict[str, Any]:
    if route.response_type is None:
        return {"description": "a WebSocket"}
    if isinstance(route.response_type, str):
        return {"description": route.summary, "content": {route.response_type: {}}}
    content = {"application/json": {"schema": _reference(route.response_type)}}
    return {"description": route.summary, "content": content}


def _error_response() -> dict[str, Any]:
    return {"description": "an error", "content": {"application/json": {"schema": _reference(ErrorBody)}}}


def _reference(type_: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REF.format(name=type_.__name__)}
