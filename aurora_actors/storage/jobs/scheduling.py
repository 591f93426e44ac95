"""Schedules inside a batch: what requests do to them, and what happens at a tick.

A tick's job and the schedule's next moment are written by the same batch, so that both
are there after a crash, or neither. The job's id is made of the schedule's name and the
tick: nobody can enqueue a tick twice. Times are decided here and go into the documents;
the log has only those. Storage process only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from aurora_actors.errors import AuroraError, NotFoundError, ValidationError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import EnqueueJobs, NewJob
from aurora_actors.messages.schedules import (
    SCHEDULES,
    NewSchedule,
    PauseSchedule,
    PutSchedule,
    RemoveSchedule,
    ResumeSchedule,
    SchedulePart,
    SchedulePut,
)
from aurora_actors.messages.storage import Written
from aurora_actors.schema.record import pack_record, record_body, record_id
from aurora_actors.storage.catalog import Catalog
from aurora_actors.storage.environment import Tables, Transaction
from aurora_actors.storage.jobs.document import from_micros, to_micros
from aurora_actors.storage.jobs.enqueueing import InsertAll, check_new_job, enqueue
from aurora_actors.storage.jobs.machine import Retention
from aurora_actors.storage.jobs.rows import own_collection
from aurora_actors.storage.jobs.schedule import (
    SCHEDULES_DEFINITION,
    ScheduledJob,
    ScheduleDocument,
    decode_schedule,
    encode_schedule,
    tick_id,
)
from aurora_actors.storage.jobs.timing import due_ticks, first_tick
from aurora_actors.storage.keys import id_key
from aurora_actors.storage.layout import collection_prefix
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Schedules"]

_log = logging.getLogger(__name__)

_LONGEST_NAME: Final = 128
_SHORTEST_S: Final = 0.01
_LONGEST_S: Final = 4e9
_FIRST_MOMENT: Final = 0
_LAST_MOMENT: Final = 253_370_764_800_000_000  # the year 9999
_LOOK_EVERY_S: Final = 1.0
"""The system's clock may be set forward while nobody looks at it."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_EMPTY_MAP: Final = b"\x80"

Now: TypeAlias = Callable[[], datetime]


