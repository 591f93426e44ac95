"""All sockets of one attached client, behind one descriptor.

A :class:`Link` joins the protocol's state to the client's mailbox, to an outlet for
each actor, and to the supervisor's stream. They are gathered in one epoll instance,
whose own descriptor a shell waits for, whatever its kind; then :meth:`Link.pump` takes
whatever there is without ever blocking.

A forked child gets copies of the descriptors. They are closed there at once, because a
copy of the supervisor's stream would hide the end of this process, and every later use
is a :class:`~aurora_actors.errors.UsageError`.
"""

from __future__ import annotations

import os
import select
import weakref
from collections import deque
from typing import Final

from aurora_actors.client.connection import SupervisorStream
from aurora_actors.client.protocol import SUPERVISOR, ClientProtocol
from aurora_actors.client.requests import Call, ResultStream
from aurora_actors.errors import AuroraError, ProtocolError, TreeDownError, UsageError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.supervision import (
    ActorReady,
    ApplicationNotice,
    Attached,
    Done,
    ReadStatus,
    ScaleGroup,
    TreeStatus,
    TreeStopping,
)
from aurora_actors.telemetry import RequestTrace
from aurora_actors.transport.sockets import Inbox, Outlet, mailbox_path
from aurora_actors.transport.streams import StreamInbox, outlet_to, stream_path

__all__ = ["EXECUTOR", "Link"]

EXECUTOR: Final = "query_executor-"
_MAILS_A_TURN: Final = 64
_LARGE_BYTES: Final = 1 << 16
_LONGEST_WAIT_S: Final = 86_400.0

_live: weakref.WeakSet[Link] = weakref.WeakSet()


class _Route:
    """The way to one actor, with what it could not take yet.

    If the actor has a stream socket there are two: nng takes large envelopes in while the
    actor is busy, and all others go through the stream. What is sent by one way could
    overtake what was sent by the other, so the way changes only when all of that was
    answered.
    """

    def __init__(self, runtime_dir: str, name: str) -> None:
        self.name = name
        self.outlet = self._way = outlet_to(runtime_dir, name)
        self.backlog: deque[bytes] = deque()
        self.watched: tuple[int, int] | None = None
        self._mailbox = mailbox_path(runtime_dir, name)
        self._way_for_large: Outlet | None = None
        self._is_large = False
        self._sent = 0

    def push(self, data: bytes, core: ClientProtocol) -> None:
        if (
            self._is_large is not (len(data) > _LARGE_BYTES)
            and not self.backlog
            and core.is_answered(self.name, self._sent)
        ):
            self._change()
        self._sent = core.last_number
        if self.backlog or not self.outlet.send_nowait(data):
            self.backlog.append(data)

    def _change(self) -> None:
        self._is_large = not self._is_large
        if isinstance(self._way, Outlet):
            return  # there is no other
        if self._way_for_large is None:
            self._way_for_large = Outlet(self._mailbox)
        self.outlet = self._way_for_large if self._is_large else self._way

    def close(self) -> None:
        self._way.close()
        if self._way_for_large is not None:
            self._way_for_large.close()

    def drain(self) -> None:
        while self.backlog and self.outlet.send_nowait(self.backlog[0]):
            self.backlog.popleft()


