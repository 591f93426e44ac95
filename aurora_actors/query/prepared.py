"""Queries that are asked again: what has been found out about one is kept.

Decoding a query and checking it against its collection take as long as scanning some
ten thousand values of a column, and more when their code is in no cache. Neither depends
on the data. Pure; used in executors.

Invariant: what is kept is used only with the very definition that it was checked against.
"""

from __future__ import annotations

from aurora_actors.messages.query import GroupSpec, QuerySpec, ResultMode
from aurora_actors.query.aggregate import Aggregation, run_aggregate, run_count
from aurora_actors.query.aggregate_terms import Terms
from aurora_actors.query.choose import Aids
from aurora_actors.query.execute import Execution, run_query
from aurora_actors.query.predicate import Predicate, decode_predicate
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.storage.reader import Snapshot

__all__ = ["Prepared"]


class Prepared:
    """A query that may be run several times, over one snapshot after the other.

    Args:
        spec: The query.
        group: What is computed of its results, if they are not wanted themselves.
    """

    __slots__ = ("_checked", "_group", "_predicate", "_spec", "_terms")

    def __init__(self, spec: QuerySpec, group: GroupSpec | None = None) -> None:
        self._spec = spec
        self._group = group
        self._predicate: Predicate | None = None
        self._checked: CollectionDefinition | None = None
        self._terms: Terms | None = None

    def begin(self, snapshot: Snapshot, aids: Aids) -> Execution | Aggregation:
        """Check and plan it; nothing is read yet.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidFilterError: the query does not make sense for the collection.
        """
        if self._predicate is None and self._spec.predicate:
            self._predicate = decode_predicate(self._spec.predicate)
        begun = self._begin(snapshot, aids)
        self._checked = begun.definition
        if isinstance(begun, Aggregation):
            self._terms = begun.terms
        return begun

    def _begin(self, snapshot: Snapshot, aids: Aids) -> Execution | Aggregation:
        spec, predicate, checked = self._spec, self._predicate, self._checked
        if self._group is not None:
            return run_aggregate(
                snapshot,
                spec,
                self._group,
                aids=aids,
                predicate=predicate,
                checked=checked,
                terms=self._terms,
            )
        run = run_count if spec.mode is ResultMode.COUNT else run_query
        return run(snapshot, spec, aids=aids, predicate=predicate, checked=checked)
