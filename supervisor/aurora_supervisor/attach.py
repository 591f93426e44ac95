"""The attach server: the applications' side of the supervisor.

Applications connect to ``attach.sock`` in the runtime directory and say ``Attach``.
One with a client name is a user of the database: it is answered when the tree has
started, it is told of every restart, and the end of its connection, however it comes
about, is announced to the actors as ``ClientGone``. One without a name only watches or
commands the tree. In an embedded tree the last user's leaving stops the tree; its
connection then ends with the supervisor itself, so that whoever waits for the end
knows that nothing is left.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, assert_never

import msgspec
import trio

from aurora_actors.config import AuroraConfig, differences
from aurora_actors.errors import (
    AuroraError,
    ConfigError,
    ProtocolError,
    TreeDownError,
    UsageError,
)
from aurora_actors.messages.base import (
    MAILBOX_NAME,
    PROTOCOL_VERSION,
    Failure,
    Message,
)
from aurora_actors.messages.supervision import (
    ActorGroup,
    ApplicationRequest,
    Attach,
    Attached,
    Detach,
    Done,
    ReadStatus,
    RestartActor,
    ScaleGroup,
    StopTree,
    TreeStatus,
)
from aurora_supervisor.peer import Peer

__all__ = ["AttachServer", "TreeControl"]

logger = logging.getLogger(__name__)

_BACKLOG: Final = 128
_FIRST_REQUEST_S: Final = 10.0
_ACCEPT_PAUSE_S: Final = 0.05
_QUEUED_REQUESTS: Final = 64
_SUPERVISOR: Final = "supervisor"
_MOST_OF_A_GROUP: Final = 999

_decoder = msgspec.msgpack.Decoder(ApplicationRequest)


class TreeControl(Protocol):
    """What the attach server needs of the tree."""

    config: AuroraConfig

    async def wait_started(self) -> Failure | None:
        """Wait until all actors are ready; a failure when that will not happen."""

    def attached(self) -> Attached:
        """The answer to an application that attaches now."""

    def status(self, clients: int) -> TreeStatus:
        """The state of the tree."""

    async def restart(self, name: str) -> Failure | None:
        """Restart one actor and wait until it is ready again."""

    def scale(self, name: str, count: int, group: ActorGroup | None) -> None:
        """Have so many actors of a group from now on."""

    def stop(self) -> None:
        """Begin to stop the tree in order."""

    def is_actor(self, name: str) -> bool:
        """Whether an actor of the tree has this mailbox name."""

    def client_gone(self, name: str) -> None:
        """Clear up after an application that has left."""

    def clients_changed(self) -> None:
        """Somebody has left; see :meth:`AttachServer.is_wanted`."""


class _Connection:
    """One application: its stream, and its name once it has attached.

    ``wants_tree`` is true until it is known that it only watches, is a process of the
    tree itself, or has left.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.peer = Peer(sock)
        self.client: str | None = None
        self.is_attached = False
        self.is_member = False
        self.wants_tree = True


