"""Transactions as the caller sees them.

Everything between begin and commit happens in the caller's process, without a message:
reads on one snapshot, writes on top of it. The commit is one request; storage compares
what was read with what it finds and applies all of it or nothing. A transaction that
has written nothing ends without a message, and cannot conflict.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import aclosing
from types import TracebackType
from typing import Final, Self, TypeVar, cast, overload

from aurora_actors.client.builder import asked_of
from aurora_actors.client.bulk import batches_of
from aurora_actors.client.document import Document
from aurora_actors.client.encoding import encode, encode_all, encode_fields, name_of
from aurora_actors.client.jobs_context import JobContext
from aurora_actors.client.jobs_model import Job, new_job
from aurora_actors.client.protocol import STORAGE
from aurora_actors.client.query import Query
from aurora_actors.client.session import Session
from aurora_actors.client.transaction_shell import TransactionSession, finish
from aurora_actors.client.transaction_state import OpenTransaction
from aurora_actors.errors import (
    AuroraError,
    ConflictError,
    InternalError,
    UniqueViolationError,
    UsageError,
    ValidationError,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import FinishJobs, JobOutcome, OutcomeKind
from aurora_actors.messages.storage import (
    Commit,
    Committed,
    DeleteDocument,
    InsertDocuments,
    Part,
    ReplaceDocument,
    UpdateDocument,
    UpsertDocument,
    Written,
)
from aurora_actors.query.transaction import (
    Mark,
    explain_conflict,
    validated_at,
)
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.values import encode_value
from aurora_actors.storage.transactions import check_transaction_size, commit_size

__all__ = ["Savepoint", "Transaction", "TransactionScope"]

M = TypeVar("M")

# Changes that storage may look through for one commit, which keeps others waiting.
_FEW_CHANGES: Final = 256


class TransactionScope:
    """What can be done inside a transaction: the database's own methods.

    Reads see one state of the database and the transaction's own writes; a write is
    checked at once, with the errors of the database's method of the same name, and
    takes effect with the commit. For one task at a time.
    """

    def __init__(self) -> None:
        self._inner: TransactionSession | None = None
        self._state: OpenTransaction | None = None
        self._mark: Mark | None = None

    def session(self) -> TransactionSession:
        """The parts of the open database, as the transaction sees them."""
        if self._inner is None:
            raise UsageError('the transaction has not begun: use it with "async with"')
        return self._inner

    def _opened(self) -> OpenTransaction:
        if self._state is None:
            raise UsageError('the transaction has not begun: use it with "async with"')
        return self._state

    async def _apply(self, request: Part) -> Message:
        session = self.session()
        if session.cancel_point is not None:
            await session.cancel_point()
        with self._opened() as view:
            return view.apply(request)

    # -------------------------------------------------------------- documents
    async def insert_into(
        self, collection: str | type, document: Mapping[str, object] | object
    ) -> str:
        """Insert one document and return its id."""
        document_id, body = encode(document)
        await self._apply(
            InsertDocuments(
                collection=name_of(collection), ids=[document_id], documents=[body]
            )
        )
        return document_id

    async def insert_many(
        self,
        collection: str | type,
        documents: Iterable[object] | AsyncIterable[object],
    ) -> list[str]:
        """Insert many documents, all or none, and return their ids, in order."""
        session, opened = self.session(), self._opened()
        limit = session.config.max_transaction_bytes
        ids: list[str] = []
        bodies: list[bytes] = []
        size = 0
        async with aclosing(batches_of(documents)) as batches:
            async for batch in batches:
                new_ids, new_bodies = encode_all(batch)
                ids += new_ids
                bodies += new_bodies
                size += sum(map(len, new_bodies))
                check_transaction_size(size, limit)
                await session.shell.breathe()
        with opened as view:
            steps = view.inserting(name_of(collection), ids, bodies)
        await finish(opened, steps, session.shell)
        return ids

    @overload
    async def get_document(
        self, collection: str, document_id: str
    ) -> Document | None: ...
    @overload
    async def get_document(self, collection: type[M], document_id: str) -> M | None: ...
    async def get_document(
        self, collection: str | type[M], document_id: str
    ) -> Document | M | None:
        """The document with this id, or ``None``; a model's instance for a model."""
        session = self.session()
        if session.cancel_point is not None:
            await session.cancel_point()
        if not isinstance(document_id, str):
            raise ValidationError(
                f"an id must be text, not {type(document_id).__name__}", path="id"
            )
        lookup = session.lookup
        if isinstance(collection, str):
            return lookup.get(collection, document_id)
        found = lookup.get(name_of(collection), document_id)
        return None if found is None else found.to(collection)

    async def update_document(
        self,
        collection: str | type,
        document_id: str,
        patch: Mapping[str, object],
    ) -> None:
        """Merge ``patch`` into a document.

        A modifier such as ``Increment(1)`` is applied to what the commit finds: two
        transactions that do nothing else to a document do not conflict.
        """
        await self._apply(
            UpdateDocument(
                collection=name_of(collection),
                id=check_id(document_id),
                patch=encode_patch(patch),
            )
        )

    async def replace_document(
        self,
        collection: str | type,
        document_id: str,
        document: Mapping[str, object] | object,
    ) -> None:
        """Put ``document`` in the place of an existing one, which keeps its id."""
        await self._apply(
            ReplaceDocument(
                collection=name_of(collection),
                id=check_id(document_id),
                document=encode_fields(document),
            )
        )

    async def upsert(
        self, collection: str | type, document_id: str, patch: Mapping[str, object]
    ) -> None:
        """Merge ``patch`` into the document, or insert what it makes of nothing."""
        await self._apply(
            UpsertDocument(
                collection=name_of(collection),
                id=check_id(document_id),
                patch=encode_patch(patch),
            )
        )

    async def delete_document(self, collection: str | type, document_id: str) -> bool:
        """Remove a document; returns whether there was one."""
        request = DeleteDocument(
            collection=name_of(collection), id=check_id(document_id)
        )
        reply = await self._apply(request)
        return isinstance(reply, Written) and reply.affected > 0

    # -------------------------------------------------------------- jobs
    async def enqueue_job(self, job: Job) -> str:
        """Enqueue a job if the transaction commits; returns its id."""
        return (await self.enqueue_jobs([job]))[0]

    async def enqueue_jobs(self, jobs: Iterable[Job]) -> list[str]:
        """Enqueue jobs if the transaction commits; returns their ids."""
        new = [new_job(job) for job in jobs]
        session = self.session()
        if session.cancel_point is not None:
            await session.cancel_point()
        with self._opened() as view:
            return view.enqueue(new)

    async def complete_job(self, context: JobContext, result: object = None) -> None:
        """Complete the job whose handler this is in, if the transaction commits.

        What the transaction writes and the job's end are one change: there is neither
        without the other, however often the handler has to run. What the handler does
        or returns afterwards does not count. The commit fails with ``ConflictError``
        when the job is no longer this worker's.
        """
        outcome = JobOutcome(
            id=context.job_id,
            attempt=context.attempt,
            kind=OutcomeKind.COMPLETED,
            result=b"" if result is None else encode_value(result),
        )
        await self._apply(
            FinishJobs(worker=context.worker, outcomes=[outcome], exact=True)
        )

    # -------------------------------------------------------------- queries
    @overload
    def query(self, collection: str) -> Query[Document]: ...
    @overload
    def query(self, collection: type[M]) -> Query[M]: ...
    def query(self, collection: str | type[M]) -> Query[Document] | Query[M]:
        """A query that sees the transaction's own writes; run in this process."""
        return Query(self.session, asked_of(collection))

    # -------------------------------------------------------------- undo
    def savepoint(self) -> Savepoint:
        """A part of the transaction that can be undone: ``async with tx.savepoint():``.

        What was written in the block is undone when it ends with an exception, which
        is passed on. Savepoints nest.
        """
        return Savepoint(self)

    async def rollback(self) -> None:
        """Undo what was written since the block began, and go on.

        What was read stays read.
        """
        with self._opened() as view:
            if self._mark is not None:
                view.rollback(self._mark)