class Schedules:
    """All schedules, and what becomes of them.

    Args:
        now: The time of jobs.
        retention: How long jobs are kept.
        insert_all: Inserts documents.
        synced: What replies say.
    """

    def __init__(
        self, now: Now, retention: Retention, insert_all: InsertAll, *, synced: bool
    ) -> None:
        self._now = now
        self._retention = retention
        self._insert_all = insert_all
        self._synced = synced
        self._known: dict[str, ScheduleDocument] = {}
        self._next: datetime | None = None

    def load(self, txn: Transaction, tables: Tables, catalog: Catalog) -> None:
        """Learn from the tables which schedules there are."""
        collection = catalog.by_name.get(SCHEDULES)
        if collection is None:
            return
        prefix = collection_prefix(collection.id)
        cursor = txn.cursor(tables.docs)
        found = cursor.set_range(prefix)
        while found and cursor.key()[:4] == prefix:
            record = cursor.value()
            self._known[record_id(record)] = decode_schedule(record_body(record))
            found = cursor.next()

    # -------------------------------------------------------------- when
    def due(self) -> float:
        """Seconds until :meth:`run` has something to do, or should look."""
        if not self._known:
            return math.inf
        following = self._following()
        if following is _NEVER:
            return math.inf
        wait = (following - self._now()).total_seconds()
        return min(max(wait, 0.0), _LOOK_EVERY_S)

    def next_tick(self) -> datetime | None:
        """When the next schedule is due; ``None`` when none is."""
        following = self._following()
        return None if following is _NEVER else following

    def forget_next(self) -> None:
        """Schedules may have changed: the next tick is looked for again."""
        self._next = None

    def _following(self) -> datetime:
        if self._next is None:
            moments = (known.next_run_at for known in self._known.values())
            self._next = min((each for each in moments if each), default=_NEVER)
        return self._next

    # -------------------------------------------------------------- ticks
    def run(self, batch: WriteSet) -> None:
        """Enqueue the jobs of the ticks that are due."""
        if not self._known:
            return
        now = self._now()
        if self._following() > now:
            return
        for name, known in list(self._known.items()):
            if known.next_run_at is not None and known.next_run_at <= now:
                self._tick(batch, name, known, now)
        self._next = None

    def _tick(
        self, batch: WriteSet, name: str, known: ScheduleDocument, now: datetime
    ) -> None:
        due = due_ticks(known, now)
        changed = msgspec.structs.replace(
            known, next_run_at=due.next, missed=known.missed + due.missed, error=None
        )
        if due.run:
            point = batch.savepoint()
            try:
                ids, created = self._enqueue(batch, name, known, due.run, now)
            except AuroraError as exc:
                batch.rollback(point)
                _log.error(
                    "a schedule's job cannot be enqueued",
                    extra={"schedule": name, "error": str(exc)},
                )
                changed = msgspec.structs.replace(
                    changed, error=str(exc), missed=changed.missed + len(due.run)
                )
            else:
                changed = msgspec.structs.replace(
                    changed,
                    runs=known.runs + created,
                    missed=changed.missed + len(due.run) - created,
                    last_run_at=due.run[-1],
                    last_job_id=ids[-1],
                )
        self._put(batch, name, changed)

    def _enqueue(
        self,
        batch: WriteSet,
        name: str,
        known: ScheduleDocument,
        ticks: list[datetime],
        now: datetime,
    ) -> tuple[list[str], int]:
        """Enqueue ticks' jobs; those that exist already stand for themselves."""
        jobs = own_collection(batch)
        new: list[NewJob] = []
        for tick in ticks:
            job_id = tick_id(name, tick)
            if batch.row_of(id_key(jobs, job_id)) is None:
                new.append(_job_of(known.job, job_id, name, tick))
        _, created = enqueue(
            batch, EnqueueJobs(jobs=new), now, self._retention, self._insert_all
        )
        return [tick_id(name, tick) for tick in ticks], created

    # -------------------------------------------------------------- requests
    def apply(self, batch: WriteSet, request: SchedulePart) -> Message:
        """Carry out one request; the caller undoes it when it raises.

        Raises:
            AuroraError: it is refused.
        """
        self._next = None
        match request:
            case PutSchedule():
                return self._define(batch, request)
            case PauseSchedule(name=name):
                return self._pause(batch, name, paused=True)
            case ResumeSchedule(name=name):
                return self._pause(batch, name, paused=False)
            case RemoveSchedule(name=name):
                return self._remove(batch, name)

    def _written(self, batch: WriteSet, start: int) -> Written:
        changed = batch.lsn > start
        lsn = batch.lsn if changed else 0
        return Written(lsn=lsn, synced=self._synced, affected=int(changed))

    def _define(self, batch: WriteSet, request: PutSchedule) -> SchedulePut:
        start, name, now = batch.lsn, request.name, self._now()
        _check(name, request.schedule)
        old = self._known.get(name)
        new = _document(request.schedule, now)
        if old is not None:
            kept = old.created_at if _same_times(old, new) else now
            new = msgspec.structs.replace(
                new,
                created_at=kept,
                paused=old.paused,
                runs=old.runs,
                missed=old.missed,
                last_run_at=old.last_run_at,
                last_job_id=old.last_job_id,
                error=old.error,
                next_run_at=old.next_run_at,
            )
        if old is None or not _same_times(old, new):
            first = None if new.paused else first_tick(new, now)
            new = msgspec.structs.replace(new, next_run_at=first)
        if new != old:
            self._put(batch, name, new)
        return SchedulePut(
            created=old is None,
            document=encode_schedule(new),
            lsn=batch.lsn if batch.lsn > start else 0,
            synced=self._synced,
        )

    def _pause(self, batch: WriteSet, name: str, *, paused: bool) -> Written:
        start = batch.lsn
        known = self._known.get(name)
        if known is None:
            raise NotFoundError(
                f"there is no schedule {name[:255]!r}",
                collection=SCHEDULES,
                id=name[:255],
            )
        if known.paused != paused:
            following = None
            is_over = known.at is not None and known.last_run_at == known.at
            if not paused and not is_over:
                following = first_tick(known, self._now())
            changed = msgspec.structs.replace(
                known, paused=paused, next_run_at=following
            )
            self._put(batch, name, changed)
        return self._written(batch, start)

    def _remove(self, batch: WriteSet, name: str) -> Written:
        start = batch.lsn
        collection = batch.catalog.by_name.get(SCHEDULES)
        if collection is not None and name in self._known:
            row = batch.row_of(id_key(collection, name))
            record = None if row is None else batch.record(collection, row)
            if row is not None and record is not None:
                batch.delete(collection, [row], [record], ())
            batch.note(self._known, name, None)
        return self._written(batch, start)

    def _put(self, batch: WriteSet, name: str, document: ScheduleDocument) -> None:
        collection = own_collection(batch, SCHEDULES_DEFINITION)
        body = encode_schedule(document)
        row = batch.row_of(id_key(collection, name))
        old = None if row is None else batch.record(collection, row)
        if row is None or old is None:
            self._insert_all(batch, collection, [name], [body])
        else:
            new = pack_record(batch.lsn + 1, name, body)
            batch.update(collection, row, old, new, freed=(), taken=())
        batch.note(self._known, name, document)


def _job_of(job: ScheduledJob, job_id: str, name: str, tick: datetime) -> NewJob:
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


def _document(new: NewSchedule, now: datetime) -> ScheduleDocument:
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


def _same_times(old: ScheduleDocument, new: ScheduleDocument) -> bool:
    """Whether both have the same ticks."""
    return (
        old.cron == new.cron
        and old.every_s == new.every_s
        and old.at == new.at
        and old.start_at == new.start_at
        and old.end_at == new.end_at
        and (old.cron is None or old.time_zone == new.time_zone)
    )


def _check(name: str, new: NewSchedule) -> None:
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
    schedule = _document(new, from_micros(0))
    # Reads the expression and the time zone, which may be none.
    if first_tick(schedule, from_micros(0) - timedelta(seconds=1)) is None:
        raise ValidationError(
            f"schedule {name!r} has no tick: it ends before the first", path="end"
        )
