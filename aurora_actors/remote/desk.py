"""What the remote gateway itself answers: documents, the catalog, transactions.

One :class:`Desk` belongs to one remote client. It reads the map as a local client does,
and keeps the client's transactions: their snapshots, and what they have written so far.
Committing is not done here. The client is given what storage is to do and asks storage
itself, by its own number, so that a commit takes effect once like any other request.

A request that comes again, because its answer was lost with a connection, is answered
with what was answered before: a transaction is for one task at a time, so the last
answer of each is enough.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, cast

import msgspec
import trio

from aurora_actors.client.lookup import Lookup
from aurora_actors.client.shell import Shell
from aurora_actors.client.tokens import Grant, Role
from aurora_actors.client.transaction_shell import TransactionShell, finish
from aurora_actors.client.transaction_state import OpenTransaction, TransactionSpace
from aurora_actors.errors import ConflictError, LimitExceededError, ProtocolError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import EnqueueJobs, JobsEnqueued
from aurora_actors.messages.query import ChangeDocuments, Explain, RunQuery
from aurora_actors.messages.remote import (
    BeginBackup,
    BeginTransaction,
    CatalogEntry,
    CatalogRead,
    ChangeInTransaction,
    EndBackup,
    EndTransaction,
    IndexState,
    MarkTransaction,
    ReadBackup,
    ReadCatalog,
    ReadDocument,
    ReadTokens,
    RecordsRead,
    RollBackTransaction,
    RunInTransaction,
    TransactionBegun,
    TransactionEnded,
    TransactionMarked,
)
from aurora_actors.messages.storage import Commit, InsertDocuments, Part, Written
from aurora_actors.query.transaction import Mark, explain_conflict, validated_at
from aurora_actors.remote.backups import Backups
from aurora_actors.schema.record import pack_record
from aurora_actors.schema.types import encode_definition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.reader import CollectionInfo, DataReader

__all__ = ["Desk"]

_MOST_TRANSACTIONS: Final = 64
_FEW_CHANGES: Final = 256
_encode: Final = msgspec.msgpack.Encoder().encode


class _Shell(NamedTuple):
    """What a transaction's queries need from the loop they run in."""

    breathe: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    pause: Callable[[float], Awaitable[None]] = trio.sleep
    cancel_point: None = None


class _Kept:
    """A transaction, its marks, and its last answer."""

    def __init__(self, opened: OpenTransaction) -> None:
        self.opened = opened
        self.marks: list[Mark] = []
        self.lock = trio.Lock()
        self.last: tuple[int, Message] | None = None


