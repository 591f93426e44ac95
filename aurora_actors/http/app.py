"""The gateway's ASGI application, put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from aurora_actors.errors import AuroraError
from aurora_actors.http.api import ENDPOINTS
from aurora_actors.http.gate import Gateway
from aurora_actors.http.guard import Guard
from aurora_actors.http.openapi import describe, page
from aurora_actors.http.pages import console_routes
from aurora_actors.http.problems import answer_error, answer_http_error
from aurora_actors.http.routing import Endpoints, routes_of
from aurora_actors.http.sockets import serve_socket
from aurora_actors.http.wire import answer

__all__ = ["application"]

_PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def application(gateway: Gateway) -> Starlette:
    """The application that serves ``gateway``."""
    description = describe(ENDPOINTS, version("aurora-actors"))
    shown = page(ENDPOINTS)

    async def openapi(_request: Request) -> Response:
        return answer(description)

    async def docs(_request: Request) -> Response:
        return HTMLResponse(shown, headers={"content-security-policy": _PAGE_POLICY})

    routes: list[BaseRoute] = [
        *routes_of(ENDPOINTS),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        WebSocketRoute("/ws", serve_socket),
        *console_routes(),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, gateway=gateway),
            Middleware(Endpoints, endpoints=ENDPOINTS, gateway=gateway),
        ],
        exception_handlers={
            AuroraError: answer_error,
            HTTPException: answer_http_error,
            Exception: answer_error,
        },
    )
    app.state.gateway = gateway
    return app
