"""The sessions of remote clients: each is, to the tree, an application like any other.

A session has a mailbox of its own and an attachment to the supervisor, so that actors
answer it, are told when it is gone, and tell it when they were restarted, without knowing
that it is not on this machine. Letters are looked at (see ``rights``), not changed.

A session outlives its connection by ``resume_s``. What arrives meanwhile is dropped: the
client asks again for all it has not had an answer to, under the same numbers, so that
what has taken effect does not do so twice.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from aurora_actors.client.connection import SupervisorStream
from aurora_actors.client.launch import TreeConnection
from aurora_actors.client.tokens import Grant
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError, PermissionDeniedError, ProtocolError
from aurora_actors.messages.base import (
    Failure,
    Letter,
    Mail,
    Message,
    decode_envelope,
    encode_envelope,
)
from aurora_actors.messages.remote import (
    REMOTE_GATEWAY,
    Deliver,
    Leave,
    Post,
    Welcome,
    decode_from_client,
)
from aurora_actors.messages.supervision import (
    Attached,
    Done,
    ReadStatus,
    ScaleGroup,
    TreeStatus,
    TreeStopping,
)
from aurora_actors.remote.desk import Desk
from aurora_actors.remote.rights import check_letter, check_tree
from aurora_actors.remote.routes import Routes
from aurora_actors.remote.streams import Connection
from aurora_actors.remote.tracing import SessionTrace
from aurora_actors.transport.sockets import Inbox, mailbox_path

__all__ = ["Session"]

logger = logging.getLogger(__name__)

_MAILS_A_TURN: Final = 64
_MOST_ASKED: Final = 64
_SECRET_BYTES: Final = 24


class Session:
    """One remote client.

    Args:
        name: Its mailbox name.
        joined: Its attachment to the supervisor.
        routes: The ways to the actors.
        desk: Answers what is asked of the gateway itself.
        grant: Gives what its token allows now; ``None`` when that is over.
        trace: Is told its requests, if they are traced.

    Attributes:
        lost_at: Since when it has no connection; ``None`` while it has one.
        ended: It has left, or the tree has.
        scope: Cancelling it ends the session.
    """

    def __init__(
        self,
        name: str,
        joined: TreeConnection,
        routes: Routes,
        desk: Desk,
        grant: Callable[[], Grant | None],
        trace: SessionTrace | None = None,
    ) -> None:
        self.name = name
        self.grant = grant
        self.lost_at: float | None = time.monotonic()
        self.ended = False
        self.scope = trio.CancelScope()
        self._secret = secrets.token_urlsafe(_SECRET_BYTES)
        self._supervisor = SupervisorStream(joined)
        self._attached = joined.attached
        self._routes = routes
        self._desk = desk
        self._trace = trace
        self._asked: deque[Failure | None] = deque()
        self._turns = trio.Semaphore(_MOST_ASKED)
        self._connection: Connection | None = None
        self._inbox = Inbox(mailbox_path(joined.attached.runtime_dir, name))

    def knows(self, secret: str) -> bool:
        """Whether ``secret`` is the one this session is resumed with."""
        return hmac.compare_digest(secret.encode(), self._secret.encode())

    def welcome(self, *, resumed: bool) -> Welcome:
        """What its client is told."""
        attached = self._attached
        return Welcome(
            session=self.name,
            secret=self._secret,
            resumed=resumed,
            attached=Attached(
                tree_id=attached.tree_id,
                supervisor_pid=attached.supervisor_pid,
                runtime_dir="",
                config=_without_secrets(attached.config),
                incarnations=attached.incarnations,
                number=attached.number,
            ),
        )

    def expel(self) -> None:
        """The token is over: end the connection, and the session with it."""
        if self._connection is not None:
            self._connection.expelled = Failure.of(_revoked(), REMOTE_GATEWAY)
            self._connection.reading.cancel()
        self.scope.cancel()

    # -------------------------------------------------------------- one connection
    async def serve(self, connection: Connection) -> Failure | None:
        """Do what ``connection`` asks until it ends; returns why it is expelled."""
        old, self._connection = self._connection, connection
        self.lost_at = None
        if old is not None:
            old.reading.cancel()
        failure: Failure | None = None
        try:
            async with trio.open_nursery() as asked:
                try:
                    with connection.reading:
                        await self._read(connection, asked)
                except AuroraError as exc:
                    failure = Failure.of(exc, REMOTE_GATEWAY)
                asked.cancel_scope.cancel()
        finally:
            if self._connection is connection:
                self._connection = None
                self.lost_at = time.monotonic()
        return failure or connection.expelled

    async def _read(self, connection: Connection, asked: trio.Nursery) -> None:
        while (frame := await connection.receive()) is not None:
            match _decoded(frame):
                case Post(to=to, data=data):
                    await self._post(to, data, asked)
                case ReadStatus() | ScaleGroup() as request:
                    await self._ask_tree(request)
                case Leave():
                    self.ended = True
                    return
                case other:
                    raise ProtocolError(f"{type(other).__name__} comes once, first")

    async def _post(self, to: str, data: bytes, asked: trio.Nursery) -> None:
        mail = decode_envelope(data)
        if mail.sender != self.name:
            raise ProtocolError(f"{mail.sender!r} is not the name of this client")
        grant = self.grant()
        if grant is None:
            raise _revoked()
        allowed, refused = _sorted(grant, to, mail)
        if self._trace is not None:
            self._trace.began(to, allowed)
        if refused:
            await self._deliver(refused)
            data = encode_envelope(self.name, mail.floor, allowed)
        if to == REMOTE_GATEWAY:
            for letter in allowed:
                await self._turns.acquire()
                asked.start_soon(self._ask_desk, grant, letter)
        elif allowed:
            await self._routes.send(to, data)

    async def _ask_tree(self, request: ReadStatus | ScaleGroup) -> None:
        """Ask the supervisor, which answers in order; so a refusal has its turn."""
        try:
            grant = self.grant()
            if grant is None:
                raise _revoked()
            check_tree(grant, request)
        except AuroraError as exc:
            self._asked.append(Failure.of(exc, REMOTE_GATEWAY))
            await self._refuse_due()
        else:
            self._asked.append(None)
            self._supervisor.send(request)

    async def _refuse_due(self) -> None:
        while self._asked and (failure := self._asked[0]) is not None:
            self._asked.popleft()
            await self._tell(failure)

    async def _ask_desk(self, grant: Grant, letter: Letter) -> None:
        number, request = letter
        try:
            reply = await self._desk.answer(grant, number, request)
        except AuroraError as exc:
            reply = Failure.of(exc, REMOTE_GATEWAY)
        except Exception as exc:
            logger.exception("a remote request failed", extra={"client": self.name})
            reply = Failure.of(exc, REMOTE_GATEWAY)
        finally:
            self._turns.release()
        if self._trace is not None:
            self._trace.answered(number, reply)
        await self._deliver([Letter(number, reply)])

    async def _deliver(self, letters: list[Letter]) -> None:
        await self._tell(Deliver(data=encode_envelope(REMOTE_GATEWAY, 0, letters)))

    async def _tell(self, message: Message) -> None:
        connection = self._connection
        if connection is not None:
            await connection.send(message)

    # -------------------------------------------------------------- the tree's side
    async def run(self) -> None:
        """Pass on what comes to the mailbox and from the supervisor."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_supervisor)
                    await self._read_inbox()
        finally:
            self._close()

    def _close(self) -> None:
        self.ended = True
        self._desk.close()
        for fd in (self._inbox.fd, self._supervisor.fd):
            trio.lowlevel.notify_closing(fd)
        # The end of the attachment is the end of the client, for every actor.
        self._supervisor.close()
        self._inbox.close()

    async def _read_inbox(self) -> None:
        receive = self._inbox.receive_nowait
        while True:
            await trio.lowlevel.wait_readable(self._inbox.fd)
            for _ in range(_MAILS_A_TURN):
                data = receive()
                if data is None:
                    break
                if self._trace is not None:
                    self._trace.ended(data)
                await self._tell(Deliver(data=data))

    async def _read_supervisor(self) -> None:
        while not self._supervisor.ended:
            await trio.lowlevel.wait_readable(self._supervisor.fd)
            self._supervisor.flush()
            for notice in self._supervisor.receive():
                # To a remote client the end of a tree is a connection that was lost.
                if not isinstance(notice, TreeStopping | Attached):
                    await self._tell(notice)
                if isinstance(notice, TreeStatus | Done | Failure) and self._asked:
                    self._asked.popleft()
                    await self._refuse_due()
        self.scope.cancel()


def _sorted(grant: Grant, to: str, mail: Mail) -> tuple[list[Letter], list[Letter]]:
    """The letters that may pass, and the answers to the others."""
    allowed: list[Letter] = []
    refused: list[Letter] = []
    for letter in mail.letters:
        try:
            message = check_letter(grant, to, letter.body)
        except AuroraError as exc:
            failure = Failure.of(exc, REMOTE_GATEWAY)
            refused.append(Letter(letter.request_id, failure))
        else:
            allowed.append(Letter(letter.request_id, message))
    return allowed, refused


def _revoked() -> AuroraError:
    return PermissionDeniedError("the token was revoked, or is over")


def _decoded(frame: bytes) -> Message:
    try:
        return decode_from_client(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(f"not understood: {exc}") from exc


def _without_secrets(config: bytes) -> bytes:
    """The settings as a remote client may see them: without the paths of keys."""
    plain = msgspec.msgpack.decode(config, type=AuroraConfig)
    shown = msgspec.structs.replace(plain, http=None, remote=None)
    return msgspec.msgpack.encode(shown)
