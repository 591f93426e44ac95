"""The remote gateway: lets applications on other machines use the database.

It listens for TLS connections, looks at their tokens, and stands for each client in the
tree: see ``aurora_actors.remote``. Like the HTTP gateway it listens before it says that
it is ready, and attaches its clients after that.

Invariants:

* Nothing is read from a connection but one small frame before its token was found good,
  and that within ``_HELLO_S``; a token that was revoked ends its connections within a
  second, and none of its requests is passed on after that.
* A restart of this process loses its sessions: their clients connect anew, read and
  watch on, and are told which writes are uncertain.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Final

import msgspec
import trio

from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.client.launch import join_tree
from aurora_actors.client.lookup import Lookup
from aurora_actors.client.session import new_client_name
from aurora_actors.client.tokens import Grant, grant_of, name_in
from aurora_actors.client.transaction_state import TransactionSpace
from aurora_actors.config import RemoteConfig
from aurora_actors.errors import (
    AuroraError,
    ConfigError,
    InternalError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
)
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.messages.base import PROTOCOL_VERSION, Failure
from aurora_actors.messages.remote import (
    REMOTE_GATEWAY,
    Expelled,
    Hello,
    decode_from_client,
)
from aurora_actors.messages.supervision import ActorSpec, ShutDown
from aurora_actors.remote.backups import Backups, remove_leftovers
from aurora_actors.remote.desk import Desk
from aurora_actors.remote.routes import Routes
from aurora_actors.remote.sessions import Session
from aurora_actors.remote.streams import CLOSE_S, Connection, server_context
from aurora_actors.remote.tracing import SessionTrace
from aurora_actors.storage.reader import DataReader

__all__ = ["main"]

logger = logging.getLogger(__name__)

_BACKLOG: Final = 256
_HELLO_S: Final = 10.0
_LOOK_S: Final = 0.5
_PAUSE_S: Final = 0.05


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run the gateway; the entry point the supervisor starts."""
    run_actor(spec, lifeline_fd, serve)


async def serve(context: ActorContext) -> None:
    """Listen and serve until told to stop."""
    config = context.config
    settings = config.remote
    if settings is None:
        raise InternalError("the remote gateway has no configuration")
    remove_leftovers(config.path)
    size_gb, readers = config.max_size_gb, config.max_readers
    with (
        DataReader.open(config.path, max_size_gb=size_gb, max_readers=readers) as data,
        IndexReader.open(
            config.path, max_size_gb=size_gb, max_readers=readers
        ) as index,
    ):
        gateway = _Gateway(context, settings, data, index)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gateway.accept, nursery)
                nursery.start_soon(gateway.look_after)
                context.ready()
                await _obey(context)
                nursery.cancel_scope.cancel()
        finally:
            gateway.close()


async def _obey(context: ActorContext) -> None:
    while True:
        for mail in await context.channel.receive():
            if mail.sender == SUPERVISOR and any(
                isinstance(order, ShutDown) for order in orders(mail)
            ):
                return