class Transaction(TransactionScope):
    """A transaction: ``async with db.transaction() as tx``.

    Commits at the end of the block, and leaves no trace when the block ends with an
    exception. Serialisable: it has the effect it would have had alone, at the moment
    of its commit.

    Attributes:
        was_refused: Whether the commit failed because a unique value had been taken.

    Raises:
        ConflictError: at the commit, when something it has read has changed.
        UniqueViolationError: at the commit, when a unique value has been taken since.
        TimeoutError_: it was open for longer than ``timeout``; it has no effect. Or the
            commit got no answer in time; then it may have had its effect.
        LimitExceededError: it is larger than ``max_transaction_bytes``.
    """

    def __init__(self, outer: Callable[[], Session], timeout: float | None) -> None:
        super().__init__()
        self._outer = outer
        self._timeout = timeout
        self._snapshot_lsn = 0
        self._commit_lsn: int | None = None
        self.was_refused = False

    async def __aenter__(self) -> Self:
        if self._state is not None:
            raise UsageError("a transaction is begun once; make another one")
        session = self._outer()
        if session.cancel_point is not None:
            await session.cancel_point()
        state = session.transactions.begin(self._timeout)
        self._state, self._inner = state, TransactionSession(session, state)
        with state as view:
            self._snapshot_lsn = view.snapshot_lsn
            self._mark = view.savepoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        state = self._opened()
        try:
            if exc_type is not None:
                return
            with state as view:
                commit = view.commit() if view.has_written else None
            if commit is not None:
                commit = await self._validated(commit)
        finally:
            state.end()
        if commit is not None:
            self._commit_lsn = await self._commit(commit)

    @property
    def snapshot_lsn(self) -> int:
        """The last change that the transaction sees."""
        return self._snapshot_lsn

    @property
    def commit_lsn(self) -> int | None:
        """The last change it has made, once committed; 0 when it has changed nothing."""
        return self._commit_lsn

    # -------------------------------------------------------------- committing
    async def _validated(self, commit: Commit) -> Commit:
        """Look through a long history here, where nobody else waits for it.

        What still holds at a later state may be compared from there on.
        """
        if not commit.ranges:
            return commit
        session = self._outer()
        with session.reader.snapshot() as snapshot:
            if snapshot.lsn - commit.snapshot_lsn <= _FEW_CHANGES:
                return commit
            steps = validated_at(commit, snapshot)
            try:
                while True:
                    next(steps)
                    await session.shell.breathe()
            except StopIteration as end:
                return cast("Commit", end.value)
            except ConflictError as error:
                raise explain_conflict(error, commit) from None

    async def _commit(self, commit: Commit) -> int:
        size = 512 + commit_size(commit)
        try:
            reply = await self._outer().shell.call(STORAGE, commit, None, size)
        except ConflictError as error:
            raise explain_conflict(error, commit) from None
        except UniqueViolationError:
            self.was_refused = True
            raise
        except (UsageError, ValidationError) as error:
            # It was possible at the snapshot: something else must have changed it.
            if "operation" not in error.context:
                raise
            raise ConflictError(
                f"{error.message}; this has changed since the transaction began: run "
                "it again",
                **error.context,
            ) from error
        if not isinstance(reply, Committed):
            raise InternalError(f"a commit was answered by {type(reply).__name__}")
        return reply.lsn


class Savepoint(TransactionScope):
    """A part of a transaction that can be undone by itself."""

    def __init__(self, scope: TransactionScope) -> None:
        super().__init__()
        self._scope = scope

    async def __aenter__(self) -> Self:
        if self._mark is not None:
            raise UsageError("a savepoint is used once; make another one")
        self._inner, self._state = self._scope.session(), self._scope._opened()  # noqa: SLF001 - of the same kind
        with self._state as view:
            self._mark = view.savepoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None:
            try:
                await self.rollback()
            except AuroraError:
                return  # the whole transaction has ended: nothing is left to undo
