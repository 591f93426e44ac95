"""Running ``enqueueJob`` and ``enqueueJobs`` inside one transaction.

The jobs are enqueued by the commit, with everything else the text does or not at all. A
job whose unique key is taken is not made: the result is the one that has the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from aurora_actors.aql.execution.notes import Note, encode_note
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import MutationRoot
from aurora_actors.aql.execution.seeds import Seed
from aurora_actors.aql.mutations import Enqueue
from aurora_actors.messages.aql import AqlPart
from aurora_actors.messages.jobs import JOBS, EnqueueJobs, JobPriority, NewJob
from aurora_actors.query.transaction import TransactionView
from aurora_actors.schema.record import pack_record, record_id
from aurora_actors.schema.values import (
    decode_value,
    encode_document,
    encode_value,
)
from aurora_actors.storage.jobs.document import (
    ENDED,
    PENDING,
    JobDocument,
    from_micros,
    to_micros,
)
from aurora_actors.storage.jobs.enqueueing import check_new_job
from aurora_actors.storage.jobs.reading import job_with_key

__all__ = ["Enqueued", "run_enqueue"]

_AT_ONCE: Final = 64


class Enqueued:
    """The jobs that one transaction has enqueued so far, by their unique keys."""

    def __init__(self) -> None:
        self.by_key: dict[str, NewJob] = {}


def run_enqueue(
    view: TransactionView, root: MutationRoot, seed: Seed, enqueued: Enqueued
) -> Parts:
    """Run one root field.

    Raises:
        ValidationError: a job makes no sense; ``path`` says what.
        LimitExceededError: the transaction has become too large.
    """
    wish = root.mutation
    assert isinstance(wish, Enqueue)  # noqa: S101 - asked by the caller
    records: list[bytes] = []
    made: list[NewJob] = []
    for new in _new_jobs(wish, seed):
        check_new_job(new)
        found = _holder(view, new, enqueued)
        if found is None:
            made.append(new)
            found = new.id, _shown(new)
            if new.unique_key:
                enqueued.by_key[new.unique_key] = new
        records.append(pack_record(0, found[0], encode_document(found[1])))
        if len(records) % _AT_ONCE == 0:
            yield None
    for at in range(0, len(made), _AT_ONCE):
        view.apply(EnqueueJobs(jobs=made[at : at + _AT_ONCE], exact=True))
        yield None
    note = Note(
        kind="mutation",
        name=root.name,
        collection=JOBS,
        operation=wish.operation,
        shape=root.selected.shape,
        affected=len(made),
    )
    yield AqlPart(encode_note(note), records)


def _new_jobs(wish: Enqueue, seed: Seed) -> Iterator[NewJob]:
    template = NewJob(
        id="",
        job_type=wish.job_type,
        payload=b"",
        queue=wish.queue,
        priority=JobPriority[wish.priority],
        run_at=None if wish.run_at is None else to_micros(wish.run_at),
        unique_key=wish.unique_key or "",
    )
    if wish.max_retries is not None:
        template = msgspec.structs.replace(template, max_retries=wish.max_retries)
    for payload in wish.payloads:
        body = encode_value(payload)  # an argument may be called id
        yield msgspec.structs.replace(template, id=seed.new_id(), payload=body)


def _holder(
    view: TransactionView, new: NewJob, enqueued: Enqueued
) -> tuple[str, dict[str, object]] | None:
    """The job that has the unique key of ``new``, if one does."""
    if not new.unique_key:
        return None
    mine = enqueued.by_key.get(new.unique_key)
    if mine is not None:
        return mine.id, _shown(mine)
    found = job_with_key(view.overlay, new.unique_key)
    if found is None:
        return None
    record, job = found
    job_id = record_id(record)
    view.get(JOBS, job_id)  # whose end meanwhile is a conflict
    return None if job.status in ENDED else (job_id, _shown(job))


def _shown(job: NewJob | JobDocument) -> dict[str, object]:
    """What can be selected of a job."""
    run_at = job.run_at
    return {
        "jobType": job.job_type,
        "payload": decode_value(bytes(job.payload)),
        "queue": job.queue,
        "status": job.status if isinstance(job, JobDocument) else PENDING,
        "priority": JobPriority(job.priority).name,
        "maxRetries": job.max_retries,
        "runAt": from_micros(run_at) if isinstance(run_at, int) else run_at,
        "uniqueKey": job.unique_key or None,
    }
