"""Queries inside a transaction: the way they run, in place of messages to executors.

A transaction sees what nobody else can, so its queries run in the caller's process: by
the engine that executors use, over the snapshot with the transaction's own writes. The
query classes know nothing of it. They are given a session whose shell answers from
here, between whose steps the caller's other tasks have their turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast
from uuid import UUID

from aurora_actors.client.document import Document, document_of
from aurora_actors.client.requests import (
    NO_DEADLINE,
    Call,
    Reply,
    ResultStream,
    Streamed,
)
from aurora_actors.client.session import Session
from aurora_actors.client.transaction_state import OpenTransaction
from aurora_actors.errors import TimeoutError_, UsageError
from aurora_actors.messages.base import Message
from aurora_actors.messages.query import (
    ChangeDocuments,
    Explain,
    ExplainReply,
    QuerySpec,
    ResultChunk,
    RunQuery,
)
from aurora_actors.messages.storage import Written
from aurora_actors.query.aggregate import Aggregation
from aurora_actors.query.execute import Execution
from aurora_actors.query.plan import encode_plan, is_short
from aurora_actors.query.predicate import Compare, Predicate
from aurora_actors.schema.values import Buffer

if TYPE_CHECKING:
    from aurora_actors.client.lookup import Lookup
    from aurora_actors.client.shell import Shell

__all__ = ["TransactionSession", "finish"]

T = TypeVar("T")

_NAME = "transaction"


async def finish(
    opened: OpenTransaction, steps: Generator[None, None, T], shell: Shell
) -> T:
    """Take all steps of a change, letting others have their turn in between."""
    with opened.reserved():
        try:
            while True:
                try:
                    opened.advance(steps)
                except StopIteration as end:
                    return cast("T", end.value)
                await shell.breathe()
        finally:
            steps.close()


class TransactionSession(Session):
    """What the query classes are given inside a transaction."""

    __slots__ = ()

    def __init__(self, outer: Session, opened: OpenTransaction) -> None:  # other parts
        self.cancel_point = outer.cancel_point
        self.config = outer.config
        self.reader = outer.reader
        self.transactions = outer.transactions
        # Kinds of their own: what they have not must not go past the transaction.
        self.shell = cast("Shell", TransactionShell(outer.shell, opened))
        self.lookup = cast("Lookup", TransactionLookup(opened))


class TransactionLookup:
    """Short plans, inside a transaction; see :class:`aurora_actors.client.lookup.Lookup`."""

    __slots__ = ("_opened",)

    def __init__(self, opened: OpenTransaction) -> None:
        self._opened = opened

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document with this id."""
        return self._get(collection, document_id, document_of)

    def record(self, collection: str, document_id: str) -> bytes | None:
        """A copy of the record of the document with this id."""
        return self._get(collection, document_id, bytes)

    def _get(
        self, collection: str, document_id: str, convert: Callable[[Buffer], T]
    ) -> T | None:
        with self._opened as view:
            record = view.get(collection, document_id)
            return None if record is None else convert(record)

    def find_by_key(
        self,
        collection: str,
        term: Compare,
        convert: Callable[[Buffer], T],
        *,
        most: int | None = None,
    ) -> list[T] | None:
        """The document with this id, if the id is what ``term`` asks for."""
        value = str(term.value) if isinstance(term.value, UUID) else term.value
        if term.field != "id" or term.op != "eq" or not isinstance(value, str):
            return None
        found = self._get(collection, value, convert)
        return [] if found is None else [found]

    def find_first(self, *_: object) -> None:
        """Nothing: an index does not know what the transaction has written."""

    def find(
        self,
        predicate: Predicate | None,
        spec: QuerySpec,
        convert: Callable[[Buffer], T],
    ) -> list[T] | None:
        """The results of a query if its plan is short, else ``None``."""
        with self._opened as view:
            info = view.collection(spec.collection)
            if not is_short(info.definition, spec, predicate, info.count):
                return None
            steps = view.run(spec, at_once=True).steps()
            return [convert(record) for records in steps for record in records]

    def count(self, predicate: Predicate | None, spec: QuerySpec) -> int | None:
        """The answer to a counting query if its plan is short, else ``None``."""
        with self._opened as view:
            info = view.collection(spec.collection)
            if not is_short(info.definition, spec, predicate, info.count):
                return None
            execution = view.run(spec, at_once=True)
            for _ in execution.steps():
                pass
            return execution.count


