"""What people do to jobs: cancel, retry, pause and limit queues, remove. Storage only.

Removal by age, which nobody asks for, is here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from aurora_actors.errors import UsageError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import (
    JOBS,
    CancelJobs,
    LimitQueue,
    PauseQueue,
    PurgeJobs,
    ResumeQueue,
    RetryJobs,
)
from aurora_actors.messages.storage import Written
from aurora_actors.schema.record import record_id
from aurora_actors.storage.jobs.document import DEAD_LETTER, ENDED, to_micros
from aurora_actors.storage.jobs.enqueueing import InsertAll
from aurora_actors.storage.jobs.index import EXPIRES, NO_KEYS, row_of_key, unique_entry
from aurora_actors.storage.jobs.ledger import Ledger
from aurora_actors.storage.jobs.machine import can_retry, cancel, retry
from aurora_actors.storage.jobs.queues import set_queue
from aurora_actors.storage.jobs.rows import FoundJob, find_job
from aurora_actors.storage.writeset import WriteSet

__all__ = ["JobManagement"]

_ALL: Final = "*"


class JobManagement:
    """Carries out requests that are about jobs, and come from no worker.

    Args:
        ledger: Reads the clock and writes jobs.
        insert_all: Inserts documents.

    Attributes:
        carried_out: What does it, by the type of the request.
    """

    def __init__(self, ledger: Ledger, insert_all: InsertAll) -> None:
        self._ledger = ledger
        self._insert_all = insert_all
        self.carried_out: dict[type, Callable[[WriteSet, Any], Message]] = {
            CancelJobs: self._cancel,
            RetryJobs: self._retry,
            PauseQueue: self._set_queue,
            ResumeQueue: self._set_queue,
            LimitQueue: self._set_queue,
            PurgeJobs: self._purge,
        }

    def _cancel(self, batch: WriteSet, request: CancelJobs) -> Written:
        start, now, changed = batch.lsn, self._ledger.now(), 0
        endings = self._ledger.endings(batch, now)
        for job_id in request.ids:
            found = find_job(batch, job_id)
            if found is None or not cancel(found.job, now, self._ledger.retention):
                continue
            if found.job.status in ENDED:
                endings.add(found.job)
            self._ledger.put(batch, found)
            held = self._ledger.desk.held.get(job_id)
            if held is not None:
                batch.note(self._ledger.desk.held, job_id, held._replace(cancel=True))
                batch.note(self._ledger.desk.cancels, job_id, held.worker)
            changed += 1
        endings.settle()
        return self._ledger.written(batch, start, changed)

    def _retry(self, batch: WriteSet, request: RetryJobs) -> Written:
        start, changed = batch.lsn, 0
        for found in self._to_retry(batch, request):
            if not can_retry(found.job) or _is_replaced(batch, found):
                continue
            retry(found.job)
            self._ledger.put(batch, found)
            changed += 1
        return self._ledger.written(batch, start, changed)

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
        changed = set_queue(batch, self._ledger.desk, request, self._insert_all)
        return self._ledger.written(batch, start, int(changed))

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
        return self._ledger.written(batch, start, count)

    def remove_expired(self, batch: WriteSet, limit: int) -> int:
        """Remove jobs whose time is over; returns how many."""
        until = to_micros(self._ledger.now())
        return self._remove(batch, list(islice(self._ended(batch, until), limit)))

    def _remove(self, batch: WriteSet, removed: list[FoundJob]) -> int:
        if not removed:
            return 0
        endings = self._ledger.endings(batch, self._ledger.now())
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
