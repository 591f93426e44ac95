"""Watching a query, listening to changes: what the caller holds.

``async with query.watch() as updates: async for update in updates``. Entering begins
the watch at the dispatcher, leaving ends it there. Watchers of one process that ask the
same share one subscription and the objects they get.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from math import inf
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar, cast

import anyio

from aurora_actors.client.batch import Convert
from aurora_actors.client.feeds import DISPATCHER, Place, Reader, Request, text_of
from aurora_actors.client.fold import Fold
from aurora_actors.client.session import Session
from aurora_actors.client.shell import Shell
from aurora_actors.client.updates import ChangeEvent, Heartbeat, Update
from aurora_actors.errors import UsageError
from aurora_actors.messages.reactive import Listen, Watch

__all__ = ["Events", "Listener", "OnLag", "Watcher", "check_seconds"]

E = TypeVar("E")
T = TypeVar("T")
OnLag: TypeAlias = Literal["coalesce", "raise", "block"]

# A consumer that is never at the end would keep all others from their turn.
_BATCHES_A_TURN = 8


def check_seconds(
    what: str,
    seconds: float,
    *,
    least: float = 0.0,
    most: float = threading.TIMEOUT_MAX,
) -> None:
    """Refuse what is no length of time."""
    if not isinstance(seconds, int | float) or not least <= seconds <= most:
        raise UsageError(f"{what} is a number of seconds, not {seconds!r:.80}")


class Events(AsyncIterator[E], Generic[E]):
    """A stream of events; the base of both kinds.

    To be used by one task at a time. Cancelling a wait loses nothing.
    """

    # There may be thousands: see ``client.feeds.Feed``.
    __slots__ = (
        "__weakref__",
        "_at",
        "_is_open",
        "_items",
        "_patience_s",
        "_reader",
        "_session",
        "_shell",
        "_since",
        "_turns",
    )

    def __init__(
        self,
        session: Callable[[], Session],
        request: Request,
        convert: Convert[E],
        key: Hashable,
        *,
        raises_on_lag: bool,
        heartbeats: bool = False,
    ) -> None:
        self._session = session
        self._reader = Reader(
            request,
            cast("Convert[Any]", convert),
            key,
            raises_on_lag=raises_on_lag,
            wants_beats=heartbeats,
        )
        self._items: Sequence[E] = ()
        self._at = 0
        self._turns = 0
        # As a token, or what one is made of when it is asked for.
        self._since: str | Place | None = request.since
        self._is_open = False
        self._patience_s: float | None = None
        self._shell: Shell

    # -------------------------------------------------------------- life
    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Begin; what ``async with`` does.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidFilterError: the query does not make sense for it.
        """
        if self._is_open or self._reader.done:
            raise UsageError("a watch is entered once; make another one")
        shell, reader = self._session().shell, self._reader
        self._shell = shell
        self._is_open = True
        call = shell.submit(DISPATCHER, reader.request)
        shell.on_core(lambda core: core.live.open(reader, call))
        try:
            await shell.result(call)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End it at the dispatcher, too; closing again does nothing."""
        if self._is_open:
            self._is_open = False
            reader = self._reader
            self._shell.on_core(lambda core: core.live.leave(reader))

    # -------------------------------------------------------------- reading
    def wait_at_most(self, seconds: float | None) -> None:
        """Let waits fail with ``TimeoutError_`` after so long; for those who block.

        Raises:
            UsageError: ``seconds`` is no number of seconds.
        """
        if seconds is not None:
            check_seconds("a timeout", seconds, least=-inf, most=inf)
        self._patience_s = seconds

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        at = self._at
        if at >= len(self._items):
            await self._fetch()
            at = 0
        self._at = at + 1
        return self._items[at]

    async def _fetch(self) -> None:
        """Get the next events, waiting for them if need be."""
        self._turns += 1
        if self._turns >= _BATCHES_A_TURN and self._is_open:
            self._turns = 0
            await self._shell.breathe()
        while not self._refill():
            if not self._is_open:
                raise StopAsyncIteration  # closed, perhaps by another task meanwhile
            self._turns = 0
            await self._shell.wait(self._reader, self._patience_s)

    def _refill(self) -> bool:
        """Get the next events if there are some; else the reader is told of them."""
        if not self._is_open:
            return False
        reader = self._reader
        if self._items:
            last = self._items[-1]
            beats = isinstance(last, Heartbeat)
            self._since = self._token_of(last) if beats else reader.place
        self._items, self._at = (), 0
        items = self._shell.take(reader)
        if items:
            self._items = items
            return True
        return False

    def _token_of(self, event: E) -> str:
        return cast("Update | ChangeEvent", event).token

    @property
    def token(self) -> str | None:
        """The place right behind the last event that was given.

        When nothing waits, it is as new as the last heartbeat. ``None`` before the
        first event of a watch that has not begun with a token.
        """
        if self._at < len(self._items):
            return (
                self._token_of(self._items[self._at - 1])
                if self._at
                else text_of(self._since)
            )
        newest = self._reader.newest
        if newest is None and self._items:
            newest = self._token_of(self._items[-1])
        return newest or text_of(self._since)

    @property
    def lsn(self) -> int:
        """Up to where everything has come to this process."""
        feed = self._reader.feed
        return 0 if feed is None else feed.lsn


class Watcher(Events[Update], Generic[T]):
    """The updates of a live query; see :meth:`aurora_actors.Query.watch`."""

    __slots__ = ("_fold",)

    def __init__(
        self,
        session: Callable[[], Session],
        request: Watch,
        convert: Convert[Update],
        key: Hashable,
        on_lag: OnLag,
        *,
        heartbeats: bool = False,
        keeps_state: bool = True,
    ) -> None:
        if on_lag not in ("coalesce", "raise"):
            raise UsageError(f'on_lag is "coalesce" or "raise", not {on_lag!r}')
        super().__init__(
            session,
            request,
            convert,
            key,
            raises_on_lag=on_lag == "raise",
            heartbeats=heartbeats,
        )
        self._fold: Fold[T] | None = Fold() if keeps_state else None

    async def __anext__(self) -> Update:
        at = self._at
        if at >= len(self._items):
            await self._fetch()
            at = 0
        self._at = at + 1
        update = self._items[at]
        if self._fold is not None:
            self._fold.take(update)
        return update

    def snapshot(self) -> list[T]:
        """The result as the updates given so far add up to it.

        A watch that has begun without the first result, or behind a token, knows of it
        what it was told since then.

        Raises:
            UsageError: the watch was told not to keep it.
        """
        if self._fold is None:
            raise UsageError("this watch keeps no state: leave out keeps_state=False")
        return self._fold.documents()

    async def throttled(self, seconds: float) -> AsyncIterator[list[Update]]:
        """Lists of updates, at most one list in ``seconds``.

        The first comes at once; while nothing happens, none does. What is not taken in
        between is kept within the same bounds as always.
        """
        check_seconds("the time between lists", seconds)
        async for update in self:
            yield [update, *self.nowait()]
            await anyio.sleep(seconds)

    def nowait(self) -> list[Update]:
        """What can be had without waiting, perhaps nothing."""
        found: list[Update] = []
        while self._at < len(self._items) or self._refill():
            rest = self._items[self._at :]
            self._at = len(self._items)
            found += rest
        if self._fold is not None:
            for update in found:
                self._fold.take(update)
        return found


class Listener(Events[ChangeEvent]):
    """Changes as they happen; see :meth:`aurora_actors.Aurora.listen`."""

    __slots__ = ()

    def __init__(
        self,
        session: Callable[[], Session],
        request: Listen,
        convert: Convert[ChangeEvent],
        key: Hashable,
        on_lag: OnLag,
    ) -> None:
        if on_lag not in ("block", "raise"):
            raise UsageError(f'on_lag is "block" or "raise", not {on_lag!r}')
        super().__init__(
            session, request, convert, key, raises_on_lag=on_lag == "raise"
        )