class _Gateway:
    """The listener and all sessions."""

    def __init__(
        self,
        context: ActorContext,
        settings: RemoteConfig,
        data: DataReader,
        index: IndexReader,
    ) -> None:
        self._config = context.config
        self._tracer = context.tracer
        self._settings = settings
        self._tls = server_context(settings)
        self._listener = _listen(settings)
        self._data = data
        self._lookup = Lookup(data, index)
        self._routes = Routes(context.spec.runtime_dir)
        self._sessions: dict[str, Session] = {}
        self._counts = {"accepted": 0, "refused": 0, "resumed": 0, "open": 0}
        self._bytes = [0, 0]
        self._port: int = self._listener.getsockname()[1]
        context.statistics = self.statistics

    def statistics(self) -> dict[str, int | float]:
        """Counters, and the port."""
        return {
            "port": self._port,
            "sessions": len(self._sessions),
            "connections": self._counts["open"],
            "connections_accepted": self._counts["accepted"],
            "connections_refused": self._counts["refused"],
            "sessions_resumed": self._counts["resumed"],
            "bytes_in": self._bytes[0],
            "bytes_out": self._bytes[1],
        }

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()
        self._routes.close()

    # -------------------------------------------------------------- connections
    async def accept(self, nursery: trio.Nursery) -> None:
        """Take connections until cancelled."""
        while True:
            try:
                sock, _ = await self._listener.accept()
            except OSError as exc:
                # No descriptor is free, say; the next may be.
                logger.warning("accept failed", extra={"reason": str(exc)})
                await trio.sleep(_PAUSE_S)
                continue
            if self._counts["open"] > 2 * self._settings.max_clients:
                # Too many that have not even said who they are.
                self._counts["refused"] += 1
                sock.close()
                continue
            self._counts["accepted"] += 1
            nursery.start_soon(self._serve, trio.SocketStream(sock), nursery)

    async def _serve(self, stream: trio.SocketStream, nursery: trio.Nursery) -> None:
        _keep_alive(stream)
        connection = Connection(stream, self._tls)
        self._counts["open"] += 1
        try:
            session = await self._admit(connection, nursery)
            if session is not None:
                await self._converse(connection, session)
        except AuroraError as exc:
            self._counts["refused"] += 1
            failure = Failure.of(exc, REMOTE_GATEWAY)
            await connection.refuse(Expelled(failure=failure))
        except Exception:
            # One connection must not end the others'.
            logger.exception("a remote connection failed")
        finally:
            self._counts["open"] -= 1
            self._bytes[0] += connection.bytes_in
            self._bytes[1] += connection.bytes_out
            await connection.close()

    @staticmethod
    async def _converse(connection: Connection, session: Session) -> None:
        async with trio.open_nursery() as sending:
            sending.start_soon(connection.run)
            failure = await session.serve(connection)
            if session.ended:
                session.scope.cancel()
            # What is queued has a moment to go, the reason of the end behind it.
            sending.cancel_scope.deadline = trio.current_time() + CLOSE_S
            if failure is not None:
                await connection.send(Expelled(failure=failure))
            connection.end()

    async def _admit(
        self, connection: Connection, nursery: trio.Nursery
    ) -> Session | None:
        frame: bytes | None = None
        with trio.move_on_after(_HELLO_S):
            try:
                await connection.open()
                frame = await connection.receive()
            except trio.BrokenResourceError:
                self._counts["refused"] += 1
        if frame is None:
            return None
        hello = _hello(frame)
        if self._counts["open"] > self._settings.max_clients:
            raise OverloadedError("too many remote clients are connected; try later")
        if self._grant(hello.token) is None:
            raise PermissionDeniedError("the token is wrong, revoked or over")
        connection.trust()
        session = self._sessions.get(hello.session)
        resumed = session is not None and session.knows(hello.secret)
        if session is None or not resumed:
            session = await self._begin(hello.token, nursery)
        self._counts["resumed"] += resumed
        await connection.send(session.welcome(resumed=resumed))
        return session

    async def _begin(self, token: str, nursery: trio.Nursery) -> Session:
        name = new_client_name()
        timeout_s = self._config.request_timeout_s
        # A thread cannot be cancelled, and what it opened must not be lost.
        with trio.CancelScope(shield=True):
            joined = await trio.to_thread.run_sync(
                join_tree, self._config.db_path, name, timeout_s
            )
        space = TransactionSpace(self._data, self._config)
        desk = Desk(self._data, self._lookup, space, Backups(self._config.path))
        try:
            trace = None
            if self._tracer is not None:
                trace = SessionTrace(self._tracer, name)
            session = Session(
                name, joined, self._routes, desk, lambda: self._grant(token), trace
            )
        except BaseException:
            joined.close()
            raise
        self._sessions[name] = session
        nursery.start_soon(self._keep, session)
        return session

    async def _keep(self, session: Session) -> None:
        try:
            await session.run()
        finally:
            del self._sessions[session.name]

    # -------------------------------------------------------------- who may stay
    def _grant(self, token: str) -> Grant | None:
        name = name_in(token)
        return grant_of(token, None if name is None else self._lookup.token(name))

    async def look_after(self) -> None:
        """End sessions that were not resumed, and those whose token is over."""
        while True:
            await trio.sleep(_LOOK_S)
            now = time.monotonic()
            for session in list(self._sessions.values()):
                if session.lost_at is None:
                    if session.grant() is None:
                        session.expel()
                elif now - session.lost_at > self._settings.resume_s:
                    session.scope.cancel()


def _hello(frame: bytes) -> Hello:
    try:
        hello = decode_from_client(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"not understood: {exc}") from exc
    if not isinstance(hello, Hello):
        raise ProtocolError("a connection begins with Hello")
    if hello.version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the client speaks protocol version {hello.version}, the database "
            f"{PROTOCOL_VERSION}"
        )
    return hello


def _keep_alive(stream: trio.SocketStream) -> None:
    """Notice within half a minute that the other machine is gone."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    ):
        stream.setsockopt(level, option, value)


def _listen(settings: RemoteConfig) -> trio.socket.SocketType:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as exc:
        raise ConfigError(
            f"the remote gateway cannot listen at {settings.host} port "
            f"{settings.port}: {exc.strerror}",
            key="remote.port",
        ) from exc
    return trio.socket.from_stdlib_socket(listener)