class AttachServer:
    """Listens at ``path`` and serves every application that connects."""

    def __init__(self, path: str, control: TreeControl) -> None:
        self._path = path
        self._control = control
        self._connections: set[_Connection] = set()
        self._names: set[str] = set()
        self._listener = _listen(path)
        self._is_open = True

    @property
    def clients(self) -> int:
        """The number of applications that use the database."""
        return sum(
            connection.client is not None and not connection.is_member
            for connection in self._connections
        )

    def is_wanted(self) -> bool:
        """Whether somebody uses the tree, or has connected and may be about to."""
        self._accept_waiting()
        return any(connection.wants_tree for connection in self._connections)

    def broadcast(self, message: Message) -> None:
        """Tell all attached applications."""
        for connection in self._connections:
            if connection.is_attached:
                connection.peer.post(message)

    def stop_listening(self) -> None:
        """Take no more connections, and leave nothing to connect to; idempotent."""
        if self._is_open:
            self._is_open = False
            Path(self._path).unlink(missing_ok=True)
            trio.lowlevel.notify_closing(self._listener)
            self._listener.close()

    async def close(self) -> None:
        """Deliver what is unsent and end all connections."""
        self.stop_listening()
        for connection in list(self._connections):
            await connection.peer.flush()
            connection.peer.close()

    async def run(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept and serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while self._is_open:
                with suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_readable(self._listener)
                if not self._accept_waiting():
                    # No descriptor is free, say; the next may be.
                    await trio.sleep(_ACCEPT_PAUSE_S)
            await trio.sleep_forever()

    def _accept_waiting(self) -> bool:
        while self._is_open:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                logger.warning("accept failed", extra={"reason": str(exc)})
                return False
            connection = _Connection(sock)
            self._connections.add(connection)
            self._nursery.start_soon(self._serve, connection)
        return True

    # -------------------------------------------------------------- one connection
    async def _serve(self, connection: _Connection) -> None:
        send, receive = trio.open_memory_channel[ApplicationRequest](_QUEUED_REQUESTS)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_run_then_cancel, connection.peer, nursery)
                nursery.start_soon(self._read, connection, send, nursery)
                async with receive:
                    await self._converse(connection, receive)
                nursery.cancel_scope.cancel()
        finally:
            self._leave(connection)
            self._connections.discard(connection)
            connection.peer.close()

    async def _read(
        self,
        connection: _Connection,
        send: trio.MemorySendChannel[ApplicationRequest],
        nursery: trio.Nursery,
    ) -> None:
        # Reads on while a request is being worked on, so that an end is seen at once.
        try:
            while (body := await connection.peer.receive()) is not None:
                await send.send(_decoder.decode(body))
        except (ProtocolError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            error = ProtocolError(f"the supervisor does not understand: {exc}")
            connection.peer.post(Failure.of(error, _SUPERVISOR))
            await connection.peer.flush()
        nursery.cancel_scope.cancel()

    async def _converse(
        self,
        connection: _Connection,
        requests: trio.MemoryReceiveChannel[ApplicationRequest],
    ) -> None:
        first = trio.CancelScope(deadline=trio.current_time() + _FIRST_REQUEST_S)
        while True:
            request: ApplicationRequest | None = None
            with first:
                request = await requests.receive()
            if request is None:
                return
            first = trio.CancelScope()
            try:
                reply = await self._answer(connection, request)
            except AuroraError as exc:
                reply = Failure.of(exc, _SUPERVISOR)
            if reply is not None:
                connection.peer.post(reply)
            if not connection.is_attached:
                await connection.peer.flush()
                return

    async def _answer(
        self, connection: _Connection, request: ApplicationRequest
    ) -> Message | None:
        if connection.is_attached == isinstance(request, Attach):
            raise ProtocolError("a connection begins with Attach, and has it once")
        match request:
            case Attach():
                connection.peer.post(await self._attach(connection, request))
                if not connection.wants_tree:
                    # The last user may have left while this could have been another.
                    self._control.clients_changed()
                return None
            case ReadStatus():
                return self._control.status(self.clients)
            case RestartActor(name=name):
                return await self._control.restart(name) or Done()
            case ScaleGroup(name=name, count=count, group=group):
                return self._scale(name, count, group)
            case StopTree():
                connection.peer.post(Done())
                self._control.stop()
                return None
            case Detach():
                await self._detach(connection)
                return None
            case _:
                assert_never(request)

    def _scale(self, name: str, count: int, group: ActorGroup | None) -> Message:
        if not MAILBOX_NAME.match(f"{name}-{_MOST_OF_A_GROUP}"):
            raise UsageError(f"{name[:60]!r} is no name of a group of actors")
        if not 0 <= count <= _MOST_OF_A_GROUP:
            raise UsageError(f"a group has up to {_MOST_OF_A_GROUP} actors")
        self._control.scale(name, count, group)
        return Done()

    async def _attach(self, connection: _Connection, request: Attach) -> Message:
        if request.version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the application speaks protocol version {request.version}, "
                f"the running tree {PROTOCOL_VERSION}"
            )
        if request.settings is not None:
            self._compare(request.settings)
        if request.client is not None:
            failure = await self._control.wait_started()
            if failure is not None:
                return failure
            if not self._is_open:
                raise TreeDownError("the tree is stopping; open the database again")
            self._enter(connection, request.client)
            logger.info(
                "application attached",
                extra={"client": request.client, "pid": request.pid},
            )
        connection.is_attached = True
        connection.is_member = request.member
        connection.wants_tree = request.client is not None and not request.member
        return self._control.attached()

    def _compare(self, settings: bytes) -> None:
        try:
            wanted = msgspec.msgpack.decode(settings, type=AuroraConfig)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ProtocolError(f"the settings are not understood: {exc}") from exc
        found = differences(wanted, self._control.config)
        if found:
            raise ConfigError(
                "the tree that runs this database has other settings: "
                + "; ".join(found),
                differences=found,
            )

    def _enter(self, connection: _Connection, client: str) -> None:
        if not MAILBOX_NAME.match(client):
            raise UsageError(f"{client[:60]!r} is not a mailbox name")
        if client in self._names or self._control.is_actor(client):
            raise UsageError(f"the mailbox name {client!r} is taken")
        self._names.add(client)
        connection.client = client

    async def _detach(self, connection: _Connection) -> None:
        self._leave(connection)
        if self._is_open or connection.is_member:
            connection.is_attached = False
            return
        # It was the last one: the end of the connection says that all is over.
        await trio.sleep_forever()

    def _leave(self, connection: _Connection) -> None:
        client, connection.client = connection.client, None
        wanted, connection.wants_tree = connection.wants_tree, False
        if client is not None:
            self._names.discard(client)
            logger.info("application gone", extra={"client": client})
            self._control.client_gone(client)
        if wanted:
            self._control.clients_changed()


async def _run_then_cancel(peer: Peer, nursery: trio.Nursery) -> None:
    await peer.run()
    nursery.cancel_scope.cancel()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        listener.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101 - a socket's path, as given to bind
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
