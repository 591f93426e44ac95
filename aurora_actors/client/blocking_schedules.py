"""Schedules for threads; a part of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.jobs_function import JobFunction
from aurora_actors.client.jobs_model import Job
from aurora_actors.client.schedules import ScheduleInfo
from aurora_actors.messages.schedules import Misfire

__all__ = ["BlockingSchedules"]


class BlockingSchedules:
    """A base of the blocking database class."""

    _db: Aurora

    def schedule(
        self,
        name: str,
        *,
        job: Job | JobFunction[..., Any],
        cron: str | None = None,
        every: float | timedelta | None = None,
        at: datetime | None = None,
        time_zone: str | ZoneInfo = "UTC",
        start: datetime | None = None,
        end: datetime | None = None,
        misfire: Misfire | str = Misfire.RUN_ONCE,
        misfire_grace_s: float = 60.0,
        timeout: float | None = None,
    ) -> ScheduleInfo:
        """Enqueue a job at each tick of a schedule, from now on."""
        return run_now(
            self._db.schedule(
                name,
                job=job,
                cron=cron,
                every=every,
                at=at,
                time_zone=time_zone,
                start=start,
                end=end,
                misfire=misfire,
                misfire_grace_s=misfire_grace_s,
                timeout=timeout,
            )
        )

    def get_schedule(
        self, name: str, *, timeout: float | None = None
    ) -> ScheduleInfo | None:
        """The schedule with this name, or ``None``."""
        return run_now(self._db.get_schedule(name, timeout=timeout))

    def list_schedules(self, *, timeout: float | None = None) -> list[ScheduleInfo]:
        """All schedules, sorted by name."""
        return run_now(self._db.list_schedules(timeout=timeout))

    def pause_schedule(self, name: str, *, timeout: float | None = None) -> bool:
        """Leave out the ticks from now on; returns whether this changes anything."""
        return run_now(self._db.pause_schedule(name, timeout=timeout))

    def resume_schedule(self, name: str, *, timeout: float | None = None) -> bool:
        """Go on with the next tick from now; returns whether this changes anything."""
        return run_now(self._db.resume_schedule(name, timeout=timeout))

    def unschedule(self, name: str, *, timeout: float | None = None) -> bool:
        """Remove a schedule, not its jobs; returns whether there was one."""
        return run_now(self._db.unschedule(name, timeout=timeout))
