"""A result that is read while it is made."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, TypeVar

from aurora_actors.client.requests import ResultStream
from aurora_actors.client.shell import Shell
from aurora_actors.messages.query import RunQuery
from aurora_actors.schema.values import Buffer

__all__ = ["DocumentStream"]

T = TypeVar("T")


class DocumentStream(AsyncIterator[T], Generic[T]):
    """The results of a query, in order, a bounded number of them in memory.

    The query starts with the first result asked for. To be used by one task at a time.
    """

    def __init__(
        self,
        shell: Shell,
        query: RunQuery,
        convert: Callable[[Buffer], T],
        timeout: float | None,
    ) -> None:
        self._shell = shell
        self._query = query
        self._convert = convert
        self._timeout = timeout
        self._stream: ResultStream | None = None
        self._records: deque[bytes] = deque()
        self._ended = False
        self._finalizer: weakref.finalize[[ResultStream], DocumentStream[T]] | None
        self._finalizer = None

    def __aiter__(self) -> DocumentStream[T]:
        return self

    async def __anext__(self) -> T:
        while not self._records:
            await self._fetch()
        return self._convert(self._records.popleft())

    async def _fetch(self) -> None:
        if self._ended:
            raise StopAsyncIteration
        if self._stream is None:
            self._stream = self._shell.open_stream(self._query)
            # A stream that is simply forgotten must not go on at the executor.
            self._finalizer = weakref.finalize(
                self, self._shell.drop_stream, self._stream
            )
            self._finalizer.atexit = False
        try:
            chunk = await self._shell.next_chunk(self._stream, self._timeout)
        except BaseException:
            self._end()
            raise
        if chunk is None:
            self._end()
        else:
            self._records.extend(chunk.records)

    def _end(self) -> None:
        self._ended = True
        if self._finalizer is not None:
            self._finalizer.detach()

    async def aclose(self) -> None:
        """Give up what was not read; closing again does nothing."""
        if not self._ended:
            self._end()
            if self._stream is not None:
                self._shell.abandon(self._stream)
        self._records.clear()

    async def __aenter__(self) -> DocumentStream[T]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
