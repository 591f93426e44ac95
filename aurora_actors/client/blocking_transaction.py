"""Transactions for threads: the methods of :class:`aurora_actors.Transaction`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, TypeVar, overload

from aurora_actors.client.blocking_query import (
    BlockingQuery,
    refuse_asynchronous,
    run_now,
)
from aurora_actors.client.builder import asked_of
from aurora_actors.client.document import Document
from aurora_actors.client.jobs_context import JobContext
from aurora_actors.client.jobs_model import Job
from aurora_actors.client.transaction import (
    Savepoint,
    Transaction,
    TransactionScope,
)

__all__ = ["BlockingSavepoint", "BlockingScope", "BlockingTransaction"]

M = TypeVar("M")


class BlockingScope:
    """What can be done inside a transaction; see :class:`aurora_actors.Transaction`."""

    def __init__(self, scope: TransactionScope) -> None:
        self._scope = scope

    def insert_into(
        self, collection: str | type, document: Mapping[str, object] | object
    ) -> str:
        """Insert one document and return its id."""
        return run_now(self._scope.insert_into(collection, document))

    def insert_many(
        self, collection: str | type, documents: Iterable[object]
    ) -> list[str]:
        """Insert many documents, all or none, and return their ids, in order."""
        refuse_asynchronous(documents)
        return run_now(self._scope.insert_many(collection, documents))

    @overload
    def get_document(self, collection: str, document_id: str) -> Document | None: ...
    @overload
    def get_document(self, collection: type[M], document_id: str) -> M | None: ...
    def get_document(
        self, collection: str | type[M], document_id: str
    ) -> Document | M | None:
        """The document with this id, or ``None``; a model's instance for a model."""
        return run_now(self._scope.get_document(collection, document_id))

    def update_document(
        self, collection: str | type, document_id: str, patch: Mapping[str, object]
    ) -> None:
        """Merge ``patch`` into a document."""
        run_now(self._scope.update_document(collection, document_id, patch))

    def replace_document(
        self,
        collection: str | type,
        document_id: str,
        document: Mapping[str, object] | object,
    ) -> None:
        """Put ``document`` in the place of an existing one, which keeps its id."""
        run_now(self._scope.replace_document(collection, document_id, document))

    def upsert(
        self, collection: str | type, document_id: str, patch: Mapping[str, object]
    ) -> None:
        """Merge ``patch`` into the document, or insert what it makes of nothing."""
        run_now(self._scope.upsert(collection, document_id, patch))

    def delete_document(self, collection: str | type, document_id: str) -> bool:
        """Remove a document; returns whether there was one."""
        return run_now(self._scope.delete_document(collection, document_id))

    @overload
    def query(self, collection: str) -> BlockingQuery[Document]: ...
    @overload
    def query(self, collection: type[M]) -> BlockingQuery[M]: ...
    def query(
        self, collection: str | type[M]
    ) -> BlockingQuery[Document] | BlockingQuery[M]:
        """A query that sees the transaction's own writes."""
        return BlockingQuery(self._scope.session, asked_of(collection))

    def enqueue_job(self, job: Job) -> str:
        """Enqueue a job if the transaction commits; returns its id."""
        return run_now(self._scope.enqueue_job(job))

    def enqueue_jobs(self, jobs: Iterable[Job]) -> list[str]:
        """Enqueue jobs if the transaction commits; returns their ids."""
        return run_now(self._scope.enqueue_jobs(jobs))

    def complete_job(self, context: JobContext, result: object = None) -> None:
        """Complete the job whose handler this is in, if the transaction commits."""
        run_now(self._scope.complete_job(context, result))

    def savepoint(self) -> BlockingSavepoint:
        """A part of the transaction that can be undone: ``with tx.savepoint():``."""
        return BlockingSavepoint(self._scope.savepoint())

    def rollback(self) -> None:
        """Undo what was written since the block began, and go on."""
        run_now(self._scope.rollback())


class BlockingTransaction(BlockingScope):
    """A transaction for one thread; see :class:`aurora_actors.Transaction`."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    def __enter__(self) -> Self:
        run_now(self._transaction.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run_now(self._transaction.__aexit__(exc_type, exc, traceback))

    @property
    def snapshot_lsn(self) -> int:
        """The last change that the transaction sees."""
        return self._transaction.snapshot_lsn

    @property
    def commit_lsn(self) -> int | None:
        """The last change it has made, once committed; 0 when it has changed nothing."""
        return self._transaction.commit_lsn


class BlockingSavepoint(BlockingScope):
    """A part of a transaction that can be undone by itself."""

    def __init__(self, savepoint: Savepoint) -> None:
        super().__init__(savepoint)
        self._savepoint = savepoint

    def __enter__(self) -> Self:
        run_now(self._savepoint.__aenter__())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run_now(self._savepoint.__aexit__(exc_type, exc, traceback))
