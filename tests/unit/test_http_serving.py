"""Connections of the gateway: their end does not wait for who does not read."""

from __future__ import annotations

import socket
from functools import partial

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
