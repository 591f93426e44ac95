"""One transaction as data: its snapshot, its own writes, and what it has read.

Used wherever a transaction runs: in the caller's process, and in an executor for a
mutation in the query language. Synchronous; what takes longer comes in steps. The
outcome is a :class:`~aurora_actors.messages.storage.Commit`, which storage compares
with the state it finds and applies whole or not at all.

A change of a document that was never read is not a reading of it: two transactions that
each add 1 to a counter do not conflict. What is one, ``query.readset`` knows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from aurora_actors.errors import (
    AuroraError,
    CollectionExistsError,
    ConflictError,
    NotFoundError,
    UniqueViolationError,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import JOBS, EnqueueJobs, JobPart, NewJob
from aurora_actors.messages.query import GroupSpec, QuerySpec
from aurora_actors.messages.storage import (
    ChangeMatching,
    CollectionDefined,
    Commit,
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    Part,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.query.aggregate import Aggregation, run_aggregate
from aurora_actors.query.compile import Matcher, compile_predicate
from aurora_actors.query.describe import describe_predicate
from aurora_actors.query.execute import Execution, run_query
from aurora_actors.query.predicate import decode_predicate
from aurora_actors.query.readset import ReadSet
from aurora_actors.schema.record import record_ids
from aurora_actors.schema.types import decode_definition
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.conflicts import SnapshotPresent, Validation
from aurora_actors.storage.jobs.enqueueing import check_new_job
from aurora_actors.storage.jobs.taken import JobsTaken
from aurora_actors.storage.operations import Operations
from aurora_actors.storage.overlay import Overlay
from aurora_actors.storage.reader import CollectionInfo, Snapshot
from aurora_actors.storage.transactions import (
    check_transaction_size,
    operation_size,
)
from aurora_actors.storage.writeset import Savepoint

__all__ = [
    "Mark",
    "TransactionView",
    "compile_encoded",
    "explain_conflict",
    "validated_at",
]

_Document: TypeAlias = (
    UpdateDocument | UpsertDocument | ReplaceDocument | DeleteDocument
)
_DOCUMENT: Final = (UpdateDocument, UpsertDocument, ReplaceDocument, DeleteDocument)
_BLIND: Final = (UpdateDocument, UpsertDocument)
_STEP: Final = 64


def compile_encoded(predicate: bytes) -> Matcher:
    """Compile a predicate as it travels; an empty one matches everything."""
    if not predicate:
        return lambda _fields, _document_id: True
    return compile_predicate(decode_predicate(predicate))


class Mark(NamedTuple):
    """A point of a transaction to go back to."""

    writes: Savepoint
    operations: int
    size: int


class TransactionView:
    """A transaction under way; for one thread at a time.

    Args:
        snapshot: What it reads; closed by :meth:`close`.
        operations: Applies its writes, with the limits in force.
        collections: Kept collections, see :class:`~aurora_actors.storage.overlay.Overlay`.
        max_bytes: How much it may write and read document by document.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        operations: Operations,
        collections: dict[int, Collection],
        *,
        max_bytes: int,
    ) -> None:
        self.overlay = Overlay(snapshot, collections)
        self.snapshot_lsn = self.overlay.lsn
        self._apply_to = operations
        self._max_bytes = max_bytes
        self._operations: list[Part] = []
        self._written_bytes = self._read_bytes = 0
        self._reads = ReadSet(self.overlay, self._grow)

    @property
    def has_written(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._operations)

    def close(self) -> None:
        """End the snapshot."""
        self.overlay.close()

    # -------------------------------------------------------------- reading
    def get(self, collection: str, document_id: str) -> memoryview | None:
        """The record of one document, valid while the snapshot is.

        Raises:
            CollectionNotFoundError: there is no such collection.
            LimitExceededError: the transaction has become too large.
        """
        info = self._reads.find(collection)
        self._reads.point(info, document_id)
        return self.overlay.get(info, document_id)

    def written(self, collection: str, document_id: str) -> bytes:
        """The record of a document that this transaction has written.

        Raises:
            NotFoundError: it has written none.
        """
        record = self.overlay.get(self.overlay.collection(collection), document_id)
        if record is None:
            raise NotFoundError(
                f"{collection} has no document {document_id!r}",
                collection=collection,
                id=document_id,
            )
        return bytes(record)

    def collection(self, name: str) -> CollectionInfo:
        """A collection with its present count, which is noted as read.

        Raises:
            CollectionNotFoundError: there is no such collection.
        """
        return self._reads.find(name)

    def run(self, spec: QuerySpec, *, at_once: bool = False) -> Execution:
        """A query over the snapshot and what has been written so far.

        Args:
            spec: The query.
            at_once: Its steps are taken before anything else is written.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidFilterError: the query does not make sense for the collection.
        """
        return run_query(self._prepare(spec, at_once=at_once), spec)

    def aggregate(self, spec: QuerySpec, group: GroupSpec) -> Aggregation:
        """Aggregates and groups over the snapshot and what has been written so far.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidFilterError: the query does not make sense for the collection.
        """
        return run_aggregate(self._prepare(spec, at_once=False), spec, group)

    def _prepare(self, spec: QuerySpec, *, at_once: bool) -> Snapshot:
        info = self._reads.find(spec.collection)
        self._reads.query(info, spec.predicate)
        return self.overlay if at_once else self.overlay.frozen()

    # -------------------------------------------------------------- writing
    def apply(self, request: Part) -> Message:
        """Carry out one operation here, and again at the commit.

        Returns:
            What storage would answer; its LSN has no meaning. Jobs change only with
            the commit, and are not answered before.

        Raises:
            AuroraError: the operation is refused; nothing has changed.
        """
        return self._apply(request, covered=False)

    def _apply(self, request: Part, *, covered: bool) -> Message:
        size = self._written_bytes + operation_size(request)
        check_transaction_size(size + self._read_bytes, self._max_bytes)
        if isinstance(request, JobPart):
            reply: Message = Written(lsn=0, synced=False, affected=0)
        elif isinstance(request, DefineCollection):
            reply = self._define(request)
        else:
            info = self._reads.find(request.collection)
            if isinstance(request, _DOCUMENT) and not covered:
                reply = self._change_one(info, request)
            else:
                if isinstance(request, ChangeMatching):
                    self._reads.query(info, request.predicate)
                reply = self._carry_out(info, request)
        self._operations.append(request)
        self._written_bytes = size
        return reply

    def _define(self, request: DefineCollection) -> Message:
        name = decode_definition(request.definition).name
        try:
            reply = self.overlay.apply(self._apply_to, request)
        except CollectionExistsError:
            self._note_presence(name)
            raise
        if not (isinstance(reply, CollectionDefined) and reply.created):
            self._note_presence(name)
        return reply

    def _note_presence(self, name: str) -> None:
        # No document has this id: nothing but the end of the collection conflicts.
        self._reads.point(self.overlay.collection(name), "")

    def _change_one(self, info: CollectionInfo, request: _Document) -> Message:
        is_new = not self.overlay.has_written(info, request.id)
        if isinstance(request, DeleteDocument):
            self._reads.point(info, request.id)  # the answer tells whether it was there
        try:
            reply = self._carry_out(info, request)
        except AuroraError:
            self._reads.point(info, request.id)
            raise
        if is_new and isinstance(request, _BLIND):
            self._reads.blind(info, request.id)
        return reply

    def _carry_out(self, info: CollectionInfo, request: Part) -> Message:
        try:
            return self.overlay.apply(self._apply_to, request)
        except UniqueViolationError as exc:
            self._reads.violation(info, exc)
            raise

    def changing(
        self, spec: QuerySpec, patch: bytes | None
    ) -> Generator[None, None, int]:
        """Update (``patch``) or delete (``None``) what a query finds; all or none.

        Steps of a few milliseconds, between which nothing else may be written.

        Returns:
            The number of documents.

        Raises:
            AuroraError: a change is refused.
        """
        snapshot = self._prepare(spec, at_once=False)
        info = snapshot.collection(spec.collection)
        ids: list[str] = []
        for rows in run_query(snapshot, spec).rows():
            ids += record_ids(record for _, record in snapshot.get_rows(info, rows))
            yield
        yield from self.changing_found(info.name, ids, patch)
        return len(ids)

    def changing_found(
        self, collection: str, ids: list[str], patch: bytes | None
    ) -> Generator[None]:
        """Update or delete documents that a query of this transaction has just found.

        Raises:
            AuroraError: a change is refused; none is made.
        """
        mark = self.savepoint()
        try:
            for number, document_id in enumerate(ids, 1):
                # The query has noted them: who changes one of them is noticed.
                self._apply(_change(collection, document_id, patch), covered=True)
                if number % _STEP == 0:
                    yield
        except BaseException:
            self.rollback(mark)
            raise

    def inserting(
        self, collection: str, ids: list[str], documents: list[bytes]
    ) -> Generator[None]:
        """Insert many documents, all or none, in steps like :meth:`changing`.

        Raises:
            AuroraError: one of them is refused.
        """
        mark = self.savepoint()
        try:
            for at in range(0, len(ids), _STEP):
                part = slice(at, at + _STEP)
                request = InsertDocuments(
                    collection=collection, ids=ids[part], documents=documents[part]
                )
                self._apply(request, covered=False)
                yield
        except BaseException:
            self.rollback(mark)
            raise

    # -------------------------------------------------------------- jobs
    def enqueue(self, jobs: Sequence[NewJob]) -> list[str]:
        """Enqueue jobs with the commit; returns their ids, or those that stand for them.

        Whether a unique key is taken, and whether the jobs exist that one waits for, is
        seen in the snapshot; the commit conflicts if it is otherwise by then.

        Raises:
            ValidationError: one of them makes no sense.
            NotFoundError: a job that one waits for does not exist.
        """
        taken = JobsTaken(self.overlay, self._own_jobs())
        ids: list[str] = []
        made: list[NewJob] = []
        for job in jobs:
            check_new_job(job)
            holder = taken.holder(job)
            ids.append(job.id if holder is None else holder)
            if holder is None:
                taken.check_waited_for(job)
                taken.add(job)
                made.append(job)
        for seen in taken.seen:
            self._reads.point(self.overlay.collection(JOBS), seen)
        if made:
            self._apply(EnqueueJobs(jobs=made, exact=True), covered=False)
        return ids

    def _own_jobs(self) -> list[NewJob]:
        own = (each for each in self._operations if isinstance(each, EnqueueJobs))
        return [job for each in own for job in each.jobs]

    # -------------------------------------------------------------- undo
    def savepoint(self) -> Mark:
        """The present point."""
        writes = self.overlay.savepoint()
        return Mark(writes, len(self._operations), self._written_bytes)

    def rollback(self, mark: Mark) -> None:
        """Undo what was written since ``mark``; what was read stays read."""
        self.overlay.rollback(mark.writes)
        del self._operations[mark.operations :]
        self._written_bytes = mark.size

    # -------------------------------------------------------------- committing
    def commit(self) -> Commit:
        """The request that makes all of it happen."""
        return Commit(
            snapshot_lsn=self.snapshot_lsn,
            points=self._reads.points(),
            ranges=self._reads.ranges(),
            operations=_merged(self._operations),
        )

    def _grow(self, size: int) -> None:
        self._read_bytes += size
        total = self._read_bytes + self._written_bytes
        check_transaction_size(total, self._max_bytes)


