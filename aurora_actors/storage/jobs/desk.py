"""The workers, what they hold and what they wait for: all of it in memory.

Made again from the running jobs when the database is opened; nothing here is needed to
know what has become of a job. Leases and time limits run on the monotonic clock, so that
a jump of the system's clock ends none of them. Storage process only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aurora_actors.messages.jobs import ClaimJobs, LeasesRenewed, RenewLeases
from aurora_actors.storage.jobs.document import JobDocument, QueueDocument

__all__ = [
    "Awaiting",
    "Bucket",
    "Desk",
    "Held",
    "HeldJobs",
    "WaitingClaim",
    "mailbox_of",
]

DEFAULT_LEASE_S: Final = 30.0
_OVERTIME_S: Final = 5.0


class Held(NamedTuple):
    """A job that runs.

    Attributes:
        row: Its row.
        queue: Its queue.
        worker: Who runs it.
        attempt: Which attempt.
        claim: The number of the claim that gave it out.
        limit: When its time is over, with some time for the worker to say so itself.
        limit_s: Its time, from its beginning or its last sign of life.
        cancel: The worker is to cancel it.
        alone: The worker gets no other job meanwhile.
    """

    row: int
    queue: str
    worker: str
    attempt: int
    claim: int
    limit: float
    limit_s: float
    cancel: bool
    alone: bool = False


class HeldJobs(dict[str, Held]):
    """The jobs that run, by id; found by worker and counted by queue as well.

    Changed by setting and popping single entries only.

    Attributes:
        by_worker: The same by worker; only workers that hold some.
        by_queue: How many there are of each queue.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_worker: dict[str, dict[str, Held]] = {}
        self.by_queue: dict[str, int] = {}

    def __setitem__(self, job_id: str, held: Held) -> None:
        if job_id in self:
            self.pop(job_id)
        super().__setitem__(job_id, held)
        self.by_worker.setdefault(held.worker, {})[job_id] = held
        self.by_queue[held.queue] = self.by_queue.get(held.queue, 0) + 1

    def pop(self, job_id: str, _default: Held | None = None) -> Held | None:  # type: ignore[override]  # as the journal calls it
        """Remove a job, if it is there."""
        held = super().pop(job_id, None)
        if held is not None:
            mine = self.by_worker[held.worker]
            del mine[job_id]
            if not mine:
                del self.by_worker[held.worker]
            self.by_queue[held.queue] -= 1
        return held


class Awaiting(NamedTuple):
    """Somebody who waits for a job to end."""

    client: str
    request_id: int
    until: float


class WaitingClaim(NamedTuple):
    """A claim that is not answered yet, and to whom the answer goes."""

    client: str
    request_id: int
    claim: ClaimJobs
    until: float


class Bucket(NamedTuple):
    """How many jobs of a queue may start now, and since when that is so."""

    tokens: float
    at: float


