"""Queries, and the ways to run them.

A query whose plan is short (a look-up by id or by a unique field, a few documents) runs
in the caller's process; everything else goes to the least busy executor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar, cast

import msgspec

from aurora_actors.client.aggregating import Aggregate, Computed
from aurora_actors.client.builder import QueryBuilder
from aurora_actors.client.document import Document, converted
from aurora_actors.client.grouping import (
    GroupedQuery,
    Intervals,
    run_aggregates,
    run_distinct,
)
from aurora_actors.client.paging import Page, run_page
from aurora_actors.client.session import Session
from aurora_actors.client.stream import DocumentStream
from aurora_actors.client.watch import OnLag, Watcher
from aurora_actors.client.watching import watch_of, watcher_of
from aurora_actors.errors import InternalError, NotFoundError, UsageError
from aurora_actors.messages.query import (
    ChangeDocuments,
    Explain,
    ExplainReply,
    QuerySpec,
    ResultMode,
    RunQuery,
)
from aurora_actors.messages.storage import Written
from aurora_actors.query.plan import Plan, decode_plan
from aurora_actors.schema.patch import encode_patch

__all__ = ["Query"]

T = TypeVar("T")

_STREAM_DEADLINE_S: Final = 7 * 86_400.0


class Query(QueryBuilder[T]):
    """A query on one collection; ``T`` is what it gives: documents, or a model.

    Every method that runs the query takes ``timeout``, in seconds.
    """

    __slots__ = ()

    def select(self, *fields: str) -> Query[Document]:
        """Give documents with only these fields; dotted names keep their nesting."""
        return cast("Query[Document]", self._selecting(fields))

    # -------------------------------------------------------------- reading
    async def collect(self, *, timeout: float | None = None) -> list[T]:
        """Run the query and give all results.

        Raises:
            CollectionNotFoundError: there is no such collection.
            TimeoutError_: it took longer than ``timeout``.
        """
        return await self._collect(None, timeout)

    async def _collect(self, at_most: int | None, timeout: float | None) -> list[T]:
        session = self._session()
        shell = session.shell
        if shell.cancel_point is not None:
            await shell.cancel_point()
        found = self._at_once(session, at_most)
        if found is not None:
            return found
        return await self._ask(session, at_most, timeout)

    async def _ask(
        self, session: Session, at_most: int | None, timeout: float | None
    ) -> list[T]:
        shell = session.shell
        if session.is_remote:
            spec = await session.resolved(lambda: self._spec(at_most=at_most))
        else:
            spec = self._spec(at_most=at_most)
        found = session.lookup.find(self._predicate(spec), spec, self._result)
        if found is not None:
            return found
        query = self._run(spec, session, timeout)
        results: list[T] = []
        convert = self._result
        for chunk in await shell.gather(query, timeout):
            if results:
                await shell.breathe()
            results += converted(convert, chunk.records)
        return results

    async def first_one(self, *, timeout: float | None = None) -> T | None:
        """The first result, or ``None`` when there is none."""
        session = self._session()
        if session.shell.cancel_point is not None:
            await session.shell.cancel_point()
        found = self._at_once(session, 1)
        if found is None:
            found = await self._ask(session, 1, timeout)
        return found[0] if found else None

    async def one(self, *, timeout: float | None = None) -> T:
        """The only result.

        Raises:
            NotFoundError: there is none.
            UsageError: there are several.
        """
        return self._only(await self._collect(2, timeout))

    def _only(self, found: list[T]) -> T:
        if not found:
            raise NotFoundError(
                f"no document in {self._asked.collection} matches the query",
                collection=self._asked.collection,
            )
        if len(found) > 1:
            raise UsageError(
                f"several documents in {self._asked.collection} match a query that is to "
                "give one; use first_one() for any of them",
                collection=self._asked.collection,
            )
        return found[0]

    async def count(self, *, timeout: float | None = None) -> int:
        """How many results there are."""
        return await self._number(ResultMode.COUNT, timeout)

    async def exists(self, *, timeout: float | None = None) -> bool:
        """Whether there is a result."""
        return await self._number(ResultMode.EXISTS, timeout) > 0

    async def _number(self, mode: ResultMode, timeout: float | None) -> int:
        session = self._session()
        if session.shell.cancel_point is not None:
            await session.shell.cancel_point()
        spec = await session.resolved(lambda: self._spec(mode))
        found = session.lookup.count(self._predicate(spec), spec)
        if found is not None:
            return found
        query = self._run(spec, session, timeout)
        return (await session.shell.gather(query, timeout))[-1].count

    async def page(
        self,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Page[T]:
        """A page of the result: the next ``first`` results behind ``after``.

        Pages that follow each other neither skip nor repeat a document, whatever is
        inserted and removed meanwhile, unless its own place changes. Without an order
        the result is in the order of the ids.

        Args:
            first: At most so many; 100 when ``last`` is not given either.
            after: The cursor of the last result of the page before, or an id.
            last: At most so many, from the end: pages backwards, with ``before``.
            before: The cursor of the first result of the page after, or an id.
            timeout: In seconds.

        Raises:
            UsageError: the arguments do not go together, or the query has a limit or
                an offset.
            InvalidFilterError: a cursor is none of this order.
        """
        asked = self._asked
        plain = msgspec.structs.replace(asked, after=None, before=None)
        spec = type(self)(self._session, plain)._spec()  # noqa: SLF001 - one of ours
        bounds = (first, after or asked.after, last, before or asked.before)
        return await run_page(self._session(), spec, self._result, bounds, timeout)

    # -------------------------------------------------------------- computing
    async def aggregate(
        self, *, timeout: float | None = None, **results: Aggregate
    ) -> dict[str, Computed]:
        """Compute of all results together, as in ``aggregate(total=Sum("amount"))``.

        Args:
            timeout: In seconds.
            results: ``Count() Sum Avg Min Max StdDev CountDistinct First Last``, each
                under the name it is to have.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidFilterError: this makes no sense for its fields.
            LimitExceededError: a result is larger than any Float.
            TimeoutError_: it took longer than ``timeout``.
        """
        return await run_aggregates(self._session(), self._spec(), results, timeout)

    def group_by(self, *fields: str, interval: Intervals = None) -> GroupedQuery[T]:
        """The results in groups that have equal values in ``fields``.

        Args:
            fields: Field names; null, and a missing field, is a value here.
            interval: Moments of one span of time, such as ``"15m"``, ``"1h"``, ``"1d"``
                or ``"1w"``, are one value: its beginning, in UTC. It is meant for the
                last of the fields, or given by field: ``{"at": "1h"}``.
        """
        return GroupedQuery(self._session, self._grouped(fields, interval))

    async def distinct(
        self, field: str, *, timeout: float | None = None
    ) -> list[Computed]:
        """The different values of a field, without null, in their order."""
        return await run_distinct(self._session(), self._spec(), field, timeout)

    # -------------------------------------------------------------- streams
    def stream(self, *, timeout: float | None = None) -> DocumentStream[T]:
        """The results one by one, in constant memory: ``async for x in q.stream()``.

        All are of one snapshot. A stream that is not read to its end is given up when
        it is closed (``aclose()`` or ``async with``) or forgotten.

        Args:
            timeout: How long one part of the result may take.
        """
        session = self._session()
        query = RunQuery(query=self._spec(), deadline_s=_STREAM_DEADLINE_S)
        return DocumentStream(session.shell, query, self._result, timeout)

    def watch(
        self,
        *,
        include_initial: bool = True,
        since: str | None = None,
        on_lag: OnLag = "coalesce",
        heartbeats: bool = False,
        keeps_state: bool = True,
    ) -> Watcher[T]:
        """The result and its changes: ``async with query.watch() as updates``.

        Gives each present result as ``Added``, then ``InitialComplete``, then what
        changes, in order, without gap or repetition. Where the change log does not
        reach back to what was told last, ``HistoryLost`` comes first and the present
        result follows.

        Args:
            include_initial: Begin with the present result.
            since: A token of an earlier update: go on right behind it instead.
            on_lag: When this consumer is slower than the changes: ``"coalesce"`` tells
                it the difference, once for each document; ``"raise"`` gives
                ``LaggedError``.
            heartbeats: Give a ``Heartbeat`` now and then while nothing happens.
            keeps_state: Keep what the updates add up to, for ``snapshot()``.

        Raises:
            CollectionNotFoundError: on entering, when there is no such collection; on
                reading, when it is removed.
            InvalidFilterError: on entering, when the query makes no sense for it.
        """
        asked = self._asked
        watch = watch_of(
            self._spec(), asked.debounce_s, since, include_initial=include_initial
        )
        return watcher_of(
            self._session,
            watch,
            self._result,
            asked.model,
            on_lag,
            heartbeats=heartbeats,
            keeps_state=keeps_state,
        )

    async def explain(self, *, timeout: float | None = None) -> Plan:
        """Run the query and tell how: access, rows read, time of each step."""
        session = self._session()
        request = Explain(query=self._spec(), deadline_s=_seconds(session, timeout))
        shell = session.shell
        reply = await shell.call(shell.pick_executor(), request, timeout)
        if not isinstance(reply, ExplainReply):
            raise InternalError(f"explain was answered by {type(reply).__name__}")
        return decode_plan(reply.plan)

    # -------------------------------------------------------------- writing
    async def update(
        self, patch: Mapping[str, object], *, timeout: float | None = None
    ) -> int:
        """Change every document that matches; all or none.

        Args:
            patch: New values and modifiers (``Increment(1)``) by field name.
            timeout: In seconds.

        Returns:
            The number of documents changed.

        Raises:
            ValidationError: a changed document would not fit the collection.
            UniqueViolationError: two documents would have one unique value.
        """
        return await self._change(encode_patch(patch), timeout)

    async def delete(self, *, timeout: float | None = None) -> int:
        """Remove every document that matches, all or none; returns their number."""
        return await self._change(None, timeout)

    async def _change(self, patch: bytes | None, timeout: float | None) -> int:
        session = self._session()
        spec = self._spec()
        request = ChangeDocuments(
            query=spec, patch=patch, deadline_s=_seconds(session, timeout)
        )
        shell = session.shell
        size = 512 + len(spec.predicate) + len(patch or b"")
        reply = await shell.call(shell.pick_executor(), request, timeout, size)
        if not isinstance(reply, Written):
            raise InternalError(f"a change was answered by {type(reply).__name__}")
        return reply.affected

    @staticmethod
    def _run(spec: QuerySpec, session: Session, timeout: float | None) -> RunQuery:
        return RunQuery(query=spec, deadline_s=_seconds(session, timeout))


def _seconds(session: Session, timeout: float | None) -> float:
    return session.config.request_timeout_s if timeout is None else timeout
