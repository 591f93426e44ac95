"""Giving out jobs: the best heads of the lanes, to the workers that wait.

Runs at the end of a batch, inside its transaction, so that a job is given out in the
commit that enqueues it. The next job is the one with the smallest ``due - priority *
ageing``: a priority is a head start of so many seconds for each step, so whatever waits
longer than that comes first in the end. Costs as much as is given out, and a step for
each lane. Storage process only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import heapify, heappop, heapreplace
from typing import Final, NamedTuple, TypeAlias

from aurora_actors.messages.jobs import Claimed, ClaimedJob
from aurora_actors.schema.record import record_id
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.jobs.desk import Desk, WaitingClaim
from aurora_actors.storage.jobs.document import JobDocument, to_micros
from aurora_actors.storage.jobs.index import (
    READY,
    Lane,
    parse_lane,
    row_of_key,
    running_keys,
    waiting_keys,
)
from aurora_actors.storage.jobs.machine import is_suspect, start
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.jobs.together import JobWrites
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Claiming", "Given", "ready_lanes"]

_log = logging.getLogger(__name__)
_MAX_AT_ONCE: Final = 4_096

Rank: TypeAlias = tuple[int, int]
Head: TypeAlias = tuple[Rank, bytes, Lane, Iterator[bytes]]


class Candidate(NamedTuple):
    """A job that may be given out, and where it was found."""

    key: bytes
    row: int
    record: bytes
    job: JobDocument


class Given(NamedTuple):
    """What a pass over the claims came to.

    Attributes:
        replies: The claims that are answered, each with its answer.
        due: Microseconds since 1970: when the next job is due that somebody waits for;
            ``None`` when there is none.
        wait_s: In how many seconds a rate lets the next one start.
        more: There may be more to give out at once.
    """

    replies: list[tuple[WaitingClaim, Claimed]]
    due: int | None
    wait_s: float
    more: bool


def ready_lanes(batch: WriteSet) -> dict[bytes, Lane]:
    """All lanes that hold jobs, found by stepping from one to the next."""
    lanes: dict[bytes, Lane] = {}
    for lane in batch.ready_jobs():
        lanes[lane] = parse_lane(lane)
    cursor = batch.txn.cursor(batch.tables.jobs)
    found = cursor.set_range(READY)
    while found and cursor.key()[:1] == READY:
        lane = cursor.key()[:-16]
        lanes[lane] = parse_lane(lane)
        found = cursor.set_range(lane + b"\xff" * 17)
    return lanes


class Claiming:
    """One pass over the claims that wait.

    Args:
        batch: Where jobs change.
        collection: The collection of the jobs.
        desk: The claims and the limits.
        now: The time.
        ageing_s: The head start of each step of priority.
    """

    def __init__(
        self,
        batch: WriteSet,
        collection: Collection,
        desk: Desk,
        now: datetime,
        ageing_s: float,
    ) -> None:
        self._batch = batch
        self._collection = collection
        self._desk = desk
        self._lanes = ready_lanes(batch)
        self._now = now
        self._micros = to_micros(now)
        self._ageing = int(ageing_s * 1_000_000)
        self._added = batch.ready_jobs()
        self._due: int | None = None
        self._wait_s = math.inf
        self._left = _MAX_AT_ONCE
        self._writes = JobWrites(batch, collection)

    def run(self) -> Given:
        """Give out what can be given out."""
        replies = []
        for claims in self._groups():
            for claim, jobs in zip(claims, self._share(claims), strict=True):
                if jobs:
                    replies.append((claim, Claimed(jobs=jobs)))
        return Given(replies, self._due, self._wait_s, self._left <= 0)

    def _groups(self) -> list[list[WaitingClaim]]:
        """Claims for the same queues and types together, the oldest first."""
        groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[WaitingClaim]] = {}
        for waiting in self._desk.waiting.values():
            claim = waiting.claim
            if self._desk.is_reserved(claim.worker):
                continue
            wanted = tuple(claim.queues), tuple(claim.job_types)
            groups.setdefault(wanted, []).append(waiting)
        return list(groups.values())

    def _share(self, claims: Sequence[WaitingClaim]) -> list[list[ClaimedJob]]:
        """Deal what there is evenly: the best job to the first, the next to the next."""
        first = claims[0].claim
        wanted = min(sum(each.claim.max_jobs for each in claims), self._left)
        keys = self._best(wanted, set(first.queues), set(first.job_types))
        self._left -= len(keys)
        shares: list[list[ClaimedJob]] = [[] for _ in claims]
        candidates = [each for key in keys if (each := self._load(key)) is not None]
        takers = self._give_suspects(claims, candidates, shares)
        at = 0
        for candidate in candidates:
            if not takers:
                break
            if is_suspect(candidate.job):
                continue
            at %= len(takers)
            number = takers[at]
            shares[number].append(self._start(candidate, claims[number]))
            if len(shares[number]) >= claims[number].claim.max_jobs:
                del takers[at]
            else:
                at += 1
        self._writes.flush()  # others look at the same lanes
        self._spend(shares)
        return shares

    def _give_suspects(
        self,
        claims: Sequence[WaitingClaim],
        candidates: Sequence[Candidate],
        shares: list[list[ClaimedJob]],
    ) -> list[int]:
        """Give each suspect to a worker that has nothing else.

        When there are more of them than such workers, the one that has the least gets
        nothing for now, so that it will be one.

        Returns:
            The numbers of the claims that may be given the others.
        """
        takers = list(range(len(claims)))
        suspects = [each for each in candidates if is_suspect(each.job)]
        if not suspects:
            return takers
        load_of = self._desk.load_of
        by_load = sorted(
            takers, key=lambda number: load_of(claims[number].claim.worker)
        )
        for suspect in suspects:
            if not by_load:
                break
            number = by_load.pop(0)
            takers.remove(number)
            if load_of(claims[number].claim.worker):
                break
            shares[number].append(self._start(suspect, claims[number], alone=True))
        return takers

    def _spend(self, shares: Sequence[Sequence[ClaimedJob]]) -> None:
        """Note what has started where a rate limits that."""
        desk = self._desk
        started: dict[str, int] = {}
        for share in shares:
            for job in share:
                queue = desk.held[job.id].queue
                started[queue] = started.get(queue, 0) + 1
        for queue, count in started.items():
            desk.spend(queue, count)
            self._wait_s = min(self._wait_s, desk.allowance(queue)[1])

    # -------------------------------------------------------------- which
    def _best(self, wanted: int, queues: set[str], types: set[str]) -> list[bytes]:
        """The keys of the next jobs."""
        found: list[bytes] = []
        allowed: dict[str, float] = {}
        heads = self._heads(queues, types, allowed)
        heapify(heads)
        while heads and len(found) < wanted:
            _, key, about, keys = heads[0]
            queue = about.queue
            if allowed[queue] < 1:
                heappop(heads)
                continue
            allowed[queue] -= 1
            found.append(key)
            following = next(keys, None)
            rank = None if following is None else self._rank(following, about)
            if following is None or rank is None:
                heappop(heads)
            else:
                heapreplace(heads, (rank, following, about, keys))
        return found

    def _heads(
        self, queues: set[str], types: set[str], allowed: dict[str, float]
    ) -> list[Head]:
        """The first job of each lane that is wanted; fills ``allowed`` by queue."""
        heads: list[Head] = []
        for lane, about in self._lanes.items():
            if (queues and about.queue not in queues) or (
                types and about.job_type not in types
            ):
                continue
            if about.queue not in allowed:
                allowed[about.queue], wait = self._desk.allowance(about.queue)
                self._wait_s = min(self._wait_s, wait)
            if allowed[about.queue] >= 1:
                keys = self._batch.lane(lane, self._added.get(lane, ()))
                key = next(keys, None)
                rank = None if key is None else self._rank(key, about)
                if key is not None and rank is not None:
                    heads.append((rank, key, about, keys))
        return heads

    def _rank(self, key: bytes, about: Lane) -> Rank | None:
        """Where a job stands in the order; ``None`` when it is not due.

        Of those that are due at the same moment the one that was enqueued first is
        first, whichever queue it is in.
        """
        due = int.from_bytes(key[-16:-8], "big")
        if about.scheduled and due > self._micros:
            if self._due is None or due < self._due:
                self._due = due
            return None
        return due - about.priority * self._ageing, row_of_key(key)

    # -------------------------------------------------------------- starting
    def _load(self, key: bytes) -> Candidate | None:
        row = row_of_key(key)
        record = self._batch.record(self._collection, row)
        if record is None:
            _log.error("the index of jobs has a row that is not there: %d", row)
            return None
        return Candidate(key, row, record, job_of(record))

    def _start(
        self, candidate: Candidate, waiting: WaitingClaim, *, alone: bool = False
    ) -> ClaimedJob:
        key, row, record, job = candidate
        claim = waiting.claim
        before = waiting_keys(key, job)
        start(job, claim.worker, claim.number, self._now)
        job_id = record_id(record)
        after = running_keys(row, job)
        body = self._writes.add(row, record, job_id, job, before, after)
        held = self._desk.hold(job, row)
        if alone:
            held = held._replace(alone=True)
        self._batch.note(self._desk.held, job_id, held)
        return ClaimedJob(job_id, job.attempt, body)
