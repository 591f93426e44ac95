"""Queries for threads: the same methods as :class:`aurora_actors.Query`, without await.

A blocking method drives the coroutine of the same name, whose waits block here.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    Iterable,
    Iterator,
    Mapping,
)
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from aurora_actors.client.aggregating import Aggregate, Computed
from aurora_actors.client.blocking_grouping import BlockingGroupedQuery
from aurora_actors.client.blocking_watch import BlockingWatcher
from aurora_actors.client.builder import QueryBuilder
from aurora_actors.client.document import Document
from aurora_actors.client.driving import run_now
from aurora_actors.client.grouping import Intervals
from aurora_actors.client.paging import Page
from aurora_actors.client.query import Query
from aurora_actors.client.stream import DocumentStream
from aurora_actors.client.watch import OnLag
from aurora_actors.errors import UsageError
from aurora_actors.query.plan import Plan

__all__ = ["BlockingQuery", "BlockingStream", "refuse_asynchronous", "run_now"]

T = TypeVar("T")


def refuse_asynchronous(documents: Iterable[object]) -> None:
    """Refuse what only an event loop can iterate over.

    Raises:
        UsageError: ``documents`` is such.
    """
    if isinstance(documents, AsyncIterable):
        raise UsageError("an asynchronous iterable needs an event loop")


class BlockingStream(Iterator[T], Generic[T]):
    """The results of a query, in order, a bounded number of them in memory."""

    def __init__(self, stream: DocumentStream[T]) -> None:
        self._stream = stream

    def __next__(self) -> T:
        try:
            return run_now(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Give up what was not read; closing again does nothing."""
        run_now(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class BlockingQuery(QueryBuilder[T]):
    """A query on one collection; see :class:`aurora_actors.Query`."""

    __slots__ = ()

    def _asynchronous(self) -> Query[T]:
        return Query(self._session, self._asked)

    def select(self, *fields: str) -> BlockingQuery[Document]:
        """Give documents with only these fields; dotted names keep their nesting."""
        return cast("BlockingQuery[Document]", self._selecting(fields))

    def collect(self, *, timeout: float | None = None) -> list[T]:
        """Run the query and give all results."""
        return self._collected(None, timeout)

    def _collected(self, at_most: int | None, timeout: float | None) -> list[T]:
        session = self._session()
        # Without a loop there is nobody to make room for: no coroutine is needed.
        found = self._at_once(session, at_most)
        if found is not None:
            return found
        query = self._asynchronous()
        return run_now(query._ask(session, at_most, timeout))  # noqa: SLF001 - one of ours

    def first_one(self, *, timeout: float | None = None) -> T | None:
        """The first result, or ``None`` when there is none."""
        found = self._collected(1, timeout)
        return found[0] if found else None

    def one(self, *, timeout: float | None = None) -> T:
        """The only result; ``NotFoundError`` or ``UsageError`` unless it is one."""
        found = self._collected(2, timeout)
        return self._asynchronous()._only(found)  # noqa: SLF001 - one of ours

    def count(self, *, timeout: float | None = None) -> int:
        """How many results there are."""
        return run_now(self._asynchronous().count(timeout=timeout))

    def exists(self, *, timeout: float | None = None) -> bool:
        """Whether there is a result."""
        return run_now(self._asynchronous().exists(timeout=timeout))

    def page(
        self,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Page[T]:
        """A page of the result: the next ``first`` results behind ``after``."""
        return run_now(
            self._asynchronous().page(first, after, last, before, timeout=timeout)
        )

    def aggregate(
        self, *, timeout: float | None = None, **results: Aggregate
    ) -> dict[str, Computed]:
        """Compute of all results together, as in ``aggregate(total=Sum("amount"))``."""
        return run_now(self._asynchronous().aggregate(timeout=timeout, **results))

    def group_by(
        self, *fields: str, interval: Intervals = None
    ) -> BlockingGroupedQuery[T]:
        """The results in groups that have equal values in ``fields``."""
        return BlockingGroupedQuery(self._session, self._grouped(fields, interval))

    def distinct(self, field: str, *, timeout: float | None = None) -> list[Computed]:
        """The different values of a field, without null, in their order."""
        return run_now(self._asynchronous().distinct(field, timeout=timeout))

    def stream(self, *, timeout: float | None = None) -> BlockingStream[T]:
        """The results one by one, in constant memory."""
        return BlockingStream(self._asynchronous().stream(timeout=timeout))

    def watch(
        self,
        *,
        include_initial: bool = True,
        since: str | None = None,
        on_lag: OnLag = "coalesce",
        heartbeats: bool = False,
        keeps_state: bool = True,
    ) -> BlockingWatcher[T]:
        """The result and its changes: ``with query.watch() as updates``."""
        return BlockingWatcher(
            self._asynchronous().watch(
                include_initial=include_initial,
                since=since,
                on_lag=on_lag,
                heartbeats=heartbeats,
                keeps_state=keeps_state,
            )
        )

    def explain(self, *, timeout: float | None = None) -> Plan:
        """Run the query and tell how: access, rows read, time of each step."""
        return run_now(self._asynchronous().explain(timeout=timeout))

    def update(
        self, patch: Mapping[str, object], *, timeout: float | None = None
    ) -> int:
        """Change every document that matches, all or none; returns their number."""
        return run_now(self._asynchronous().update(patch, timeout=timeout))

    def delete(self, *, timeout: float | None = None) -> int:
        """Remove every document that matches, all or none; returns their number."""
        return run_now(self._asynchronous().delete(timeout=timeout))
