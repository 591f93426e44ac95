"""Grouped queries: how an application says what groups it wants.

Like queries, grouped queries are values; each method that refines one gives a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, Self, TypeAlias, TypeVar, cast

import msgspec

from aurora_actors.client.aggregating import Aggregate, Group, aggregate_specs
from aurora_actors.client.document import converted
from aurora_actors.client.session import Session
from aurora_actors.errors import InternalError, InvalidFilterError
from aurora_actors.messages.query import (
    Explain,
    ExplainReply,
    GroupKey,
    GroupSpec,
    OrderKey,
    QuerySpec,
    RunQuery,
)
from aurora_actors.query.aggregate_intervals import interval_seconds
from aurora_actors.query.filters import Filter, FilterBuilder
from aurora_actors.query.group_codec import GroupRow, decode_group
from aurora_actors.query.plan import Plan, decode_plan
from aurora_actors.query.predicate import And, Compare, Predicate, encode_predicate
from aurora_actors.schema.values import Buffer

__all__ = ["Grouped", "GroupedBuilder", "GroupedQuery", "Intervals", "group_keys"]

T = TypeVar("T")

Intervals: TypeAlias = str | Mapping[str, str] | None
_BUILDER: Final = FilterBuilder()


class Grouped(msgspec.Struct, frozen=True, kw_only=True):
    """The query for the documents, and all that has been said about groups."""

    query: QuerySpec
    result: Callable[[Buffer], object]
    keys: tuple[GroupKey, ...] = ()
    having: Predicate | None = None
    order: tuple[OrderKey, ...] = ()
    limit: int | None = None
    offset: int = 0
    nodes: int = 0


def group_keys(fields: tuple[str, ...], interval: Intervals) -> tuple[GroupKey, ...]:
    """The keys that ``group_by`` was given.

    Raises:
        InvalidFilterError: they make no sense.
    """
    if not fields:
        raise InvalidFilterError("group_by needs at least one field name")
    for name in fields:
        if not isinstance(name, str) or not name:
            raise InvalidFilterError(f"a field name is needed, not {name!r}")
    spans: dict[str, str] = {}
    if isinstance(interval, str):
        spans[fields[-1]] = interval
    elif interval is not None:
        spans.update(interval)
    for name in spans:
        if name not in fields:
            raise InvalidFilterError(f"interval: groups are not made by {name!r}")
    return tuple(
        GroupKey(name, interval_seconds(spans[name]) if name in spans else None)
        for name in fields
    )


class GroupedBuilder(Generic[T]):
    """The refining half of a grouped query; ``T`` is what its nodes are."""

    __slots__ = ("_grouped", "_session")

    def __init__(self, session: Callable[[], Session], grouped: Grouped) -> None:
        self._session = session
        self._grouped = grouped

    def _with(self, **changes: object) -> Self:
        grouped = msgspec.structs.replace(self._grouped, **changes)
        return type(self)(self._session, grouped)

    def having(self, condition: Filter | Callable[[FilterBuilder], Filter]) -> Self:
        """Keep the groups that meet ``condition``, which names keys and results.

        Args:
            condition: ``field("n") > 25``, or ``lambda f: f.gt("n", 25)``.

        Raises:
            InvalidFilterError: it is neither.
        """
        found = condition(_BUILDER) if callable(condition) else condition
        if not isinstance(found, Filter):
            raise InvalidFilterError(
                f"having needs a filter, not {type(found).__name__}; "
                'for example field("n") > 25 or lambda f: f.gt("n", 25)'
            )
        before = self._grouped.having
        both = found.predicate if before is None else And([before, found.predicate])
        return self._with(having=both)

    def order_by(self, name: str, ascending: bool = True) -> Self:
        """Sort by a key or a result, after the ones given before; then by the keys."""
        key = OrderKey(name, bool(ascending))
        return self._with(order=(*self._grouped.order, key))

    def limit(self, count: int) -> Self:
        """Give at most ``count`` groups."""
        return self._with(limit=_number("limit", count))

    def offset(self, count: int) -> Self:
        """Leave out the first ``count`` groups."""
        return self._with(offset=_number("offset", count))

    def nodes(self, count: int) -> Self:
        """Give with each group its first ``count`` documents, in the query's order."""
        return self._with(nodes=_number("nodes", count))

    # -------------------------------------------------------------- as data
    def _group_spec(self, results: Mapping[str, Aggregate]) -> GroupSpec:
        grouped = self._grouped
        return GroupSpec(
            keys=list(grouped.keys),
            aggregates=aggregate_specs(results),
            having=b"" if grouped.having is None else encode_predicate(grouped.having),
            order=list(grouped.order),
            limit=grouped.limit,
            offset=grouped.offset,
            nodes=grouped.nodes,
        )

    def __repr__(self) -> str:
        names = ", ".join(key.field for key in self._grouped.keys)
        return f"<{type(self).__name__} on {self._grouped.query.collection} by {names}>"


