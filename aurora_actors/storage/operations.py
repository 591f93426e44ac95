"""Applying one request to the batch's write set.

Each operation first finds out everything that could refuse it, then changes the write
set; :class:`Operations` undoes what an operation had changed when it fails all the
same. Deterministic: neither clock nor random numbers nor files. Runs in the storage
process; predicates come compiled from the query package, which is above this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.errors import (
    CollectionExistsError,
    ConflictError,
    NotFoundError,
    UsageError,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import JOB_PARTS, JOBS, QUEUES, EnqueueJobs
from aurora_actors.messages.schedules import SCHEDULE_PARTS, SCHEDULES
from aurora_actors.messages.storage import (
    ChangeMatching,
    CollectionDefined,
    Commit,
    Committed,
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    Operation,
    RedefineCollection,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.patch import Patch, decode_patch
from aurora_actors.schema.record import (
    check_record,
    pack_record,
    record_bodies,
    record_body,
    unpack_record,
)
from aurora_actors.schema.types import decode_definition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.insertion import Inserts, value_taken
from aurora_actors.storage.jobs.changes import JobChanges, Surroundings
from aurora_actors.storage.keys import id_key, present_keys, unique_keys
from aurora_actors.storage.matching import (
    CompilePredicate,
    Predicate,
    matching_records,
    matching_rows,
)
from aurora_actors.storage.redefinition import check_redefinition
from aurora_actors.storage.transactions import apply_commit
from aurora_actors.storage.updating import Updates
from aurora_actors.storage.writeset import WriteSet

__all__ = ["GUARDED", "CompilePredicate", "Operations", "Predicate"]

GUARDED: Final = frozenset({JOBS, QUEUES, SCHEDULES})
_SYNCED: Final = frozenset({DurabilityMode.STRICT, DurabilityMode.SYNCHRONOUS})


class Operations:
    """What the storage engine can do to documents and collections.

    Args:
        config: Limits, and whether a reply may say that it is synced.
        compile_predicate: Makes a function of an encoded predicate.
    """

    def __init__(
        self,
        config: AuroraConfig,
        compile_predicate: CompilePredicate,
    ) -> None:
        self._max_request = config.max_transaction_bytes
        self._synced = config.durability in _SYNCED
        self._compile = compile_predicate
        self._inserts = Inserts(config, synced=self._synced)
        self.insert_run = self._inserts.insert_run
        self._updates = Updates(self._inserts.check_size, synced=self._synced)
        self._jobs: JobChanges | None = None
        self._apply: dict[type, Callable[[WriteSet, Any], Message]] = {
            InsertDocuments: self._inserts.insert,
            UpdateDocument: self._update,
            ReplaceDocument: self._replace,
            UpsertDocument: self._upsert,
            DeleteDocument: self._delete,
            ChangeMatching: self._change_matching,
            DefineCollection: self._define,
            DropCollection: self._drop,
            RedefineCollection: self._redefine,
            Commit: self._commit,
        }

    def use_jobs(self, config: AuroraConfig, around: Surroundings) -> JobChanges:
        """Carry out requests about jobs as well, which are refused without this."""
        insert_all = self._inserts.insert_all
        jobs = JobChanges(config, around, insert_all, synced=self._synced)
        self._apply.update(dict.fromkeys((*JOB_PARTS, *SCHEDULE_PARTS), jobs.apply))
        self._jobs = jobs
        return jobs

    def run_together(
        self, batch: WriteSet, requests: Sequence[Operation]
    ) -> Sequence[Message] | None:
        """Apply a run of requests of one kind together, if that can be done.

        See ``Inserts.insert_run`` and ``Updates.update_run``.

        Raises:
            AuroraError: as for one of them; the caller undoes what has changed.
        """
        inserts = [each for each in requests if isinstance(each, InsertDocuments)]
        if inserts:
            return self.insert_run(batch, inserts)
        updates = [each for each in requests if isinstance(each, UpdateDocument)]
        if updates:
            return self._updates.update_run(batch, updates)
        enqueued = [each for each in requests if isinstance(each, EnqueueJobs)]
        if self._jobs is None or len(enqueued) < len(requests):
            return None
        return self._jobs.enqueue_run(batch, enqueued, self.insert_run)

    def apply(self, batch: WriteSet, request: Operation) -> Message:
        """Apply ``request``; when it raises, ``batch`` is as it was before.

        Raises:
            AuroraError: the request is refused.
        """
        operation = self._apply.get(type(request))
        if operation is None:
            raise UsageError(f"{type(request).__name__} is not a change of data")
        if getattr(request, "collection", "") in GUARDED:
            raise UsageError(
                "jobs, queues and schedules are changed by requests about them"
            )
        point = batch.savepoint()
        try:
            return operation(batch, request)
        except BaseException:
            batch.rollback(point)
            raise

    def _written(self, lsn: int, affected: int) -> Written:
        return Written(lsn=lsn, synced=self._synced, affected=affected)

    def _commit(self, batch: WriteSet, request: Commit) -> Committed:
        return apply_commit(
            batch,
            request,
            apply=self.apply,
            compile_predicate=self._compile,
            max_bytes=self._max_request,
            synced=self._synced,
        )

    # -------------------------------------------------------------- one document
    def _existing(
        self, batch: WriteSet, collection: Collection, document_id: str
    ) -> tuple[int, bytes] | None:
        row = batch.row_of(id_key(collection, document_id))
        if row is None:
            return None
        record = batch.record(collection, row)
        return None if record is None else (row, record)

    def _required(
        self, batch: WriteSet, collection: Collection, document_id: str
    ) -> tuple[int, bytes]:
        found = self._existing(batch, collection, document_id)
        if found is None:
            raise NotFoundError(
                f"{collection.name} has no document with the id {document_id[:255]!r}",
                collection=collection.name,
                id=document_id[:255],
            )
        return found

    def _update(self, batch: WriteSet, request: UpdateDocument) -> Written:
        collection = batch.catalog.find(request.collection)
        patch = decode_patch(request.patch)
        row, record = self._required(batch, collection, request.id)
        return self._written(self._patch_row(batch, collection, row, record, patch), 1)

    def _upsert(self, batch: WriteSet, request: UpsertDocument) -> Written:
        collection = batch.catalog.find(request.collection)
        patch = decode_patch(request.patch)
        found = self._existing(batch, collection, check_id(request.id))
        if found is not None:
            return self._written(self._patch_row(batch, collection, *found, patch), 1)
        body = encode_document(patch.apply({}))
        self._inserts.check_size(len(body))
        return self._inserts.insert_all(batch, collection, [request.id], [body])

    def _replace(self, batch: WriteSet, request: ReplaceDocument) -> Written:
        collection = batch.catalog.find(request.collection)
        row, record = self._required(batch, collection, request.id)
        lsn = self._put(batch, collection, row, record, request.document)
        return self._written(lsn, 1)

    def _delete(self, batch: WriteSet, request: DeleteDocument) -> Written:
        collection = batch.catalog.find(request.collection)
        found = self._existing(batch, collection, request.id)
        if found is None:
            return self._written(0, 0)
        return self._delete_rows(batch, collection, [found[0]], [found[1]])

    def _patch_row(
        self,
        batch: WriteSet,
        collection: Collection,
        row: int,
        record: bytes,
        patch: Patch,
    ) -> int:
        check_record(record)  # what is damaged must not get a new checksum
        body = patch.edit(record_body(record))
        keeps_unique = collection.unique.keys().isdisjoint(patch.fields)
        return self._put(
            batch, collection, row, record, body, keeps_unique=keeps_unique
        )

    def _put(
        self,
        batch: WriteSet,
        collection: Collection,
        row: int,
        record: bytes,
        body: bytes,
        *,
        keeps_unique: bool = False,
    ) -> int:
        """Replace a record's body; returns the LSN, 0 when nothing changes."""
        self._inserts.check_size(len(body))
        _, name, old_body = unpack_record(record)
        if old_body == body:
            return 0
        after = unique_keys(collection, [body])
        taken: list[bytes] = []
        freed: list[bytes] = []
        if collection.unique and not keeps_unique:
            before = set(present_keys(collection, [old_body]))
            taken = [key for key, _ in after if key not in before]
            freed = list(before.difference(key for key, _ in after))
        for key in taken:
            if batch.unique_row(key) is not None:
                raise value_taken(collection, key, body)
        new = pack_record(batch.lsn + 1, name, body)
        batch.update(collection, row, record, new, freed=freed, taken=taken)
        return batch.lsn

    def _delete_rows(
        self,
        batch: WriteSet,
        collection: Collection,
        rows: Sequence[int],
        records: Sequence[bytes],
    ) -> Written:
        if not rows:
            return self._written(0, 0)
        freed: list[bytes] = []
        if collection.unique:
            freed = present_keys(collection, record_bodies(records))
        batch.delete(collection, rows, records, freed)
        return self._written(batch.lsn, len(rows))

    # -------------------------------------------------------------- many documents
    def _change_matching(self, batch: WriteSet, request: ChangeMatching) -> Written:
        collection = batch.catalog.find(request.collection)
        rows, known = matching_rows(batch, collection, request, self._compile)
        if request.patch is None and batch.marks(len(rows)):
            batch.mark(collection, rows)
            return self._written(batch.lsn, len(rows))
        records = matching_records(batch, collection, rows, known)
        if request.patch is None:
            return self._delete_rows(batch, collection, rows, records)
        patch = decode_patch(request.patch)
        together = self._updates.update_rows(batch, collection, rows, records, patch)
        if together is not None:
            return self._written(together, len(rows))
        last = 0
        for row, record in zip(rows, records, strict=True):
            last = self._patch_row(batch, collection, row, record, patch) or last
        return self._written(last, len(rows))

    # -------------------------------------------------------------- collections
    def _define(self, batch: WriteSet, request: DefineCollection) -> CollectionDefined:
        definition = decode_definition(request.definition)
        existing = batch.catalog.by_name.get(definition.name)
        if existing is not None:
            # Indexes made later are no part of what an application declares.
            if replace(existing.definition, indexes=definition.indexes) == definition:
                lsn = existing.created_lsn
                return CollectionDefined(created=False, lsn=lsn)
            raise CollectionExistsError(
                f"a collection {definition.name!r} exists with another definition",
                collection=definition.name,
            )
        number = batch.catalog.numbers["next_collection"]
        batch.define(Collection(number, definition, batch.lsn + 1))
        return CollectionDefined(created=True, lsn=batch.lsn)

    def _redefine(self, batch: WriteSet, request: RedefineCollection) -> Written:
        collection = batch.catalog.find(request.collection)
        definition = decode_definition(request.definition)
        if definition == collection.definition:
            return self._written(0, 0)
        if (
            request.before
            and decode_definition(request.before) != collection.definition
        ):
            raise ConflictError(
                f"the definition of {collection.name} has changed meanwhile",
                collection=collection.name,
            )
        other = batch.catalog.by_name.get(definition.name)
        if other is not None and other is not collection:
            raise CollectionExistsError(
                f"a collection {definition.name!r} exists", collection=definition.name
            )
        check_redefinition(collection.definition, definition)
        batch.redefine(collection.id, definition)
        return self._written(batch.lsn, 1)

    def _drop(self, batch: WriteSet, request: DropCollection) -> Written:
        collection = batch.catalog.find(request.collection)
        count = batch.catalog.counters[collection.id].documents
        batch.drop(collection)
        return self._written(batch.lsn, count)