class _LocalStream(ResultStream):
    """A query under way in this process."""

    __slots__ = ("execution", "steps")

    def __init__(self, query: RunQuery, execution: Execution) -> None:
        super().__init__(0, _NAME, query, NO_DEADLINE, gathers=False)
        self.execution = execution
        self.steps = execution.steps()


class TransactionShell:
    """Answers the requests of queries from a transaction's view."""

    def __init__(self, outer: Shell, opened: OpenTransaction) -> None:
        self._outer = outer
        self._opened = opened
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
        """Answer a statement or the question for a plan."""
        match message:
            case ChangeDocuments(query=spec, patch=patch):
                with self._opened as view:
                    steps = view.changing(spec, patch)
                affected = await finish(self._opened, steps, self._outer)
                return Written(lsn=0, synced=False, affected=affected)
            case Explain():
                execution, _ = await self._run(message)
                return ExplainReply(plan=encode_plan(execution.plan))
        what = type(message).__name__
        raise UsageError(f"this cannot be done inside a transaction ({what})")

    async def gather(
        self, query: Streamed, timeout: float | None = None
    ) -> list[ResultChunk]:
        """Run a query to its end."""
        if not isinstance(query, RunQuery):
            raise _no_text()
        execution, records = await self._run(query)
        return [_chunk(records, execution.count)]

    async def _run(
        self, query: RunQuery | Explain
    ) -> tuple[Execution | Aggregation, list[bytes]]:
        seconds = query.deadline_s
        end = time.monotonic() + seconds
        execution: Execution | Aggregation
        with self._opened as view:
            if query.group is None:
                execution = view.run(query.query)
            else:
                execution = view.aggregate(query.query, query.group)
        steps = execution.steps()
        records: list[bytes] = []
        try:
            while True:
                try:
                    records += self._opened.advance(steps)
                except StopIteration:
                    return execution, records
                if time.monotonic() > end:
                    raise TimeoutError_(f"the query took longer than {seconds:g} s")
                await self.breathe()
        finally:
            steps.close()

    # -------------------------------------------------------------- streams
    def open_stream(self, query: Streamed) -> ResultStream:
        """Start a query; it sees what has been written up to now."""
        if not isinstance(query, RunQuery):
            raise _no_text()
        with self._opened as view:
            return _LocalStream(query, view.run(query.query))

    async def next_chunk(
        self, stream: ResultStream, timeout: float | None = None
    ) -> ResultChunk | None:
        """Run the query until there is something; ``None`` at its end."""
        assert isinstance(stream, _LocalStream)  # noqa: S101 - see open_stream
        while True:
            try:
                records = self._opened.advance(stream.steps)
            except StopIteration:
                return None
            await self.breathe()
            if records:
                return _chunk(records, stream.execution.count)

    def abandon(self, pending: Call | ResultStream) -> None:
        """Give up a stream."""
        if isinstance(pending, _LocalStream):
            pending.steps.close()

    def drop_stream(self, stream: ResultStream) -> None:
        """Give up a stream from a finaliser; its steps go with it."""

    # -------------------------------------------------------------- the rest
    def pick_executor(self) -> str:
        """The name of no mailbox: everything is answered here."""
        return _NAME

    def __getattr__(self, name: str) -> NoReturn:
        """Whatever else a shell can do, it does not do in a transaction."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(f"this cannot be done inside a transaction ({name})")


def _chunk(records: list[bytes], count: int) -> ResultChunk:
    return ResultChunk(records=records, number=0, final=True, lsn=0, count=count)


def _no_text() -> UsageError:
    return UsageError("AQL is not run inside a transaction: a text is one of its own")
