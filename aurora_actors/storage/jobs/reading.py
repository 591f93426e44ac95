"""Jobs in a snapshot, found by what the job system keeps beside them. Any process."""

from __future__ import annotations

from aurora_actors.errors import CollectionNotFoundError
from aurora_actors.messages.jobs import JOBS
from aurora_actors.storage.jobs.document import JobDocument
from aurora_actors.storage.jobs.index import unique_entry
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.snapshot import Snapshot

__all__ = ["job_with_key"]


def job_with_key(
    snapshot: Snapshot, unique_key: str
) -> tuple[memoryview, JobDocument] | None:
    """The record and the job that had this unique key last; it may have ended."""
    row = snapshot.job_entry(unique_entry(unique_key))
    if row is None:
        return None
    try:
        info = snapshot.find(JOBS)
    except CollectionNotFoundError:
        return None
    record = snapshot.get_row(info, int.from_bytes(row, "big"))
    if record is None:
        return None
    job = job_of(bytes(record))
    return (record, job) if job.unique_key == unique_key else None
