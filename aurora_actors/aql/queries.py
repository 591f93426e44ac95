"""The arguments of a query's or subscription's root field.

Pure. ``filter``, ``take`` and ``skip`` are other spellings of ``where``, ``limit`` and
``offset``; ``id`` is short for a filter on the id.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import Spellings, Taken, take_arguments
from aurora_actors.aql.fields import FieldSource, find_field, source_of
from aurora_actors.aql.filters import conjunction, read_where
from aurora_actors.aql.ordering import OrderTerm, read_order
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import read_count, read_text, read_value
from aurora_actors.query.predicate import Compare, Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldType

__all__ = [
    "LIVE_ARGUMENTS",
    "QUERY_ARGUMENTS",
    "SUBSCRIPTION_ARGUMENTS",
    "QueryArguments",
    "read_query_arguments",
]

_WHERE: Final = {"where": "where", "filter": "where"}
_WINDOW: Final = {
    "orderBy": "orderBy",
    "limit": "limit",
    "take": "limit",
    "offset": "offset",
    "skip": "offset",
}
QUERY_ARGUMENTS: Final[Spellings] = {
    **_WHERE,
    **_WINDOW,
    **{name: name for name in ("first", "after", "last", "before", "id", "distinct")},
}
"""Of a root field of a query."""
SUBSCRIPTION_ARGUMENTS: Final[Spellings] = {**_WHERE, "id": "id"}
"""Of a root field of a subscription."""
LIVE_ARGUMENTS: Final[Spellings] = {**SUBSCRIPTION_ARGUMENTS, **_WINDOW}
"""Of a root field of a subscription that is ``@live``."""


class QueryArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a root field, read.

    Attributes:
        predicate: ``where`` and ``id`` together; ``None`` matches everything.
        order: The keys of ``orderBy``.
        limit: How many at most.
        offset: How many to leave out first.
        first: The page's size, counted from ``after`` or the beginning.
        after: A cursor or the id of a document.
        last: The page's size, counted backwards from ``before`` or the end.
        before: A cursor or the id of a document.
        distinct: Leave out repeated results: by these fields, or by all that is
            selected when it is true.
    """

    predicate: Predicate | None = None
    order: tuple[OrderTerm, ...] = ()
    limit: int | None = None
    offset: int = 0
    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None
    distinct: bool | tuple[str, ...] = False


def read_query_arguments(
    scope: Scope,
    field: tree.Field,
    definition: CollectionDefinition,
    spellings: Spellings = QUERY_ARGUMENTS,
) -> QueryArguments:
    """The arguments of ``field``; faults are reported."""
    taken = take_arguments(scope, field, spellings)
    source = source_of(definition)
    _check_pages(scope, taken)
    order = taken.get("orderBy")
    return QueryArguments(
        predicate=conjunction(
            [_by_id(scope, taken), _where(scope, taken, source)],
        ),
        order=()
        if order is None
        else read_order(scope.below("orderBy"), order.value, source),
        limit=_count(scope, taken, "limit"),
        offset=_count(scope, taken, "offset") or 0,
        first=_count(scope, taken, "first"),
        after=_cursor(scope, taken, "after"),
        last=_count(scope, taken, "last"),
        before=_cursor(scope, taken, "before"),
        distinct=_distinct(scope, taken, source),
    )


def _check_pages(scope: Scope, taken: Taken) -> None:
    for one, other in (("first", "last"), ("first", "limit"), ("last", "limit")):
        if one in taken and other in taken:
            scope.report(
                taken[other], f"{one} and {taken[other].name} exclude each other"
            )


def _by_id(scope: Scope, taken: Taken) -> Predicate | None:
    argument = taken.get("id")
    if argument is None:
        return None
    text = read_text(scope.below("id"), argument.value)
    return None if text is UNBOUND else Compare("eq", "id", text)


def _where(scope: Scope, taken: Taken, source: FieldSource) -> Predicate | None:
    argument = taken.get("where")
    if argument is None:
        return None
    return read_where(scope.below(argument.name), argument.value, source)


def _count(scope: Scope, taken: Taken, name: str) -> int | None:
    argument = taken.get(name)
    if argument is None:
        return None
    number = read_count(scope.below(argument.name), argument.value)
    return None if number is UNBOUND else number


def _cursor(scope: Scope, taken: Taken, name: str) -> str | None:
    argument = taken.get(name)
    if argument is None:
        return None
    text = read_value(scope.below(name), argument.value, FieldType.STRING)
    return text if isinstance(text, str) else None


def _distinct(
    scope: Scope, taken: Taken, source: FieldSource
) -> bool | tuple[str, ...]:
    argument = taken.get("distinct")
    if argument is None:
        return False
    here = scope.below("distinct")
    value = argument.value
    if isinstance(value, tree.BooleanValue | tree.Variable):
        return read_value(here, value, FieldType.BOOL, nullable=False) is True
    items = value.items if isinstance(value, tree.ListValue) else (value,)
    names: list[str] = []
    for item in items:
        name = item.name if isinstance(item, tree.EnumValue) else read_text(here, item)
        if name is not UNBOUND and find_field(here, source, name, item) is not None:
            names.append(name)
    return tuple(dict.fromkeys(names))
