"""Schedules: jobs at the ticks of a cron expression or an interval, or at one moment.

A part of the database object. Schedules are documents of ``_sys_schedules`` by their
names, so that they can be queried and watched; storage enqueues their jobs, so that
there is one for each tick however many processes have the database open.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from aurora_actors.client.document import Document, document_of
from aurora_actors.client.handle import Handle
from aurora_actors.client.jobs_function import JobFunction
from aurora_actors.client.jobs_model import Job, new_job
from aurora_actors.client.protocol import STORAGE
from aurora_actors.errors import (
    CollectionNotFoundError,
    InternalError,
    ValidationError,
)
from aurora_actors.messages.jobs import Backoff, JobPriority
from aurora_actors.messages.schedules import (
    SCHEDULES,
    Misfire,
    NewSchedule,
    PauseSchedule,
    PutSchedule,
    RemoveSchedule,
    ResumeSchedule,
    SchedulePut,
)
from aurora_actors.schema.values import decode_document

__all__ = ["ScheduleHandle", "ScheduleInfo"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NOT_SCHEDULED: Final = ("run_at", "delay_s", "after", "after_any_end", "parent", "id")


class ScheduleInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was when it was read.

    Attributes:
        name: Its name.
        job: What each tick enqueues.
        cron: Its cron expression, if it has one.
        every: Its interval, if it has one.
        at: Its one moment, if it has one.
        time_zone: On whose clocks ``cron`` is read.
        start: No tick before.
        end: No tick after.
        misfire: What becomes of ticks that were missed.
        misfire_grace_s: How late a tick may run that is not to be made up.
        is_paused: Its ticks are left out.
        next_run_at: When it is due; ``None`` while it is paused, or when it is over.
        last_run_at: The tick that has run last.
        last_job_id: That tick's job.
        runs: How many jobs it has enqueued.
        missed: How many ticks were left out.
        created_at: When it was made.
        error: Why the last tick could not be enqueued.
    """

    name: str
    job: Job
    cron: str | None
    every: timedelta | None
    at: datetime | None
    time_zone: str
    start: datetime | None
    end: datetime | None
    misfire: Misfire
    misfire_grace_s: float
    is_paused: bool
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_job_id: str | None
    runs: int
    missed: int
    created_at: datetime
    error: str | None

    @classmethod
    def of(cls, document: Document) -> ScheduleInfo:
        """The schedule that a document of ``_sys_schedules`` is."""
        get = cast("dict[str, object]", document.data).get
        every_s = cast("float | None", get("every_s"))
        known = {name: get(name) for name in cls.__struct_fields__}
        known.update(
            name=document.id,
            job=_job_of(cast("Mapping[str, object]", get("job"))),
            every=None if every_s is None else timedelta(seconds=every_s),
            start=get("start_at"),
            end=get("end_at"),
            misfire=Misfire(str(get("misfire"))),
            misfire_grace_s=get("grace_s"),
            is_paused=get("paused"),
        )
        return cls(**known)  # type: ignore[arg-type]  # the document's own types


