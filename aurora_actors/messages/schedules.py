"""Schedules: what storage is asked about them, and what it answers.

A schedule is a document of ``_sys_schedules`` under its name that only these requests
change. When a tick is due, storage enqueues its job and moves the schedule on in one
commit, so that a tick comes to one job whatever crashes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias, get_args

import msgspec

from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import NewJob

__all__ = [
    "SCHEDULES",
    "SCHEDULE_PARTS",
    "Misfire",
    "NewSchedule",
    "PauseSchedule",
    "PutSchedule",
    "RemoveSchedule",
    "ResumeSchedule",
    "SchedulePart",
    "SchedulePut",
]

SCHEDULES: Final = "_sys_schedules"
"""The collection whose documents are the schedules, by their names."""


class Misfire(StrEnum):
    """What becomes of ticks that came while nothing could run them."""

    SKIP = "skip"
    """They are left out; only the last one still runs, if it is late by no more than
    the schedule's grace."""
    RUN_ONCE = "run_once"
    """The last one runs, however late; it stands for all of them."""
    RUN_ALL = "run_all"
    """Each of them runs, in their order."""


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule: exactly one of ``cron``, ``every_s`` and ``at`` is given.

    Attributes:
        job: What to enqueue at each tick; its ``id`` and times are not used.
        cron: A cron expression.
        every_s: One tick in so many seconds.
        at: One tick, in microseconds since 1970.
        time_zone: On whose clocks ``cron`` is read.
        start: No tick before this moment; an interval's first tick. Microseconds.
        end: No tick after this moment.
        misfire: See :class:`Misfire`.
        grace_s: How late a tick may run that is not to be made up.
    """

    job: NewJob
    cron: str = ""
    every_s: float = 0.0
    at: int | None = None
    time_zone: str = "UTC"
    start: int | None = None
    end: int | None = None
    misfire: Misfire = Misfire.RUN_ONCE
    grace_s: float = 60.0


class PutSchedule(Message, frozen=True, kw_only=True, tag="schedules.put"):
    """Make a schedule, or put it in the place of the one with this name.

    The same schedule again changes nothing: its ticks go on as they were. Answered by
    :class:`SchedulePut`.
    """

    name: str
    schedule: NewSchedule


class PauseSchedule(Message, frozen=True, kw_only=True, tag="schedules.pause"):
    """Leave out a schedule's ticks from now on; answered by ``Written``."""

    name: str


class ResumeSchedule(Message, frozen=True, kw_only=True, tag="schedules.resume"):
    """Go on with a schedule's next tick from now; answered by ``Written``."""

    name: str


class RemoveSchedule(Message, frozen=True, kw_only=True, tag="schedules.remove"):
    """Remove a schedule; its jobs stay. ``Written`` says 0 when there was none."""

    name: str


class SchedulePut(Message, frozen=True, kw_only=True, tag="schedules.was_put"):
    """The schedule is in force.

    Attributes:
        created: It is new.
        document: Its encoded document.
        lsn: The last change; 0 when nothing has changed.
        synced: Whether it survives power loss already.
    """

    created: bool
    document: bytes
    lsn: int
    synced: bool


SchedulePart: TypeAlias = PutSchedule | PauseSchedule | ResumeSchedule | RemoveSchedule
"""Changes of schedules."""

SCHEDULE_PARTS: Final[tuple[type[Message], ...]] = get_args(SchedulePart)
