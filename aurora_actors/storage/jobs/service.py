"""Jobs as the engine sees them: what happens besides requests, and when.

After the requests of each batch, inside its transaction, come the jobs' own affairs:
workers whose leases have run out, attempts that took too long, jobs to be removed, and
last the claims. All of it is done in memory and in the batch first; answers leave once
the transaction is committed. Storage process only, in the engine's thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from aurora_actors.config import AuroraConfig
from aurora_actors.messages.jobs import (
    JOBS,
    QUEUES,
    Claimed,
    ClaimedJob,
    ClaimJobs,
    JobStatistics,
    LeasesRenewed,
    QueueStatistics,
    RenewLeases,
)
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.storage.catalog import Catalog
from aurora_actors.storage.environment import Tables, Transaction
from aurora_actors.storage.jobs.changes import JobChanges
from aurora_actors.storage.jobs.claiming import Claiming
from aurora_actors.storage.jobs.desk import Desk, WaitingClaim, mailbox_of
from aurora_actors.storage.jobs.document import QueueDocument, decode_queue, to_micros
from aurora_actors.storage.jobs.index import COUNT, RUNS, parse_count, row_of_key
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.jobs.rows import find_job, own_collection
from aurora_actors.storage.layout import collection_prefix, row_key
from aurora_actors.storage.writeset import WriteSet

__all__ = ["JobClock", "JobService"]

_LOOK_EVERY_S: Final = 0.25
_REMOVED_AT_ONCE: Final = 1_000
_EMPTY: Final = Claimed(jobs=[])


class JobClock:
    """The time of jobs: the system's, but it never goes back while storage runs.

    When the system's clock is set forward, this one follows; when it is set back, this
    one goes on at the pace of the monotonic clock, so that what is due stays due.
    """

    def __init__(
        self, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._base, self._since = wall(), monotonic()

    def now(self) -> datetime:
        """The present moment, in UTC."""
        wall, monotonic = self._wall(), self._monotonic()
        pace = self._base + (monotonic - self._since)
        if wall > pace:
            self._base, self._since = wall, monotonic
            pace = wall
        return datetime.fromtimestamp(pace, UTC)


class JobService:
    """The part of the engine that has to do with jobs.

    Args:
        config: How jobs age and how long they are kept.
        changes: What requests can do to jobs.
        desk: The workers.
        now: The time of jobs.
    """

    def __init__(
        self,
        config: AuroraConfig,
        changes: JobChanges,
        desk: Desk,
        now: Callable[[], datetime],
    ) -> None:
        self._config = config.jobs
        self._changes = changes
        self._desk = desk
        self._now = now
        self._clock = desk.clock
        self._next_claims = 0.0
        self._next_look = self._clock()
        self._next_removal = self._clock() + self._config.cleanup_interval_seconds
        self._repeats: list[WaitingClaim] = []
        self._lost: dict[str, str] = {}
        self._replies: list[tuple[WaitingClaim, Claimed]] = []
        self._answered: list[tuple[WaitingClaim, Claimed]] = []
        self._given = self._passes = 0

    # -------------------------------------------------------------- opening
    def load(self, txn: Transaction, tables: Tables, catalog: Catalog) -> None:
        """Learn from the tables what runs; all workers have a full lease again."""
        desk = self._desk
        collection = catalog.by_name.get(JOBS)
        if collection is not None:
            cursor = txn.cursor(tables.jobs)
            found = cursor.set_range(RUNS)
            while found and cursor.key()[:1] == RUNS:
                row = row_of_key(cursor.key())
                record = txn.get(row_key(collection.id, row), db=tables.docs)
                held = desk.hold(job_of(record), row)
                desk.held[record_id(record)] = held
                desk.renew(held.worker)
                found = cursor.next()
        self._changes.schedules.load(txn, tables, catalog)
        collection = catalog.by_name.get(QUEUES)
        if collection is not None:
            prefix = collection_prefix(collection.id)
            cursor = txn.cursor(tables.docs)
            found = cursor.set_range(prefix)
            while found and cursor.key()[:4] == prefix:
                record = cursor.value()
                body = record_body(record)
                desk.queues[record_id(record)] = decode_queue(body)
                found = cursor.next()

    # -------------------------------------------------------------- asked for
    def claim(self, client: str, request_id: int, claim: ClaimJobs) -> None:
        """Take a claim; it is answered by :meth:`take_answers`, now or later."""
        desk, worker = self._desk, claim.worker
        mailbox = mailbox_of(worker)
        for other in desk.workers_of(mailbox) if mailbox else ():
            if other != worker:
                self._lost[other] = "another worker has taken its place"
        desk.renew(worker, claim.lease_s)
        waiting = WaitingClaim(client, request_id, claim, self._clock() + claim.wait_s)
        if any(
            held.worker == worker and held.claim == claim.number
            for held in desk.held.values()
        ):
            desk.waiting.pop(worker, None)
            self._repeats.append(waiting)
        else:
            desk.waiting[worker] = waiting
        self._desk.stale = True

    def renew(self, request: RenewLeases) -> LeasesRenewed:
        """Renew a worker's lease."""
        return self._desk.answer_renewal(request)

    def lose_mailbox(self, mailbox: str) -> None:
        """A process is gone, and whatever workers it was."""
        for worker in self._desk.workers_of(mailbox):
            self._lost[worker] = "its process has gone"

    def take_answers(self) -> list[tuple[WaitingClaim, Claimed]]:
        """The claims that have been answered, each once."""
        answered, self._answered = self._answered, []
        return answered

    # -------------------------------------------------------------- in a batch
    def run(self, batch: WriteSet) -> None:
        """Do what is due, at the end of a batch."""
        desk = self._desk
        now = self._clock()
        if self._lost or now >= self._next_look:
            self._look(batch, now)
        if now >= self._next_removal:
            self._remove(batch, now)
        self._changes.schedules.run(batch)
        if not (desk.waiting or self._repeats):
            return
        if desk.stale or batch.has_job_changes or now >= self._next_claims:
            self._serve(batch, now)

    def _look(self, batch: WriteSet, now: float) -> None:
        """Workers and attempts whose time is over."""
        desk = self._desk
        self._next_look = now + _LOOK_EVERY_S
        for worker in desk.expired():
            self._lost.setdefault(worker, "its worker gave no sign of life")
        for worker, reason in self._lost.items():
            self._changes.lose(batch, worker, reason)
        overdue = desk.overdue()
        if overdue:
            self._changes.end_overdue(batch, overdue)
        if desk.told:
            desk.told &= desk.held.keys()

    def _remove(self, batch: WriteSet, now: float) -> None:
        removed = self._changes.remove_expired(batch, _REMOVED_AT_ONCE)
        if removed < _REMOVED_AT_ONCE:
            self._next_removal = now + self._config.cleanup_interval_seconds

    def _serve(self, batch: WriteSet, now: float) -> None:
        desk = self._desk
        replies = self._replies
        replies += [(each, self._again(batch, each)) for each in self._repeats]
        collection = own_collection(batch)
        moment = self._now()
        given = Claiming(batch, collection, desk, moment, self._config.ageing_s).run()
        replies += given.replies
        for waiting, claimed in given.replies:
            batch.note(desk.waiting, waiting.claim.worker, None)
            self._given += len(claimed.jobs)
        self._passes += 1
        until = min((each.until for each in desk.waiting.values()), default=math.inf)
        for waiting in list(desk.waiting.values()):
            cancel = desk.to_cancel(waiting.claim.worker)
            if cancel or waiting.until <= now:
                desk.told.update(cancel)
                batch.note(desk.waiting, waiting.claim.worker, None)
                answer = Claimed(jobs=[], cancel=cancel) if cancel else _EMPTY
                replies.append((waiting, answer))
        due = math.inf if given.due is None else (given.due - to_micros(moment)) / 1e6
        self._desk.stale = given.more
        self._next_claims = min(now + min(due, given.wait_s), until)

    def _again(self, batch: WriteSet, repeat: WaitingClaim) -> Claimed:
        """What a claim was given that is asked again."""
        claim = repeat.claim
        jobs = []
        for job_id, held in self._desk.held.items():
            if held.worker == claim.worker and held.claim == claim.number:
                found = find_job(batch, job_id, held.row)
                if found is not None:
                    body = bytes(record_body(found.record))
                    jobs.append(ClaimedJob(job_id, held.attempt, body))
        return Claimed(jobs=jobs)

    def committed(self) -> None:
        """The batch is committed: its answers may leave."""
        self._repeats.clear()
        self._lost.clear()
        self._answered += self._replies
        self._replies = []

    def aborted(self) -> None:
        """The batch came to nothing."""
        self._replies = []
        self._changes.schedules.forget_next()
        self._desk.stale = True
        self._next_look = self._clock()

    # -------------------------------------------------------------- when
    def due(self) -> float:
        """Seconds until :meth:`run` has something to do."""
        desk, now = self._desk, self._clock()
        if self._lost or ((desk.waiting or self._repeats) and desk.stale):
            return 0.0
        moments = [self._next_removal, now + self._changes.schedules.due()]
        if desk.leases or desk.held:
            moments.append(self._next_look)
        if desk.waiting:
            moments.append(self._next_claims)
        return max(0.0, min(moments) - now)

    # -------------------------------------------------------------- numbers
    def statistics(self, txn: Transaction, tables: Tables) -> JobStatistics:
        """The number of jobs by queue and status."""
        counts: dict[str, dict[str, int]] = {name: {} for name in self._desk.queues}
        cursor = txn.cursor(tables.jobs)
        found = cursor.set_range(COUNT)
        while found and cursor.key()[:1] == COUNT:
            status, queue = parse_count(cursor.key())
            number = int.from_bytes(cursor.value(), "big")
            counts.setdefault(queue, {})[status] = number
            found = cursor.next()
        queues = {
            queue: _queue_statistics(numbers, self._desk.queues.get(queue))
            for queue, numbers in counts.items()
        }
        return JobStatistics(queues=queues, workers=len(self._desk.leases))

    def counters(self) -> dict[str, int | float]:
        """Counters since storage was started."""
        return {
            "jobs_claimed": self._given,
            "job_passes": self._passes,
            "jobs_running": len(self._desk.held),
            "job_workers": len(self._desk.leases),
            "waiting_claims": len(self._desk.waiting),
        }


def _queue_statistics(
    numbers: dict[str, int], settings: QueueDocument | None
) -> QueueStatistics:
    settings = settings or QueueDocument()
    return QueueStatistics(
        **numbers,
        paused=settings.paused,
        concurrency=settings.concurrency,
        rate=settings.rate,
        period_s=settings.period_s,
    )
