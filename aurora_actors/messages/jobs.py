"""Jobs: what storage is asked about them, and what it answers.

A job is a document of ``_sys_jobs`` that only these requests change (see
``storage.jobs``). Applications enqueue, cancel and retry; worker processes claim,
renew, report and finish. Times on the wire are microseconds since 1970 (UTC), and
durations seconds; when something *happens* is decided by storage's clock at the commit.

A worker is one start of a worker process. It names itself ``<mailbox>.<token>`` with a
token that nobody used before, so that nothing it does can be mistaken for what the
process before it did. Its lease covers all jobs that it holds: it is renewed by each
``ClaimJobs``, ``FinishJobs``, ``ReportProgress`` and ``RenewLeases``, and kept in
memory, so that renewing writes nothing. After a restart of storage every worker that
holds jobs has a full lease again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias, get_args

import msgspec

from aurora_actors.messages.base import Message

__all__ = [
    "JOBS",
    "JOB_PARTS",
    "QUEUES",
    "AwaitJob",
    "Backoff",
    "CancelJobs",
    "ClaimJobs",
    "Claimed",
    "ClaimedJob",
    "EnqueueJobs",
    "FinishJobs",
    "JobAwaited",
    "JobOutcome",
    "JobPart",
    "JobPriority",
    "JobProgress",
    "JobStatistics",
    "JobsEnqueued",
    "JobsFinished",
    "LeasesRenewed",
    "LimitQueue",
    "NewJob",
    "OutcomeKind",
    "PauseQueue",
    "PurgeJobs",
    "QueueStatistics",
    "ReadJobStatistics",
    "RenewLeases",
    "ReportProgress",
    "ResumeQueue",
    "RetryJobs",
    "WorkerGone",
]

JOBS: Final = "_sys_jobs"
"""The collection whose documents are the jobs."""

QUEUES: Final = "_sys_queues"
"""The collection whose documents are what was set of queues, by their names."""


class JobPriority(IntEnum):
    """What is run first; see ``job_ageing_s`` for how far the difference goes."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long a job waits before it is tried again.

    The n-th failure waits ``initial_s * factor ** (n - 1)``, at most ``max_s``; of
    that a part of up to ``jitter`` is left out at random.
    """

    initial_s: float = 1.0
    factor: float = 2.0
    max_s: float = 3600.0
    jitter: float = 0.25


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be enqueued.

    Attributes:
        id: Chosen by the sender, so that a repeat means the same job.
        job_type: Names the handler.
        payload: An encoded map: the handler's arguments.
        queue: Where it waits.
        priority: See :class:`JobPriority`.
        max_retries: How often it is tried again after it has failed.
        timeout_s: How long one attempt may take.
        run_at: Not before this moment.
        delay_s: Not before this has passed since the commit; instead of ``run_at``.
        backoff: Between attempts; ``None`` takes the default.
        unique_key: At most one unfinished job has it; empty for no such limit.
        unique_for_s: A job with the same key that was enqueued within this time also
            counts, finished or not.
        parent: The job that has enqueued it.
        batch: The batch it belongs to.
        after: Jobs that have to end before it can start.
        after_any_end: Start it however those have ended; otherwise each of them has to
            be completed, and it is cancelled when one of them is.
        retention_s: How long it is kept when it has ended; ``None`` for the default.
        schedule: The schedule that enqueues it.
        tick: For which of its moments.
    """

    id: str
    job_type: str
    payload: bytes
    queue: str = "default"
    priority: int = 1
    max_retries: int = 3
    timeout_s: float = 300.0
    run_at: int | None = None
    delay_s: float = 0.0
    backoff: Backoff | None = None
    unique_key: str = ""
    unique_for_s: float = 0.0
    parent: str = ""
    batch: str = ""
    after: list[str] = []
    after_any_end: bool = False
    retention_s: float | None = None
    schedule: str = ""
    tick: int | None = None


class EnqueueJobs(Message, frozen=True, kw_only=True, tag="jobs.enqueue"):
    """Enqueue jobs, all or none, in this order; answered by :class:`JobsEnqueued`.

    A job whose unique key is taken is not enqueued; the reply names the one that has
    it. With ``exact`` (a transaction has looked before) that is a conflict instead.
    """

    jobs: list[NewJob]
    exact: bool = False


