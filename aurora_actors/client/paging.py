"""Pages of a query's result, as the caller holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import msgspec

from aurora_actors.client.session import Session
from aurora_actors.messages.query import QuerySpec, RunQuery
from aurora_actors.query.page import PagePlan, bounded, plan_page
from aurora_actors.schema.values import Buffer

__all__ = ["Edge", "Page", "PageInfo", "bounded_spec", "run_page"]

T = TypeVar("T")

_SIZE: Final = 100


class Edge(msgspec.Struct, Generic[T], frozen=True):
    """A result, and its place.

    Attributes:
        cursor: What ``after`` and ``before`` take.
        node: The result.
    """

    cursor: str
    node: T


class PageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How a page lies in the result.

    Attributes:
        has_next_page: There are more results behind it. For a page that was asked for
            with ``last``: there is a ``before``.
        has_previous_page: There are more results before it. For a page that was asked
            for with ``first``: there is an ``after``.
        start_cursor: The cursor of its first result; ``None`` when it is empty.
        end_cursor: The cursor of its last result; ``None`` when it is empty.
    """

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a result, in its order.

    Attributes:
        edges: The results with their cursors.
        page_info: How the page lies in the result.
    """

    edges: list[Edge[T]]
    page_info: PageInfo

    @property
    def nodes(self) -> list[T]:
        """The results alone."""
        return [edge.node for edge in self.edges]

    def __iter__(self) -> Iterator[T]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.edges)


def bounded_spec(
    session: Session, spec: QuerySpec, after: str | None, before: str | None
) -> QuerySpec:
    """``spec`` for what is behind ``after`` and before ``before``."""
    return bounded(spec, _locating(session, spec.collection), after, before)


def _locating(session: Session, collection: str) -> Callable[[str], Buffer | None]:
    def locate(document_id: str) -> Buffer | None:
        return session.lookup.record(collection, document_id)

    return locate


async def run_page(
    session: Session,
    spec: QuerySpec,
    convert: Callable[[Buffer], T],
    bounds: tuple[int | None, str | None, int | None, str | None],
    timeout: float | None,
) -> Page[T]:
    """The page of ``spec`` within ``bounds``: first, after, last, before."""
    first, after, last, before = bounds
    if first is None and last is None:
        first = _SIZE

    def make() -> PagePlan:
        return plan_page(
            spec,
            _locating(session, spec.collection),
            first=first,
            after=after,
            last=last,
            before=before,
        )

    plan = await session.resolved(make)
    return _page(plan, await _records(session, plan, timeout), convert)


async def _records(
    session: Session, plan: PagePlan, timeout: float | None
) -> list[bytes]:
    if session.shell.cancel_point is not None:
        await session.shell.cancel_point()
    found = session.lookup.find(plan.predicate, plan.query, bytes)
    if found is not None:
        return found
    seconds = session.config.request_timeout_s if timeout is None else timeout
    query = RunQuery(query=plan.query, deadline_s=seconds)
    chunks = await session.shell.gather(query, timeout)
    return [record for chunk in chunks for record in chunk.records]


def _page(
    plan: PagePlan, records: list[bytes], convert: Callable[[Buffer], T]
) -> Page[T]:
    rows = plan.finish(records)
    edges = [
        Edge(cursor, convert(record))
        for cursor, record in zip(rows.cursors, rows.records, strict=True)
    ]
    info = PageInfo(
        has_next_page=rows.has_next,
        has_previous_page=rows.has_previous,
        start_cursor=rows.cursors[0] if rows.cursors else None,
        end_cursor=rows.cursors[-1] if rows.cursors else None,
    )
    return Page(edges, info)
