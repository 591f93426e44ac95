"""What enqueuers and workers do to jobs, inside a batch. Storage process only.

Whatever depends on the time or on chance is decided here, and goes into the documents:
the log has only those, so that its replay needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import ConflictError, LimitExceededError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import (
    JOBS,
    EnqueueJobs,
    FinishJobs,
    JobOutcome,
    JobPart,
    JobsEnqueued,
    JobsFinished,
    NewJob,
    OutcomeKind,
    ReportProgress,
    WorkerGone,
)
from aurora_actors.messages.schedules import SCHEDULE_PARTS, SchedulePart
from aurora_actors.messages.storage import Written
from aurora_actors.schema.record import record_id
from aurora_actors.storage.jobs.desk import Desk
from aurora_actors.storage.jobs.document import (
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
    keys_of,
    row_of_key,
    running_keys,
)
from aurora_actors.storage.jobs.ledger import Ledger
from aurora_actors.storage.jobs.machine import (
    Retention,
    end_attempt,
    lose_worker,
    start as begin,
    time_out,
)
from aurora_actors.storage.jobs.managing import JobManagement
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.jobs.rows import find_job, own_collection
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
        self._ledger = Ledger(around.desk, around.now, self._retention, synced)
        self.management = JobManagement(self._ledger, insert_all)
        self._apply: dict[type, Callable[[WriteSet, Any], Message]] = {
            EnqueueJobs: self._enqueue,
            FinishJobs: self._finish,
            ReportProgress: self._report,
            WorkerGone: self._lose,
        }
        self.schedules = Schedules(
            around.now, self._retention, insert_all, synced=synced
        )
        self._apply |= self.management.carried_out
        self._apply |= dict.fromkeys(SCHEDULE_PARTS, self.schedules.apply)

    def apply(self, batch: WriteSet, request: JobPart | SchedulePart) -> Message:
        """Carry out one request; the caller undoes it when it raises.

        Raises:
            AuroraError: it is refused.
        """
        return self._apply[type(request)](batch, request)

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
        endings = self._ledger.endings(batch, now)
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
            self._ledger.put(batch, found)
            changed += 1
        self._desk.renew(request.worker)
        return self._ledger.written(batch, start, changed)

    def _lose(self, batch: WriteSet, request: WorkerGone) -> Written:
        start, changed = batch.lsn, 0
        for worker in self._desk.workers_of(request.worker):
            changed += self.lose(batch, worker, request.reason or "its worker has gone")
        return self._ledger.written(batch, start, changed)

    def lose(self, batch: WriteSet, worker: str, reason: str) -> int:
        """A worker is gone: its jobs wait again; returns their number."""
        now = self._now()
        endings = self._ledger.endings(batch, now)
        lost = self._desk.jobs_of(worker)
        for job_id in lost:
            found = find_job(batch, job_id, self._desk.held[job_id].row)
            if found is None:
                batch.note(self._desk.held, job_id, None)
                continue
            lose_worker(found.job, reason, now, self._retention)
            if found.job.status in ENDED:
                endings.add(found.job)
            self._ledger.put(batch, found)
        endings.settle()
        batch.note(self._desk.leases, worker, None)
        batch.note(self._desk.waiting, worker, None)
        return len(lost)

    def end_overdue(self, batch: WriteSet, ids: Iterable[str]) -> None:
        """Fail attempts that have taken too long."""
        now = self._now()
        endings = self._ledger.endings(batch, now)
        for job_id in ids:
            found = find_job(batch, job_id, self._desk.held[job_id].row)
            if found is None:
                batch.note(self._desk.held, job_id, None)
                continue
            time_out(found.job, now, self._chance(), self._retention)
            if found.job.status in ENDED:
                endings.add(found.job)
            self._ledger.put(batch, found)
        endings.settle()

    def fail_unhandled(self, batch: WriteSet, lane: bytes) -> None:
        """Fail what is due in a lane whose type no worker has a handler for."""
        now = self._now()
        endings = self._ledger.endings(batch, now)
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
            self._ledger.put(batch, found._replace(id=record_id(found.record)))
        endings.settle()


def _was_recorded(batch: WriteSet, worker: str, outcome: JobOutcome) -> bool:
    """Whether an earlier sending of the same outcome was accepted."""
    found = find_job(batch, outcome.id)
    if found is None or found.job.worker != worker:
        return False
    job = found.job
    if job.attempt != outcome.attempt or job.status == RUNNING:
        return False
    return outcome.kind is not OutcomeKind.COMPLETED or job.status == "completed"
