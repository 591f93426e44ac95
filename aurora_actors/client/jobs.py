"""Jobs, as a part of the public database class.

Enqueueing, cancelling and retrying are requests to storage; jobs are read from the map,
like any document. What a job promises is in :class:`JobsHandle`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from aurora_actors.client.builder import asked_of
from aurora_actors.client.document import Document
from aurora_actors.client.handle import Handle
from aurora_actors.client.jobs_model import Job, JobInfo, JobStatus, job_info, new_job
from aurora_actors.client.protocol import STORAGE
from aurora_actors.client.query import Query
from aurora_actors.errors import (
    CollectionNotFoundError,
    InternalError,
    JobFailedError,
    NotFoundError,
    TimeoutError_,
    UsageError,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import (
    JOBS,
    AwaitJob,
    CancelJobs,
    EnqueueJobs,
    JobAwaited,
    JobsEnqueued,
    JobStatistics,
    LimitQueue,
    NewJob,
    PauseQueue,
    PurgeJobs,
    QueueStatistics,
    ReadJobStatistics,
    ResumeQueue,
    RetryJobs,
)
from aurora_actors.query.filters import field
from aurora_actors.schema.ids import new_id
from aurora_actors.schema.values import decode_document

__all__ = ["JobStats", "JobsHandle"]

R = TypeVar("R")

_WAIT_S: Final = 30.0
_PART: Final = 5_000


class JobStats(msgspec.Struct, frozen=True):
    """How many jobs there are, by status and by queue.

    Attributes:
        pending: They wait, for their time, too.
        blocked: They wait for other jobs to end.
        running: They run.
        failed: They have failed and wait to be tried again.
        completed: They are completed and not yet removed.
        dead_letter: They have used up their attempts.
        cancelled: They were cancelled.
        workers: How many worker processes hold a lease.
        queues: The same by queue, with what was set of it.
    """

    pending: int
    blocked: int
    running: int
    failed: int
    completed: int
    dead_letter: int
    cancelled: int
    workers: int
    queues: dict[str, QueueStatistics]


class JobsHandle(Handle):
    """What can be done with jobs; see :class:`aurora_actors.Aurora`.

    A job is durable from the moment its enqueueing is answered. It runs at least once:
    again when its worker dies, and again when it fails, up to ``max_retries`` times;
    then it is a dead letter. Its end is recorded exactly once, by the attempt that held
    it. Jobs are documents of the collection ``_sys_jobs``: they can be queried and
    watched, and are changed by these methods alone.
    """

    # -------------------------------------------------------------- enqueueing
    async def enqueue_job(self, job: Job, *, timeout: float | None = None) -> str:
        """Enqueue one job; returns its id, or that of the one with its unique key.

        Raises:
            ValidationError: the job makes no sense; has ``path``.
            NotFoundError: a job that it waits for does not exist.
        """
        return (await self._enqueue([new_job(job)], timeout))[0]

    async def enqueue_jobs(
        self, jobs: Iterable[Job], *, timeout: float | None = None
    ) -> list[str]:
        """Enqueue many jobs, in this order; returns their ids.

        All or none up to 5,000 of them; more are enqueued in parts, each all or none.
        """
        ids: list[str] = []
        part: list[NewJob] = []
        for job in jobs:
            part.append(new_job(job))
            if len(part) == _PART:
                ids += await self._enqueue(part, timeout)
                part = []
        if part:
            ids += await self._enqueue(part, timeout)
        return ids

    async def enqueue_batch(
        self,
        jobs: Iterable[Job],
        *,
        then: Job | None = None,
        timeout: float | None = None,
    ) -> tuple[list[str], str | None]:
        """Enqueue jobs that belong together, and one for when all of them have ended.

        All or none. Each has ``batch`` set to the same fresh name.

        Args:
            jobs: The jobs.
            then: Starts when all have ended, however, unless it says otherwise by its
                own ``after_any_end`` and ``after``.
            timeout: In seconds.

        Returns:
            The ids of the jobs, and that of ``then``.
        """
        name = new_id()
        made = [
            msgspec.structs.replace(new_job(each), batch=each.batch or name)
            for each in jobs
        ]
        if then is None:
            return await self._enqueue(made, timeout), None
        ids = [each.id for each in made]
        last = new_job(then)
        last = msgspec.structs.replace(
            last,
            batch=last.batch or name,
            after=[*ids, *last.after],
            after_any_end=True,
        )
        *ids, last_id = await self._enqueue([*made, last], timeout)
        return ids, last_id

    async def _enqueue(self, jobs: list[NewJob], timeout: float | None) -> list[str]:
        if not jobs:
            return []
        size = 512 + sum(128 + len(job.payload) for job in jobs)
        reply = await self._ask(EnqueueJobs(jobs=jobs), JobsEnqueued, timeout, size)
        return reply.ids

    async def _ask(
        self,
        request: Message,
        answer: type[R],
        timeout: float | None,
        size: int = 512,
    ) -> R:
        reply = await self._open().shell.call(STORAGE, request, timeout, size)
        if not isinstance(reply, answer):
            raise InternalError(
                f"{type(request).__name__} was answered by {type(reply).__name__}"
            )
        return reply

    # -------------------------------------------------------------- reading
    async def get_job(
        self, job_id: str, *, timeout: float | None = None
    ) -> JobInfo | None:
        """The job with this id, or ``None``; read in this process."""
        session = self._open()
        if session.cancel_point is not None:
            await session.cancel_point()
        try:
            found = await session.document(JOBS, job_id, timeout)
        except CollectionNotFoundError:
            return None
        return None if found is None else JobInfo.of(found)

    async def list_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        queue: str | None = None,
        job_type: str | None = None,
        batch: str | None = None,
        limit: int = 100,
        offset: int = 0,
        timeout: float | None = None,
    ) -> list[JobInfo]:
        """Jobs, those enqueued last first.

        Anything else that can be asked is a query on ``_sys_jobs``.
        """
        query: Query[Document] = Query(self._open, asked_of(JOBS))
        wanted = {
            "status": None if status is None else JobStatus(status).value,
            "queue": queue,
            "job_type": job_type,
            "batch": batch,
        }
        for name, value in wanted.items():
            if value is not None:
                query = query.filter(field(name) == value)
        query = query.order_by("id", ascending=False).limit(limit)
        try:
            found = await query.offset(offset).collect()
        except CollectionNotFoundError:
            return []
        return [JobInfo.of(document) for document in found]

    async def job_stats(self, *, timeout: float | None = None) -> JobStats:
        """How many jobs there are; costs the same at any number."""
        reply = await self._ask(ReadJobStatistics(), JobStatistics, timeout)
        queues = reply.queues
        names = JobStats.__struct_fields__[:7]
        totals = {
            name: sum(getattr(each, name) for each in queues.values()) for name in names
        }
        return JobStats(**totals, workers=reply.workers, queues=queues)

    async def wait_job(self, job_id: str, *, timeout: float | None = None) -> object:
        """Wait until a job has ended; returns its result.

        Args:
            job_id: The job.
            timeout: In seconds; ``None`` waits as long as it takes.

        Raises:
            JobFailedError: it is a dead letter, or was cancelled; has ``status``.
            NotFoundError: there is no such job, or it has been removed.
            TimeoutError_: it has not ended in time; it goes on.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            wait_s = max(0.0, min(_WAIT_S, end - time.monotonic()))
            request = AwaitJob(id=job_id, wait_s=wait_s)
            limit_s = wait_s + self.config.request_timeout_s
            reply = await self._ask(request, JobAwaited, limit_s)
            if reply.document:
                job = job_info(job_id, decode_document(reply.document))
                return _result_of(job)
            if time.monotonic() >= end:
                raise TimeoutError_(f"the job {job_id} has not ended in {timeout} s")

    # -------------------------------------------------------------- managing
    async def cancel_job(self, job_id: str, *, timeout: float | None = None) -> bool:
        """Cancel a job: at once while it waits, by telling its handler when it runs.

        Returns:
            Whether that changes anything; not when it has ended, or is told already.

        Raises:
            NotFoundError: there is no such job.
        """
        await self._known(job_id)
        return (await self._write(CancelJobs(ids=[job_id]), timeout)).affected > 0

    async def retry_job(self, job_id: str, *, timeout: float | None = None) -> bool:
        """Let a dead letter or a cancelled job wait again, with all its attempts.

        One that has failed and waits for its next attempt begins it now.

        Returns:
            Whether that changes anything.

        Raises:
            NotFoundError: there is no such job.
        """
        await self._known(job_id)
        return (await self._write(RetryJobs(ids=[job_id]), timeout)).affected > 0

    async def _known(self, job_id: str) -> None:
        if await self.get_job(job_id) is None:
            raise NotFoundError(
                f"there is no job {job_id[:255]!r}", collection=JOBS, id=job_id[:255]
            )

    async def retry_dead_letters(
        self,
        queue: str | None = None,
        *,
        limit: int = 10_000,
        timeout: float | None = None,
    ) -> int:
        """Let the dead letters of a queue, or of all, wait again; returns how many."""
        request = RetryJobs(queue=queue or "*", limit=limit)
        return (await self._write(request, timeout)).affected

    async def purge_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        ended_before: datetime | None = None,
        timeout: float | None = None,
    ) -> int:
        """Remove jobs that have ended; returns how many.

        Args:
            status: Only those of this status.
            ended_before: Only those that ended before this moment.
            timeout: For each part of the work, in seconds.

        Raises:
            UsageError: it is the status of unfinished jobs.
        """
        until = None
        if ended_before is not None:
            if ended_before.tzinfo is None:
                raise UsageError("ended_before needs a time zone")
            until = int(ended_before.timestamp() * 1_000_000)
        request = PurgeJobs(
            status="" if status is None else JobStatus(status).value,
            ended_before=until,
            limit=_PART,
        )
        removed = 0
        while True:
            count = (await self._write(request, timeout)).affected
            removed += count
            if count < _PART:
                return removed

    # -------------------------------------------------------------- queues
    async def pause_queue(self, queue: str, *, timeout: float | None = None) -> None:
        """Start no more jobs of a queue; those that run go on."""
        await self._write(PauseQueue(queue=queue), timeout)

    async def resume_queue(self, queue: str, *, timeout: float | None = None) -> None:
        """Start the jobs of a queue again."""
        await self._write(ResumeQueue(queue=queue), timeout)

    async def limit_queue(
        self,
        queue: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        period_s: float = 1.0,
        timeout: float | None = None,
    ) -> None:
        """Limit a queue; a limit that is not given is lifted.

        Args:
            queue: The queue.
            concurrency: How many of its jobs run at the same time, in all pools.
            rate: How many start in a period.
            period_s: That period, in seconds.
            timeout: In seconds.
        """
        request = LimitQueue(
            queue=queue, concurrency=concurrency, rate=rate, period_s=period_s
        )
        await self._write(request, timeout)


def _result_of(job: JobInfo) -> object:
    if job.status is JobStatus.COMPLETED:
        return job.result
    last = job.errors[-1] if job.errors else None
    how = "was cancelled" if job.status is JobStatus.CANCELLED else "is a dead letter"
    reason = f": {job.error}" if job.error else ""
    raise JobFailedError(
        f"the job {job.id} ({job.job_type}) {how} after {job.attempt} attempts{reason}",
        id=job.id,
        status=job.status.value,
        attempts=job.attempt,
        error_type=last.error_type if last else "",
    )
