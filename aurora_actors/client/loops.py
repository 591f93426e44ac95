"""How a call waits under trio and under asyncio; the one module that knows them apart.

A driver parks the task that waits for an answer and wakes it straight from where the
answer is received, so that a call costs as few task switches as the loop allows.

* Under trio no background task receives. One of the waiting tasks, the leader, waits
  for the link's descriptor itself and wakes the others; when it has its own answer, it
  passes the lead on. A single call thus parks once, in the kernel's wait. A system task
  sleeps until the next deadline, so that no call needs a scope of its own: that was a
  quarter of what an awaited call cost its process.
* Under asyncio the loop calls :meth:`AsyncioDriver._on_readable` itself.

Neither keeps state in the loop after ``stop``, and a database may be opened in one
task and closed in another.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

from aurora_actors.client.line import Line
from aurora_actors.client.requests import NO_DEADLINE, NO_TIME, Pending

if TYPE_CHECKING:
    import trio

__all__ = ["AsyncioDriver", "Driver", "TrioDriver", "current_driver"]

# So many requests leave before the turn is over, so that storage works on the first
# half of a burst while the second is made.
_ENOUGH: Final = 32

TURN_S: Final = 0.0005
"""How long reads in the caller's process may keep the other tasks waiting. A read is
microseconds, and so is letting the others have their turn: it is done now and then."""


class Driver(Protocol):
    """What a shell needs from the running event loop.

    Attributes:
        cancel_point: Before work in the caller's process: raises the loop's
            cancellation if one is due, and lets the other tasks have their turn when
            that is overdue; ``None`` where there is no loop.
        raise_if_cancelled: The first half of it, for calls that wait anyway; ``None``
            where a wait does that by itself.
    """

    cancel_point: Callable[[], Awaitable[None]] | None
    raise_if_cancelled: Callable[[], Awaitable[None]] | None

    def start(self) -> None:
        """Begin to receive."""
        ...

    def stop(self) -> None:
        """Stop receiving; nothing waits any more."""
        ...

    def now(self) -> float:
        """The clock that deadlines are on."""
        ...

    async def wait(self, pending: Pending) -> None:
        """Return when ``pending`` has news; a cancellation is raised."""
        ...

    def send(self) -> Awaitable[None] | None:
        """Send what is queued, at best together with what this turn of the loop adds.

        Returns:
            The rest of it, which has to be awaited, if there is one.
        """
        ...

    async def breathe(self) -> None:
        """Let the other tasks have their turn."""
        ...

    def deliver(self) -> None:
        """Wake the tasks whose requests have news."""
        ...


def current_driver(link: Line) -> Driver:
    """The driver for the loop that runs now."""
    trio_module = sys.modules.get("trio")
    if trio_module is not None and trio_module.lowlevel.in_trio_run():
        return TrioDriver(link)
    return AsyncioDriver(link)


class TrioDriver:
    """Leader and followers under trio."""

    def __init__(self, link: Line) -> None:
        # asyncio users must not pay for trio's import.
        import trio  # noqa: PLC0415

        self._trio = trio
        self._link = link
        self._leader: Pending | None = None
        self._is_parked = False
        self._is_due = False
        self._alarm: trio.CancelScope | None = None
        self._alarm_at = NO_DEADLINE
        self._life = trio.CancelScope()
        self._followers: dict[Pending, trio.lowlevel.Task] = {}
        self._send_is_due = False
        self._is_burst = False
        self._checkpoint = trio.lowlevel.checkpoint
        self.raise_if_cancelled: Callable[[], Awaitable[None]] | None = (
            trio.lowlevel.checkpoint_if_cancelled
        )
        self._wait_readable = trio.lowlevel.wait_readable
        self._closed = trio.ClosedResourceError
        self._current_task = trio.lowlevel.current_task
        self._park_task = trio.lowlevel.wait_task_rescheduled
        self._given_up: trio.lowlevel.Abort = trio.lowlevel.Abort.SUCCEEDED
        self._check = trio.lowlevel.checkpoint_if_cancelled
        self._turn_ends = 0.0
        self.cancel_point: Callable[[], Awaitable[None]] | None = self._cancel_point
        self.now: Callable[[], float] = trio.current_time

    def start(self) -> None:
        """Begin to keep time; whoever waits receives."""
        self._trio.lowlevel.spawn_system_task(self._keep_time, name="aurora deadlines")

    def stop(self) -> None:
        """Wake all; their requests have failed."""
        self._life.cancel()
        self.deliver()
        self._trio.lowlevel.notify_closing(self._link.fd)

    async def _keep_time(self) -> None:
        """Tell the leader of each deadline, until the end."""
        trio = self._trio
        with self._life:
            self._set_alarm()
            while True:
                with trio.CancelScope(deadline=self._alarm_at) as self._alarm:
                    await trio.sleep_forever()
                # Set again by the leader, when it has looked at what has come in time.
                self._alarm_at = NO_DEADLINE
                self._is_due = True
                self._ring()

    def _set_alarm(self) -> None:
        expiry = self._link.core.next_expiry
        if expiry < self._alarm_at:
            self._alarm_at = expiry
            if self._alarm is not None:
                self._alarm.deadline = expiry

    def _expire(self) -> None:
        self._is_due = False
        self._link.core.expire(self._trio.current_time())
        self._link.flush()  # the executor of a stream is told, too
        self._set_alarm()

    def _ring(self) -> None:
        """Get the leader out of its wait."""
        if self._is_parked:
            self._link.ring()

    async def breathe(self) -> None:
        """Let the other tasks have their turn."""
        await self._checkpoint()

    def _cancel_point(self) -> Awaitable[None]:
        if perf_counter() < self._turn_ends:
            return self._check()
        return self._end_turn()

    async def _end_turn(self) -> None:
        await self._checkpoint()
        self._turn_ends = perf_counter() + TURN_S

    def send(self) -> Awaitable[None] | None:
        """Send at once when nothing else is under way, else with this turn's others."""
        link = self._link
        if self._send_is_due:
            if link.core.queued_count < _ENOUGH:
                return None
        elif self._is_burst or link.core.pending_count > 1:
            self._send_is_due = True
            return self._send_soon()
        link.flush()
        self.deliver()
        return None

    async def _send_soon(self) -> None:
        try:
            await self._trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._send_is_due = self._is_burst = False
            self._link.flush()
        self.deliver()

    async def wait(self, pending: Pending) -> None:
        """Return when ``pending`` has news; a cancellation is raised."""
        if pending.deadline == NO_TIME and not pending.has_news:
            self._expire()  # however soon the answer would have been here
            self.deliver()
        self._set_alarm()
        while not pending.has_news:
            if self._leader is None:
                await self._lead(pending)
            else:
                self._followers[pending] = self._current_task()
                # With thousands that wait, a coroutine more for each is felt.
                await self._park_task(partial(self._give_up, pending))
        if self._leader is None:
            # Perhaps the lead was passed to us, with the answer on its heels.
            self._hand_over()

    async def _lead(self, pending: Pending) -> None:
        link = self._link
        self._leader = pending
        try:
            while not pending.has_news:
                if not self._is_due:
                    await self._park()
                link.pump()
                if self._is_due:
                    self._expire()
                self.deliver()
        finally:
            self._leader = None
            self._hand_over()

    async def _park(self) -> None:
        self._is_parked = True
        try:
            await self._wait_readable(self._link.fd)
        except self._closed:
            pass  # the database has been closed, and all has failed
        finally:
            self._is_parked = False

    def _hand_over(self) -> None:
        if self._followers:
            task = self._followers.pop(next(iter(self._followers)))
            self._trio.lowlevel.reschedule(task)

    def _give_up(self, pending: Pending, _raise_cancel: object) -> trio.lowlevel.Abort:
        del self._followers[pending]
        return self._given_up

    def deliver(self) -> None:
        """Wake the tasks whose requests have news."""
        news = self._link.core.take_news()
        if not news:
            return
        self._is_burst = len(news) > 1
        followers, reschedule = self._followers, self._trio.lowlevel.reschedule
        for pending in news:
            task = followers.pop(pending, None)
            if task is not None:
                reschedule(task)
            elif pending is self._leader:
                self._ring()  # found out by another task


