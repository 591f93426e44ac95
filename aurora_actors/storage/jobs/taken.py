"""What a transaction has to know of other jobs when it enqueues some.

Read from its snapshot, in the process that runs it; the commit looks again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from aurora_actors.errors import CollectionNotFoundError, NotFoundError
from aurora_actors.messages.jobs import JOBS, NewJob
from aurora_actors.schema.record import record_id
from aurora_actors.storage.jobs.document import ENDED
from aurora_actors.storage.jobs.index import unique_entry
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["JobsTaken"]


class JobsTaken:
    """The unique keys that are taken, and the jobs that there are.

    Args:
        snapshot: What the transaction sees.
        own: The jobs that it has enqueued itself.

    Attributes:
        seen: The jobs in the snapshot that an answer rests on.
    """

    def __init__(self, snapshot: Snapshot, own: Iterable[NewJob]) -> None:
        self._snapshot = snapshot
        self._ids: set[str] = set()
        self._keys: dict[str, str] = {}
        self.seen: list[str] = []
        for job in own:
            self.add(job)

    def add(self, job: NewJob) -> None:
        """One more that the transaction enqueues."""
        self._ids.add(job.id)
        if job.unique_key:
            self._keys[job.unique_key] = job.id

    def _jobs(self) -> CollectionInfo | None:
        try:
            return self._snapshot.collection(JOBS)
        except CollectionNotFoundError:
            return None

    def holder(self, job: NewJob) -> str | None:
        """The job that keeps this one from being enqueued, if there is one."""
        if not job.unique_key:
            return None
        if job.unique_key in self._keys:
            return self._keys[job.unique_key]
        jobs = self._jobs()
        row = self._snapshot.job_row(unique_entry(job.unique_key))
        record = None
        if jobs is not None and row is not None:
            record = self._snapshot.get_row(jobs, row)
        if record is None:
            return None
        found = job_of(record)
        age = datetime.now(UTC) - found.created_at
        if found.unique_key != job.unique_key or (
            found.status in ENDED and age >= timedelta(seconds=job.unique_for_s)
        ):
            return None
        job_id = record_id(record)
        self.seen.append(job_id)
        return job_id

    def check_waited_for(self, job: NewJob) -> None:
        """Refuse to wait for jobs that do not exist.

        Raises:
            NotFoundError: one of them does not.
        """
        jobs = self._jobs()
        for job_id in job.after:
            known = job_id in self._ids
            if jobs is not None and not known:
                known = self._snapshot.get(jobs, job_id) is not None
            if not known:
                raise NotFoundError(
                    f"there is no job {job_id[:255]!r} to wait for",
                    collection=JOBS,
                    id=job_id[:255],
                )
