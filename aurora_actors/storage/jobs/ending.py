"""What the end of a job means for those that wait for it.

A job names the jobs that wait for it (``before``), and each of those counts what it still
waits for. Those of a batch that end in one request are counted together, so that a
thousand of them write the one that waits once. Storage process only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from aurora_actors.messages.jobs import JOBS
from aurora_actors.storage.jobs.document import (
    CANCELLED,
    COMPLETED,
    DEAD_LETTER,
    PENDING,
    JobDocument,
)
from aurora_actors.storage.jobs.machine import Retention, cancel, unblock
from aurora_actors.storage.jobs.rows import find_job, put_job
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Endings"]

# Counts the ends that are not those of a dead letter which was tried again.
_FIRST: Final = "first"


class Endings:
    """The jobs that have ended in one request.

    Args:
        batch: Where jobs change.
        now: The time.
        retention: How long ended jobs are kept.
    """

    def __init__(self, batch: WriteSet, now: datetime, retention: Retention) -> None:
        self._batch = batch
        self._now = now
        self._retention = retention
        self._ended: dict[str, dict[str, int]] = {}

    def add(self, job: JobDocument) -> None:
        """Take a job that has just ended; to be written after this.

        A dead letter may be tried again, so only those hear of it that start however
        the others end.
        """
        if not job.before or job.told:
            return
        first = not job.told_dead
        job.told_dead = True
        job.told = job.status != DEAD_LETTER
        self._count(job.before, job.status, first=first)

    def removed(self, job: JobDocument) -> None:
        """Take a job that is removed: a dead letter will not be tried again."""
        if job.before and not job.told and job.status == DEAD_LETTER:
            self._count(job.before, CANCELLED, first=not job.told_dead)

    def _count(self, before: Iterable[str], status: str, *, first: bool) -> None:
        for job_id in before:
            counts = self._ended.setdefault(job_id, {})
            counts[status] = counts.get(status, 0) + 1
            counts[_FIRST] = counts.get(_FIRST, 0) + first

    def settle(self) -> None:
        """Tell those that wait; the cancelled ones among them end, too."""
        while self._ended:
            ended, self._ended = self._ended, {}
            for job_id, counts in ended.items():
                self._tell(job_id, counts)

    def _tell(self, job_id: str, counts: dict[str, int]) -> None:
        found = find_job(self._batch, job_id)
        if found is None or found.job.status != PENDING or not found.job.waits_for:
            return
        job = found.job
        if job.after_any_end:
            unblock(job, counts[_FIRST])
        elif CANCELLED in counts:
            cancel(job, self._now, self._retention)
            job.error = "a job that it waited for was cancelled"
            self.add(job)
        elif COMPLETED in counts:
            unblock(job, counts[COMPLETED])
        else:
            return
        collection = self._batch.catalog.by_name[JOBS]
        put_job(self._batch, collection, found.row, found.record, job, found.keys)
