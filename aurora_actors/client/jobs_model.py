"""Jobs as applications describe and see them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, cast

import msgspec

from aurora_actors.client.document import Document
from aurora_actors.errors import ValidationError
from aurora_actors.messages.jobs import Backoff, JobPriority, NewJob
from aurora_actors.schema.ids import check_id, new_id
from aurora_actors.schema.values import encode_value

__all__ = ["Job", "JobAttemptError", "JobInfo", "JobStatus", "new_job"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class JobStatus(StrEnum):
    """Where a job is.

    ``PENDING`` waits, for its time or for other jobs, too; ``FAILED`` has failed and
    waits to be tried again. ``COMPLETED``, ``DEAD_LETTER`` and ``CANCELLED`` are ends:
    a dead letter has used up its attempts and can be retried by hand.
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to the job by itself."""
        return self in _ENDED


_ENDED: Final = frozenset(
    {JobStatus.COMPLETED, JobStatus.DEAD_LETTER, JobStatus.CANCELLED}
)


class Job(msgspec.Struct, frozen=True):
    """A job to be enqueued; each ``with_…`` returns another one.

    Attributes:
        job_type: Names the handler.
        payload: The handler's arguments.
        priority: What is run first; a job of a lower priority that has waited longer by
            ``jobs.ageing_s`` for each step comes first all the same.
        max_retries: How often it is tried again when an attempt fails or its worker
            dies.
        timeout_s: How long an attempt may take; 0 for as long as it takes.
        run_at: Not before this moment.
        unique_key: While an unfinished job has the same key, enqueueing returns that
            job's id and makes no other.
        queue: Where it waits.
        backoff: How long to wait between attempts; ``None`` for the default: 1 s,
            doubled each time, up to an hour, less a random part.
        unique_for_s: A job with the same key that was enqueued within this time counts
            even when it has ended.
        delay_s: Not before this has passed; instead of ``run_at``.
        after: Ids of jobs that have to be completed first; it is cancelled when one of
            them is.
        after_any_end: It starts however those have ended.
        parent: The id of the job that has made it.
        batch: Names the batch that it belongs to.
        retention_s: How long it is kept when it has ended; ``None`` for the setting.
        id: Its id; ``None`` for a fresh one.
    """

    job_type: str
    payload: Mapping[str, object] = {}
    priority: JobPriority = JobPriority.NORMAL
    max_retries: int = 3
    timeout_s: float = 300.0
    run_at: datetime | None = None
    unique_key: str = ""
    queue: str = "default"
    backoff: Backoff | None = None
    unique_for_s: float = 0.0
    delay_s: float = 0.0
    after: tuple[str, ...] = ()
    after_any_end: bool = False
    parent: str = ""
    batch: str = ""
    retention_s: float | None = None
    id: str | None = None

    def _with(self, **changes: object) -> Job:
        return msgspec.structs.replace(self, **changes)

    def add_field(self, name: str, value: object) -> Job:
        """With one more argument for the handler."""
        return self._with(payload={**self.payload, name: value})

    def with_payload(self, payload: Mapping[str, object]) -> Job:
        """With these arguments for the handler, and no others."""
        return self._with(payload=dict(payload))

    def with_priority(self, priority: JobPriority) -> Job:
        """With this priority."""
        return self._with(priority=priority)

    def with_max_retries(self, max_retries: int) -> Job:
        """Tried again so often."""
        return self._with(max_retries=max_retries)

    def with_timeout(self, timeout_s: float) -> Job:
        """With this time for each attempt, in seconds."""
        return self._with(timeout_s=timeout_s)

    def with_run_at(self, moment: datetime) -> Job:
        """Not before this moment."""
        return self._with(run_at=moment, delay_s=0.0)

    def with_delay(self, delay_s: float) -> Job:
        """Not before so many seconds have passed."""
        return self._with(delay_s=delay_s, run_at=None)

    def with_unique_key(self, key: str, for_s: float = 0.0) -> Job:
        """The only one with this key that is unfinished, or younger than ``for_s``."""
        return self._with(unique_key=key, unique_for_s=for_s)

    def with_queue(self, queue: str) -> Job:
        """In this queue."""
        return self._with(queue=queue)

    def with_backoff(self, backoff: Backoff) -> Job:
        """With these times between attempts."""
        return self._with(backoff=backoff)

    def with_retention(self, retention_s: float) -> Job:
        """Kept for so many seconds when it has ended."""
        return self._with(retention_s=retention_s)

    def with_parent(self, job_id: str) -> Job:
        """Made by this job."""
        return self._with(parent=job_id)

    def after_jobs(self, *job_ids: str, any_end: bool = False) -> Job:
        """Only when these jobs are completed; with ``any_end``, however they end."""
        return self._with(after=job_ids, after_any_end=any_end)


def new_job(job: Job) -> NewJob:
    """A job as storage is asked to enqueue it.

    Raises:
        ValidationError: a part of it cannot be stored; has ``path``.
    """
    if not isinstance(job, Job):
        raise ValidationError(
            f"a Job is needed to be enqueued, not {type(job).__name__}", path="job"
        )
    run_at = None if job.run_at is None else _micros(job.run_at)
    payload = encode_value(dict(job.payload)) if job.payload else b""
    try:
        return msgspec.convert(
            {
                "id": new_id() if job.id is None else check_id(job.id),
                "job_type": job.job_type,
                "payload": payload,
                "queue": job.queue,
                "priority": int(job.priority),
                "max_retries": job.max_retries,
                "timeout_s": job.timeout_s,
                "run_at": run_at,
                "delay_s": job.delay_s,
                "backoff": job.backoff,
                "unique_key": job.unique_key,
                "unique_for_s": job.unique_for_s,
                "parent": job.parent,
                "batch": job.batch,
                "after": list(job.after),
                "after_any_end": job.after_any_end,
                "retention_s": job.retention_s,
            },
            NewJob,
        )
    except msgspec.ValidationError as exc:
        raise ValidationError(f"the job makes no sense: {exc}", path="job") from exc


def _micros(moment: datetime) -> int:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValidationError(
            f"run_at must be a datetime with a time zone, not {moment!r}", path="run_at"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


class JobAttemptError(msgspec.Struct, frozen=True):
    """How one attempt of a job has failed.

    Attributes:
        attempt: Which one.
        at: When.
        message: The exception's message.
        error_type: The name of its class; ``WorkerLost`` when the process has died.
        traceback: Where it came from.
        worker: Who ran it.
    """

    attempt: int
    at: datetime
    message: str
    error_type: str = ""
    traceback: str = ""
    worker: str = ""


class JobInfo(msgspec.Struct, frozen=True):
    """A job as it was when it was read.

    Attributes:
        id: Its id.
        job_type: Names the handler.
        status: Where it is.
        queue: Where it waits.
        payload: The handler's arguments.
        priority: Its priority.
        attempt: How many attempts have begun.
        max_retries: How often it is tried again.
        timeout_s: How long an attempt may take.
        created_at: When it was enqueued.
        run_at: Not before.
        started_at: When its last attempt began.
        finished_at: When it ended.
        result: What the handler has returned.
        error: The message of the last failure.
        errors: The failures that are kept, oldest first.
        progress: From 0 to 1, as the handler has said.
        note: What it has said besides.
        unique_key: Its unique key.
        parent: The job that has made it.
        batch: The batch it belongs to.
        worker: Who runs it, or ran it last.
        cancel_requested: It is to be cancelled.
        backoff: The times between attempts.
        schedule: The schedule that has enqueued it.
        tick: For which of the schedule's moments.
    """

    id: str
    job_type: str
    status: JobStatus
    queue: str
    payload: dict[str, object]
    priority: JobPriority
    attempt: int
    created_at: datetime
    max_retries: int = 3
    timeout_s: float = 300.0
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: object = None
    error: str | None = None
    errors: list[JobAttemptError] = []
    progress: float | None = None
    note: str | None = None
    unique_key: str | None = None
    parent: str | None = None
    batch: str | None = None
    worker: str | None = None
    cancel_requested: bool = False
    backoff: Backoff | None = None
    schedule: str | None = None
    tick: datetime | None = None

    @classmethod
    def of(cls, document: Document) -> JobInfo:
        """The job that a document of ``_sys_jobs`` is, from a query or a watch."""
        data = cast("dict[str, object]", document.data)
        return job_info(document.id, data)


def job_info(job_id: str, data: Mapping[str, object]) -> JobInfo:
    """The job in the decoded document of ``_sys_jobs``."""
    known = {
        name: data[name]
        for name in JobInfo.__struct_fields__
        if data.get(name) is not None
    }
    known.update(id=job_id, status=JobStatus(str(data["status"])))
    known["priority"] = JobPriority(cast("int", data["priority"]))
    if "errors" in known:
        known["errors"] = msgspec.convert(known["errors"], list[JobAttemptError])
    if "backoff" in known:
        known["backoff"] = msgspec.convert(known["backoff"], Backoff)
    return JobInfo(**known)  # type: ignore[arg-type]  # the document's own types