class GroupedQuery(GroupedBuilder[T]):
    """The documents of a query in groups; ``T`` is what its nodes are.

    Every method that runs it takes ``timeout``, in seconds.
    """

    __slots__ = ()

    async def aggregate(
        self, *, timeout: float | None = None, **results: Aggregate
    ) -> list[Group[T]]:
        """Make the groups and compute ``results`` of each.

        Groups come by key, null first, unless :meth:`order_by` says otherwise.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidFilterError: this makes no sense for its fields.
            LimitExceededError: there are too many groups for the memory of a query, or
                a result is larger than any Float.
            TimeoutError_: it took longer than ``timeout``.
        """
        spec = self._group_spec(results)
        rows = await run_groups(self._session(), self._grouped.query, spec, timeout)
        names = [key.field for key in self._grouped.keys]
        make = cast("Callable[[Buffer], T]", self._grouped.result)

        def group(row: GroupRow) -> Group[T]:
            keys, computed, nodes = row
            return Group(
                dict(zip(names, keys, strict=True)),
                dict(zip(results, computed, strict=True)),
                [make(node) for node in nodes] if nodes else [],
            )

        return converted(group, rows)

    async def explain(
        self, *, timeout: float | None = None, **results: Aggregate
    ) -> Plan:
        """Do what :meth:`aggregate` does and tell how; the plan's rows are groups."""
        session = self._session()
        shell = session.shell
        request = Explain(
            query=self._grouped.query,
            group=self._group_spec(results),
            deadline_s=_seconds(session, timeout),
        )
        reply = await shell.call(shell.pick_executor(), request, timeout)
        if not isinstance(reply, ExplainReply):
            raise InternalError(f"explain was answered by {type(reply).__name__}")
        return decode_plan(reply.plan)


async def run_groups(
    session: Session, query: QuerySpec, group: GroupSpec, timeout: float | None
) -> list[GroupRow]:
    """Have groups made by an executor, or inside a transaction by its view."""
    shell = session.shell
    if shell.cancel_point is not None:
        await shell.cancel_point()
    request = RunQuery(query=query, group=group, deadline_s=_seconds(session, timeout))
    rows: list[GroupRow] = []
    for chunk in await shell.gather(request, timeout):
        if rows:
            await shell.breathe()
        rows += converted(decode_group, chunk.records)
    return rows


async def run_aggregates(
    session: Session,
    query: QuerySpec,
    results: Mapping[str, Aggregate],
    timeout: float | None,
) -> dict[str, object]:
    """Compute results of all documents together."""
    if not results:
        raise InvalidFilterError("aggregate needs at least one result, as in n=Count()")
    group = GroupSpec(aggregates=aggregate_specs(results))
    (row,) = await run_groups(session, query, group, timeout)
    return dict(zip(results, row.results, strict=True))


async def run_distinct(
    session: Session, query: QuerySpec, field: str, timeout: float | None
) -> list[object]:
    """The different values of a field."""
    there = Compare("is_not_null", "key", None)
    group = GroupSpec(
        keys=list(group_keys((field,), None)), having=encode_predicate(there)
    )
    rows = await run_groups(session, query, group, timeout)
    return [row.keys[0] for row in rows]


def _number(what: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidFilterError(f"{what} must be a number from 0 on, not {value!r}")
    return value


def _seconds(session: Session, timeout: float | None) -> float:
    return session.config.request_timeout_s if timeout is None else timeout