class Link:
    """The sockets of one client and the protocol that speaks over them.

    Attributes:
        core: The protocol's state.
        fd: Readable when :meth:`pump` has something to do.
        executors: The mailboxes of the tree's query executors.
    """

    def __init__(
        self,
        connection: SupervisorStream,
        name: str,
        trace: RequestTrace | None = None,
    ) -> None:
        attached = connection.attached
        self.core = ClientProtocol(name, attached.incarnations)
        self.core.trace = trace
        self.executors = sorted(
            actor for actor in attached.incarnations if actor.startswith(EXECUTOR)
        )
        # Those who ask one query at a time would otherwise all ask the same executor.
        first = attached.number % max(1, len(self.executors))
        self._by_preference = self.executors[first:] + self.executors[:first]
        self._connection = connection
        self._runtime_dir = attached.runtime_dir
        self._inbox = Inbox(mailbox_path(attached.runtime_dir, name))
        self._routes: dict[str, _Route] = {}
        self._asked: deque[Call] = deque()
        self._dropped: deque[ResultStream] = deque()
        self._watched: dict[int, _Route] = {}
        self._stopping: Failure | None = None
        self._epoll = select.epoll()
        self._epoll.register(self._inbox.fd, select.EPOLLIN)
        self._stream = StreamInbox(stream_path(attached.runtime_dir, name), self._epoll)
        self._epoll.register(connection.fd, select.EPOLLIN)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        self._is_open = True
        _live.add(self)
        self._take_notices()

    def pick_executor(self) -> str:
        """The query executor with the least under way for this client."""
        in_flight = self.core.in_flight
        return min(self._by_preference, key=lambda name: in_flight.get(name, 0))

    # -------------------------------------------------------------- out
    def drop(self, stream: ResultStream) -> None:
        """Abandon a stream with the next :meth:`flush`; safe in a finaliser."""
        self._dropped.append(stream)

    def flush(self) -> None:
        """Send everything that is queued, or keep it until it can be sent."""
        while self._dropped:
            self.core.abandon(self._dropped.popleft())
        if not self.core.has_mail:
            return
        for destination, data in self.core.outgoing():
            route = self._routes.get(destination)
            if route is None:
                route = _Route(self._runtime_dir, destination)
                self._routes[destination] = route
            route.push(data, self.core)
            self._watch(route)

    def _watch(self, route: _Route) -> None:
        """Wait for room on a way that has a backlog, and on no other."""
        outlet, watched = route.outlet, route.watched
        wanted = (outlet.send_fd, outlet.lines) if route.backlog else None
        if wanted == watched:
            return
        if watched is not None:
            del self._watched[watched[0]]
            if watched[1] == outlet.lines:  # else it is closed, and forgotten with that
                self._epoll.unregister(watched[0])
        if wanted is not None:
            self._epoll.register(wanted[0], select.EPOLLIN)
            self._watched[wanted[0]] = route
        route.watched = wanted

    def ask_tree(self, request: ReadStatus | ScaleGroup, deadline: float) -> Call:
        """Ask the supervisor; it answers in order."""
        call = self.core.track(SUPERVISOR, request, deadline)
        self._asked.append(call)
        self._connection.send(request)
        self._watch_connection()
        return call

    def _watch_connection(self) -> None:
        events = select.EPOLLIN
        if self._connection.wants_to_send:
            events |= select.EPOLLOUT
        self._epoll.modify(self._connection.fd, events)

    # -------------------------------------------------------------- in
    def wait(self, seconds: float) -> None:
        """Block the thread until there is something to do, or for ``seconds``."""
        # What epoll can count is about 24 days in milliseconds.
        self._epoll.poll(min(seconds, _LONGEST_WAIT_S), 1)

    def ring(self) -> None:
        """Get a thread out of :meth:`wait`."""
        os.eventfd_write(self._bell, 1)

    def pump(self) -> None:
        """Take everything that has arrived and send what that gives rise to."""
        if not self._is_open:
            return
        inbox, supervisor = self._inbox.fd, self._connection.fd
        for fd, _events in self._epoll.poll(0):
            if fd == inbox:
                self._take_mail()
            elif (route := self._watched.get(fd)) is not None:
                route.drain()
                self._watch(route)
            elif fd == self._bell:
                os.eventfd_read(fd)
            elif fd == supervisor:
                self._take_notices()
            else:
                for data in self._stream.receive(fd):
                    self.core.on_mail(data)
        if self.core.has_mail:
            self.flush()

    def _take_mail(self) -> None:
        receive, take = self._inbox.receive_nowait, self.core.on_mail
        for _ in range(_MAILS_A_TURN):
            data = receive()
            if data is None:
                return
            take(data)

    def _take_notices(self) -> None:
        connection = self._connection
        try:
            connection.flush()
            for notice in connection.receive():
                self._on_notice(notice)
        except ProtocolError as exc:
            self._end(exc)
            return
        if connection.ended:
            self._end(self._down())
        else:
            self._watch_connection()

    def _on_notice(self, notice: ApplicationNotice) -> None:
        match notice:
            case ActorReady(name=name, incarnation=incarnation):
                self._on_actor_ready(name, incarnation)
            case TreeStopping(failure=failure):
                self._stopping = failure
                self.core.fail_all(self._down())
            case TreeStatus() | Done():
                if self._asked:
                    self.core.complete(self._asked.popleft(), notice)
            case Failure():
                if self._asked:
                    self.core.fail(self._asked.popleft(), notice.error())
            case Attached():
                pass  # said once, before there was a link

    def _on_actor_ready(self, name: str, incarnation: int) -> None:
        if not self.core.on_actor_ready(name, incarnation):
            return
        route = self._routes.pop(name, None)
        if route is not None:
            # What waits here is pending, so the protocol has queued it again, for another
            # connection: nng may not have seen yet that the old one is dead.
            route.backlog.clear()
            self._watch(route)
            route.close()

    def _down(self) -> AuroraError:
        if self._stopping is not None:
            reason = self._stopping
            return TreeDownError(
                f"the database's processes have stopped: {reason.message}",
                cause=reason.code,
            )
        return TreeDownError("the database's processes have stopped; open it again")

    def _end(self, error: AuroraError) -> None:
        # A stream at its end stays readable: without this a shell would spin.
        self._epoll.unregister(self._connection.fd)
        self._connection.ended = True
        self.core.fail_all(error)

    # -------------------------------------------------------------- end
    def refuse(self) -> None:
        """What is pending fails, and nothing can be asked any more."""
        self.core.fail_all(UsageError("this database is closed"))

    def shut(self) -> None:
        """Take part no more; nobody may be waiting for ``fd``."""
        self.refuse()
        if self._is_open:
            self._is_open = False
            self._epoll.close()
            os.close(self._bell)
            for route in self._routes.values():
                route.close()

    def leave(self, within_s: float) -> None:
        """After :meth:`shut`: detach and close everything; blocks the thread.

        If this was the last application of an embedded tree, waits for its end, but no
        longer than ``within_s``.
        """
        if self in _live:
            _live.discard(self)
            self._connection.leave(within_s)
            self._inbox.close()
            self._stream.close()
            if self.core.trace is not None:
                self.core.trace.close()

    def _disarm(self) -> None:
        # In a forked child; the transport disarms its sockets by itself.
        if self._is_open:
            self._is_open = False
            self._epoll.close()
            os.close(self._bell)
        self._stream.close(unlink=False)
        self._connection.close()
        self.core = ClientProtocol(self.core.name)
        self.core.fail_all(
            UsageError("this database was opened before a fork; open it in the child")
        )


def _after_fork_in_child() -> None:
    for link in list(_live):
        link._disarm()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_after_fork_in_child)
