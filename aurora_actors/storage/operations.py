"""Applying one request to the batch's write set.

Each operation first finds out everything that could refuse it, then changes the write
set; :class:`Operations` undoes what an operation had changed when it fails all the
same. Deterministic: neither clock nor random numbers nor files. Runs in the storage
process; predicates come compiled from the query package, which is above this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.errors import (
    AuroraError,
    CollectionExistsError,
    ConflictError,
    LimitExceededError,
    NotFoundError,
    UniqueViolationError,
    UsageError,
    ValidationError,
)
from aurora_actors.messages.base import Message
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
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.patch import Patch, decode_patch
from aurora_actors.schema.record import pack_record, record_body, record_id
from aurora_actors.schema.types import decode_definition
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.keys import id_key, id_keys, pack_records, unique_keys
from aurora_actors.storage.layout import value_key
from aurora_actors.storage.transactions import apply_commit
from aurora_actors.storage.writeset import WriteSet

__all__ = ["CompilePredicate", "Operations"]

Predicate: TypeAlias = Callable[[dict[str, object], str], bool]
CompilePredicate: TypeAlias = Callable[[bytes], Predicate]

_SYNCED: Final = frozenset({DurabilityMode.STRICT, DurabilityMode.SYNCHRONOUS})


class Operations:
    """What the storage engine can do to documents and collections.

    Args:
        config: Limits, and whether a reply may say that it is synced.
        compile_predicate: Makes a function of an encoded predicate.
    """

    def __init__(
        self, config: AuroraConfig, compile_predicate: CompilePredicate
    ) -> None:
        self._max_document = config.max_document_bytes
        self._max_request = config.max_transaction_bytes
        self._synced = config.durability in _SYNCED
        self._compile = compile_predicate
        self._apply: dict[type, Callable[[WriteSet, Any], Message]] = {
            InsertDocuments: self._insert,
            UpdateDocument: self._update,
            ReplaceDocument: self._replace,
            UpsertDocument: self._upsert,
            DeleteDocument: self._delete,
            ChangeMatching: self._change_matching,
            DefineCollection: self._define,
            DropCollection: self._drop,
            Commit: self._commit,
        }

    def apply(self, batch: WriteSet, request: Operation) -> Message:
        """Apply ``request``; when it raises, ``batch`` is as it was before.

        Raises:
            AuroraError: the request is refused.
        """
        operation = self._apply.get(type(request))
        if operation is None:
            raise UsageError(f"{type(request).__name__} is not a change of data")
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

    # -------------------------------------------------------------- insert
    def _insert(self, batch: WriteSet, request: InsertDocuments) -> Written:
        collection = batch.catalog.find(request.collection)
        ids, bodies = request.ids, request.documents
        if len(ids) != len(bodies):
            raise UsageError(f"{len(ids)} ids for {len(bodies)} documents")
        if not ids:
            return self._written(0, 0)
        self._check_sizes(bodies)
        return self._insert_all(batch, collection, ids, bodies)

    def _insert_all(
        self,
        batch: WriteSet,
        collection: Collection,
        ids: Sequence[str],
        bodies: Sequence[bytes],
    ) -> Written:
        names, keys = id_keys(collection, ids)
        self._refuse_ids(batch, collection, keys)
        unique = unique_keys(collection, bodies)
        if unique:
            self._refuse_values(batch, collection, bodies, unique)
        records = pack_records(batch.lsn + 1, names, bodies)
        batch.insert(collection, records, keys, unique)
        return self._written(batch.lsn, len(ids))

    def _check_sizes(self, bodies: Sequence[bytes]) -> None:
        sizes = list(map(len, bodies))
        if max(sizes) > self._max_document:
            raise LimitExceededError(
                f"a document of {max(sizes):,} bytes; max_document_bytes is "
                f"{self._max_document:,}",
                limit="max_document_bytes",
            )
        if sum(sizes) > max(self._max_request, self._max_document):
            raise LimitExceededError(
                f"{sum(sizes):,} bytes in one request; max_transaction_bytes is "
                f"{self._max_request:,}: send fewer documents at a time",
                limit="max_transaction_bytes",
            )

    def _refuse_ids(
        self, batch: WriteSet, collection: Collection, keys: Sequence[bytes]
    ) -> None:
        taken = batch.any_id(keys)
        if taken is None and len(set(keys)) < len(keys):
            taken = next(key for key in keys if keys.count(key) > 1)
        if taken is not None:
            name = taken[4:].decode()
            raise UniqueViolationError(
                f"{collection.name} has a document with the id {name!r} already",
                collection=collection.name,
                field="id",
                value=name,
            )

    def _refuse_values(
        self,
        batch: WriteSet,
        collection: Collection,
        bodies: Sequence[bytes],
        unique: Sequence[tuple[bytes, int]],
    ) -> None:
        by_key = dict(unique)
        if len(by_key) < len(unique):
            seen: set[bytes] = set()
            for key, at in unique:
                if key in seen:
                    raise _taken(collection, key, bodies[at])
                seen.add(key)
        taken = batch.any_unique(by_key)
        if taken is not None:
            raise _taken(collection, taken, bodies[by_key[taken]])

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
        self._check_sizes([body])
        return self._insert_all(batch, collection, [request.id], [body])

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
        document = patch.apply(decode_document(record_body(record)))
        body = encode_document(document)
        return self._put(batch, collection, row, record, body)

    def _put(
        self,
        batch: WriteSet,
        collection: Collection,
        row: int,
        record: bytes,
        body: bytes,
    ) -> int:
        """Replace a record's body; returns the LSN, 0 when nothing changes."""
        self._check_sizes([body])
        old_body = bytes(record_body(record))
        if old_body == body:
            return 0
        after = unique_keys(collection, [body])
        taken: list[bytes] = []
        freed: list[bytes] = []
        if collection.unique:
            before = {key for key, _ in _present_keys(collection, [old_body])}
            taken = [key for key, _ in after if key not in before]
            freed = list(before.difference(key for key, _ in after))
        for key in taken:
            if batch.unique_row(key) is not None:
                raise _taken(collection, key, body)
        new = pack_record(batch.lsn + 1, record_id(record), body)
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
            bodies = [bytes(record_body(record)) for record in records]
            freed = [key for key, _ in _present_keys(collection, bodies)]
        batch.delete(collection, rows, records, freed)
        return self._written(batch.lsn, len(rows))

    # -------------------------------------------------------------- many documents
    def _change_matching(self, batch: WriteSet, request: ChangeMatching) -> Written:
        collection = batch.catalog.find(request.collection)
        rows, records = self._matching(batch, collection, request)
        if request.patch is None:
            return self._delete_rows(batch, collection, rows, records)
        patch, last = decode_patch(request.patch), 0
        for row, record in zip(rows, records, strict=True):
            last = self._patch_row(batch, collection, row, record, patch) or last
        return self._written(last, len(rows))

    def _matching(
        self, batch: WriteSet, collection: Collection, request: ChangeMatching
    ) -> tuple[list[int], list[bytes]]:
        """The rows the statement means at this point, ascending, and their records."""
        since = request.snapshot_lsn
        if (
            not max(batch.first_change - 1, collection.created_lsn)
            <= since
            <= batch.lsn
        ):
            raise ConflictError(
                f"the statement was planned at LSN {since}, which cannot be compared "
                f"with the present {batch.lsn}; run it again"
            )
        changed: set[int] = set()
        if since < batch.lsn:
            changed = batch.changed_rows(collection, since)
        if changed and request.exact:
            raise ConflictError(
                f"{collection.name} has changed since LSN {since}; run it again"
            )
        rows = sorted(set(request.rows) - changed)
        records = batch.records(collection, rows)
        if len(records) != len(rows):
            raise ConflictError(
                f"{collection.name} has no longer all rows of the statement; "
                "run it again"
            )
        if not changed:
            return rows, records
        found = dict(zip(rows, records, strict=True))
        self._recheck(batch, collection, request.predicate, changed, found)
        ordered = sorted(found)
        return ordered, [found[row] for row in ordered]

    def _recheck(
        self,
        batch: WriteSet,
        collection: Collection,
        predicate: bytes,
        changed: set[int],
        found: dict[int, bytes],
    ) -> None:
        """Add those of the ``changed`` rows to ``found`` that match now."""
        matches = self._compile(predicate)
        for row in changed:
            record = batch.record(collection, row)
            if record is not None and matches(
                decode_document(record_body(record)), record_id(record)
            ):
                found[row] = record

    # -------------------------------------------------------------- collections
    def _define(self, batch: WriteSet, request: DefineCollection) -> CollectionDefined:
        definition = decode_definition(request.definition)
        existing = batch.catalog.by_name.get(definition.name)
        if existing is not None:
            if existing.definition == definition:
                lsn = existing.created_lsn
                return CollectionDefined(created=False, lsn=lsn)
            raise CollectionExistsError(
                f"a collection {definition.name!r} exists with another definition",
                collection=definition.name,
            )
        number = batch.catalog.numbers["next_collection"]
        batch.define(Collection(number, definition, batch.lsn + 1))
        return CollectionDefined(created=True, lsn=batch.lsn)

    def _drop(self, batch: WriteSet, request: DropCollection) -> Written:
        collection = batch.catalog.find(request.collection)
        count = batch.catalog.counters[collection.id].documents
        batch.drop(collection)
        return self._written(batch.lsn, count)


def _present_keys(
    collection: Collection, bodies: Sequence[bytes]
) -> list[tuple[bytes, int]]:
    """The keys in ``unique`` of documents that are stored, so need no check."""
    prefixes, values_of = collection.unique, collection.validator.unique_values
    return [
        (prefixes[name] + value_key(value), at)
        for at, body in enumerate(bodies)
        for name, value in values_of(body)
    ]


def _taken(
    collection: Collection, key: bytes, body: bytes
) -> UniqueViolationError | AuroraError:
    for name, value in collection.validator.unique_values(body):
        if collection.unique[name] + value_key(value) == key:
            shown = value if isinstance(value, str | int | float) else str(value)
            return UniqueViolationError(
                f"another document of {collection.name} has {name} = {shown!r}",
                collection=collection.name,
                field=name,
                value=shown,
            )
    return ValidationError(f"a unique value of {collection.name} is taken twice")
