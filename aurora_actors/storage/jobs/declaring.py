"""From what was asked to a schedule's document, and from that to a tick's job.

Pure functions; the moment comes as an argument.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from aurora_actors.errors import ValidationError
from aurora_actors.messages.jobs import NewJob
from aurora_actors.messages.schedules import NewSchedule
from aurora_actors.storage.jobs.document import from_micros, to_micros
from aurora_actors.storage.jobs.enqueueing import check_new_job
from aurora_actors.storage.jobs.schedule import ScheduledJob, ScheduleDocument
from aurora_actors.storage.jobs.timing import first_tick

__all__ = ["check_schedule", "job_of_tick", "new_document", "same_times"]

_LONGEST_NAME: Final = 128
_SHORTEST_S: Final = 0.01
_LONGEST_S: Final = 4e9
_FIRST_MOMENT: Final = 0
_LAST_MOMENT: Final = 253_370_764_800_000_000  # the year 9999
_EMPTY_MAP: Final = b"\x80"


def job_of_tick(job: ScheduledJob, job_id: str, name: str, tick: datetime) -> NewJob:
    """The job that a schedule enqueues for one tick."""
    return NewJob(
        id=job_id,
        job_type=job.job_type,
        payload=bytes(job.payload),
        queue=job.queue,
        priority=job.priority,
        max_retries=job.max_retries,
        timeout_s=job.timeout_s,
        backoff=job.backoff,
        unique_key=job.unique_key or "",
        unique_for_s=job.unique_for_s,
        retention_s=job.retention_s,
        schedule=name,
        tick=to_micros(tick),
    )


def new_document(new: NewSchedule, now: datetime) -> ScheduleDocument:
    """A schedule made now, which is not due yet."""
    job = new.job
    return ScheduleDocument(
        job=ScheduledJob(
            job_type=job.job_type,
            queue=job.queue,
            payload=msgspec.Raw(job.payload or _EMPTY_MAP),
            priority=job.priority,
            max_retries=job.max_retries,
            timeout_s=job.timeout_s,
            backoff=job.backoff,
            unique_key=job.unique_key or None,
            unique_for_s=job.unique_for_s,
            retention_s=job.retention_s,
        ),
        time_zone=new.time_zone,
        misfire=new.misfire.value,
        grace_s=new.grace_s,
        paused=False,
        runs=0,
        missed=0,
        created_at=now,
        cron=new.cron or None,
        every_s=new.every_s or None,
        at=None if new.at is None else from_micros(new.at),
        start_at=None if new.start is None else from_micros(new.start),
        end_at=None if new.end is None else from_micros(new.end),
    )


def same_times(old: ScheduleDocument, new: ScheduleDocument) -> bool:
    """Whether both have the same ticks."""
    return (
        old.cron == new.cron
        and old.every_s == new.every_s
        and old.at == new.at
        and old.start_at == new.start_at
        and old.end_at == new.end_at
        and (old.cron is None or old.time_zone == new.time_zone)
    )


def check_schedule(name: str, new: NewSchedule) -> None:
    """Refuse a schedule that makes no sense.

    Raises:
        ValidationError: it does not; ``path`` says what.
    """
    if not name or len(name.encode()) > _LONGEST_NAME or not name.isprintable():
        raise ValidationError(
            f"a schedule's name must be printable text of 1 to {_LONGEST_NAME} bytes, "
            f"not {name[:80]!r}",
            path="name",
        )
    given = (bool(new.cron), bool(new.every_s), new.at is not None)
    if sum(given) != 1:
        raise ValidationError(
            f"schedule {name!r}: give exactly one of cron, every and at", path="cron"
        )
    check_new_job(new.job)
    if new.every_s and not _SHORTEST_S <= new.every_s <= _LONGEST_S:
        raise ValidationError(
            f"every must be from {_SHORTEST_S} to {_LONGEST_S:g} seconds, not "
            f"{new.every_s}",
            path="every",
        )
    if not 0 <= new.grace_s <= _LONGEST_S:
        raise ValidationError(
            f"misfire_grace must be from 0 to {_LONGEST_S:g} seconds, not "
            f"{new.grace_s}",
            path="misfire_grace",
        )
    _check_moments(name, new)


def _check_moments(name: str, new: NewSchedule) -> None:
    for path, moment in (("at", new.at), ("start", new.start), ("end", new.end)):
        if moment is not None and not _FIRST_MOMENT <= moment <= _LAST_MOMENT:
            raise ValidationError(
                f"{path} must be between the years 1970 and 9999", path=path
            )
    schedule = new_document(new, from_micros(0))
    # Reads the expression and the time zone, which may be none.
    if first_tick(schedule, from_micros(0) - timedelta(seconds=1)) is None:
        raise ValidationError(
            f"schedule {name!r} has no tick: it ends before the first", path="end"
        )