@dataclass
class Desk:
    """What storage knows of workers.

    Attributes:
        clock: Seconds, monotonic.
        leases: Until when each worker counts as alive.
        held: The jobs that run, by id. Changed through the batch, which can undo it.
        queues: What was set of queues. Changed through the batch as well.
        buckets: For queues with a rate; those that are not there are empty.
        waiting: The claims that wait, by worker.
        stale: There may be something to give out that was not tried.
        cancels: Running jobs to be cancelled of which their workers are to be told.
        awaited: Who waits for the end of a job, by its id.
        handled: The types of jobs for which there was a worker since storage started.
        unhandled: Since when jobs of a type wait for which there was none.
    """

    clock: Callable[[], float]
    leases: dict[str, float] = field(default_factory=dict)
    held: HeldJobs = field(default_factory=HeldJobs)
    queues: dict[str, QueueDocument] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    waiting: dict[str, WaitingClaim] = field(default_factory=dict)
    stale: bool = True
    cancels: dict[str, str] = field(default_factory=dict)
    awaited: dict[str, list[Awaiting]] = field(default_factory=dict)
    handled: set[str] = field(default_factory=set)
    unhandled: dict[str, float] = field(default_factory=dict)

    def hold(self, job: JobDocument, row: int) -> Held:
        """What is to be remembered of a job that runs from now on."""
        limit_s = job.timeout_s + _OVERTIME_S if job.timeout_s > 0 else math.inf
        return Held(
            row,
            job.queue,
            job.worker or "",
            job.attempt,
            job.claim,
            self.clock() + limit_s,
            limit_s,
            job.cancel_requested,
        )

    # -------------------------------------------------------------- leases
    def renew(self, worker: str, lease_s: float | None = None) -> None:
        """The worker lives; without ``lease_s`` its lease gets no shorter."""
        until = self.clock() + (DEFAULT_LEASE_S if lease_s is None else lease_s)
        if lease_s is None:
            until = max(until, self.leases.get(worker, 0.0))
        self.leases[worker] = until

    def answer_renewal(self, request: RenewLeases) -> LeasesRenewed:
        """Renew a lease; says what has become of the worker's jobs."""
        self.renew(request.worker, request.lease_s)
        cancel: list[str] = []
        lost: list[str] = []
        for job_id in request.jobs:
            held = self.held.get(job_id)
            if held is None or held.worker != request.worker:
                lost.append(job_id)
            elif held.cancel:
                cancel.append(job_id)
        for job_id in request.alive:
            held = self.held.get(job_id)
            if held is not None and held.worker == request.worker:
                limit = self.clock() + held.limit_s
                self.held[job_id] = held._replace(limit=limit)
        return LeasesRenewed(cancel=cancel, lost=lost)

    def expired(self) -> list[str]:
        """The workers whose leases have run out."""
        now = self.clock()
        return [worker for worker, until in self.leases.items() if until <= now]

    def overdue(self) -> list[str]:
        """The jobs that have taken too long."""
        now = self.clock()
        return [job_id for job_id, held in self.held.items() if held.limit <= now]

    def workers_of(self, name: str) -> list[str]:
        """The workers that ``name`` means: one, or all that a mailbox has been."""
        known = self.held.by_worker.keys() | self.leases.keys()
        return [
            worker for worker in known if worker == name or mailbox_of(worker) == name
        ]

    def jobs_of(self, worker: str) -> list[str]:
        """The jobs that a worker holds."""
        return list(self.held.by_worker.get(worker, ()))

    def forget(self, worker: str) -> None:
        """The worker is gone, and holds nothing any more."""
        self.leases.pop(worker, None)
        self.waiting.pop(worker, None)

    def load_of(self, worker: str) -> int:
        """How many jobs a worker holds."""
        return len(self.held.by_worker.get(worker, ()))

    def is_reserved(self, worker: str) -> bool:
        """Whether a worker has a job that it is to run alone."""
        return any(each.alone for each in self.held.by_worker.get(worker, {}).values())

    # -------------------------------------------------------------- limits
    def allowance(self, queue: str) -> tuple[float, float]:
        """How many jobs of a queue may start now, and in how long there are more.

        The second is infinite when only the end of a job can help.
        """
        settings = self.queues.get(queue)
        if settings is None:
            return math.inf, math.inf
        if settings.paused:
            return 0, math.inf
        allowed, wait = math.inf, math.inf
        if settings.concurrency is not None:
            running = self.held.by_queue.get(queue, 0)
            allowed = max(0, settings.concurrency - running)
        if settings.rate is not None:
            tokens = self.tokens(queue, settings.rate, settings.period_s)
            if tokens < 1:
                wait = (1 - tokens) * settings.period_s / settings.rate
            allowed = min(allowed, math.floor(tokens))
        return allowed, wait

    def tokens(self, queue: str, rate: int, period_s: float) -> float:
        """How many jobs of a queue its rate lets start now."""
        now = self.clock()
        bucket = self.buckets.setdefault(queue, Bucket(0.0, now))
        gained = (now - bucket.at) * rate / period_s
        return min(bucket.tokens + gained, float(rate))

    def spend(self, queue: str, started: int) -> None:
        """So many jobs of a queue have started."""
        settings = self.queues.get(queue)
        if settings is not None and settings.rate is not None:
            tokens = self.tokens(queue, settings.rate, settings.period_s)
            self.buckets[queue] = Bucket(tokens - started, self.clock())


def mailbox_of(worker: str) -> str:
    """The mailbox in a worker's name."""
    return worker.rpartition(".")[0]
