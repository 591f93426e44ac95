"""What stands before every request: host, origin, CORS, size and time of bodies.

Plain ASGI, so that nothing is buffered. Adds the headers every answer has, and counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Final, TypeAlias

import anyio
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aurora_actors.config import HttpConfig
from aurora_actors.http.gate import Gateway
from aurora_actors.http.problems import problem

__all__ = ["Guard"]

_PREFLIGHT_S: Final = "600"
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS: Final = "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID"
_EXPOSED: Final = "ETag, Location, Retry-After"
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


# All of a body may come no slower than this, in bytes by the second.
_SLOWEST: Final = 1024.0

_Headers: TypeAlias = Mapping[bytes, bytes]


class _TooLarge(Exception):  # noqa: N818 - a signal
    """The body is longer than allowed."""


class _TooSlow(Exception):  # noqa: N818 - a signal
    """The body did not come in time."""


class Guard:
    """Lets pass what may pass, and bounds it."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        # Of what is sent twice the first counts, as for Starlette's Headers.
        headers = dict(reversed(scope["headers"]))
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send, refusal)
        else:
            await self._serve_request(scope, receive, send, headers, refusal)

    # -------------------------------------------------------------- from where
    def _refusal(self, scope: Scope, headers: _Headers) -> Response | None:
        if self._gateway.is_full:
            return problem(503, "http.busy", "too many requests and streams are open")
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._gateway.allows_host(host):
            return problem(
                403, "http.host", f"{host[:100]!r} is no name of this server"
            )
        origin = _origin(headers)
        scheme = "https" if scope["scheme"] in {"https", "wss"} else "http"
        if origin is not None and not self._gateway.allows_origin(origin, host, scheme):
            return problem(
                403, "http.origin", f"pages of {origin[:100]!r} may not use this server"
            )
        length = headers.get(b"content-length", b"0")
        most = self._gateway.settings.max_body_bytes
        if not _streams(scope) and length.isdigit() and int(length) > most:
            return _too_large(most)
        return None

    async def _serve_socket(
        self, scope: Scope, receive: Receive, send: Send, refusal: Response | None
    ) -> None:
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        counts = self._gateway.counts
        counts["websockets_open"] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            counts["websockets_open"] -= 1

    # -------------------------------------------------------------- one request
    async def _serve_request(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: _Headers,
        refusal: Response | None,
    ) -> None:
        origin = _origin(headers)
        has_begun = False
        body = _Body(scope, receive, headers, self._gateway.settings)

        async def decorated(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                self._decorate(message, origin)
                if not body.has_ended and scope["http_version"].startswith("1"):
                    # What is left of the body will not be read as another request.
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        if refusal is None and scope["method"] == "OPTIONS" and origin is not None:
            refusal = self._preflight()
        if refusal is not None:
            await refusal(scope, receive, decorated)
            return
        self._gateway.begin()
        begun = time.perf_counter()
        try:
            await self._app(scope, body.receive, decorated)
        except _TooLarge:
            refusal = _too_large(self._gateway.settings.max_body_bytes)
        except _TooSlow:
            refusal = problem(408, "http.slow_body", "the body did not come in time")
        finally:
            self._gateway.end()
            self._gateway.times.record(time.perf_counter() - begun)
        if refusal is not None and not has_begun:
            await refusal(scope, receive, decorated)

    def _decorate(self, message: Message, origin: str | None) -> None:
        group = f"responses_{message['status'] // 100}xx"
        counts = self._gateway.counts
        counts[group] = counts.get(group, 0) + 1
        given = message["headers"]
        names = {name for name, _ in given}
        given += [pair for pair in _SECURITY if pair[0] not in names]
        if origin is not None and self._gateway.is_foreign(origin):
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = _EXPOSED
            headers.add_vary_header("Origin")

    @staticmethod
    def _preflight() -> Response:
        headers = {
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": _PREFLIGHT_S,
        }
        return Response(status_code=204, headers=headers)


class _Body:
    """A request's body, bounded in size and in time.

    Attributes:
        has_ended: All of it has been read, or there is none.
    """

    def __init__(
        self, scope: Scope, receive: Receive, headers: _Headers, settings: HttpConfig
    ) -> None:
        has_length = headers.get(b"content-length", b"0") != b"0"
        self.has_ended = not has_length and b"transfer-encoding" not in headers
        self._receive = receive
        self._timeout_s = settings.body_timeout_s
        self._patience_s = settings.body_timeout_s
        self._left = math.inf if _streams(scope) else settings.max_body_bytes

    async def receive(self) -> Message:
        """The next piece; afterwards, the end of the connection."""
        if self.has_ended:
            return await self._receive()
        # The time in which nobody asks for it is not the sender's.
        began = anyio.current_time()
        try:
            with anyio.fail_after(min(self._timeout_s, self._patience_s)):
                message = await self._receive()
        except TimeoutError:
            raise _TooSlow from None
        self._patience_s -= anyio.current_time() - began
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._left -= size
            self._patience_s += size / _SLOWEST
            self.has_ended = not message.get("more_body", False)
        if self._left < 0:
            raise _TooLarge
        return message


def _origin(headers: _Headers) -> str | None:
    origin = headers.get(b"origin")
    return None if origin is None else origin.decode("latin-1")


def _streams(scope: Scope) -> bool:
    """Whether the body is taken piece by piece, however long it is."""
    path: str = scope["path"]
    return scope["type"] == "http" and path.endswith("/import")


def _too_large(most: int) -> Response:
    return problem(413, "data.limit_exceeded", f"the body is larger than {most} bytes")
