"""From records of ``_sys_jobs`` to the entries of the table ``jobs``.

For whoever has only records: the log's replay, ``aurora check`` and ``aurora repair``.
What changes jobs has their documents at hand, and does the same with them.
"""

from __future__ import annotations

import msgspec

from aurora_actors.schema.record import record_body
from aurora_actors.storage.jobs.document import JobDocument, decode_job
from aurora_actors.storage.jobs.index import NO_KEYS, keys_of, unique_entry
from aurora_actors.storage.writeset import WriteSet

__all__ = ["index_record", "job_of"]


def job_of(record: bytes | memoryview) -> JobDocument:
    """The job in a record.

    Raises:
        ValueError: it is none.
    """
    try:
        return decode_job(record_body(record))
    except msgspec.MsgspecError as exc:
        raise ValueError(f"a record of _sys_jobs is no job: {exc}") from exc


def index_record(
    batch: WriteSet, row: int, old: bytes | None, new: bytes | None
) -> None:
    """Keep ``jobs`` right when a row gets another record, its first or none.

    Raises:
        ValueError: a record is no job.
    """
    before = after = NO_KEYS
    if old is not None:
        was = job_of(old)
        before = keys_of(row, was)
        if new is None and was.unique_key:
            batch.forget_unique_job(row, unique_entry(was.unique_key))
    if new is not None:
        after = keys_of(row, job_of(new))
    batch.index_job(row, before, after)
