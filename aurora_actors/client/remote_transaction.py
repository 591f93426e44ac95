"""Transactions of a remote client: kept by the remote gateway, used by messages.

The snapshot, and what has been written on top of it, are on the database's machine. The
commit is sent to storage from here like any other request, so that it takes effect once
whatever happens to the connection; a transaction whose session was lost before that is a
``ConflictError``, and ``run_transaction`` runs it again.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import aclosing, suppress
from types import TracebackType
from typing import NoReturn, Self, TypeVar, cast, overload

import msgspec

from aurora_actors.client.bulk import batches_of
from aurora_actors.client.document import Document, document_of
from aurora_actors.client.encoding import encode_all, name_of
from aurora_actors.client.jobs_model import Job, new_job
from aurora_actors.client.remote_session import RemoteSession
from aurora_actors.client.requests import (
    NO_DEADLINE,
    Reply,
    ResultStream,
    Streamed,
)
from aurora_actors.client.session import Session
from aurora_actors.client.shell import Shell
from aurora_actors.client.transaction import Savepoint, Transaction, TransactionScope
from aurora_actors.client.transaction_shell import TransactionSession
from aurora_actors.errors import (
    AuroraError,
    InternalError,
    UsageError,
    ValidationError,
)
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import EnqueueJobs, JobsEnqueued
from aurora_actors.messages.query import ChangeDocuments, Explain, ResultChunk, RunQuery
from aurora_actors.messages.remote import (
    REMOTE_GATEWAY,
    BeginTransaction,
    ChangeInTransaction,
    EndTransaction,
    MarkTransaction,
    ReadDocument,
    RecordsRead,
    RollBackTransaction,
    RunInTransaction,
    TransactionBegun,
    TransactionEnded,
    TransactionMarked,
)
from aurora_actors.messages.storage import Commit, InsertDocuments, Part
from aurora_actors.storage.transactions import check_transaction_size

__all__ = ["RemoteTransaction"]

M = TypeVar("M")
R = TypeVar("R")


class _Begun:
    """A transaction that is kept by the gateway."""

    def __init__(self, session: Session, number: int) -> None:
        self.shell = session.shell
        self.number = number

    async def ask(self, message: Message, kind: type[R], size: int = 512) -> R:
        """Ask the gateway."""
        reply = await self.shell.call(REMOTE_GATEWAY, message, None, size)
        if not isinstance(reply, kind):
            raise InternalError(f"a transaction was answered by {type(reply).__name__}")
        return reply


class _RemoteScope(TransactionScope):
    """What can be done inside, by messages."""

    _begun: _Begun | None = None
    _point: int = 0

    def _here(self) -> _Begun:
        if self._begun is None:
            raise UsageError('the transaction has not begun: use it with "async with"')
        return self._begun

    async def _apply(self, request: Part) -> Message:
        begun = self._here()
        size = 512
        if isinstance(request, InsertDocuments):
            size += sum(map(len, request.documents))
        asked = ChangeInTransaction(transaction=begun.number, part=request)
        return cast("Message", await begun.ask(asked, object, size))

    async def insert_many(
        self,
        collection: str | type,
        documents: Iterable[object] | AsyncIterable[object],
    ) -> list[str]:
        """Insert many documents, all or none, and return their ids, in order."""
        limit = self.session().config.max_transaction_bytes
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
        name = name_of(collection)
        await self._apply(InsertDocuments(collection=name, ids=ids, documents=bodies))
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
        begun = self._here()
        if not isinstance(document_id, str):
            raise ValidationError(
                f"an id must be text, not {type(document_id).__name__}", path="id"
            )
        request = ReadDocument(
            collection=name_of(collection), id=document_id, transaction=begun.number
        )
        found = await begun.ask(request, RecordsRead)
        if not found.records:
            return None
        document = document_of(found.records[0])
        return document if isinstance(collection, str) else document.to(collection)

    async def enqueue_jobs(self, jobs: Iterable[Job]) -> list[str]:
        """Enqueue jobs if the transaction commits; returns their ids."""
        reply = await self._apply(EnqueueJobs(jobs=[new_job(job) for job in jobs]))
        if not isinstance(reply, JobsEnqueued):
            raise InternalError(f"jobs were answered by {type(reply).__name__}")
        return reply.ids

    def savepoint(self) -> Savepoint:
        """A part of the transaction that can be undone."""
        return _RemoteSavepoint(self)

    async def rollback(self) -> None:
        """Undo what was written since the block began, and go on."""
        begun = self._here()
        request = RollBackTransaction(transaction=begun.number, mark=self._point)
        await begun.ask(request, object)

    async def _mark_point(self) -> None:
        begun = self._here()
        marked = await begun.ask(
            MarkTransaction(transaction=begun.number), TransactionMarked
        )
        self._point = marked.mark


class RemoteTransaction(_RemoteScope, Transaction):
    """A transaction over a connection; see :class:`aurora_actors.Transaction`."""

    def __init__(self, outer: Callable[[], Session], timeout: float | None) -> None:
        super().__init__(outer, timeout)
        self._has_begun = False

    async def __aenter__(self) -> Self:
        if self._has_begun:
            raise UsageError("a transaction is begun once; make another one")
        self._has_begun = True
        session = self._outer()
        request = BeginTransaction(timeout_s=self._timeout)
        reply = await session.shell.call(REMOTE_GATEWAY, request)
        if not isinstance(reply, TransactionBegun):
            raise InternalError(f"a begin was answered by {type(reply).__name__}")
        self._begun = _Begun(session, reply.transaction)
        self._snapshot_lsn = reply.snapshot_lsn
        self._inner = _RemoteInner(session, self._begun)
        await self._mark_point()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        begun, self._begun = self._here(), None
        request = EndTransaction(transaction=begun.number, commits=exc_type is None)
        if exc_type is not None:
            # Nobody waits: it has no effect, whether the gateway hears of it or not.
            with suppress(AuroraError):
                begun.shell.submit(REMOTE_GATEWAY, request)
            return
        ended = await begun.ask(request, TransactionEnded)
        if ended.commit:
            commit = msgspec.msgpack.decode(ended.commit, type=Commit)
            self._commit_lsn = await self._commit(commit)


class _RemoteSavepoint(_RemoteScope, Savepoint):
    """A part of a remote transaction that can be undone by itself."""

    async def __aenter__(self) -> Self:
        if self._begun is not None:
            raise UsageError("a savepoint is used once; make another one")
        scope = cast("_RemoteScope", self._scope)
        self._inner, self._begun = scope.session(), scope._here()  # noqa: SLF001 - of the same kind
        await self._mark_point()
        return self


class _RemoteInner(TransactionSession, RemoteSession):
    """What the query classes are given inside a remote transaction."""

    __slots__ = ()

    def __init__(self, outer: Session, begun: _Begun) -> None:  # other parts
        RemoteSession.__init__(self, outer.shell, outer.config)
        self.shell = cast("Shell", _RemoteShell(outer.shell, begun))


class _RemoteStream(ResultStream):
    """A result that is there already."""

    __slots__ = ()


class _RemoteShell:
    """Passes the requests of queries on to the gateway, for one transaction."""

    def __init__(self, outer: Shell, begun: _Begun) -> None:
        self._outer = outer
        self._begun = begun
        self.cancel_point = outer.cancel_point
        self.executors: list[str] = []
        self.breathe = outer.breathe
        self.pause = outer.pause

    async def call(
        self,
        destination: str,
        message: Message,
        timeout: float | None = None,
        size: int = 512,
    ) -> Reply:
        """Carry out a statement, explain a query, or read a document for one."""
        begun = self._begun
        if isinstance(message, ReadDocument):
            asked: Message = msgspec.structs.replace(message, transaction=begun.number)
        elif isinstance(message, ChangeDocuments | Explain):
            asked = RunInTransaction(transaction=begun.number, query=message)
        else:
            what = type(message).__name__
            raise UsageError(f"this cannot be done inside a transaction ({what})")
        return await self._outer.call(REMOTE_GATEWAY, asked, timeout, size)

    async def gather(
        self, query: Streamed, timeout: float | None = None
    ) -> list[ResultChunk]:
        """Run a query to its end."""
        if not isinstance(query, RunQuery):
            raise UsageError(
                "AQL is not run inside a transaction: a text is one of its own"
            )
        request = RunInTransaction(transaction=self._begun.number, query=query)
        reply = await self._outer.call(REMOTE_GATEWAY, request, timeout)
        if not isinstance(reply, RecordsRead):
            raise InternalError(f"a query was answered by {type(reply).__name__}")
        chunk = ResultChunk(
            records=reply.records, number=0, final=True, lsn=0, count=reply.count
        )
        return [chunk]

    def open_stream(self, query: Streamed) -> ResultStream:
        """A stream whose result is had with its first chunk."""
        return _RemoteStream(0, REMOTE_GATEWAY, query, NO_DEADLINE, gathers=False)

    async def next_chunk(
        self, stream: ResultStream, timeout: float | None = None
    ) -> ResultChunk | None:
        """The whole result, once; then ``None``."""
        if stream.done:
            return None
        stream.done = True
        (chunk,) = await self.gather(cast("Streamed", stream.message), timeout)
        return chunk

    def abandon(self, pending: object) -> None:
        """Nothing goes on that could be given up."""

    def drop_stream(self, stream: ResultStream) -> None:
        """Nothing goes on that could be given up."""

    def pick_executor(self) -> str:
        """The mailbox that answers everything here."""
        return REMOTE_GATEWAY

    def __getattr__(self, name: str) -> NoReturn:
        """Whatever else a shell can do, it does not do in a transaction."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(f"this cannot be done inside a transaction ({name})")
