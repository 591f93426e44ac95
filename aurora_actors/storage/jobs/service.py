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
from typing import Final, NamedTuple

from aurora_actors.config import AuroraConfig
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import (
    JOBS,
    QUEUES,
    AwaitJob,
    Claimed,
    ClaimedJob,
    ClaimJobs,
    JobAwaited,
    JobStatistics,
    LeasesRenewed,
    QueueStatistics,
    RenewLeases,
)
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.storage.catalog import Catalog
from aurora_actors.storage.environment import Tables, Transaction
from aurora_actors.storage.jobs.changes import JobChanges
from aurora_actors.storage.jobs.claiming import Claiming, ready_lanes
from aurora_actors.storage.jobs.desk import Awaiting, Desk, WaitingClaim, mailbox_of
from aurora_actors.storage.jobs.document import (
    ENDED,
    QueueDocument,
    decode_queue,
    to_micros,
)
from aurora_actors.storage.jobs.index import COUNT, RUNS, parse_count, row_of_key
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.jobs.rows import find_job, own_collection
from aurora_actors.storage.layout import collection_prefix, row_key
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Answer", "JobClock", "JobService"]

_LOOK_EVERY_S: Final = 0.25
_REMOVED_AT_ONCE: Final = 1_000
_EMPTY: Final = Claimed(jobs=[])
_NOT_YET: Final = JobAwaited(document=b"")


class Answer(NamedTuple):
    """What is to be said, and to whom."""

    client: str
    request_id: int
    message: Message


