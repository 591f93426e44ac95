"""The description of the REST interface: ``/openapi.json``, and a page that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from aurora_actors.client.tokens import Role
from aurora_actors.http.problems import PROBLEM_TYPE
from aurora_actors.http.routing import Endpoint, Parameter
from aurora_actors.http.schemas import COMPONENTS, ref

__all__ = ["describe", "page"]

_PROBLEMS: Final = {
    "400": "The request makes no sense",
    "401": "No valid token",
    "403": "The token does not allow it",
    "404": "There is no such thing",
    "409": "It contradicts what is there",
    "412": "The version is not the one asked for",
    "413": "A limit would be exceeded",
    "415": "The body is of another media type",
    "422": "The data does not fit",
    "500": "A defect of the gateway",
    "503": "Not now; try again",
    "504": "Not in time",
}
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def describe(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``endpoints``."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Aurora",
            "version": version,
            "description": "Documents, queries and live events over HTTP.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": COMPONENTS,
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    status, gives = endpoint.answers
    success: dict[str, Any] = {"description": gives}
    if status != 204:
        kind = endpoint.streams or "application/json"
        success["content"] = {kind: {"schema": endpoint.gives or {}}}
    problem = {PROBLEM_TYPE: {"schema": ref("Problem")}}
    responses: dict[str, Any] = {str(status): success}
    if endpoint.method in {"POST", "PUT"} and status != 204:
        responses.setdefault("200", success)
        responses.setdefault("201", success)
    if endpoint.method == "GET":
        responses["304"] = {"description": "The caller has this version"}
    for code, text in _PROBLEMS.items():
        responses[code] = {"description": text, "content": problem}
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "tags": [endpoint.group],
        "responses": responses,
        "parameters": [
            *_path_parameters(endpoint),
            *map(_parameter, endpoint.parameters),
        ],
    }
    if endpoint.role is not Role.NONE:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs the role {endpoint.role.name.lower()}."
    if endpoint.body:
        operation["requestBody"] = {
            "required": True,
            "content": {
                endpoint.body: {"schema": ref(endpoint.takes) if endpoint.takes else {}}
            },
        }
    return operation


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(endpoint.path)
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.text,
        "schema": {"type": parameter.type},
    }


def page(endpoints: Sequence[Endpoint]) -> str:
    """The same for readers: one HTML page without scripts."""
    parts = [_HEAD]
    group = ""
    for endpoint in endpoints:
        if endpoint.group != group:
            group = endpoint.group
            parts.append(f"<h2>{escape(group)}</h2>")
        body = f"<p>Body: <code>{endpoint.body}</code></p>" if endpoint.body else ""
        rows = "".join(
            f"<tr><td><code>{escape(p.name)}</code></td><td>{escape(p.text)}</td></tr>"
            for p in endpoint.parameters
        )
        table = f"<table>{rows}</table>" if rows else ""
        status, gives = endpoint.answers
        parts.append(
            f"<section><h3><code>{endpoint.method} {escape(endpoint.path)}</code></h3>"
            f"<p>{escape(endpoint.summary)} <small>Role: {endpoint.role.name.lower()}."
            f"</small></p>{body}{table}<p>{status}: {escape(gives)}</p></section>"
        )
    return "".join(parts)


_HEAD: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Aurora: the REST interface</title>
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui;max-width:50rem;
margin:2rem auto;padding:0 1rem}h2{margin-top:3rem;border-bottom:1px solid #8886}
h3{font-size:1.05rem;margin-top:1.6rem;overflow-wrap:anywhere}
td{padding:.1rem .8rem .1rem 0;vertical-align:top}</style>
<h1>The REST interface</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. Send a token as
<code>Authorization: Bearer …</code>. Errors are <code>application/problem+json</code>.</p>
"""