class ScheduleHandle(Handle):
    """Adds schedules to a database object."""

    async def schedule(
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
        """Enqueue a job at each tick, from now on and whoever has the database open.

        Exactly one of ``cron``, ``every`` and ``at`` is given. The same schedule again
        changes nothing, so that every process of an application may declare it when it
        starts; another one takes the place of the one with this name, and goes on from
        its next tick if only the job is another.

        A tick's job and the schedule's next moment are written together: each tick comes
        to one job, whose id is ``<name>@<tick>``. With a ``unique_key`` in ``job``, a
        tick is left out while the run before goes on.

        Args:
            name: Its name, at most 128 bytes.
            job: What to enqueue; a job function stands for its job without arguments.
            cron: Minute, hour, day of month, month, day of week; with a sixth field in
                front, seconds; or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``,
                ``@yearly``. Where clocks change, fixed times (neither minute nor hour
                begins with ``*``) run once: those left out right after the change, those
                that come twice the first time. Others follow the clock on the wall.
            every: An interval, in seconds or as a timedelta; the first tick is at
                ``start``, or one interval from now.
            at: One moment; runs at once when it has passed.
            time_zone: On whose clocks ``cron`` is read, and moments without a zone.
            start: No tick before this moment.
            end: No tick after this moment.
            misfire: What becomes of ticks that came while the database was down:
                ``"skip"`` leaves them out, ``"run_once"`` runs the last one for all of
                them, ``"run_all"`` runs each.
            misfire_grace_s: With ``"skip"``, how late the last tick may run all the same.
            timeout: In seconds.

        Raises:
            ValidationError: something of it makes no sense; has ``path``.
        """
        request = PutSchedule(
            name=_name(name),
            schedule=_new_schedule(
                job=job.job() if isinstance(job, JobFunction) else job,
                cron=cron,
                every=every,
                at=at,
                time_zone=time_zone,
                start=start,
                end=end,
                misfire=misfire,
                grace_s=misfire_grace_s,
            ),
        )
        reply = await self._open().shell.call(STORAGE, request, timeout)
        if not isinstance(reply, SchedulePut):
            raise InternalError(f"a schedule was answered by {type(reply).__name__}")
        return ScheduleInfo.of(Document(name, decode_document(reply.document)))

    async def get_schedule(
        self, name: str, *, timeout: float | None = None
    ) -> ScheduleInfo | None:
        """The schedule with this name, or ``None``."""
        session = self._open()
        if session.cancel_point is not None:
            await session.cancel_point()
        try:
            found = await session.document(SCHEDULES, _name(name), timeout)
        except CollectionNotFoundError:
            return None
        return None if found is None else ScheduleInfo.of(found)

    async def list_schedules(
        self, *, timeout: float | None = None
    ) -> list[ScheduleInfo]:
        """All schedules, sorted by name."""
        session = self._open()
        if session.cancel_point is not None:
            await session.cancel_point()
        documents = [document_of(each) for each in await session.all_records(SCHEDULES)]
        documents.sort(key=lambda document: document.id)
        return [ScheduleInfo.of(document) for document in documents]

    async def pause_schedule(self, name: str, *, timeout: float | None = None) -> bool:
        """Leave out the ticks from now on; returns whether this changes anything.

        Raises:
            NotFoundError: there is no such schedule.
        """
        request = PauseSchedule(name=_name(name))
        return (await self._write(request, timeout)).affected > 0

    async def resume_schedule(self, name: str, *, timeout: float | None = None) -> bool:
        """Go on with the next tick from now; returns whether this changes anything.

        Raises:
            NotFoundError: there is no such schedule.
        """
        request = ResumeSchedule(name=_name(name))
        return (await self._write(request, timeout)).affected > 0

    async def unschedule(self, name: str, *, timeout: float | None = None) -> bool:
        """Remove a schedule, not its jobs; returns whether there was one."""
        request = RemoveSchedule(name=_name(name))
        return (await self._write(request, timeout)).affected > 0


def _name(name: str) -> str:
    if not isinstance(name, str):
        raise ValidationError(
            f"a schedule's name is text, not {type(name).__name__}", path="name"
        )
    return name


def _new_schedule(
    *,
    job: Job,
    cron: str | None,
    every: float | timedelta | None,
    at: datetime | None,
    time_zone: str | ZoneInfo,
    start: datetime | None,
    end: datetime | None,
    misfire: Misfire | str,
    grace_s: float,
) -> NewSchedule:
    given = [each for each in (cron, every, at) if each is not None]
    if len(given) != 1 or cron == "":
        raise ValidationError(
            "a schedule needs exactly one of cron, every and at", path="cron"
        )
    zone = time_zone.key if isinstance(time_zone, ZoneInfo) else time_zone
    if isinstance(every, timedelta):
        every = every.total_seconds()
    if every is not None and (isinstance(every, bool) or every == 0):
        raise ValidationError(f"every must be a time, not {every!r}", path="every")
    try:
        return msgspec.convert(
            {
                "job": _template(job),
                "cron": cron or "",
                "every_s": every or 0.0,
                "at": _micros("at", at, zone),
                "time_zone": zone,
                "start": _micros("start", start, zone),
                "end": _micros("end", end, zone),
                "misfire": misfire,
                "grace_s": grace_s,
            },
            NewSchedule,
        )
    except msgspec.ValidationError as exc:
        path = str(exc).rpartition("$.")[2].rstrip("`") or "schedule"
        raise ValidationError(f"the schedule makes no sense: {exc}", path=path) from exc


def _template(job: Job) -> object:
    new = new_job(job)
    plain = Job("")
    for field in _NOT_SCHEDULED:
        if getattr(job, field) != getattr(plain, field):
            raise ValidationError(
                f"the job of a schedule has no {field}: each tick brings its own",
                path=f"job.{field}",
            )
    return msgspec.structs.replace(new, id="")


def _micros(path: str, moment: datetime | None, zone: str) -> int | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise ValidationError(
            f"{path} must be a datetime, not {type(moment).__name__}", path=path
        )
    if moment.tzinfo is None:
        try:
            moment = moment.replace(tzinfo=ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as exc:
            raise ValidationError(
                f"there is no time zone {zone!r:.80}", path="time_zone"
            ) from exc
    return (moment - _EPOCH) // _MICROSECOND


def _job_of(data: Mapping[str, object]) -> Job:
    known = {name: data[name] for name in Job.__struct_fields__ if name in data}
    known["priority"] = JobPriority(cast("int", data.get("priority", 1)))
    if "backoff" in known:
        known["backoff"] = msgspec.convert(known["backoff"], Backoff)
    return Job(**known)  # type: ignore[arg-type]  # the document's own types
