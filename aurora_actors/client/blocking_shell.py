"""The shell for plain threads, without a loop and without a thread of its own.

Any number of threads may call. One of those that wait, the leader, blocks in the
kernel and hands the others their answers; when it has its own, the next one leads. The
coroutines here never suspend.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from aurora_actors.client.feeds import Reader
from aurora_actors.client.line import Line
from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.receipts import noted
from aurora_actors.client.requests import (
    NO_DEADLINE,
    NO_TIME,
    Call,
    Pending,
    Reply,
    ResultStream,
    Streamed,
    deadline,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.query import ResultChunk
from aurora_actors.messages.supervision import ReadStatus, ScaleGroup

__all__ = ["BlockingShell"]

R = TypeVar("R")

_live: weakref.WeakSet[BlockingShell] = weakref.WeakSet()


class BlockingShell:
    """Requests and replies for threads.

    Args:
        link: The sockets, which the shell owns from now on.
        timeout_s: The time allowed for a call that names none.
    """

    cancel_point: Callable[[], Awaitable[None]] | None = None

    def __init__(self, link: Line, timeout_s: float) -> None:
        self.identity = object()
        self._link = link
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._led = threading.Condition(self._lock)
        self._leader: Pending | None = None
        self._is_waiting = False
        self._followers: dict[Pending, threading.Lock] = {}
        self._is_closed = False
        self.executors = link.executors
        self.pick_executor = link.pick_executor
        _live.add(self)

    def _deadline(self, timeout: float | None) -> float:
        return deadline(time.monotonic(), self._timeout_s, timeout)

    async def breathe(self) -> None:
        """Nothing to do: threads take turns by themselves."""

    # -------------------------------------------------------------- asking
    async def call(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Reply:
        """Ask and wait; an error that comes back is raised."""
        return await self.result(self.submit(destination, message, timeout, size))

    def submit(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Call:
        """Ask without waiting; the answer is had from :meth:`result`."""
        with self._lock:
            core = self._link.core
            call = core.submit(destination, message, self._deadline(timeout), size)
            self._send()
        return call

    async def result(self, call: Call) -> Reply:
        """Wait for what was submitted."""
        self._wait(call)
        return noted(self.identity, call.outcome())

    async def wait(self, reader: Reader, timeout: float | None = None) -> None:
        """Wait until there is news; an interruption changes nothing."""
        live = self._link.core.live
        if timeout is not None:
            with self._lock:
                live.set_deadline(reader, time.monotonic() + timeout)
        self._wait(reader)
        with self._lock:
            live.clear_deadline(reader)

    def take(self, reader: Reader) -> Sequence[Any] | None:
        """What comes next for a reader."""
        core = self._link.core
        with self._lock:
            try:
                return core.live.take(reader)
            finally:
                if core.has_news or core.has_mail:
                    self._send()

    def on_core(self, action: Callable[[ClientProtocol], R]) -> R:
        """Change the protocol's state, and send what that gives rise to."""
        with self._lock:
            try:
                return action(self._link.core)
            finally:
                self._send()

    def abandon(self, pending: Pending) -> None:
        """Forget a request."""
        with self._lock:
            self._link.core.abandon(pending)
            self._send()

    def _send(self) -> None:
        self._link.flush()
        self._deliver()

    # -------------------------------------------------------------- results
    async def gather(
        self, query: Streamed, timeout: float | None = None
    ) -> list[ResultChunk]:
        """Run a query on an executor and wait for its whole result."""
        stream = self._open(query, self._deadline(timeout), gathers=True)
        self._wait(stream)
        return stream.outcome()

    def open_stream(self, query: Streamed) -> ResultStream:
        """Start a query whose chunks are had from :meth:`next_chunk`."""
        return self._open(query, NO_DEADLINE, gathers=False)

    def _open(self, query: Streamed, deadline: float, *, gathers: bool) -> ResultStream:
        with self._lock:
            link = self._link
            stream = link.core.open_stream(
                link.pick_executor(), query, deadline, gathers=gathers
            )
            self._send()
        return stream

    async def next_chunk(
        self, stream: ResultStream, timeout: float | None = None
    ) -> ResultChunk | None:
        """Wait for the next chunk; ``None`` after the last."""
        core = self._link.core
        with self._lock:
            core.set_deadline(stream, self._deadline(timeout))
        self._wait(stream)
        if stream.error is not None:
            raise stream.error
        with self._lock:
            core.set_deadline(stream, NO_DEADLINE)
            chunk = core.take_chunk(stream)
            self._send()
        return chunk

    def drop_stream(self, stream: ResultStream) -> None:
        """Give up a stream from anywhere, even from a finaliser."""
        self._link.drop(stream)

    async def ask_tree(
        self, request: ReadStatus | ScaleGroup, timeout: float | None
    ) -> Reply:
        """Ask the supervisor."""
        with self._lock:
            call = self._link.ask_tree(request, self._deadline(timeout))
        return await self.result(call)

    # -------------------------------------------------------------- waiting
    def _wait(self, pending: Pending) -> None:
        try:
            while not pending.has_news:
                turn = self._take_part(pending)
                if turn is None:
                    self._lead(pending)
                else:
                    self._follow(pending, turn)
        except BaseException:
            self.abandon(pending)
            raise
        finally:
            with self._lock:
                self._followers.pop(pending, None)
                if self._leader is None:
                    # Perhaps the lead was passed to us and we do not take it.
                    self._hand_over()

    def _take_part(self, pending: Pending) -> threading.Lock | None:
        """Become the leader (``None``), or get a lock that opens when woken."""
        with self._lock:
            if self._leader is None:
                self._leader = pending
                return None
            turn = threading.Lock()
            if not pending.has_news:
                turn.acquire()
                self._followers[pending] = turn
            return turn

    def _follow(self, pending: Pending, turn: threading.Lock) -> None:
        # The leader may wait for longer than this one's deadline.
        patience = min(pending.deadline - time.monotonic(), threading.TIMEOUT_MAX)
        if not turn.acquire(timeout=max(0.0, patience)):
            with self._lock:
                self._expire()

    def _lead(self, pending: Pending) -> None:
        link = self._link
        try:
            while self._must_wait(pending):
                link.wait(max(0.0, link.core.next_expiry - time.monotonic()))
                with self._lock:
                    self._is_waiting = False
                    link.pump()
                    self._expire()
        finally:
            with self._lock:
                self._is_waiting = False
                self._leader = None
                self._led.notify_all()
                self._hand_over()

    def _must_wait(self, pending: Pending) -> bool:
        with self._lock:
            if pending.deadline == NO_TIME and not pending.has_news:
                self._expire()  # however soon the answer would have been here
            self._is_waiting = not pending.has_news
            return self._is_waiting

    def _expire(self) -> None:
        core, now = self._link.core, time.monotonic()
        if now >= core.next_expiry:
            core.expire(now)
            self._link.flush()
        self._deliver()

    def _hand_over(self) -> None:
        if self._followers:
            self._followers.pop(next(iter(self._followers))).release()

    def _deliver(self) -> None:
        for pending in self._link.core.take_news():
            turn = self._followers.pop(pending, None)
            if turn is not None:
                turn.release()
            elif self._is_waiting and pending is self._leader:
                self._link.ring()

    # -------------------------------------------------------------- end
    async def pause(self, seconds: float) -> None:
        """Wait, without asking anybody."""
        threading.Event().wait(seconds)

    async def close(self, within_s: float) -> None:
        """Fail what is pending and leave the tree; waits for it if it ends."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._link.refuse()
            self._deliver()
            # The kernel must not be watching descriptors that we close.
            self._led.wait_for(lambda: self._leader is None)
            self._link.shut()
        self._link.leave(within_s)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
        self._led = threading.Condition(self._lock)


def _after_fork_in_child() -> None:
    # The lock may have been held by a thread that does not exist here.
    for shell in list(_live):
        shell._renew_lock()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_after_fork_in_child)
