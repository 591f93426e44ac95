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
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from aurora_actors.errors import AuroraError, CorruptionError, NotFoundError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import EnqueueJobs, NewJob
from aurora_actors.messages.schedules import (
    SCHEDULES,
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
from aurora_actors.storage.jobs.declaring import (
    check_schedule,
    job_of_tick,
    new_document,
    same_times,
)
from aurora_actors.storage.jobs.enqueueing import InsertAll, enqueue
from aurora_actors.storage.jobs.machine import Retention
from aurora_actors.storage.jobs.rows import own_collection
from aurora_actors.storage.jobs.schedule import (
    SCHEDULES_DEFINITION,
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

_LOOK_EVERY_S: Final = 1.0
"""The system's clock may be set forward while nobody looks at it."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)

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
        self._run = self._missed = 0

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
            name = record_id(record)
            try:
                self._known[name] = decode_schedule(record_body(record))
            except msgspec.MsgspecError as exc:
                raise CorruptionError(
                    f"the schedule {name!r} in {SCHEDULES} is damaged: {exc}",
                    collection=SCHEDULES,
                    id=name,
                ) from exc
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

    def counters(self) -> dict[str, int | float]:
        """Counters since storage was started."""
        return {
            "schedules": len(self._known),
            "ticks_run": self._run,
            "ticks_missed": self._missed,
        }

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
        self._run += changed.runs - known.runs
        self._missed += changed.missed - known.missed
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
                new.append(job_of_tick(known.job, job_id, name, tick))
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
        check_schedule(name, request.schedule)
        old = self._known.get(name)
        new = new_document(request.schedule, now)
        if old is not None:
            kept = old.created_at if same_times(old, new) else now
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
        if old is None or not same_times(old, new):
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
