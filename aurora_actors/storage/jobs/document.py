"""What a job looks like: a document of the collection ``_sys_jobs``.

Read by everybody who deals with jobs; written by the storage process alone. A field
that has its default is left out of the stored document, and reads as null in a query.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from aurora_actors.messages.jobs import JOBS, QUEUES, Backoff
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

__all__ = [
    "BLOCKED",
    "CANCELLED",
    "COMPLETED",
    "DEAD_LETTER",
    "ENDED",
    "FAILED",
    "JOBS_DEFINITION",
    "NO_RESULT",
    "PENDING",
    "QUEUES_DEFINITION",
    "RUNNING",
    "WAITING",
    "JobDocument",
    "JobError",
    "QueueDocument",
    "decode_job",
    "decode_queue",
    "encode_job",
    "from_micros",
    "to_micros",
]

PENDING: Final = "pending"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
DEAD_LETTER: Final = "dead_letter"
CANCELLED: Final = "cancelled"
WAITING: Final = frozenset({PENDING, FAILED})
ENDED: Final = frozenset({COMPLETED, DEAD_LETTER, CANCELLED})
BLOCKED: Final = "blocked"
"""Not a status: what pending jobs are counted as while they wait for others."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def from_micros(moment: int) -> datetime:
    """A moment given in microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=moment)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


class JobError(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one attempt has failed."""

    attempt: int
    at: datetime
    message: str
    error_type: str = ""
    traceback: str = ""
    worker: str = ""


NO_RESULT: Final = msgspec.Raw(b"")
"""No result: a field of its own type, because a raw value is never null to msgspec."""


class JobDocument(msgspec.Struct, omit_defaults=True):
    """A job.

    Attributes:
        job_type: Names the handler.
        queue: Where it waits.
        payload: The handler's arguments, an encoded map.
        created_at: When it was enqueued.
        status: ``pending``, ``running``, ``completed``, ``failed`` (waits to be tried
            again), ``dead_letter`` or ``cancelled``.
        priority: From 0 to 3.
        attempt: How many attempts have begun.
        run_at: Not before.
        max_retries: How often it is tried again.
        timeout_s: How long an attempt may take.
        backoff: Between attempts; ``None`` for the default.
        unique_key: At most one unfinished job has it.
        parent: The job that has enqueued it.
        batch: The batch it belongs to.
        schedule: The schedule that has enqueued it.
        tick: For which of its moments.
        waits_for: The number of jobs that have to end first.
        after_any_end: It starts however those have ended.
        before: Jobs that wait for this one.
        told: Those have been told of its end.
        told_dead: Those that start however it ends have been told.
        worker: Who runs it, or ran it last.
        claim: The worker's number of the claim that gave it out.
        uncounted: How many attempts, the first ones, do not count as tries.
        lost: How many of its last attempts in a row have ended with their worker.
        started_at: When the last attempt began.
        finished_at: When it ended.
        expires_at: When it is removed.
        retention_s: How long it is kept after its end.
        cancel_requested: The worker is told to cancel it.
        progress: From 0 to 1.
        note: What the handler says about its progress.
        result: What the handler has returned, encoded.
        error: The message of the last failure.
        errors: All failures that are kept, oldest first.
    """

    job_type: str
    queue: str
    payload: msgspec.Raw
    created_at: datetime
    status: str
    priority: int
    attempt: int
    run_at: datetime | None = None
    max_retries: int = 3
    timeout_s: float = 300.0
    backoff: Backoff | None = None
    unique_key: str | None = None
    parent: str | None = None
    batch: str | None = None
    schedule: str | None = None
    tick: datetime | None = None
    waits_for: int = 0
    after_any_end: bool = False
    before: list[str] | None = None
    told: bool = False
    told_dead: bool = False
    worker: str | None = None
    claim: int = 0
    uncounted: int = 0
    lost: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    retention_s: float | None = None
    cancel_requested: bool = False
    progress: float | None = None
    note: str | None = None
    result: msgspec.Raw = NO_RESULT
    error: str | None = None
    errors: list[JobError] | None = None


class QueueDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was set of a queue: a document of ``_sys_queues`` under its name."""

    paused: bool = False
    concurrency: int | None = None
    rate: int | None = None
    period_s: float = 1.0


_encoder: Final = msgspec.msgpack.Encoder()
encode_job: Final[Callable[[JobDocument | QueueDocument], bytes]] = _encoder.encode
decode_job: Final = msgspec.msgpack.Decoder(JobDocument).decode
decode_queue: Final = msgspec.msgpack.Decoder(QueueDocument).decode

# Only what is looked for often is declared: each declared field costs the index builder
# work for every change of a job. Queries reach all other fields as well.
JOBS_DEFINITION: Final = CollectionDefinition(
    JOBS,
    {
        "status": FieldDefinition(FieldType.STRING, indexed=True),
        "queue": FieldDefinition(FieldType.STRING),
        "job_type": FieldDefinition(FieldType.STRING),
    },
    open=True,
)
QUEUES_DEFINITION: Final = CollectionDefinition(QUEUES, {}, open=True)