class JobsEnqueued(Message, frozen=True, kw_only=True, tag="jobs.enqueued"):
    """The jobs wait; ``ids[i]`` is ``jobs[i]``, or the one that has its unique key.

    Attributes:
        ids: One for each job of the request.
        created: How many are new.
        lsn: The last change; 0 when there was none.
        synced: Whether it survives power loss already.
    """

    ids: list[str]
    created: int
    lsn: int
    synced: bool


# ------------------------------------------------------------------ workers
class ClaimJobs(Message, frozen=True, kw_only=True, tag="jobs.claim"):
    """Give this worker jobs to run, now or as soon as there are any (a long poll).

    A worker has one claim at a time: another takes its place. A claim that is sent
    again (storage was restarted) has the same number, and is given what it got.

    Attributes:
        worker: ``<mailbox>.<token>``.
        number: Counts the worker's claims, from 1.
        queues: From which queues; none is all of them.
        job_types: Of which types; none is all of them.
        max_jobs: At most so many; 0 withdraws the claim that waits.
        wait_s: Answer with nothing after this time.
        lease_s: How long the worker counts as alive without a sign of life.
    """

    worker: str
    number: int
    queues: list[str] = []
    job_types: list[str] = []
    max_jobs: int = 1
    wait_s: float = 30.0
    lease_s: float = 30.0


class ClaimedJob(msgspec.Struct, frozen=True, array_like=True):
    """A job to run; ``document`` is its encoded document, as it is now."""

    id: str
    attempt: int
    document: bytes


class Claimed(Message, frozen=True, kw_only=True, tag="jobs.claimed"):
    """The jobs are this worker's; none when the time of the claim was over.

    ``cancel`` are jobs of the worker that are to be cancelled; of these it is told at
    once, with the request number 0, whether it has a claim or not.
    """

    jobs: list[ClaimedJob]
    cancel: list[str] = []


class OutcomeKind(IntEnum):
    """How an attempt has ended."""

    COMPLETED = 0
    FAILED = 1
    """Tried again while attempts are left, then a dead letter."""
    DEAD = 2
    """Failed in a way that trying again does not help: a dead letter at once."""
    RELEASED = 3
    """Not run to its end, and not its fault: it waits again, the attempt not counted."""
    CANCELLED = 4


class JobOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt has ended.

    Attributes:
        id: The job.
        attempt: Which attempt; the outcome of another one is refused.
        kind: How.
        result: The encoded value that the handler has returned; empty for none.
        error_type: The name of the exception's class.
        error: Its message.
        traceback: Where it came from.
        retry_after_s: The function's own delay before the next attempt.
    """

    id: str
    attempt: int
    kind: OutcomeKind
    result: bytes = b""
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    retry_after_s: float | None = None


class FinishJobs(Message, frozen=True, kw_only=True, tag="jobs.finish"):
    """Record how attempts have ended; answered by :class:`JobsFinished`.

    Guarded by (job, attempt, worker): the outcome of an attempt that the worker no
    longer holds changes nothing. With ``exact`` (inside a transaction) it is a
    conflict instead.
    """

    worker: str
    outcomes: list[JobOutcome]
    exact: bool = False


class JobsFinished(Message, frozen=True, kw_only=True, tag="jobs.finished"):
    """``accepted[i]``: the outcome was recorded, now or by an earlier sending."""

    accepted: list[bool]
    lsn: int
    synced: bool


class JobProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an attempt is: ``fraction`` is from 0 to 1, or ``None`` if unknown."""

    id: str
    attempt: int
    fraction: float | None = None
    note: str = ""


class ReportProgress(Message, frozen=True, kw_only=True, tag="jobs.progress"):
    """Note in the documents how far jobs are; reports of lost jobs are dropped."""

    worker: str
    reports: list[JobProgress]


class RenewLeases(Message, frozen=True, kw_only=True, tag="jobs.renew"):
    """The worker lives and runs ``jobs``; answered by :class:`LeasesRenewed`.

    The time limits of those in ``alive`` begin anew.
    """

    worker: str
    jobs: list[str] = []
    lease_s: float = 30.0
    alive: list[str] = []


