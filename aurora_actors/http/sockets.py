"""One WebSocket, any number of watches and listeners.

The client sends JSON frames with an ``op`` and the name of a ``stream`` of its choice, the
gateway answers with frames that bear the same name::

    {"op": "auth", "token": "aur.…"}                  first, unless a header said it
    {"op": "watch", "stream": "1", "collection": "orders", "where": {…}, "order": "-at",
     "limit": 10, "since": token, "debounce": 0.1}
    {"op": "listen", "stream": "2", "collection": "orders", "types": ["insert"]}
    {"op": "subscribe", "stream": "3", "query": "subscription { orders { id } }"}
    {"op": "stop", "stream": "1"}

    {"stream": "1", "type": "open"}
    {"stream": "1", "type": "added", "token": "…", "document": {…}, …}
    {"stream": "1", "type": "error", "code": "…", "detail": "…", "retryable": false}
    {"stream": "1", "type": "stopped"}

A client that does not read gets nothing more until it does: its watches coalesce, its
listeners wait in the change log, and no other client notices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import anyio
import anyio.abc
import msgspec
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect

from aurora_actors.client.tokens import Grant, Role
from aurora_actors.errors import AuroraError
from aurora_actors.http.aql import allow, variables_in
from aurora_actors.http.conditions import condition
from aurora_actors.http.events import (
    FieldsByName,
    change_out,
    kinds_of,
    subscribed_out,
    update_out,
)
from aurora_actors.http.gate import Gateway
from aurora_actors.http.problems import status_of

__all__ = ["serve_socket"]

_FIRST_FRAME_S: Final = 10.0
_MOST_STREAMS: Final = 1_000
_CLOSE_GOING: Final = 1001
_CLOSE_POLICY: Final = 1008
_CLOSE_AGAIN: Final = 1013  # try again later


class _Watch(msgspec.Struct, tag_field="op", tag="watch", forbid_unknown_fields=True):
    stream: str
    collection: str
    where: dict[str, Any] = {}
    order: str = ""
    limit: int | None = None
    offset: int = 0
    select: list[str] = []
    since: str | None = None
    debounce: float = 0.0


class _Listen(msgspec.Struct, tag_field="op", tag="listen", forbid_unknown_fields=True):
    stream: str
    collection: str | None = None
    types: list[str] = []
    fields: list[str] = []
    since: str | None = None


class _Subscribe(
    msgspec.Struct, tag_field="op", tag="subscribe", forbid_unknown_fields=True
):
    stream: str
    query: str
    variables: dict[str, Any] | None = None
    since: str | None = None


class _Stop(msgspec.Struct, tag_field="op", tag="stop", forbid_unknown_fields=True):
    stream: str


class _Auth(msgspec.Struct, tag_field="op", tag="auth", forbid_unknown_fields=True):
    token: str


_Opening: TypeAlias = _Watch | _Listen | _Subscribe

_decoder = msgspec.json.Decoder(_Watch | _Listen | _Subscribe | _Stop | _Auth)
_encode = msgspec.json.Encoder().encode


async def serve_socket(websocket: WebSocket) -> None:
    """Serve one WebSocket until either side closes it."""
    gateway: Gateway = websocket.app.state.gateway
    await websocket.accept()
    try:
        grant = await _grant(websocket, gateway)
        await gateway.wait_attached()
    except HTTPException as exc:
        await websocket.close(_CLOSE_POLICY, exc.detail[:120])
        return
    except AuroraError as exc:
        await websocket.close(_CLOSE_AGAIN, exc.message[:120])
        return
    except WebSocketDisconnect:
        return
    with gateway.streaming(grant) as scope:
        await _Conversation(websocket, gateway, grant).run()
    if scope.cancelled_caught:
        code, reason = _CLOSE_POLICY, "the token was revoked or is over"
        if gateway.is_ending:
            code, reason = _CLOSE_GOING, "the gateway is stopping"
        with suppress(RuntimeError):  # the client has closed it at the same moment
            await websocket.close(code, reason)


async def _grant(websocket: WebSocket, gateway: Gateway) -> Grant:
    if "authorization" in websocket.headers or gateway.settings.anonymous is not None:
        return await gateway.grant(websocket)
    try:
        with anyio.fail_after(_FIRST_FRAME_S):
            first = _decoder.decode(await websocket.receive_text())
    except (TimeoutError, msgspec.DecodeError, KeyError):
        first = None
    if not isinstance(first, _Auth):
        raise HTTPException(401, 'begin with {"op": "auth", "token": "…"}')
    return await gateway.grant_for(first.token)


class _Conversation:
    """What goes on over one WebSocket."""

    def __init__(self, websocket: WebSocket, gateway: Gateway, grant: Grant) -> None:
        self._websocket = websocket
        self._gateway = gateway
        self._grant = grant
        self._streams: dict[str, anyio.CancelScope] = {}
        self._sending = anyio.Lock()
        self._group: anyio.abc.TaskGroup

    async def run(self) -> None:
        """Take frames until the client is gone."""
        async with anyio.create_task_group() as self._group:
            try:
                while True:
                    await self._take(await self._websocket.receive_text())
            except (WebSocketDisconnect, KeyError):
                pass  # gone, or a binary frame
            self._group.cancel_scope.cancel()

    async def _take(self, text: str) -> None:
        try:
            frame = _decoder.decode(text)
        except (msgspec.DecodeError, RecursionError) as exc:
            await self._fail("", "protocol", f"the frame is not understood: {exc}")
            return
        match frame:
            case _Watch() | _Listen() | _Subscribe():
                await self._start(frame)
            case _Stop(stream=name):
                scope = self._streams.get(name)
                if scope is not None:
                    scope.cancel()
            case _Auth():
                await self._fail("", "protocol", "this connection is authenticated")

    async def _start(self, frame: _Opening) -> None:
        if frame.stream in self._streams:
            await self._fail(
                frame.stream, "usage", f"the stream {frame.stream!r:.60} is open"
            )
        elif len(self._streams) >= _MOST_STREAMS:
            await self._fail(
                frame.stream,
                "data.limit_exceeded",
                f"a connection has at most {_MOST_STREAMS} streams",
            )
        else:
            self._streams[frame.stream] = scope = anyio.CancelScope()
            events = self._events(frame)
            self._group.start_soon(self._pass_on, frame.stream, scope, events)

    def _events(self, frame: _Opening) -> AsyncIterator[dict[str, Any]]:
        match frame:
            case _Watch():
                return self._watch(frame)
            case _Listen():
                return self._listen(frame)
            case _Subscribe():
                return self._subscribe(frame)

    async def _pass_on(
        self,
        name: str,
        scope: anyio.CancelScope,
        events: AsyncIterator[dict[str, Any]],
    ) -> None:
        try:
            with scope:
                try:
                    async for body in events:
                        await self._send({"stream": name, **body})
                except AuroraError as exc:
                    await self._fail(name, exc.code, exc.message, exc.retryable)
            if scope.cancelled_caught:
                await self._send({"stream": name, "type": "stopped"})
        finally:
            del self._streams[name]

    async def _send(self, body: dict[str, Any]) -> None:
        async with self._sending:
            await self._websocket.send_text(_encode(body).decode())

    async def _fail(
        self, name: str, code: str, detail: str, retryable: bool = False
    ) -> None:
        body = {
            "stream": name,
            "type": "error",
            "code": code,
            "status": status_of(code),
            "detail": detail,
            "retryable": retryable,
        }
        await self._send(body)

    # -------------------------------------------------------------- sources
    async def _watch(self, frame: _Watch) -> AsyncIterator[dict[str, Any]]:
        self._grant.need(Role.READ, frame.collection)
        db = self._gateway.db()
        fields = (await db.collection_definition(frame.collection)).fields
        query = db.query(frame.collection).offset(frame.offset).debounce(frame.debounce)
        if (found := condition(frame.where, fields)) is not None:
            query = query.filter(found)
        for key in filter(None, frame.order.split(",")):
            query = query.order_by(key.lstrip("-+ "), not key.startswith("-"))
        if frame.limit is not None:
            query = query.limit(frame.limit)
        if frame.select:
            query = query.select(*frame.select)
        async with query.watch(
            since=frame.since, heartbeats=True, keeps_state=False
        ) as updates:
            yield {"type": "open"}
            async for update in updates:
                yield {**update_out(update, fields), "token": update.token}

    async def _listen(self, frame: _Listen) -> AsyncIterator[dict[str, Any]]:
        db, name = self._gateway.db(), frame.collection
        kinds = kinds_of(frame.types) or None
        if name is None:
            if self._grant.collections:
                self._grant.need(Role.ADMIN)
            self._grant.need(Role.READ)
            listener = db.listen_all(types=kinds, since=frame.since, on_lag="block")
        else:
            self._grant.need(Role.READ, name)
            listener = db.listen(
                name,
                types=kinds,
                fields=frame.fields or None,
                since=frame.since,
                on_lag="block",
            )
        fields = FieldsByName(db)
        async with listener as events:
            yield {"type": "open"}
            async for event in events:
                if self._grant.on(event.collection) >= Role.READ:
                    yield {**await change_out(event, fields), "token": event.token}

    async def _subscribe(self, frame: _Subscribe) -> AsyncIterator[dict[str, Any]]:
        allow(self._grant, frame.query)
        variables = variables_in(frame.variables)
        stream = self._gateway.db().stream(frame.query, variables, since=frame.since)
        async with stream as events:
            yield {"type": "open"}
            async for event in events:
                yield {**subscribed_out(event), "token": event.token}
