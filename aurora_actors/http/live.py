"""Server-sent events: watching queries and listening to changes over HTTP.

Each event's ``id`` is its resume token: an ``EventSource`` that reconnects sends it back
as ``Last-Event-ID`` and goes on right behind it, whatever was restarted meanwhile. An
error ends the stream with an event ``error``, which has the problem's code and detail.
While nothing happens, heartbeats (of watches) or comments say so every few seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias, TypeVar

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from aurora_actors.client.aql_stream import AqlStream
from aurora_actors.client.tokens import Role
from aurora_actors.client.watch import Events
from aurora_actors.errors import AuroraError
from aurora_actors.http.aql import allow, given_variables
from aurora_actors.http.conditions import query_of
from aurora_actors.http.events import (
    FieldsByName,
    change_out,
    kinds_of,
    subscribed_out,
    update_out,
)
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import encode_json

__all__ = ["listen_collection", "listen_everything", "subscribe_text", "watch_query"]

T = TypeVar("T")

_MAX_DEBOUNCE_S: Final = 3600.0
_PING_S: Final = 10.0
_PING: Final = b": still here\n\n"
_END: Final = {"type": "http.response.body", "body": b"", "more_body": False}

_Source: TypeAlias = Events[Any] | AqlStream


async def watch_query(asked: Asked) -> Response:
    """The result of a query and its changes, as server-sent events."""
    collection, request = asked.collection(Role.READ), asked.request
    fields = (await asked.db.collection_definition(collection)).fields
    query = query_of(asked.db, request, collection, fields, limited=False)
    query = query.debounce(_seconds(request, "debounce"))
    watch = query.watch(since=_since(request), heartbeats=True, keeps_state=False)
    await watch.open()

    async def events() -> AsyncIterator[bytes]:
        async for update in watch:
            body = update_out(update, fields)
            yield _event(body["type"], update.token, body)

    return _stream(asked, watch, events())


async def listen_collection(asked: Asked) -> Response:
    """The changes of one collection, as server-sent events."""
    return await _listen(asked, asked.collection(Role.READ))


async def listen_everything(asked: Asked) -> Response:
    """The changes of all collections, as server-sent events."""
    if asked.grant.collections:
        asked.grant.need(Role.ADMIN)
    return await _listen(asked, None)


async def _listen(asked: Asked, collection: str | None) -> Response:
    db, request = asked.db, asked.request
    kinds = kinds_of(_names(request, "types")) or None
    since = _since(request)
    if collection is None:
        listener = db.listen_all(types=kinds, since=since, on_lag="block")
    else:
        names = _names(request, "fields") or None
        listener = db.listen(
            collection, types=kinds, fields=names, since=since, on_lag="block"
        )
    await listener.open()
    fields = FieldsByName(db)

    async def events() -> AsyncIterator[bytes]:
        async for event in _or_none(listener):
            if event is None:
                yield _PING
            elif asked.grant.on(event.collection) >= Role.READ:
                body = await change_out(event, fields)
                yield _event(body["type"], event.token, body)

    return _stream(asked, listener, events())


async def subscribe_text(asked: Asked) -> Response:
    """The events of an AQL subscription, as server-sent events."""
    request = asked.request
    text = request.query_params.get("query", "")
    allow(asked.grant, text)
    stream = asked.db.stream(text, given_variables(request), since=_since(request))
    await stream.open()

    async def events() -> AsyncIterator[bytes]:
        async for event in _or_none(stream):
            if event is None:
                yield _PING
            else:
                body = subscribed_out(event)
                yield _event(body["type"], event.token, body)

    return _stream(asked, stream, events())


async def _or_none(source: AsyncIterator[T]) -> AsyncIterator[T | None]:
    """What ``source`` gives, and ``None`` whenever that is nothing for a while."""
    while True:
        event: T | None = None
        with anyio.move_on_after(_PING_S):
            try:
                event = await source.__anext__()
            except StopAsyncIteration:
                return
        yield event


class _EventStream(StreamingResponse):
    """A response that ends with the gateway or the token, and ends its source."""

    def __init__(
        self, asked: Asked, source: _Source, events: AsyncIterator[bytes]
    ) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._asked = asked
        self._source = source

    async def __call__(self, scope_: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._asked.gateway.streaming(self._asked.grant) as scope:
                await super().__call__(scope_, receive, send)
            if scope.cancelled_caught:
                await send(_END)
        finally:
            with anyio.CancelScope(shield=True):
                await self._source.aclose()


def _stream(asked: Asked, source: _Source, events: AsyncIterator[bytes]) -> Response:
    async def body() -> AsyncIterator[bytes]:
        try:
            yield b": open\n\n"
            async for event in events:
                yield event
        except AuroraError as exc:
            told = {"code": exc.code, "detail": exc.message, "retryable": exc.retryable}
            yield b"event: error\ndata: " + encode_json(told) + b"\n\n"

    return _EventStream(asked, source, body())


def _event(kind: str, token: str, body: object) -> bytes:
    return f"event: {kind}\nid: {token}\ndata: ".encode() + encode_json(body) + b"\n\n"


def _since(request: Request) -> str | None:
    return request.headers.get("last-event-id") or request.query_params.get("since")


def _names(request: Request, parameter: str) -> list[str]:
    return [name for name in request.query_params.get(parameter, "").split(",") if name]


def _seconds(request: Request, parameter: str) -> float:
    text = request.query_params.get(parameter, "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_DEBOUNCE_S:
        raise HTTPException(400, f"{parameter} takes 0 to {_MAX_DEBOUNCE_S:g} seconds")
    return seconds
