"""Reading and writing the documents of jobs inside a batch. Storage process only."""

from __future__ import annotations

from typing import NamedTuple

from aurora_actors.errors import NotFoundError
from aurora_actors.messages.jobs import JOBS
from aurora_actors.schema.record import pack_record, record_body, record_id
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.catalog import Catalog, Collection
from aurora_actors.storage.environment import Tables, Transaction
from aurora_actors.storage.jobs.document import (
    ENDED,
    JOBS_DEFINITION,
    JobDocument,
    encode_job,
)
from aurora_actors.storage.jobs.index import JobKeys, keys_of
from aurora_actors.storage.jobs.records import job_of
from aurora_actors.storage.keys import id_key
from aurora_actors.storage.layout import row_key
from aurora_actors.storage.writeset import WriteSet

__all__ = ["FoundJob", "ended_job", "find_job", "own_collection", "put_job"]


class FoundJob(NamedTuple):
    """A job as it is in the batch; ``keys`` are its entries before it is changed."""

    id: str
    row: int
    record: bytes
    job: JobDocument
    keys: JobKeys


def own_collection(
    batch: WriteSet, definition: CollectionDefinition = JOBS_DEFINITION
) -> Collection:
    """One of the collections of the job system; made if it is not there yet."""
    found = batch.catalog.by_name.get(definition.name)
    if found is None:
        number = batch.catalog.numbers["next_collection"]
        found = Collection(number, definition, batch.lsn + 1)
        batch.define(found)
    return found


def find_job(batch: WriteSet, job_id: str, row: int | None = None) -> FoundJob | None:
    """The job with this id."""
    collection = batch.catalog.by_name.get(JOBS)
    if collection is None:
        return None
    if row is None:
        row = batch.row_of(id_key(collection, job_id))
    record = None if row is None else batch.record(collection, row)
    if row is None or record is None:
        return None
    job = job_of(record)
    return FoundJob(job_id, row, record, job, keys_of(row, job))


def ended_job(
    txn: Transaction, tables: Tables, catalog: Catalog, job_id: str
) -> bytes | None:
    """The encoded document of a job if it has ended, outside of any batch.

    Raises:
        NotFoundError: there is no such job.
    """
    collection = catalog.by_name.get(JOBS)
    row = record = None
    if collection is not None:
        row = txn.get(id_key(collection, job_id), db=tables.ids)
    if collection is not None and row is not None:
        key = row_key(collection.id, int.from_bytes(row, "big"))
        record = txn.get(key, db=tables.docs)
    if record is None:
        raise NotFoundError(
            f"there is no job {job_id[:255]!r}", collection=JOBS, id=job_id[:255]
        )
    return bytes(record_body(record)) if job_of(record).status in ENDED else None


def put_job(
    batch: WriteSet,
    collection: Collection,
    row: int,
    record: bytes,
    job: JobDocument,
    before: JobKeys,
) -> tuple[str, bytes]:
    """Write a job that has changed; returns its id and its encoded document."""
    body = encode_job(job)
    job_id = record_id(record)
    new = pack_record(batch.lsn + 1, job_id, body)
    batch.update(collection, row, record, new, freed=(), taken=())
    batch.index_job(row, before, keys_of(row, job))
    if job.status in ENDED:
        batch.ended_jobs.add(job_id)
    return job_id, body
