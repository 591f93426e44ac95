"""What a schedule looks like: a document of the collection ``_sys_schedules``.

Read by everybody who deals with schedules; written by the storage process alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from aurora_actors.messages.jobs import Backoff
from aurora_actors.messages.schedules import SCHEDULES
from aurora_actors.schema.types import CollectionDefinition

__all__ = [
    "SCHEDULES_DEFINITION",
    "ScheduleDocument",
    "ScheduledJob",
    "decode_schedule",
    "encode_schedule",
    "tick_id",
]

SCHEDULES_DEFINITION: Final = CollectionDefinition(SCHEDULES, {}, open=True)


class ScheduledJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """The job that each tick enqueues; see ``messages.jobs.NewJob``."""

    job_type: str
    queue: str
    payload: msgspec.Raw
    priority: int = 1
    max_retries: int = 3
    timeout_s: float = 300.0
    backoff: Backoff | None = None
    unique_key: str | None = None
    unique_for_s: float = 0.0
    retention_s: float | None = None


class ScheduleDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A schedule.

    Attributes:
        job: What each tick enqueues.
        time_zone: On whose clocks ``cron`` is read.
        misfire: ``skip``, ``run_once`` or ``run_all``.
        grace_s: How late a tick may run that is not to be made up.
        paused: Its ticks are left out.
        runs: How many jobs it has enqueued.
        missed: How many ticks were left out, because nothing could run them in time.
        created_at: When it was made.
        cron: The cron expression, of one that has such.
        every_s: The interval, of one that has such.
        at: The one moment, of one that has such.
        start_at: No tick before; an interval's first tick.
        end_at: No tick after.
        next_run_at: When it is due; ``None`` while it is paused, or when it is over.
        last_run_at: The tick that has been run last.
        last_job_id: That tick's job.
        error: Why the last tick could not be enqueued.
    """

    job: ScheduledJob
    time_zone: str
    misfire: str
    grace_s: float
    paused: bool
    runs: int
    missed: int
    created_at: datetime
    cron: str | None = None
    every_s: float | None = None
    at: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    last_job_id: str | None = None
    error: str | None = None


_encoder: Final = msgspec.msgpack.Encoder()
encode_schedule: Final[Callable[[ScheduleDocument], bytes]] = _encoder.encode
decode_schedule: Final = msgspec.msgpack.Decoder(ScheduleDocument).decode


def tick_id(name: str, tick: datetime) -> str:
    """The id of a tick's job: the same one whoever enqueues it, and when."""
    spec = "milliseconds" if tick.microsecond else "seconds"
    if tick.microsecond % 1000:
        spec = "microseconds"
    return f"{name}@{tick.replace(tzinfo=None).isoformat(timespec=spec)}Z"
