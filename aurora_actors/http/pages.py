"""The console's files: read once, served from memory, with a policy that runs only them.

The files are known when the gateway starts, so that no path of a request ever reaches a
file system.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from aurora_actors.http.problems import problem

__all__ = ["console_routes"]

_KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FIRST: Final = "index.html"


class _File(NamedTuple):
    content: bytes
    kind: str
    tag: str


def console_routes() -> list[Route]:
    """The routes of the console: ``/console/`` and its files."""
    known = _read()

    async def shown(request: Request) -> Response:
        name = request.path_params.get("name") or _FIRST
        found = known.get(name)
        if found is None:
            return problem(404, "http.no_such_path", "the console has no such file")
        return _answer(found, request)

    async def console(_request: Request) -> Response:
        return RedirectResponse("/console/", 307)

    return [
        Route("/", console),
        Route("/console", console),
        Route("/console/", shown),
        Route("/console/{name}", shown),
    ]


def _read() -> Mapping[str, _File]:
    found = {}
    for file in files("aurora_actors.http").joinpath("console").iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            found[file.name] = _File(content, kind, tag)
    return found


def _answer(file: _File, request: Request) -> Response:
    headers = {
        "ETag": file.tag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.kind)