def answer_to(waiting: WaitingClaim, claimed: Claimed) -> Answer:
    """The answer to a claim."""
    return Answer(waiting.client, waiting.request_id, claimed)


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
        self._stands: datetime | None = None

    def stand(self, moment: datetime | None) -> None:
        """Stand at a moment, for a test; ``None`` follows the system again."""
        self._stands = moment
        self._base, self._since = self._wall(), self._monotonic()

    def now(self) -> datetime:
        """The present moment, in UTC."""
        if self._stands is not None:
            return self._stands
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
        self._replies: list[Answer] = []
        self._answered: list[Answer] = []
        self._next_expiry = math.inf
        self._given = self._passes = 0

    # -------------------------------------------------------------- opening
    def load(
        self,
        txn: Transaction,
        tables: Tables,
        catalog: Catalog,
        *,
        is_new_tree: bool,
    ) -> None:
        """Learn from the tables what runs.

        All workers have a full lease again, unless they were of another run of the
        tree: then they are gone.
        """
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
                if is_new_tree:
                    self._lost[held.worker] = "the database was stopped meanwhile"
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
        desk.handled.update(claim.job_types)
        waiting = WaitingClaim(client, request_id, claim, self._clock() + claim.wait_s)
        mine = desk.held.by_worker.get(worker, {})
        if claim.max_jobs == 0 or any(
            held.claim == claim.number for held in mine.values()
        ):
            desk.waiting.pop(worker, None)
            self._repeats.append(waiting)
        else:
            desk.waiting[worker] = waiting
        self._desk.stale = True

    def renew(self, request: RenewLeases) -> LeasesRenewed:
        """Renew a worker's lease."""
        return self._desk.answer_renewal(request)

    def lose_mailbox(self, mailbox: str, cause: str = "") -> None:
        """A process is gone, and whatever workers it was; ``cause`` says how it ended."""
        for worker in self._desk.workers_of(mailbox):
            self._lost[worker] = cause or "its process has gone"

    def take_answers(self) -> list[Answer]:
        """What is to be said to whom, each once."""
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
        if (desk.waiting or self._repeats) and (
            desk.stale or batch.has_job_changes or now >= self._next_claims
        ):
            self._serve(batch, now)
        if desk.cancels:
            self._tell_cancelled(batch)
        if desk.awaited and (batch.ended_jobs or now >= self._next_expiry):
            self._announce(batch, now)

    def _tell_cancelled(self, batch: WriteSet) -> None:
        """Tell workers of jobs to be cancelled, whether they claim or not."""
        cancels = self._desk.cancels
        for job_id, worker in list(cancels.items()):
            batch.note(cancels, job_id, None)
            message = Claimed(jobs=[], cancel=[job_id])
            self._replies.append(Answer(mailbox_of(worker), 0, message))

    def _announce(self, batch: WriteSet, now: float) -> None:
        """Answer those who wait for jobs that have ended, or for too long."""
        awaited = self._desk.awaited
        for job_id in batch.ended_jobs & awaited.keys():
            found = find_job(batch, job_id)
            if found is not None and found.job.status in ENDED:
                answer = JobAwaited(document=bytes(record_body(found.record)))
                self._replies += [
                    Answer(each.client, each.request_id, answer)
                    for each in awaited[job_id]
                ]
                batch.note(awaited, job_id, None)
        if now < self._next_expiry:
            return
        for job_id, waiting in list(awaited.items()):
            left = [each for each in waiting if each.until > now]
            if len(left) < len(waiting):
                batch.note(awaited, job_id, left or None)
                self._replies += [
                    Answer(each.client, each.request_id, _NOT_YET)
                    for each in waiting
                    if each.until <= now
                ]
        times = (each.until for some in awaited.values() for each in some)
        self._next_expiry = min(times, default=math.inf)

    def await_job(self, client: str, request_id: int, request: AwaitJob) -> None:
        """Remember who waits for a job that has not ended."""
        until = self._clock() + max(request.wait_s, 0.0)
        waiting = self._desk.awaited.setdefault(request.id, [])
        waiting.append(Awaiting(client, request_id, until))
        self._next_expiry = min(self._next_expiry, until)

    def forget_client(self, client: str) -> None:
        """Nobody of this name waits for jobs any more."""
        for job_id, waiting in list(self._desk.awaited.items()):
            waiting[:] = [each for each in waiting if each.client != client]
            if not waiting:
                del self._desk.awaited[job_id]

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
        if self._config.unknown_handler_s and desk.leases and desk.handled:
            self._fail_unhandled(batch, now)

    def _fail_unhandled(self, batch: WriteSet, now: float) -> None:
        """Fail what waits for a handler that no worker has ever had."""
        desk = self._desk
        lanes = {
            lane: about.job_type
            for lane, about in ready_lanes(batch).items()
            if about.job_type not in desk.handled
        }
        desk.unhandled = {
            job_type: desk.unhandled.get(job_type, now) for job_type in lanes.values()
        }
        for lane, job_type in lanes.items():
            if now - desk.unhandled[job_type] >= self._config.unknown_handler_s:
                self._changes.fail_unhandled(batch, lane)

    def _remove(self, batch: WriteSet, now: float) -> None:
        removed = self._changes.management.remove_expired(batch, _REMOVED_AT_ONCE)
        if removed < _REMOVED_AT_ONCE:
            self._next_removal = now + self._config.cleanup_interval_seconds

    def _serve(self, batch: WriteSet, now: float) -> None:
        desk = self._desk
        replies = self._replies
        replies += [answer_to(each, self._again(batch, each)) for each in self._repeats]
        collection = own_collection(batch)
        moment = self._now()
        given = Claiming(batch, collection, desk, moment, self._config.ageing_s).run()
        replies += [answer_to(*each) for each in given.replies]
        for waiting, claimed in given.replies:
            batch.note(desk.waiting, waiting.claim.worker, None)
            self._given += len(claimed.jobs)
        self._passes += 1
        until = min((each.until for each in desk.waiting.values()), default=math.inf)
        for waiting in list(desk.waiting.values()):
            if waiting.until <= now:
                batch.note(desk.waiting, waiting.claim.worker, None)
                replies.append(answer_to(waiting, _EMPTY))
        due = math.inf if given.due is None else (given.due - to_micros(moment)) / 1e6
        self._desk.stale = given.more
        self._next_claims = min(now + min(due, given.wait_s), until)

    def _again(self, batch: WriteSet, repeat: WaitingClaim) -> Claimed:
        """What a claim was given that is asked again."""
        claim = repeat.claim
        jobs = []
        mine = self._desk.held.by_worker.get(claim.worker, {})
        for job_id, held in mine.items():
            if held.claim == claim.number:
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
        if desk.awaited:
            moments.append(self._next_expiry)
        return max(0.0, min(moments) - now)

    def next_tick(self) -> datetime | None:
        """When the next schedule is due."""
        return self._changes.schedules.next_tick()

    def clock_was_set(self) -> None:
        """All that goes by the time of jobs is looked at again."""
        self._desk.stale = True
        self._next_removal = self._clock()

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
            **self._changes.schedules.counters(),
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
