"""Connections of the gateway: Hypercorn's protocols, with time limits of our own.

Hypercorn starts a task for each idle period and sends each answer in three pieces; this
server keeps one deadline for each connection and sends an answer in one piece, which is
a quarter of the processor time of a small request.

Invariants:

* A request's head has ``header_timeout_s`` from its first byte to its last one, a TLS
  handshake as long, and what is idle ``KEEP_ALIVE_S``. Bodies are bounded by
  ``http.guard``; while a request or a WebSocket is under way nothing is limited here.
* The head of an answer waits for the first piece of its body, never for longer: an
  application gives the two one after the other.
* What was done for a connection ends with it, but for a request that is being carried
  out: neither the next ping nor an answer that nobody takes is waited for.
* A connection that fails ends alone, and at the end none holds up the rest: one whose
  other side does not read is closed in the middle of what it is sent.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, LifespanState

from aurora_actors.http.problems import problem

__all__ = ["KEEP_ALIVE_S", "serve_connections"]

logger = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 60.0
_GONE: Final = (trio.ClosedResourceError, trio.BrokenResourceError)
_ANSWER: Final = b"HTTP/1.1 "
_INFORMATIONAL: Final = b"1"
_FAREWELL_S: Final = 1.0

_Stream = trio.SSLStream[trio.SocketStream]


async def serve_connections(
    app: ASGIFramework,
    listener: socket.socket,
    settings: Config,
    *,
    header_timeout_s: float,
    shutdown: Callable[[], Awaitable[object]],
) -> None:
    """Serve ``app`` to all who connect, until ``shutdown`` returns.

    Idle connections end with it, requests under way have ``graceful_timeout`` left.

    Args:
        app: The application.
        listener: Listens already, and is closed at the end.
        settings: Hypercorn's.
        header_timeout_s: How long a request's head may take to come.
        shutdown: Waits for the end.
    """
    context = WorkerContext(None)
    is_open: set[_Connection] = set()
    all_gone = trio.Event()
    wrapped = ASGIWrapper(app)

    async def serve(stream: _Stream) -> None:
        connection = _Connection(wrapped, settings, context, stream, header_timeout_s)
        is_open.add(connection)
        try:
            await connection.run()
        except Exception as exc:  # noqa: BLE001 - whatever it is, one connection ends
            # Due to what a client has sent: errors of the application stay in there.
            logger.warning("a connection failed", extra={"reason": _reason(exc)})
        finally:
            is_open.discard(connection)
            if not is_open:
                all_gone.set()

    accepting = partial(trio.serve_listeners, serve, [_listening(listener, settings)])
    async with trio.open_nursery() as serving:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(accepting, handler_nursery=serving))
                await shutdown()
                nursery.cancel_scope.cancel()
            await context.terminated.set()
            for connection in tuple(is_open):
                connection.end_when_idle()
            with trio.move_on_after(settings.graceful_timeout):
                while is_open:
                    all_gone = trio.Event()
                    await all_gone.wait()
        finally:
            serving.cancel_scope.cancel()
            _abort(is_open)


def _abort(connections: Iterable[_Connection]) -> None:
    """Close connections at once: their other sides may not be reading."""
    for connection in tuple(connections):
        connection.abort()


def _listening(
    listener: socket.socket, settings: Config
) -> trio.SocketListener | trio.SSLListener[trio.SocketStream]:
    plain = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    tls = settings.create_ssl_context()
    if tls is None:
        return plain
    return trio.SSLListener(plain, tls, https_compatible=True)


class _NoTask(TrioSingleTask):
    """Stands for the task that waits while a connection is idle: there is none."""

    async def restart(self, *_: object) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""


class _Context(WorkerContext):
    """What a connection knows of the server, and whether it is itself over."""

    def __init__(self, server: WorkerContext) -> None:
        super().__init__(None)
        self.terminated = server.terminated
        self.over = trio.Event()

    async def sleep(self, wait: float) -> None:  # type: ignore[override]  # theirs is static
        """Wait for the time of the next ping, or for the end of the connection."""
        with trio.move_on_after(wait):
            await self.over.wait()


class _Connection(TCPServer):
    """One connection.

    Args:
        app: The application.
        settings: Hypercorn's.
        context: Tells whether the end has come.
        stream: The connection.
        header_timeout_s: How long a request's head may take to come.
    """

    def __init__(
        self,
        app: AppWrapper,
        settings: Config,
        context: WorkerContext,
        stream: _Stream,
        header_timeout_s: float,
    ) -> None:
        self._context = _Context(context)
        super().__init__(app, settings, self._context, LifespanState(), stream)
        self.idle_task = _NoTask()
        self._header_timeout_s = header_timeout_s
        self._reading = trio.CancelScope()
        self._is_busy = False
        self._head_began: float | None = None
        self._idle_since = trio.current_time()
        self._held = b""

    # -------------------------------------------------------------- receiving
    async def _read_data(self) -> None:
        while True:
            data: bytes | bytearray | None = None
            with trio.CancelScope(deadline=self._deadline()) as self._reading:
                try:
                    data = await self.stream.receive_some(MAX_RECV)
                except _GONE:
                    break
            if data is None:
                await self._give_up()
                break
            await self.protocol.handle(RawData(bytes(data)))
            if not data:
                break
        await self.protocol.handle(Closed())
        self._context.over.set()
        protocol = self.protocol.protocol
        if isinstance(protocol, H2Protocol):
            for buffer in protocol.stream_buffers.values():
                await buffer.close()

    def _deadline(self) -> float:
        """Until when the next bytes must have come."""
        if self._is_busy:
            return math.inf
        if not self._has_part_of_a_head():
            self._head_began = None
            return self._idle_since + KEEP_ALIVE_S
        if self._head_began is None:
            self._head_began = trio.current_time()
        return self._head_began + self._header_timeout_s

    def _has_part_of_a_head(self) -> bool:
        protocol = self.protocol.protocol
        if not isinstance(protocol, H11Protocol):
            return False
        connection = protocol.connection
        return isinstance(connection, h11.Connection) and bool(
            connection.trailing_data[0]
        )

    async def _give_up(self) -> None:
        """Nothing came in time: say so to who had begun to send a request."""
        if self._head_began is None:
            return
        refusal = problem(408, "http.slow_head", "the request's head took too long")
        lines = [b"HTTP/1.1 408 Request Timeout", b"connection: close"]
        lines += [name + b": " + value for name, value in refusal.raw_headers]
        head = b"\r\n".join([*lines, b"", b""])
        with trio.move_on_after(_FAREWELL_S):
            await self._send(head + bytes(refusal.body))

    def end_when_idle(self) -> None:
        """The end has come: wait for no further request."""
        if not self._is_busy:
            self._head_began = None
            self._reading.cancel()

    def abort(self) -> None:
        """Close at once, in the middle of whatever is sent or received."""
        stream: object = self.stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream):
            stream.socket.close()

    # -------------------------------------------------------------- sending
    async def protocol_send(self, event: Event) -> None:
        """Carry out what the protocol wants done with the connection."""
        if isinstance(event, RawData):
            data = event.data
            if _begins_answer(data) and not self._held:
                self._held = data
                return
            data, self._held = self._held + data, b""
            if data:
                await self._send(data)
        elif isinstance(event, Updated):
            self._is_busy = not event.idle
            self._head_began = None
            if event.idle:
                self._idle_since = trio.current_time()
            self._reading.deadline = self._deadline()
        else:
            if self._held:
                await self._send(self._held)
                self._held = b""
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        lock = self.send_lock
        if lock.locked():
            await lock.acquire()
        else:
            lock.acquire_nowait()
        try:
            with trio.CancelScope(shield=True):
                await self.stream.send_all(data)
        except _GONE:
            await self.protocol.handle(Closed())
        finally:
            lock.release()


def _reason(exc: BaseException) -> str:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return f"{type(exc).__name__}: {exc}"


def _begins_answer(data: bytes) -> bool:
    start = len(_ANSWER)
    return data.startswith(_ANSWER) and data[start : start + 1] != _INFORMATIONAL