class Desk:
    """Answers one remote client.

    Args:
        reader: The data.
        lookup: Reads documents and the states of indexes.
        space: Where the client's transactions begin.
        backups: Takes its backups.
    """

    def __init__(
        self,
        reader: DataReader,
        lookup: Lookup,
        space: TransactionSpace,
        backups: Backups,
    ) -> None:
        self._backups = backups
        self._reader = reader
        self._lookup = lookup
        self._space = space
        self._shell = cast("Shell", _Shell())
        self._transactions: dict[int, _Kept] = {}
        self._last = 0

    def close(self) -> None:
        """Give up all transactions, and the backup."""
        self._transactions.clear()
        self._space.close()
        self._backups.close()

    async def answer(self, grant: Grant, number: int, request: Message) -> Message:
        """The answer to a request that has been allowed.

        Raises:
            AuroraError: what the client is to be told instead.
        """
        match request:
            case ReadCatalog(collection=name):
                return self._catalog(grant, name)
            case ReadTokens():
                return self._tokens()
            case BeginBackup() | ReadBackup() | EndBackup():
                return await self._backups.answer(number, request)
            case BeginTransaction(timeout_s=timeout_s):
                return self._begin(number, timeout_s)
            case ReadDocument(transaction=0):
                return self._record(request)
            case (
                ReadDocument(transaction=transaction)
                | ChangeInTransaction(transaction=transaction)
                | RunInTransaction(transaction=transaction)
                | MarkTransaction(transaction=transaction)
                | RollBackTransaction(transaction=transaction)
                | EndTransaction(transaction=transaction)
            ):
                return await self._in_transaction(transaction, number, request)
        raise AssertionError(request)

    # -------------------------------------------------------------- reading
    def _record(self, request: ReadDocument) -> RecordsRead:
        record = self._lookup.record(request.collection, request.id)
        return RecordsRead(records=[] if record is None else [record])

    def _tokens(self) -> RecordsRead:
        kept = self._lookup.tokens()
        return RecordsRead(
            records=[
                pack_record(each.lsn, each.id, encode_document(each.data))
                for each in kept
            ]
        )

    def _catalog(self, grant: Grant, name: str) -> CatalogRead:
        with self._reader.snapshot() as snapshot:
            found = [snapshot.known(name)] if name else snapshot.collections()
            entries = [
                self._entry(info) for info in found if grant.on(info.name) >= Role.READ
            ]
            return CatalogRead(collections=entries, lsn=snapshot.lsn)

    def _entry(self, info: CollectionInfo) -> CatalogEntry:
        states = self._lookup.index_states(info.id)
        return CatalogEntry(
            id=info.id,
            definition=encode_definition(info.definition),
            count=info.count,
            created_lsn=info.created_lsn,
            indexes=[
                IndexState(list(fields), *state) for fields, state in states.items()
            ],
        )

    # -------------------------------------------------------------- transactions
    def _begin(self, number: int, timeout_s: float | None) -> TransactionBegun:
        for key, kept in self._transactions.items():
            if kept.last is not None and kept.last[0] == number:
                return TransactionBegun(transaction=key, snapshot_lsn=_lsn(kept))
        self._forget_overdue()
        if len(self._transactions) >= _MOST_TRANSACTIONS:
            raise LimitExceededError(
                f"this client has {_MOST_TRANSACTIONS} transactions open; end some",
                limit=_MOST_TRANSACTIONS,
            )
        self._last += 1
        kept = self._transactions[self._last] = _Kept(self._space.begin(timeout_s))
        reply = TransactionBegun(transaction=self._last, snapshot_lsn=_lsn(kept))
        kept.last = (number, reply)
        return reply

    def _forget_overdue(self) -> None:
        now = time.monotonic()
        for key, kept in list(self._transactions.items()):
            if kept.opened.deadline < now:
                kept.opened.end()
                del self._transactions[key]

    async def _in_transaction(
        self, transaction: int, number: int, request: Message
    ) -> Message:
        kept = self._transactions.get(transaction)
        if kept is None:
            if isinstance(request, EndTransaction) and not request.commits:
                return TransactionEnded()
            raise ConflictError(
                "the transaction is gone: its connection was lost, or its time is over; "
                "run it again"
            )
        async with kept.lock:
            if kept.last is not None and kept.last[0] == number:
                return kept.last[1]
            reply = await self._carry_out(kept, transaction, request)
            kept.last = (number, reply)
            return reply

    async def _carry_out(
        self, kept: _Kept, transaction: int, request: Message
    ) -> Message:
        opened = kept.opened
        match request:
            case ReadDocument():
                return _read(opened, request)
            case ChangeInTransaction(part=part):
                return await self._change(opened, part)
            case RunInTransaction(query=query):
                return await self._run(opened, query)
            case MarkTransaction() | RollBackTransaction():
                return _go_back(kept, request)
            case EndTransaction(commits=commits):
                del self._transactions[transaction]
                try:
                    return await self._end(opened) if commits else TransactionEnded()
                finally:
                    opened.end()
        raise AssertionError(request)

    async def _change(self, opened: OpenTransaction, part: Part) -> Message:
        if isinstance(part, EnqueueJobs):
            with opened as view:
                ids = view.enqueue(part.jobs)
            return JobsEnqueued(ids=ids, created=0, lsn=0, synced=False)
        if not isinstance(part, InsertDocuments):
            with opened as view:
                return view.apply(part)
        with opened as view:
            steps = view.inserting(part.collection, part.ids, part.documents)
        await finish(opened, steps, self._shell)
        return _written(len(part.ids))

    async def _run(
        self, opened: OpenTransaction, query: RunQuery | Explain | ChangeDocuments
    ) -> Message:
        shell = TransactionShell(self._shell, opened)
        if isinstance(query, RunQuery):
            chunks = await shell.gather(query)
            records = [record for chunk in chunks for record in chunk.records]
            return RecordsRead(records=records, count=chunks[-1].count)
        return await shell.call("", query)

    async def _end(self, opened: OpenTransaction) -> TransactionEnded:
        with opened as view:
            if not view.has_written:
                return TransactionEnded()
            commit = view.commit()
        return TransactionEnded(commit=_encode(await self._validated(commit)))

    async def _validated(self, commit: Commit) -> Commit:
        if not commit.ranges:
            return commit
        with self._reader.snapshot() as snapshot:
            if snapshot.lsn - commit.snapshot_lsn <= _FEW_CHANGES:
                return commit
            steps = validated_at(commit, snapshot)
            try:
                while True:
                    next(steps)
                    await trio.lowlevel.checkpoint()
            except StopIteration as end:
                return cast("Commit", end.value)
            except ConflictError as error:
                raise explain_conflict(error, commit) from None


def _read(opened: OpenTransaction, request: ReadDocument) -> RecordsRead:
    with opened as view:
        record = view.get(request.collection, request.id)
        return RecordsRead(records=[] if record is None else [bytes(record)])


def _go_back(kept: _Kept, request: MarkTransaction | RollBackTransaction) -> Message:
    with kept.opened as view:
        if isinstance(request, MarkTransaction):
            kept.marks.append(view.savepoint())
            return TransactionMarked(mark=len(kept.marks) - 1)
        if not 0 <= request.mark < len(kept.marks):
            raise ProtocolError("there is no such point to go back to")
        view.rollback(kept.marks[request.mark])
        return _written(0)


def _lsn(kept: _Kept) -> int:
    with kept.opened as view:
        return view.snapshot_lsn


def _written(affected: int) -> Written:
    return Written(lsn=0, synced=False, affected=affected)
