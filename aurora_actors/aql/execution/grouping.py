"""``aggregate`` and ``groupBy`` as the query engine takes them.

Pure. The engine's names for results are made up here (``_0``, ``_1`` …), because two
parts of a group may give one name to different things; what ``having`` and ``orderBy``
say is put into these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.aggregates import (
    AggregateTerm,
    read_aggregate,
    read_group_arguments,
)
from aurora_actors.aql.arguments import take_arguments
from aurora_actors.aql.execution.plans import AggregateWish, GroupWish
from aurora_actors.aql.execution.selecting import Selected, select_documents
from aurora_actors.aql.fields import source_of
from aurora_actors.aql.ordering import OrderTerm, read_order
from aurora_actors.aql.scope import Scope
from aurora_actors.aql.selections import collect, merged_selections
from aurora_actors.aql.values import read_count
from aurora_actors.messages.query import (
    AggregateFunction,
    AggregateSpec,
    GroupKey,
    GroupSpec,
    OrderKey,
    QuerySpec,
)
from aurora_actors.query.predicate import (
    And,
    Compare,
    Not,
    Or,
    Predicate,
    encode_predicate,
)
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["MOST_NODES", "aggregate_spec", "read_aggregates", "read_group"]

MOST_NODES = 10_000
"""How many documents of a group can be given."""
_FUNCTIONS: Mapping[str, AggregateFunction] = {
    **{each.value: each for each in AggregateFunction},
    "distinct": AggregateFunction.COUNT_DISTINCT,
}


def read_aggregates(
    scope: Scope,
    name: str,
    sets: Iterable[tree.SelectionSet],
    definition: CollectionDefinition,
) -> AggregateWish:
    """One ``aggregate { … }``."""
    terms = [
        read_aggregate(scope, same[0], definition)
        for same in collect(scope, sets).fields.values()
    ]
    return AggregateWish(name, tuple(term for term in terms if term is not None))


def aggregate_spec(name: str, term: AggregateTerm) -> AggregateSpec:
    """A function as the engine takes it."""
    return AggregateSpec(name, _FUNCTIONS[term.function], term.field)


class _Results:
    """What is computed of each group; the first is the number of its documents."""

    def __init__(self) -> None:
        self.specs = [AggregateSpec("_0", AggregateFunction.COUNT)]
        self.names = {"count": "_0"}

    def place(self, term: AggregateTerm) -> int:
        """The place of a function's result."""
        wanted = aggregate_spec("", term)
        known = [(spec.function, spec.field) for spec in self.specs]
        what = (wanted.function, wanted.field)
        if what not in known:
            name = f"_{len(known)}"
            self.specs.append(msgspec.structs.replace(wanted, name=name))
            known.append(what)
        number = known.index(what)
        if term.name != "count":
            self.names[term.name] = f"_{number}"
        return number


def read_group(
    scope: Scope,
    fields: list[tree.Field],
    definition: CollectionDefinition,
    query: QuerySpec,
) -> GroupWish:
    """One ``groupBy``; ``query`` finds the documents."""
    field = fields[0]
    arguments = read_group_arguments(scope, field, definition)
    results = _Results()
    parts: list[tuple[str, str]] = []
    key_shapes: dict[str, tuple[tuple[str, str], ...]] = {}
    aggregates: dict[str, tuple[tuple[str, int], ...]] = {}
    nodes: dict[str, Selected] = {}
    window: tuple[list[OrderKey] | None, int | None, int] = (None, None, 0)
    for name, same in collect(scope, merged_selections(fields)).fields.items():
        kind = same[0].name
        parts.append((name, kind))
        inner = merged_selections(same)
        if kind == "aggregate":
            wish = read_aggregates(scope, name, inner, definition)
            aggregates[name] = tuple(
                (term.name, results.place(term)) for term in wish.terms
            )
        elif kind == "nodes":
            nodes[name] = select_documents(scope.below(name), inner, definition)
            found = _window(scope.below(name), same[0], definition)
            if len(nodes) > 1 and found != window:
                scope.report(same[0], "the nodes of a group have one order and limit")
            window = found
        elif kind == "keys":
            shown = collect(scope, inner).fields.items() if inner else ()
            key_shapes[name] = tuple((part, each[0].name) for part, each in shown)
    order, most, offset = window
    whole = bool(nodes) and most is None
    wanted = MOST_NODES if most is None else most + offset
    having = arguments.having
    spec = GroupSpec(
        keys=[GroupKey(name, arguments.interval_s) for name in arguments.fields],
        aggregates=results.specs,
        having=b""
        if having is None
        else encode_predicate(_renamed(having, results.names)),
        order=_order(arguments.order, results.names),
        limit=arguments.limit,
        offset=arguments.offset,
        nodes=wanted if nodes else 0,
    )
    if order is not None:
        query = msgspec.structs.replace(query, order=order)
    return GroupWish(
        name=field.response_name,
        query=query,
        spec=spec,
        parts=(*parts,),
        keys=arguments.fields,
        key_shapes=key_shapes,
        aggregates=aggregates,
        nodes=nodes,
        nodes_offset=offset,
        nodes_whole=whole,
    )


def _window(
    scope: Scope, field: tree.Field, definition: CollectionDefinition
) -> tuple[list[OrderKey] | None, int | None, int]:
    """The arguments of ``nodes``: order, limit and offset."""
    taken = take_arguments(
        scope, field, {name: name for name in ("limit", "offset", "orderBy")}
    )
    order = None
    if "orderBy" in taken:
        terms = read_order(
            scope.below("orderBy"), taken["orderBy"].value, source_of(definition)
        )
        order = [OrderKey(term.field, term.ascending) for term in terms]
    numbers = [
        read_count(scope.below(name), taken[name].value) if name in taken else None
        for name in ("limit", "offset")
    ]
    limit, offset = (number if isinstance(number, int) else None for number in numbers)
    return order, limit, offset or 0


def _order(terms: tuple[OrderTerm, ...], names: Mapping[str, str]) -> list[OrderKey]:
    return [
        OrderKey(names.get(term.field, term.field), term.ascending) for term in terms
    ]


def _renamed(predicate: Predicate, names: Mapping[str, str]) -> Predicate:
    match predicate:
        case And(parts):
            return And([_renamed(part, names) for part in parts])
        case Or(parts):
            return Or([_renamed(part, names) for part in parts])
        case Not(part):
            return Not(_renamed(part, names))
        case Compare(op, field, value):
            return Compare(op, names.get(field, field), value)
