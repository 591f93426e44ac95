"""What requests do to jobs, inside a batch. Storage process only.

Whatever depends on the time or on chance is decided here, and goes into the documents:
the log has only those, so that its replay needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import ConflictError, LimitExceededError, UsageError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import (
    JOBS,
    CancelJobs,
    EnqueueJobs,
    FinishJobs,
    JobOutcome,
    JobPart,
    JobsEnqueued,
    JobsFinished,
    LimitQueue,
    NewJob,
    OutcomeKind,
    PauseQueue,
    PurgeJobs,
    ReportProgress,
    ResumeQueue,
    RetryJobs,
    WorkerGone,
)
from aurora_actors.messages.schedules import SCHEDULE_PARTS, SchedulePart
from aurora_actors.messages.storage import Written
from aurora_actors.schema.record import record_id
from aurora_actors.storage.jobs.desk import Desk
from aurora_actors.storage.jobs.document import (
    DEAD_LETTER,
    ENDED,
    RUNNING,
    to_micros,
)
from aurora_actors.storage.jobs.ending import Endings
from aurora_actors.storage.jobs.enqueueing import (
    InsertAll,
    InsertRun,
    enqueue,
    enqueue_run,
)
from aurora_actors.storage.jobs.index import (
    EXPIRES,
    NO_KEYS,
    keys_of,
    row_of_key,
    running_keys,
    unique_entry,
)
from aurora_actors.storage.jobs.machine import (
    Retention,
    can_retry,
    cancel,
    end_attempt,
    lose_worker,
    retry,
    start as begin,
    time_out,
)
from aurora_actors.storage.jobs.queues import set_queue
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.jobs.rows import FoundJob, find_job, own_collection, put_job
from aurora_actors.storage.jobs.scheduling import Schedules
from aurora_actors.storage.jobs.together import JobWrites
from aurora_actors.storage.writeset import WriteSet

__all__ = ["JobChanges", "Surroundings"]

_MAX_NOTE: Final = 1_000
_UNHANDLED_AT_ONCE: Final = 200
_ALL: Final = "*"


class Surroundings(NamedTuple):
    """What the state machine needs from outside.

    Attributes:
        desk: The workers.
        now: The time, which never goes back.
        chance: A random number below 1.
    """

    desk: Desk
    now: Callable[[], datetime]
    chance: Callable[[], float]


class JobChanges:
    """Carries out requests that change jobs.

    Args:
        config: Limits, and how long jobs are kept.
        around: Clock, chance and workers.
        insert_all: Inserts documents.
        synced: What replies say.
    """

    def __init__(
        self,
        config: AuroraConfig,
        around: Surroundings,
        insert_all: InsertAll,
        *,
        synced: bool,
    ) -> None:
        self._desk = around.desk
        self._now = around.now
        self._chance = around.chance
        self._insert_all = insert_all
        self._synced = synced
        self._max_bytes = config.max_document_bytes
        jobs = config.jobs
        self._retention = Retention(jobs.retention_s, jobs.dead_letter_retention_s)
        self._apply: dict[type, Callable[[WriteSet, Any], Message]] = {
            EnqueueJobs: self._enqueue,
            FinishJobs: self._finish,
            ReportProgress: self._report,
            WorkerGone: self._lose,
            CancelJobs: self._cancel,
            RetryJobs: self._retry,
            PauseQueue: self._set_queue,
            ResumeQueue: self._set_queue,
            LimitQueue: self._set_queue,
            PurgeJobs: self._purge,
        }
        self.schedules = Schedules(
            around.now, self._retention, insert_all, synced=synced
        )
        self._apply.update(dict.fromkeys(SCHEDULE_PARTS, self.schedules.apply))

    def apply(self, batch: WriteSet, request: JobPart | SchedulePart) -> Message:
        """Carry out one request; the caller undoes it when it raises.

        Raises:
            AuroraError: it is refused.
        """
        return self._apply[type(request)](batch, request)

    def _written(self, batch: WriteSet, start: int, affected: int) -> Written:
        lsn = batch.lsn if batch.lsn > start else 0
        return Written(lsn=lsn, synced=self._synced, affected=affected)

    def _endings(self, batch: WriteSet, now: datetime) -> Endings:
        return Endings(batch, now, self._retention)

    def _put(self, batch: WriteSet, found: FoundJob) -> None:
        collection = batch.catalog.by_name[JOBS]
        put_job(batch, collection, found.row, found.record, found.job, found.keys)
        if found.job.status != RUNNING and found.id in self._desk.held:
            batch.note(self._desk.held, found.id, None)

    # -------------------------------------------------------------- enqueueing
    def _check_sizes(self, jobs: Iterable[NewJob]) -> None:
        for job in jobs:
            if len(job.payload) > self._max_bytes:
                raise LimitExceededError(
                    f"a payload of {len(job.payload):,} bytes; max_document_bytes is "
                    f"{self._max_bytes:,}",
                    limit="max_document_bytes",
                )

    def _enqueue(self, batch: WriteSet, request: EnqueueJobs) -> JobsEnqueued:
        self._check_sizes(request.jobs)
        start = batch.lsn
        ids, created = enqueue(
            batch, request, self._now(), self._retention, self._insert_all
        )
        lsn = batch.lsn if batch.lsn > start else 0
        return JobsEnqueued(ids=ids, created=created, lsn=lsn, synced=self._synced)

    def enqueue_run(
        self, batch: WriteSet, requests: Sequence[EnqueueJobs], insert_run: InsertRun
    ) -> list[Message] | None:
        """Enqueue the jobs of several requests together, if that can be done."""
        for request in requests:
            self._check_sizes(request.jobs)
        written = enqueue_run(batch, requests, self._now(), self._retention, insert_run)
        if written is None:
            return None
        return [
            JobsEnqueued(
                ids=[job.id for job in request.jobs],
                created=len(request.jobs),
                lsn=each.lsn,
                synced=self._synced,
            )
            for request, each in zip(requests, written, strict=True)
        ]

    # -------------------------------------------------------------- workers
    def _finish(self, batch: WriteSet, request: FinishJobs) -> JobsFinished:
        start, now = batch.lsn, self._now()
        endings = self._endings(batch, now)
        accepted = []
        writes = JobWrites(batch, own_collection(batch))
        for outcome in request.outcomes:
            if outcome.id in writes.ids:
                writes.flush()
            done = self._finish_one(
                batch, request.worker, outcome, now, endings, writes
            )
            if request.exact and not done:
                raise ConflictError(
                    f"attempt {outcome.attempt} of the job {outcome.id!r} is not this "
                    "worker's any more",
                    collection=JOBS,
                    id=outcome.id,
                )
            accepted.append(done)
        writes.flush()
        endings.settle()
        self._desk.renew(request.worker)
        lsn = batch.lsn if batch.lsn > start else 0
        return JobsFinished(accepted=accepted, lsn=lsn, synced=self._synced)

    def _finish_one(
        self,
        batch: WriteSet,
        worker: str,
        outcome: JobOutcome,
        now: datetime,
        endings: Endings,
        writes: JobWrites,
    ) -> bool:
        held = self._desk.held.get(outcome.id)
        if (
            held is None
            or held.worker != worker
            or held.attempt != outcome.attempt
            or (record := batch.record(own_collection(batch), held.row)) is None
        ):
            return _was_recorded(batch, worker, outcome)
        job, row = job_of(record), held.row
        before = running_keys(row, job)
        if len(outcome.result) > self._max_bytes:
            outcome = self._too_large(outcome)
        end_attempt(job, outcome, now, self._chance(), self._retention)
        if job.status in ENDED:
            endings.add(job)
        writes.add(row, record, outcome.id, job, before, keys_of(row, job))
        batch.note(self._desk.held, outcome.id, None)
        return True

    def _too_large(self, outcome: JobOutcome) -> JobOutcome:
        """A result that no document can hold is no result."""
        return JobOutcome(
            id=outcome.id,
            attempt=outcome.attempt,
            kind=OutcomeKind.DEAD,
            error_type="UnserialisableResult",
            error=f"what the handler returned has {len(outcome.result):,} bytes; "
            f"max_document_bytes is {self._max_bytes:,}",
        )

    def _report(self, batch: WriteSet, request: ReportProgress) -> Written:
        start, changed = batch.lsn, 0
        for report in request.reports:
            held = self._desk.held.get(report.id)
            if (
                held is None
                or held.worker != request.worker
                or held.attempt != report.attempt
                or (found := find_job(batch, report.id, held.row)) is None
            ):
                continue
            job = found.job
            if report.fraction is not None:
                job.progress = min(max(report.fraction, 0.0), 1.0)
            job.note = report.note[:_MAX_NOTE] or None
            self._put(batch, found)
            changed += 1
        self._desk.renew(request.worker)
        return self._written(batch, start, changed)

    def _lose(self, batch: WriteSet, request: WorkerGone) -> Written:
        start, changed = batch.lsn, 0
        for worker in self._desk.workers_of(request.worker):
            changed += self.lose(batch, worker, request.reason or "its worker has gone")
        return self._written(batch, start, changed)

    def lose(self, batch: WriteSet, worker: str, reason: str) -> int:
        """A worker is gone: its jobs wait again; returns their number."""
        now = self._now()
        endings = self._endings(batch, now)
        lost = self._desk.jobs_of(worker)
        for job_id in lost:
            found = find_job(batch, job_id, self._desk.held[job_id].row)
            if found is None:
                batch.note(self._desk.held, job_id, None)
                continue
            lose_worker(found.job, reason, now, self._retention)
            if found.job.status in ENDED:
                endings.add(found.job)
            self._put(batch, found)
        endings.settle()
        batch.note(self._desk.leases, worker, None)
        batch.note(self._desk.waiting, worker, None)
        return len(lost)

    def end_overdue(self, batch: WriteSet, ids: Iterable[str]) -> None:
        """Fail attempts that have taken too long."""
        now = self._now()
        endings = self._endings(batch, now)
        for job_id in ids:
            found = find_job(batch, job_id, self._desk.held[job_id].row)
            if found is None:
                batch.note(self._desk.held, job_id, None)
                continue
            time_out(found.job, now, self._chance(), self._retention)
            if found.job.status in ENDED:
                endings.add(found.job)
            self._put(batch, found)
        endings.settle()

    def fail_unhandled(self, batch: WriteSet, lane: bytes) -> None:
        """Fail what is due in a lane whose type no worker has a handler for."""
        now = self._now()
        endings = self._endings(batch, now)
        for key in list(islice(batch.lane(lane, ()), _UNHANDLED_AT_ONCE)):
            if lane[-1] and int.from_bytes(key[-16:-8], "big") > to_micros(now):
                break
            found = find_job(batch, "", row_of_key(key))
            if found is None:
                continue
            begin(found.job, "", 0, now)
            outcome = JobOutcome(
                id="",
                attempt=found.job.attempt,
                kind=OutcomeKind.FAILED,
                error_type="UnknownHandler",
                error=f"no worker has a handler for {found.job.job_type!r}",
            )
            end_attempt(found.job, outcome, now, self._chance(), self._retention)
            if found.job.status in ENDED:
                endings.add(found.job)
            self._put(batch, found._replace(id=record_id(found.record)))
        endings.settle()

    # -------------------------------------------------------------- management
    def _cancel(self, batch: WriteSet, request: CancelJobs) -> Written:
        start, now, changed = batch.lsn, self._now(), 0
        endings = self._endings(batch, now)
        for job_id in request.ids:
            found = find_job(batch, job_id)
            if found is None or not cancel(found.job, now, self._retention):
                continue
            if found.job.status in ENDED:
                endings.add(found.job)
            self._put(batch, found)
            held = self._desk.held.get(job_id)
            if held is not None:
                batch.note(self._desk.held, job_id, held._replace(cancel=True))
                batch.note(self._desk.cancels, job_id, held.worker)
            changed += 1
        endings.settle()
        return self._written(batch, start, changed)

    def _retry(self, batch: WriteSet, request: RetryJobs) -> Written:
        start, changed = batch.lsn, 0
        for found in self._to_retry(batch, request):
            if not can_retry(found.job) or _is_replaced(batch, found):
                continue
            retry(found.job)
            self._put(batch, found)
            changed += 1
        return self._written(batch, start, changed)

    def _to_retry(self, batch: WriteSet, request: RetryJobs) -> Iterator[FoundJob]:
        for job_id in request.ids:
            found = find_job(batch, job_id)
            if found is not None:
                yield found
        if not request.queue:
            return
        queues = {request.queue}
        letters = (
            found
            for found in self._ended(batch)
            if found.job.status == DEAD_LETTER
            and (request.queue == _ALL or found.job.queue in queues)
        )
        yield from list(islice(letters, request.limit))

    def _ended(self, batch: WriteSet, until: int | None = None) -> Iterator[FoundJob]:
        """The jobs that have ended, those that are to be removed first in front."""
        for key in batch.job_keys(EXPIRES):
            if until is not None and int.from_bytes(key[1:9], "big") > until:
                return
            found = find_job(batch, "", row_of_key(key))
            if found is not None:
                yield found._replace(id=record_id(found.record))

    def _set_queue(
        self, batch: WriteSet, request: PauseQueue | ResumeQueue | LimitQueue
    ) -> Written:
        start = batch.lsn
        changed = set_queue(batch, self._desk, request, self._insert_all)
        return self._written(batch, start, int(changed))

    # -------------------------------------------------------------- removal
    def _purge(self, batch: WriteSet, request: PurgeJobs) -> Written:
        if request.status and request.status not in ENDED:
            raise UsageError(
                f"only jobs that have ended can be removed, not {request.status!r} ones"
            )
        start = batch.lsn
        ended = (
            found
            for found in self._ended(batch)
            if not request.status or found.job.status == request.status
        )
        if request.ended_before is not None:
            ended = (f for f in ended if _ended_before(f, request.ended_before))
        count = self._remove(batch, list(islice(ended, request.limit)))
        return self._written(batch, start, count)

    def remove_expired(self, batch: WriteSet, limit: int) -> int:
        """Remove jobs whose time is over; returns how many."""
        until = to_micros(self._now())
        return self._remove(batch, list(islice(self._ended(batch, until), limit)))

    def _remove(self, batch: WriteSet, removed: list[FoundJob]) -> int:
        if not removed:
            return 0
        endings = self._endings(batch, self._now())
        collection = batch.catalog.by_name[JOBS]
        rows = [found.row for found in removed]
        batch.delete(collection, rows, [found.record for found in removed], ())
        for found in removed:
            endings.removed(found.job)
            batch.index_job(found.row, found.keys, NO_KEYS)
            if found.job.unique_key:
                batch.forget_unique_job(found.row, unique_entry(found.job.unique_key))
        endings.settle()
        return len(removed)


def _ended_before(found: FoundJob, moment: int) -> bool:
    finished = found.job.finished_at
    return finished is not None and to_micros(finished) < moment


def _is_replaced(batch: WriteSet, found: FoundJob) -> bool:
    """Whether an unfinished job has taken the unique key meanwhile."""
    if not found.job.unique_key or found.job.status not in ENDED:
        return False
    entry = batch.job_entry(unique_entry(found.job.unique_key))
    if entry is None or int.from_bytes(entry, "big") == found.row:
        return False
    other = find_job(batch, "", int.from_bytes(entry, "big"))
    return other is not None and other.job.status not in ENDED


def _was_recorded(batch: WriteSet, worker: str, outcome: JobOutcome) -> bool:
    """Whether an earlier sending of the same outcome was accepted."""
    found = find_job(batch, outcome.id)
    if found is None or found.job.worker != worker:
        return False
    job = found.job
    if job.attempt != outcome.attempt or job.status == RUNNING:
        return False
    return outcome.kind is not OutcomeKind.COMPLETED or job.status == "completed"