def _change(collection: str, document_id: str, patch: bytes | None) -> Part:
    if patch is None:
        return DeleteDocument(collection=collection, id=document_id)
    return UpdateDocument(collection=collection, id=document_id, patch=patch)


def _merged(operations: Iterable[Part]) -> list[Part]:
    """The same operations, with neighbouring inserts into one collection as one."""
    merged: list[Part] = []
    ids: list[str] = []
    documents: list[bytes] = []
    for operation in operations:
        last = merged[-1] if merged else None
        if not isinstance(operation, InsertDocuments):
            merged.append(operation)
        elif (
            isinstance(last, InsertDocuments)
            and last.collection == operation.collection
        ):
            ids += operation.ids
            documents += operation.documents
        else:
            ids, documents = list(operation.ids), list(operation.documents)
            merged.append(
                InsertDocuments(
                    collection=operation.collection, ids=ids, documents=documents
                )
            )
    return merged


def validated_at(commit: Commit, snapshot: Snapshot) -> Generator[None, None, Commit]:
    """Compare what a transaction has read with a later state, in steps.

    Returns:
        The same transaction as of the later state: what holds there need be compared
        only from there on.

    Raises:
        ConflictError: something it has read has changed.
    """
    present = SnapshotPresent(snapshot)
    yield from Validation(present, commit, compile_encoded).steps()
    return msgspec.structs.replace(commit, snapshot_lsn=present.lsn)


def explain_conflict(error: ConflictError, commit: Commit) -> ConflictError:
    """The same error, which names the filter that would find something else."""
    number = error.context.pop("range", None)
    if not isinstance(number, int):
        return error
    predicate = commit.ranges[number].predicate
    if not predicate:
        return error
    text = describe_predicate(decode_predicate(predicate))
    context = {**error.context, "filter": text}
    return ConflictError(f"{error.message}; its filter is {text}", **context)
