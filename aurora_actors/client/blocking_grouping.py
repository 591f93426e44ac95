"""Grouped queries for threads: the methods of :class:`aurora_actors.GroupedQuery`."""

from __future__ import annotations

from typing import TypeVar

from aurora_actors.client.aggregating import Aggregate, Group
from aurora_actors.client.driving import run_now
from aurora_actors.client.grouping import GroupedBuilder, GroupedQuery
from aurora_actors.query.plan import Plan

__all__ = ["BlockingGroupedQuery"]

T = TypeVar("T")


class BlockingGroupedQuery(GroupedBuilder[T]):
    """The documents of a query in groups; see :class:`aurora_actors.GroupedQuery`."""

    __slots__ = ()

    def _asynchronous(self) -> GroupedQuery[T]:
        return GroupedQuery(self._session, self._grouped)

    def aggregate(
        self, *, timeout: float | None = None, **results: Aggregate
    ) -> list[Group[T]]:
        """Make the groups and compute ``results`` of each."""
        return run_now(self._asynchronous().aggregate(timeout=timeout, **results))

    def explain(self, *, timeout: float | None = None, **results: Aggregate) -> Plan:
        """Do what :meth:`aggregate` does and tell how; the plan's rows are groups."""
        return run_now(self._asynchronous().explain(timeout=timeout, **results))
