"""When a schedule is due: the next tick after a moment, and the ticks up to another.

Pure functions of a schedule's document; any process. An interval counts from a fixed
moment in exact microseconds, so that it neither drifts nor depends on restarts; cron
expressions are :mod:`aurora_actors.storage.jobs.cron`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from aurora_actors.messages.schedules import Misfire
from aurora_actors.storage.jobs.cron import Cron, zone_named
from aurora_actors.storage.jobs.document import from_micros, to_micros
from aurora_actors.storage.jobs.schedule import ScheduleDocument

__all__ = ["MAX_TICKS", "Due", "due_ticks", "first_tick", "next_tick"]

MAX_TICKS: Final = 500
"""How many missed ticks are dealt with in one commit; the rest follows in the next."""

_MICROSECOND: Final = timedelta(microseconds=1)


class Due(NamedTuple):
    """What a schedule comes to at some moment.

    Attributes:
        run: The ticks to be run now, oldest first.
        missed: How many are left out.
        next: When it is due again; not later than now if there is more to do.
    """

    run: list[datetime]
    missed: int
    next: datetime | None


@lru_cache(maxsize=1024)
def _cron(expression: str, time_zone: str) -> Cron:
    return Cron(expression, zone_named(time_zone))


def next_tick(schedule: ScheduleDocument, after: datetime) -> datetime | None:
    """The first tick after a moment; ``None`` when there is none.

    Raises:
        ValidationError: the expression or the time zone is none.
    """
    start, end = schedule.start_at, schedule.end_at
    if start is not None and start > after:
        after = start - _MICROSECOND
    tick = _after(schedule, after.astimezone(UTC))
    return None if tick is None or (end is not None and tick > end) else tick


def _after(schedule: ScheduleDocument, after: datetime) -> datetime | None:
    if schedule.at is not None:
        return schedule.at if schedule.at > after else None
    if schedule.cron is not None:
        return _cron(schedule.cron, schedule.time_zone).after(after)
    step = _step(schedule)
    first = to_micros(schedule.start_at or schedule.created_at)
    since = (to_micros(after) - first) // step + 1
    if schedule.start_at is None:
        since = max(since, 1)
    try:
        return from_micros(first + step * max(since, 0))
    except OverflowError:
        return None


def _step(schedule: ScheduleDocument) -> int:
    return round((schedule.every_s or 0.0) * 1_000_000)


def first_tick(schedule: ScheduleDocument, now: datetime) -> datetime | None:
    """When a schedule is due that is made or resumed now.

    One that is to run once still does so when its time has passed.
    """
    if schedule.at is not None:
        return schedule.at
    return next_tick(schedule, now)


def due_ticks(schedule: ScheduleDocument, now: datetime) -> Due:
    """The ticks from ``next_run_at`` up to ``now``, and which of them run."""
    first = schedule.next_run_at
    if first is None or first > now:
        return Due([], 0, first)
    if schedule.misfire == Misfire.RUN_ALL:
        run = list(islice(_ticks(schedule, first, now), MAX_TICKS))
        return Due(run, 0, next_tick(schedule, run[-1]))
    last, count = _last(schedule, first, now)
    following = next_tick(schedule, last)
    if following is not None and following <= now:
        return Due([], count, following)
    late = (now - last).total_seconds()
    runs = schedule.misfire == Misfire.RUN_ONCE or late <= schedule.grace_s
    run = [last] if runs else []
    return Due(run, count - len(run), following)


def _ticks(
    schedule: ScheduleDocument, first: datetime, now: datetime
) -> Iterator[datetime]:
    tick: datetime | None = first
    while tick is not None and tick <= now:
        yield tick
        tick = next_tick(schedule, tick)


def _last(
    schedule: ScheduleDocument, first: datetime, now: datetime
) -> tuple[datetime, int]:
    """The last tick up to ``now``, as far as is looked; and how many from ``first``."""
    if schedule.every_s:
        step = timedelta(microseconds=_step(schedule))
        until = now if schedule.end_at is None else min(now, schedule.end_at)
        more = max(0, (until - first) // step)
        return first + more * step, more + 1
    found = list(islice(_ticks(schedule, first, now), MAX_TICKS))
    return found[-1], len(found)
