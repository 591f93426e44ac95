"""The connection of a remote client, in the place of a local client's sockets.

A :class:`RemoteLink` offers the shells what :class:`~aurora_actors.client.link.Link` does,
over one TLS stream to the remote gateway. When the stream is lost, a thread dials again
until somebody is there; meanwhile requests wait, as long as their deadlines allow.

Invariants:

* A session that is resumed has forgotten nothing: all that is pending is sent again
  under its numbers, so that writes take effect once; queries run again unless a part of
  their result was handed out; watches go on behind the last event.
* When the session could not be resumed, a pending write is not sent again, because it
  might take effect twice: it fails with an error that says it is uncertain.
* A token that is refused ends everything, with that error for all that is asked.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections import deque
from typing import Final

from aurora_actors.client.link import EXECUTOR
from aurora_actors.client.protocol import SUPERVISOR, ClientProtocol
from aurora_actors.client.remote_stream import Dialer, RemoteStream, is_final
from aurora_actors.client.requests import Call, ResultStream
from aurora_actors.errors import (
    AuroraError,
    PermissionDeniedError,
    ProtocolError,
    UsageError,
)
from aurora_actors.messages.base import Failure
from aurora_actors.messages.remote import (
    Deliver,
    Expelled,
    FromGateway,
    Leave,
    Post,
    Welcome,
)
from aurora_actors.messages.supervision import (
    ActorReady,
    Done,
    ReadStatus,
    ScaleGroup,
    TreeStatus,
)

__all__ = ["RemoteLink"]

_LONGEST_WAIT_S: Final = 86_400.0
_DIAL_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0

_live: weakref.WeakSet[RemoteLink] = weakref.WeakSet()


class RemoteLink:
    """One remote client's connection, and the protocol that is spoken over it.

    Attributes:
        core: The protocol's state.
        fd: Readable when :meth:`pump` has something to do.
        executors: The mailboxes of the database's query executors.
        reconnections: How often the connection was lost and came back.
    """

    def __init__(self, dialer: Dialer, stream: RemoteStream, welcome: Welcome) -> None:
        incarnations = welcome.attached.incarnations
        self.core = ClientProtocol(welcome.session, incarnations)
        self.executors = sorted(n for n in incarnations if n.startswith(EXECUTOR))
        first = welcome.attached.number % max(1, len(self.executors))
        self._by_preference = self.executors[first:] + self.executors[:first]
        self.reconnections = 0
        self._dialer = dialer
        self._stream: RemoteStream | None = None
        self._session, self._secret = welcome.session, welcome.secret
        self._asked: deque[tuple[Call, ReadStatus | ScaleGroup]] = deque()
        self._dropped: deque[ResultStream] = deque()
        self._arrived: deque[tuple[RemoteStream, Welcome] | AuroraError] = deque()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        self._is_open = True
        _live.add(self)
        self._take_over(stream)

    def pick_executor(self) -> str:
        """The query executor with the least under way for this client."""
        in_flight = self.core.in_flight
        return min(self._by_preference, key=lambda name: in_flight.get(name, 0))

    # -------------------------------------------------------------- out
    def drop(self, stream: ResultStream) -> None:
        """Abandon a stream with the next :meth:`flush`; safe in a finaliser."""
        self._dropped.append(stream)

    def flush(self) -> None:
        """Send everything that is queued; without a connection it stays queued."""
        while self._dropped:
            self.core.abandon(self._dropped.popleft())
        stream = self._stream
        if stream is None:
            return
        for destination, data in self.core.outgoing():
            stream.post(Post(to=destination, data=data))
        self._watch(stream)

    def _watch(self, stream: RemoteStream) -> None:
        if stream.ended:
            self._lost(stream)
            return
        events = select.EPOLLIN
        if stream.wants_to_send:
            events |= select.EPOLLOUT
        self._epoll.modify(stream.fd, events)

    def ask_tree(self, request: ReadStatus | ScaleGroup, deadline: float) -> Call:
        """Ask the supervisor; it answers in order."""
        call = self.core.track(SUPERVISOR, request, deadline)
        if isinstance(request, ScaleGroup) and request.group is not None:
            text = "worker pools are started on the database's own machine"
            self.core.fail(call, PermissionDeniedError(text))
            return call
        self._asked.append((call, request))
        if self._stream is not None:
            self._stream.post(request)
            self._watch(self._stream)
        return call

    # -------------------------------------------------------------- in
    def wait(self, seconds: float) -> None:
        """Block the thread until there is something to do, or for ``seconds``."""
        self._epoll.poll(min(seconds, _LONGEST_WAIT_S), 1)

    def ring(self) -> None:
        """Get a thread out of :meth:`wait`."""
        os.eventfd_write(self._bell, 1)

    def pump(self) -> None:
        """Take everything that has arrived and send what that gives rise to."""
        if not self._is_open:
            return
        for fd, _events in self._epoll.poll(0):
            if fd == self._bell:
                os.eventfd_read(fd)
                self._take_arrived()
            elif self._stream is not None and fd == self._stream.fd:
                self._read(self._stream)
        if self.core.has_mail:
            self.flush()

    def _read(self, stream: RemoteStream) -> None:
        stream.flush()
        try:
            for message in stream.receive():
                self._on_message(message)
        except ProtocolError as exc:
            self._end(exc)
            return
        if self._stream is stream:
            self._watch(stream)

    def _on_message(self, message: FromGateway) -> None:
        match message:
            case Deliver(data=data):
                self.core.on_mail(data)
            case ActorReady(name=name, incarnation=incarnation):
                self.core.on_actor_ready(name, incarnation)
            case TreeStatus() | Done():
                if self._asked:
                    self.core.complete(self._asked.popleft()[0], message)
            case Failure():
                if self._asked:
                    self.core.fail(self._asked.popleft()[0], message.error())
            case Expelled(failure=failure):
                self._end(failure.error())
            case _:
                pass  # said once, before there was a link

    def _end(self, error: AuroraError) -> None:
        stream, self._stream = self._stream, None
        self._closing.set()
        if stream is not None:
            self._epoll.unregister(stream.fd)
            stream.close()
        self.core.fail_all(error)

    # -------------------------------------------------------------- coming back
    def _take_over(self, stream: RemoteStream) -> None:
        self._stream = stream
        self._epoll.register(stream.fd, select.EPOLLIN)
        # Something may have come together with the welcome.
        self._read(stream)

    def _lost(self, stream: RemoteStream) -> None:
        self._epoll.unregister(stream.fd)
        stream.close()
        self._stream = None
        threading.Thread(
            target=self._dial_again, name="aurora reconnect", daemon=True
        ).start()

    def _dial_again(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                found: tuple[RemoteStream, Welcome] | AuroraError = self._dialer.dial(
                    _DIAL_S, self._session, self._secret
                )
            except AuroraError as exc:
                if not is_final(exc):
                    self._closing.wait(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                found = exc
            with self._lock:
                if self._closing.is_set():
                    _drop(found)
                else:
                    self._arrived.append(found)
                    os.eventfd_write(self._bell, 1)
            return

    def _take_arrived(self) -> None:
        while self._arrived:
            found = self._arrived.popleft()
            if isinstance(found, AuroraError):
                self._end(found)
                continue
            stream, welcome = found
            self.reconnections += 1
            self._session, self._secret = welcome.session, welcome.secret
            if not welcome.resumed:
                self.core.rename(welcome.session, welcome.attached.incarnations)
            self.core.resume()
            self._take_over(stream)
            for _, request in self._asked:
                stream.post(request)

    # -------------------------------------------------------------- end
    def refuse(self) -> None:
        """What is pending fails, and nothing can be asked any more."""
        self.core.fail_all(UsageError("this database is closed"))

    def shut(self) -> None:
        """Take part no more; nobody may be waiting for ``fd``."""
        self.refuse()
        self._closing.set()
        if self._is_open:
            self._is_open = False
            self._epoll.close()

    def leave(self, within_s: float) -> None:
        """After :meth:`shut`: say that we are done, and close everything."""
        if self not in _live:
            return
        _live.discard(self)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.leave(Leave(), within_s)
        with self._lock:
            # From here on nobody rings any more.
            while self._arrived:
                _drop(self._arrived.popleft())
            os.close(self._bell)

    def _disarm(self) -> None:
        # In a forked child: two processes cannot speak over one TLS stream.
        if self._is_open:
            self._is_open = False
            self._epoll.close()
        if self._stream is not None:
            self._stream.close()
        self.core = ClientProtocol(self.core.name)
        self.core.fail_all(
            UsageError("this database was opened before a fork; open it in the child")
        )


def _drop(found: tuple[RemoteStream, Welcome] | AuroraError) -> None:
    if not isinstance(found, AuroraError):
        found[0].close()


def _after_fork_in_child() -> None:
    for link in list(_live):
        link._disarm()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_after_fork_in_child)