class LeasesRenewed(Message, frozen=True, kw_only=True, tag="jobs.renewed"):
    """What has become of the worker's jobs.

    Attributes:
        cancel: Those that are to be cancelled.
        lost: Those that it does not hold any more; what they come to is refused.
    """

    cancel: list[str]
    lost: list[str]


class WorkerGone(Message, frozen=True, kw_only=True, tag="jobs.worker_gone"):
    """A worker process has ended: its jobs wait again, the attempt counted.

    Attributes:
        worker: The worker, or only its mailbox: then all workers it has been.
        reason: Goes into the error history of its jobs.
    """

    worker: str
    reason: str = ""


# ------------------------------------------------------------------ management
class CancelJobs(Message, frozen=True, kw_only=True, tag="jobs.cancel"):
    """Cancel jobs: waiting ones at once, running ones by telling their workers.

    Answered by ``Written`` with the number of jobs that this has changed; jobs that
    have ended stay as they are.
    """

    ids: list[str]


class RetryJobs(Message, frozen=True, kw_only=True, tag="jobs.retry"):
    """Let jobs wait again from attempt 0: dead letters, cancelled and failed ones.

    Answered by ``Written`` with the number of jobs. With ``queue`` and no ids: up to
    ``limit`` dead letters of that queue (``*`` for all queues), oldest first.
    """

    ids: list[str] = []
    queue: str = ""
    limit: int = 10_000


class PauseQueue(Message, frozen=True, kw_only=True, tag="jobs.pause"):
    """Give out no more jobs of a queue; those that run go on."""

    queue: str


class ResumeQueue(Message, frozen=True, kw_only=True, tag="jobs.resume"):
    """Give out the jobs of a queue again."""

    queue: str


class LimitQueue(Message, frozen=True, kw_only=True, tag="jobs.limit"):
    """Limit a queue; ``None`` for no limit.

    Attributes:
        queue: The queue.
        concurrency: How many of its jobs run at the same time.
        rate: How many start in a period.
        period_s: That period.
    """

    queue: str
    concurrency: int | None = None
    rate: int | None = None
    period_s: float = 1.0


class PurgeJobs(Message, frozen=True, kw_only=True, tag="jobs.purge"):
    """Remove jobs that have ended; answered by ``Written`` with their number.

    Attributes:
        status: Of which status; empty for all that have ended.
        ended_before: Which ended before this moment; ``None`` for all.
        limit: At most so many in one request; ask again for the rest.
    """

    status: str = ""
    ended_before: int | None = None
    limit: int = 10_000


class AwaitJob(Message, frozen=True, kw_only=True, tag="jobs.await"):
    """Answer when a job has ended, at the latest after ``wait_s`` (a long poll)."""

    id: str
    wait_s: float = 30.0


class JobAwaited(Message, frozen=True, kw_only=True, tag="jobs.awaited"):
    """The encoded document of a job that has ended; empty when it has not yet."""

    document: bytes


class ReadJobStatistics(Message, frozen=True, kw_only=True, tag="jobs.read_statistics"):
    """Ask for the number of jobs by queue and status; costs the same at any number."""


class QueueStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of one queue.

    ``pending`` wait (for their time, too), ``failed`` wait to be tried again and
    ``blocked`` for other jobs to end.
    """

    pending: int = 0
    blocked: int = 0
    running: int = 0
    failed: int = 0
    completed: int = 0
    dead_letter: int = 0
    cancelled: int = 0
    paused: bool = False
    concurrency: int | None = None
    rate: int | None = None
    period_s: float = 1.0


class JobStatistics(Message, frozen=True, kw_only=True, tag="jobs.statistics"):
    """The jobs by queue, and how many workers hold a lease."""

    queues: dict[str, QueueStatistics]
    workers: int


JobPart: TypeAlias = (
    EnqueueJobs
    | FinishJobs
    | ReportProgress
    | WorkerGone
    | CancelJobs
    | RetryJobs
    | PauseQueue
    | ResumeQueue
    | LimitQueue
    | PurgeJobs
)
"""Changes of jobs: requests by themselves, and parts of ``Commit``."""

JOB_PARTS: Final[tuple[type[Message], ...]] = get_args(JobPart)
