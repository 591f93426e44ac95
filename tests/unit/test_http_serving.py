"""Connections of the gateway: their end does not wait for who does not read or is gone."""

from __future__ import annotations

import socket
from functools import partial

import h2.config
import h2.connection
import pytest
import trio
import trio.testing
from hypercorn.config import Config

from aurora_actors.http.serving import serve_connections

PATIENCE_S = 60.0


async def flood(scope, receive, send):
    """Answer without an end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        piece = {"type": "http.response.body", "body": b"x" * 65_536, "more_body": True}
        await send(piece)


@pytest.mark.parametrize("told", [True, False], ids=["shutdown", "cancelled"])
async def test_who_does_not_read_does_not_hold_up_the_end(told: bool):
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    listener.setblocking(False)
    settings = Config()
    settings.graceful_timeout = 0.05
    ends = trio.Event()
    serve = partial(
        serve_connections,
        flood,
        listener,
        settings,
        header_timeout_s=PATIENCE_S,
        shutdown=ends.wait,
    )
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            stream = await trio.open_tcp_stream(*address)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some(12)).startswith(b"HTTP/1.1 200")
            await trio.testing.wait_all_tasks_blocked(0.05)  # its buffers are full
            if told:
                ends.set()
            else:
                nursery.cancel_scope.cancel()
        await stream.aclose()


async def converse(scope, receive, send):
    """Hold a WebSocket until it is closed."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def answer_when_alone(scope, receive, send):
    """Answer when the one who has asked is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": False})


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def http2_request() -> bytes:
    config = h2.config.H2Configuration(client_side=True)
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    headers = [(":method", "GET"), (":path", "/"), (":scheme", "http")]
    client.send_headers(1, [*headers, (":authority", "x")], end_stream=True)
    return client.data_to_send()


@pytest.mark.parametrize(
    ("app", "request_bytes"),
    [(converse, UPGRADE), (answer_when_alone, http2_request())],
    ids=["websocket", "http2"],
)
async def test_nothing_is_done_for_a_connection_that_is_over(app, request_bytes):
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    listener.setblocking(False)
    settings = Config()
    settings.graceful_timeout = settings.websocket_ping_interval = 2 * PATIENCE_S
    ends = trio.Event()
    serve = partial(
        serve_connections,
        app,
        listener,
        settings,
        header_timeout_s=PATIENCE_S,
        shutdown=ends.wait,
    )
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            stream = await trio.open_tcp_stream(*address)
            await stream.send_all(request_bytes)
            assert await stream.receive_some(12)
            await trio.testing.wait_all_tasks_blocked(0.02)
            await stream.aclose()
            ends.set()
