"""A clock of jobs and schedules that stands where a test sets it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self, overload

from aurora_actors import blocking
from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.handle import session_of
from aurora_actors.client.protocol import STORAGE
from aurora_actors.errors import InternalError, UsageError
from aurora_actors.messages.clocks import JobClockSet, SetJobClock

__all__ = ["BlockingFakeClock", "FakeClock", "fake_clock"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class FakeClock:
    """The clock of one database's jobs and schedules, inside ``async with``.

    It decides what is due: ``run_at``, delays, times between attempts, ticks, and how
    long ended jobs are kept. Leases and the time limits of attempts go by real time.
    Whoever uses the database has this clock, also when storage was killed or the
    database opened again, until the block is left.
    """

    def __init__(self, db: Aurora, start: datetime | None) -> None:
        self._db = db
        self._start = start
        self._now = _EPOCH

    @property
    def now(self) -> datetime:
        """Where it stands."""
        return self._now

    async def __aenter__(self) -> Self:
        start = datetime.now(UTC) if self._start is None else self._start
        await self._move(start, passes=False)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._ask(SetJobClock(to=None))

    async def advance(
        self,
        by: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> datetime:
        """Let time pass; returns where the clock stands then.

        Schedules run at each of their ticks on the way, as they would have.
        """
        more = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return await self._move(self._now + (by or timedelta()) + more, passes=True)

    async def set(self, moment: datetime) -> datetime:
        """Set the clock forward at once: what lies in between is missed.

        Raises:
            UsageError: the moment has no time zone, or lies before where it stands.
        """
        if moment.tzinfo is not None and moment < self._now:
            raise UsageError(f"the clock stands at {self._now}, it does not go back")
        return await self._move(moment, passes=False)

    async def _move(self, to: datetime, *, passes: bool) -> datetime:
        if to.tzinfo is None:
            raise UsageError(f"the clock needs a moment with a time zone, not {to}")
        target = (to - _EPOCH) // _MICROSECOND
        while True:
            reached = await self._ask(SetJobClock(to=target, passes=passes))
            if reached >= target:
                self._now = _EPOCH + reached * _MICROSECOND
                return self._now

    async def _ask(self, request: SetJobClock) -> int:
        reply = await session_of(self._db)().shell.call(STORAGE, request, None)
        if not isinstance(reply, JobClockSet):
            raise InternalError(f"a clock was answered by {type(reply).__name__}")
        return reply.now


class BlockingFakeClock:
    """:class:`FakeClock` for threads, inside ``with``."""

    def __init__(self, db: Aurora, start: datetime | None) -> None:
        self._clock = FakeClock(db, start)

    @property
    def now(self) -> datetime:
        """Where it stands."""
        return self._clock.now

    def __enter__(self) -> Self:
        run_now(self._clock.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run_now(self._clock.__aexit__(exc_type, exc, traceback))

    def advance(
        self,
        by: timedelta | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> datetime:
        """Let time pass; returns where the clock stands then."""
        return run_now(
            self._clock.advance(
                by, days=days, hours=hours, minutes=minutes, seconds=seconds
            )
        )

    def set(self, moment: datetime) -> datetime:
        """Set the clock forward at once: what lies in between is missed."""
        return run_now(self._clock.set(moment))


@overload
def fake_clock(db: Aurora, start: datetime | None = None) -> FakeClock: ...
@overload
def fake_clock(
    db: blocking.Aurora, start: datetime | None = None
) -> BlockingFakeClock: ...
def fake_clock(
    db: Aurora | blocking.Aurora, start: datetime | None = None
) -> FakeClock | BlockingFakeClock:
    """A clock for jobs and schedules that only moves when it is told.

    The database has to be opened with ``jobs=JobsConfig(allow_fake_clock=True)``.

    Args:
        db: The database.
        start: Where it stands at first; now, if not given.
    """
    if isinstance(db, blocking.Aurora):
        return BlockingFakeClock(async_of(db), start)
    return FakeClock(db, start)


def async_of(db: blocking.Aurora) -> Aurora:
    """The database object that a blocking one drives."""
    return db._db  # noqa: SLF001 - the facade's own part
