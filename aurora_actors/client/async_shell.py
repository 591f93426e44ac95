"""The shell for event loops: trio and asyncio alike.

What differs between the loops is in :mod:`aurora_actors.client.loops`. All of it runs
in the loop's thread; nothing here is thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from aurora_actors.client.feeds import Reader
from aurora_actors.client.line import Line
from aurora_actors.client.loops import current_driver
from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.receipts import noted
from aurora_actors.client.requests import (
    NO_DEADLINE,
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

__all__ = ["AsyncShell"]

R = TypeVar("R")


class AsyncShell:
    """Requests and replies in an event loop.

    Args:
        link: The sockets, which the shell owns from now on.
        timeout_s: The time allowed for a call that names none.
    """

    def __init__(self, link: Line, timeout_s: float) -> None:
        self.identity = object()
        self._link = link
        self._timeout_s = timeout_s
        self._driver = current_driver(link)
        self._is_closed = False
        self.cancel_point = self._driver.cancel_point
        self._raise_if_cancelled = self._driver.raise_if_cancelled
        self.executors = link.executors
        self.pick_executor = link.pick_executor
        self.breathe = self._driver.breathe
        self._driver.start()

    def _deadline(self, timeout: float | None) -> float:
        return deadline(self._driver.now(), self._timeout_s, timeout)

    async def call(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Reply:
        """Ask and wait; an error that comes back is raised."""
        if self._raise_if_cancelled is not None:
            await self._raise_if_cancelled()
        driver = self._driver
        until = deadline(driver.now(), self._timeout_s, timeout)
        call = self._link.core.submit(destination, message, until, size)
        try:
            rest = driver.send()
            if rest is not None:
                await rest
            await driver.wait(call)
        except BaseException:
            self.abandon(call)
            raise
        return noted(self.identity, call.outcome())

    def submit(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Call:
        """Ask without waiting; the answer is had from :meth:`result`."""
        core = self._link.core
        call = core.submit(destination, message, self._deadline(timeout), size)
        self._send()
        return call

    async def result(self, call: Call) -> Reply:
        """Wait for what was submitted."""
        await self._wait(call)
        return noted(self.identity, call.outcome())

    async def _wait(self, pending: Pending) -> None:
        try:
            await self._driver.wait(pending)
        except BaseException:
            self.abandon(pending)
            raise

    async def wait(self, reader: Reader, timeout: float | None = None) -> None:
        """Wait until there is news; a cancellation changes nothing."""
        live = self._link.core.live
        if timeout is not None:
            live.set_deadline(reader, self._driver.now() + timeout)
        await self._driver.wait(reader)
        live.clear_deadline(reader)

    def take(self, reader: Reader) -> Sequence[Any] | None:
        """What comes next for a reader."""
        core = self._link.core
        try:
            return core.live.take(reader)
        finally:
            if core.has_news or core.has_mail:
                self._send()

    def on_core(self, action: Callable[[ClientProtocol], R]) -> R:
        """Change the protocol's state, and send what that gives rise to."""
        try:
            return action(self._link.core)
        finally:
            self._send()

    def abandon(self, pending: Pending) -> None:
        """Forget a request."""
        self._link.core.abandon(pending)
        self._send()

    def _send(self) -> None:
        self._link.flush()
        self._driver.deliver()

    async def gather(
        self, query: Streamed, timeout: float | None = None
    ) -> list[ResultChunk]:
        """Run a query on an executor and wait for its whole result."""
        if self._raise_if_cancelled is not None:
            await self._raise_if_cancelled()
        link = self._link
        stream = link.core.open_stream(
            link.pick_executor(), query, self._deadline(timeout), gathers=True
        )
        try:
            rest = self._driver.send()
            if rest is not None:
                await rest
            await self._driver.wait(stream)
        except BaseException:
            self.abandon(stream)
            raise
        return stream.outcome()

    def open_stream(self, query: Streamed) -> ResultStream:
        """Start a query whose chunks are had from :meth:`next_chunk`."""
        stream = self._link.core.open_stream(self._link.pick_executor(), query)
        self._send()
        return stream

    async def next_chunk(
        self, stream: ResultStream, timeout: float | None = None
    ) -> ResultChunk | None:
        """Wait for the next chunk; ``None`` after the last."""
        core = self._link.core
        if not stream.has_news:
            core.set_deadline(stream, self._deadline(timeout))
            await self._wait(stream)
            core.set_deadline(stream, NO_DEADLINE)
        if stream.error is not None:
            raise stream.error
        chunk = core.take_chunk(stream)
        if core.has_mail:
            self._send()
        return chunk

    def drop_stream(self, stream: ResultStream) -> None:
        """Give up a stream from anywhere, even from a finaliser."""
        self._link.drop(stream)

    async def ask_tree(
        self, request: ReadStatus | ScaleGroup, timeout: float | None
    ) -> Reply:
        """Ask the supervisor."""
        call = self._link.ask_tree(request, self._deadline(timeout))
        return await self.result(call)

    async def pause(self, seconds: float) -> None:
        """Wait, without asking anybody."""
        await anyio.sleep(seconds)

    async def close(self, within_s: float) -> None:
        """Fail what is pending and leave the tree; waits for it if it ends."""
        if self._is_closed:
            return
        self._is_closed = True
        self._link.refuse()
        self._driver.stop()
        self._link.shut()
        # A last breath for the tree blocks, so it is taken in a thread.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._link.leave, within_s)
