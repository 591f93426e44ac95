"""What every change of jobs shares: the time, the workers, and putting a job back.

Storage process only.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from aurora_actors.messages.jobs import JOBS
from aurora_actors.messages.storage import Written
from aurora_actors.storage.jobs.desk import Desk
from aurora_actors.storage.jobs.document import RUNNING
from aurora_actors.storage.jobs.ending import Endings
from aurora_actors.storage.jobs.machine import Retention
from aurora_actors.storage.jobs.rows import FoundJob, put_job
from aurora_actors.storage.writeset import WriteSet

__all__ = ["Ledger"]


class Ledger(NamedTuple):
    """Reads the clock and writes jobs.

    Attributes:
        desk: The workers.
        now: The time, which never goes back.
        retention: How long jobs that have ended are kept.
        synced: What replies say.
    """

    desk: Desk
    now: Callable[[], datetime]
    retention: Retention
    synced: bool

    def put(self, batch: WriteSet, found: FoundJob) -> None:
        """Write a job that has been changed; who no longer runs it does not hold it."""
        collection = batch.catalog.by_name[JOBS]
        put_job(batch, collection, found.row, found.record, found.job, found.keys)
        if found.job.status != RUNNING and found.id in self.desk.held:
            batch.note(self.desk.held, found.id, None)

    def endings(self, batch: WriteSet, now: datetime) -> Endings:
        """Collects jobs that end, for those that wait for them."""
        return Endings(batch, now, self.retention)

    def written(self, batch: WriteSet, start: int, affected: int) -> Written:
        """The reply to a request that began at the LSN ``start``."""
        lsn = batch.lsn if batch.lsn > start else 0
        return Written(lsn=lsn, synced=self.synced, affected=affected)
