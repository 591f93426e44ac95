"""Watching and listening for threads: the same, without ``await``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from aurora_actors.client.driving import run_now
from aurora_actors.client.updates import ChangeEvent, Update
from aurora_actors.client.watch import Events, Watcher, check_seconds
from aurora_actors.errors import TimeoutError_

__all__ = ["BlockingEvents", "BlockingListener", "BlockingWatcher"]

E = TypeVar("E")
T = TypeVar("T")


class BlockingEvents(Iterator[E], Generic[E]):
    """A stream of events, to be read by one thread at a time."""

    def __init__(self, events: Events[E]) -> None:
        self._events = events

    def __enter__(self) -> Self:
        run_now(self._events.open())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it at the dispatcher, too; closing again does nothing."""
        run_now(self._events.aclose())

    def __next__(self) -> E:
        try:
            return run_now(self._events.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def next(self, timeout: float) -> E:
        """The next event, waiting for it at most ``timeout`` seconds.

        Raises:
            TimeoutError_: there was none; nothing is lost.
        """
        self._events.wait_at_most(timeout)
        try:
            return next(self)
        except TimeoutError_:
            raise TimeoutError_(f"no event within {timeout:g} s") from None
        finally:
            self._events.wait_at_most(None)

    @property
    def token(self) -> str | None:
        """The place right behind the last event that was given."""
        return self._events.token

    @property
    def lsn(self) -> int:
        """Up to where everything has come to this process."""
        return self._events.lsn


class BlockingWatcher(BlockingEvents[Update], Generic[T]):
    """The updates of a live query; see :class:`aurora_actors.Watcher`."""

    def __init__(self, watcher: Watcher[T]) -> None:
        super().__init__(watcher)
        self._watcher = watcher

    def snapshot(self) -> list[T]:
        """The result as the updates given so far add up to it."""
        return self._watcher.snapshot()

    def throttled(self, seconds: float) -> Iterator[list[Update]]:
        """Lists of updates, at most one list in ``seconds``."""
        check_seconds("the time between lists", seconds)
        pause = threading.Event()
        for update in self:
            yield [update, *self._watcher.nowait()]
            pause.wait(seconds)


class BlockingListener(BlockingEvents[ChangeEvent]):
    """Changes as they happen; see :class:`aurora_actors.Listener`."""
