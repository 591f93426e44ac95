"""The HTTP gateway: serves the ASGI application of :mod:`aurora_actors.http`.

A client of the database that lives in the tree. It listens before it says that it is
ready, so that an address it cannot have is a start error with a name; it attaches after
that, because attaching waits for the whole tree, and lets requests wait in between.

Invariants:

* It holds no state that a restart loses: tokens and idempotency keys are documents, and
  resume tokens bring live streams back.
* The listening socket dies with the process; requests under way at a shutdown have
  ``shutdown_grace_s`` to finish, streams end at once.
"""

from __future__ import annotations

import logging
import resource
import socket
from pathlib import Path
from typing import Final

import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.aql.parser import prepare
from aurora_actors.client.database import Aurora
from aurora_actors.client.opening import open_member
from aurora_actors.config import AuroraConfig, HttpConfig
from aurora_actors.errors import AuroraError, ConfigError
from aurora_actors.http.app import application
from aurora_actors.http.gate import Gateway
from aurora_actors.http.heap import Heap
from aurora_actors.http.repeats import forget_old
from aurora_actors.http.serving import serve_connections
from aurora_actors.messages.supervision import ActorSpec, ShutDown

__all__ = ["main"]

logger = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_DRAIN_SHARE: Final = 0.5
_RETRY_S: Final = 0.2
_HOUSEKEEPING_S: Final = 3600.0
# Proxies commonly cut what is idle for a minute; peers that are gone, the kernel finds.
_PING_S: Final = 50.0
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_REVOKED_S: Final = 2.0


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run the gateway; the entry point the supervisor starts."""
    _raise_descriptor_limit()
    run_actor(spec, lifeline_fd, serve)


def _raise_descriptor_limit() -> None:
    """Each connection is a descriptor: take as many as the system grants."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def serve(context: ActorContext) -> None:
    """Listen, attach, and serve until told to stop."""
    settings = context.config.http or HttpConfig()
    gateway = Gateway(settings, context.config.request_timeout_s, context.tracer)
    listener = _listen(settings)
    port = listener.getsockname()[1]
    context.statistics = lambda: {
        "port": port,
        **gateway.counts,
        **gateway.times.statistics(),
    }
    shutdown = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve_http, gateway, listener, context.config, shutdown)
            context.ready()
            nursery.start_soon(_stay_attached, gateway, context.config)
            # The parser takes a moment to make: not out of the first text's time.
            nursery.start_soon(trio.to_thread.run_sync, prepare)
            await _obey(context)
            shutdown.set()
            gateway.end_streams()
            with trio.move_on_after(context.config.shutdown_grace_s * _DRAIN_SHARE):
                await gateway.wait_idle()
            nursery.cancel_scope.cancel()
    finally:
        listener.close()


async def _obey(context: ActorContext) -> None:
    while True:
        for mail in await context.channel.receive():
            if mail.sender == SUPERVISOR and any(
                isinstance(order, ShutDown) for order in orders(mail)
            ):
                return


async def _stay_attached(gateway: Gateway, config: AuroraConfig) -> None:
    while True:
        try:
            async with Aurora(config, compares=False, opener=open_member) as db:
                gateway.attach(db)
                try:
                    await _keep_house(gateway, db)
                finally:
                    gateway.attach(None)
        except AuroraError as exc:
            logger.warning("not attached", extra={"reason": exc.message})
        await trio.sleep(_RETRY_S)


async def _keep_house(gateway: Gateway, db: Aurora) -> None:
    next_at, heap = trio.current_time(), Heap()
    while True:
        if trio.current_time() >= next_at:
            next_at = trio.current_time() + _HOUSEKEEPING_S
            await forget_old(db)
        await gateway.end_revoked_streams()
        heap.adjust(gateway.counts["websockets_open"])
        await trio.sleep(_REVOKED_S)


async def _serve_http(
    gateway: Gateway,
    listener: socket.socket,
    config: AuroraConfig,
    shutdown: trio.Event,
) -> None:
    settings = gateway.settings
    http = Config()
    http.accesslog = None
    http.errorlog = logging.getLogger("hypercorn")
    http.include_server_header = False
    http.graceful_timeout = config.shutdown_grace_s * _DRAIN_SHARE
    http.ssl_handshake_timeout = settings.header_timeout_s
    http.websocket_max_message_size = settings.max_body_bytes
    http.websocket_ping_interval = _PING_S
    if settings.tls_certificate is not None:
        http.certfile, http.keyfile = settings.tls_certificate, settings.tls_key
    app: ASGIFramework = application(gateway)  # type: ignore[assignment]  # Starlette's own types
    await serve_connections(
        app,
        listener.dup(),
        http,
        header_timeout_s=settings.header_timeout_s,
        shutdown=shutdown.wait,
    )


def _listen(settings: HttpConfig) -> socket.socket:
    for path in (settings.tls_certificate, settings.tls_key):
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"there is no file {path}", key="http.tls_certificate")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for level, option, value in _KEEPALIVE:
                listener.setsockopt(level, option, value)  # accepted ones inherit it
            listener.setblocking(False)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as exc:
        raise ConfigError(
            f"the gateway cannot listen at {settings.host} port {settings.port}: "
            f"{exc.strerror}",
            key="http.port",
        ) from exc
    return listener
