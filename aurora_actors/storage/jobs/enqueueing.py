"""Enqueueing: from what was asked to documents that wait. Storage process only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from aurora_actors.errors import ConflictError, NotFoundError, ValidationError
from aurora_actors.messages.jobs import JOBS, EnqueueJobs, NewJob
from aurora_actors.messages.storage import InsertDocuments, Written
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.jobs.document import (
    CANCELLED,
    COMPLETED,
    ENDED,
    PENDING,
    JobDocument,
    encode_job,
    from_micros,
)
from aurora_actors.storage.jobs.index import NO_KEYS, keys_of, unique_entry
from aurora_actors.storage.jobs.machine import Retention, cancel
from aurora_actors.storage.jobs.rows import FoundJob, find_job, own_collection, put_job
from aurora_actors.storage.writeset import WriteSet

__all__ = ["InsertAll", "InsertRun", "check_new_job", "enqueue", "enqueue_run"]

InsertAll = Callable[[WriteSet, Collection, Sequence[str], Sequence[bytes]], object]
"""Inserts documents with all checks; see ``storage.insertion``."""

InsertRun = Callable[[WriteSet, Sequence[InsertDocuments]], Sequence[Written] | None]
"""Inserts the documents of several requests; see ``storage.insertion``."""

_LONGEST_NAME: Final = 128
_LONGEST_KEY: Final = 1_000
_EMPTY_MAP: Final = b"\x80"
_LAST_MOMENT: Final = 253_370_764_800_000_000  # the year 9999


def enqueue(
    batch: WriteSet,
    request: EnqueueJobs,
    now: datetime,
    retention: Retention,
    insert_all: InsertAll,
) -> tuple[list[str], int]:
    """Enqueue jobs; returns their ids, or those of the jobs that stand for them.

    Also returns how many are new.

    Raises:
        ValidationError: one of them makes no sense.
        NotFoundError: a job that one waits for does not exist.
        ConflictError: the request is exact, and a unique key is taken.
        UniqueViolationError: an id is taken.
    """
    work = _Enqueueing(batch, now, retention)
    ids = [work.take(new, exact=request.exact) for new in request.jobs]
    work.write(insert_all)
    return ids, len(work.made)


def enqueue_run(
    batch: WriteSet,
    requests: Sequence[EnqueueJobs],
    now: datetime,
    retention: Retention,
    insert_run: InsertRun,
) -> Sequence[Written] | None:
    """Enqueue the jobs of several requests together.

    Returns:
        What became of each; ``None``, and nothing has changed, when one of them needs
        a look of its own.

    Raises:
        ValidationError: a job makes no sense; the caller finds out whose.
    """
    jobs = [job for request in requests for job in request.jobs]
    if (
        JOBS not in batch.catalog.by_name
        or any(request.exact or not request.jobs for request in requests)
        or any(job.unique_key or job.after for job in jobs)
    ):
        return None
    work = _Enqueueing(batch, now, retention)
    for job in jobs:
        work.take(job, exact=False)
    return work.write_run([len(request.jobs) for request in requests], insert_run)


class _Enqueueing:
    def __init__(self, batch: WriteSet, now: datetime, retention: Retention) -> None:
        self._batch = batch
        self._now = now
        self._retention = retention
        self._collection = own_collection(batch)
        self.made: dict[str, JobDocument] = {}
        self._keys: dict[str, str] = {}
        self._waited_for: dict[str, FoundJob] = {}

    def take(self, new: NewJob, *, exact: bool) -> str:
        """Prepare one job; returns its id, or that of the one that has its key."""
        check_new_job(new)
        if new.id in self.made:
            raise ValidationError(f"two jobs have the id {new.id!r}", path="id")
        if new.unique_key:
            holder = self._holder(new)
            if holder is not None:
                if exact:
                    raise ConflictError(
                        f"another job has the unique key {new.unique_key!r} by now",
                        collection=JOBS,
                        id=holder,
                    )
                return holder
            self._keys[new.unique_key] = new.id
        job = self._document(new)
        for waited_for in dict.fromkeys(new.after):
            self._wait_for(new.id, job, waited_for)
        self.made[new.id] = job
        return new.id

    def _document(self, new: NewJob) -> JobDocument:
        run_at = None
        if new.run_at is not None:
            run_at = from_micros(new.run_at)
        elif new.delay_s > 0:
            run_at = self._now + timedelta(seconds=new.delay_s)
        return JobDocument(
            job_type=new.job_type,
            queue=new.queue,
            payload=msgspec.Raw(new.payload or _EMPTY_MAP),
            created_at=self._now,
            status=PENDING,
            priority=new.priority,
            attempt=0,
            run_at=run_at,
            max_retries=new.max_retries,
            timeout_s=new.timeout_s,
            backoff=new.backoff,
            unique_key=new.unique_key or None,
            parent=new.parent or None,
            batch=new.batch or None,
            after_any_end=new.after_any_end,
            retention_s=new.retention_s,
            schedule=new.schedule or None,
            tick=None if new.tick is None else from_micros(new.tick),
        )

    def _holder(self, new: NewJob) -> str | None:
        """The job that keeps this one from being enqueued."""
        mine = self._keys.get(new.unique_key)
        if mine is not None:
            return mine
        entry = self._batch.job_entry(unique_entry(new.unique_key))
        if entry is None:
            return None
        row = int.from_bytes(entry, "big")
        found = find_job(self._batch, "", row)
        if found is None or found.job.unique_key != new.unique_key:
            return None
        age = self._now - found.job.created_at
        if found.job.status not in ENDED or age < timedelta(seconds=new.unique_for_s):
            return bytes(found.record[13 : 13 + found.record[8]]).decode()
        return None

    # -------------------------------------------------------------- waiting
    def _wait_for(self, job_id: str, job: JobDocument, other: str) -> None:
        waited_for = self.made.get(other) or self._found(other)
        status = waited_for.status
        if status == COMPLETED or (job.after_any_end and _has_ended(waited_for)):
            return
        if status == CANCELLED:
            if job.status not in ENDED:
                cancel(job, self._now, self._retention)
                job.error = "a job that it waits for was cancelled"
            return
        waited_for.before = [*(waited_for.before or []), job_id]
        job.waits_for += 1

    def _found(self, job_id: str) -> JobDocument:
        found = self._waited_for.get(job_id) or find_job(self._batch, job_id)
        if found is None:
            raise NotFoundError(
                f"there is no job {job_id[:255]!r} to wait for",
                collection=JOBS,
                id=job_id[:255],
            )
        self._waited_for[job_id] = found
        return found.job

    # -------------------------------------------------------------- writing
    def write(self, insert_all: InsertAll) -> None:
        """Write the new jobs, and those that they wait for."""
        batch, collection = self._batch, self._collection
        if not self.made:
            return
        first_row = batch.catalog.counters[collection.id].next_row
        bodies = [encode_job(job) for job in self.made.values()]
        insert_all(batch, collection, list(self.made), bodies)
        self._index(first_row)
        for found in self._waited_for.values():
            put_job(batch, collection, found.row, found.record, found.job, found.keys)

    def write_run(
        self, counts: Sequence[int], insert_run: InsertRun
    ) -> Sequence[Written] | None:
        """Write the new jobs of several requests, which wait for none."""
        batch, ids = self._batch, list(self.made)
        first_row = batch.catalog.counters[self._collection.id].next_row
        bodies = [encode_job(job) for job in self.made.values()]
        requests, at = [], 0
        for count in counts:
            part = slice(at, at + count)
            requests.append(
                InsertDocuments(collection=JOBS, ids=ids[part], documents=bodies[part])
            )
            at += count
        written = insert_run(batch, requests)
        if written is not None:
            self._index(first_row)
        return written

    def _index(self, first_row: int) -> None:
        places: dict[bytes, bytes | None] = {}
        counts: dict[bytes, int] = {}
        for row, job in enumerate(self.made.values(), first_row):
            keys = keys_of(row, job)
            if keys.unique:
                self._batch.index_job(row, NO_KEYS, keys)
                continue
            if keys.place:
                places[keys.place] = b""
            counts[keys.counter] = counts.get(keys.counter, 0) + 1
        self._batch.index_jobs(places, counts)


def _has_ended(job: JobDocument) -> bool:
    """Whether those that start however it ends need not wait."""
    return job.told_dead or job.status in ENDED


def check_new_job(new: NewJob) -> None:
    """Refuse a job that makes no sense.

    Raises:
        ValidationError: it does not; ``path`` says what.
    """
    for path, text, longest in (
        ("job_type", new.job_type, _LONGEST_NAME),
        ("queue", new.queue, _LONGEST_NAME),
    ):
        if not text or len(text.encode()) > longest or not text.isprintable():
            raise ValidationError(
                f"{path} must be printable text of 1 to {longest} bytes, not "
                f"{text[:80]!r}",
                path=path,
            )
    if (
        new.payload
        and not 0x80 <= new.payload[0] <= 0x8F
        and new.payload[0] not in _MAP
    ):
        raise ValidationError("a payload must be a map of arguments", path="payload")
    if len(new.unique_key) > _LONGEST_KEY:
        raise ValidationError(
            f"unique_key has more than {_LONGEST_KEY} characters", path="unique_key"
        )
    if not 0 <= new.priority <= 3:
        raise ValidationError("priority must be from 0 to 3", path="priority")
    if not 0 <= new.max_retries < 1 << 31:
        raise ValidationError("max_retries must not be negative", path="max_retries")
    _check_times(new)


_MAP: Final = frozenset((0xDE, 0xDF))


def _check_times(new: NewJob) -> None:
    for path, value in (
        ("timeout_s", new.timeout_s),
        ("delay_s", new.delay_s),
        ("unique_for_s", new.unique_for_s),
        ("retention_s", new.retention_s or 0.0),
    ):
        if not 0 <= value <= 4e9 or math.isnan(value):
            raise ValidationError(
                f"{path} must be from 0 to 4e9 seconds, not {value}", path=path
            )
    if new.run_at is not None and not 0 <= new.run_at <= _LAST_MOMENT:
        raise ValidationError(
            "run_at must be between the years 1970 and 9999", path="run_at"
        )
    backoff = new.backoff
    if backoff is None:
        return
    numbers = (backoff.initial_s, backoff.factor, backoff.max_s)
    if (
        not all(0 <= number <= 4e9 for number in numbers)
        or not 0 <= backoff.jitter <= 1
    ):
        raise ValidationError(
            "backoff: initial_s, factor and max_s must not be negative, jitter must be "
            "from 0 to 1",
            path="backoff",
        )