class AsyncioDriver:
    """Callbacks and futures under asyncio."""

    raise_if_cancelled: Callable[[], Awaitable[None]] | None = None

    def __init__(self, link: Line) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._turn_ends = 0.0
        self.cancel_point: Callable[[], Awaitable[None]] | None = self._cancel_point
        self._send_is_due = False
        self._is_burst = False
        self._timer: asyncio.TimerHandle | None = None
        self.now: Callable[[], float] = self._loop.time

    def start(self) -> None:
        """Have the loop call us when something arrives."""
        self._loop.add_reader(self._link.fd, self._on_readable)

    def stop(self) -> None:
        """Stop receiving; nothing waits any more."""
        self.deliver()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._link.fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def breathe(self) -> None:
        """Let the other tasks have their turn."""
        await asyncio.sleep(0)

    async def _cancel_point(self) -> None:
        # A cancellation under asyncio is raised where a task waits, nowhere else.
        if perf_counter() >= self._turn_ends:
            await asyncio.sleep(0)
            self._turn_ends = perf_counter() + TURN_S

    def send(self) -> Awaitable[None] | None:
        """Send at once when nothing else is under way, else with this turn's others."""
        core = self._link.core
        if self._send_is_due:
            if core.queued_count < _ENOUGH:
                return None
        elif self._is_burst or core.pending_count > 1:
            self._send_is_due = True
            self._loop.call_soon(self._send_rest)
            return None
        self._link.flush()
        self.deliver()
        return None

    def _send_rest(self) -> None:
        self._send_is_due = self._is_burst = False
        self._link.flush()
        self.deliver()

    async def wait(self, pending: Pending) -> None:
        """Return when ``pending`` has news; a cancellation is raised."""
        if pending.deadline == NO_TIME and not pending.has_news:
            self._on_expiry()  # however soon the answer would have been here
        while not pending.has_news:
            self._arm()
            future = self._loop.create_future()
            pending.waiter = future
            try:
                await future
            finally:
                pending.waiter = None

    def _on_readable(self) -> None:
        self._link.pump()
        self.deliver()

    def _arm(self) -> None:
        expiry = self._link.core.next_expiry
        timer = self._timer
        if expiry is NO_DEADLINE or (timer is not None and timer.when() <= expiry):
            return
        if timer is not None:
            timer.cancel()
        self._timer = self._loop.call_at(expiry, self._on_expiry)

    def _on_expiry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._link.core.expire(self._loop.time())
        self._link.flush()
        self.deliver()
        self._arm()

    def deliver(self) -> None:
        """Wake the tasks whose requests have news."""
        news = self._link.core.take_news()
        self._is_burst = len(news) > 1 or (self._is_burst and not news)
        for pending in news:
            future = pending.waiter
            if isinstance(future, asyncio.Future) and not future.done():
                future.set_result(None)
