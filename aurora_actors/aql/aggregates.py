"""``aggregate { … }`` and ``groupBy(…) { … }``: what is to be computed, as data.

Pure. The result of a function is named by its alias, or by the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import Taken, take_arguments, word_argument
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.fields import FieldSource, find_field, source_of
from aurora_actors.aql.filters import read_where
from aurora_actors.aql.ordering import OrderTerm, read_order
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.selections import collect
from aurora_actors.aql.values import read_count, read_text
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

__all__ = [
    "FUNCTIONS",
    "AggregateTerm",
    "GroupArguments",
    "group_source",
    "read_aggregate",
    "read_group_arguments",
    "read_interval",
]

_NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.ANY})
_ORDERED: Final = frozenset(Kind) - {Kind.OBJECT, Kind.ARRAY, Kind.BYTES}
_TIMES: Final = frozenset({Kind.DATETIME, Kind.DATE, Kind.ANY})
FUNCTIONS: Final[Mapping[str, frozenset[Kind]]] = {
    "count": frozenset(Kind),
    "sum": _NUMBERS,
    "avg": _NUMBERS,
    "stddev": _NUMBERS,
    "min": _ORDERED,
    "max": _ORDERED,
    "distinct": frozenset(Kind),
}
"""Each function with the kinds of field it takes; ``count`` needs no field."""

_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,6})([smhdw])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class AggregateTerm(msgspec.Struct, frozen=True):
    """One function over one field.

    Attributes:
        name: What the result calls it.
        function: One of :data:`FUNCTIONS`.
        field: A dotted field name; ``None`` for a count of documents.
        result: The type of its result.
    """

    name: str
    function: str
    field: str | None
    result: FieldType


class GroupArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of ``groupBy``, read.

    Attributes:
        fields: The dotted names whose values make the key.
        interval_s: The width of the groups of a date-time, in seconds.
        having: Which groups to give.
        order: By ``key``, ``count`` or the name of an aggregate.
        limit: How many groups at most.
        offset: How many to leave out first.
    """

    fields: tuple[str, ...] = ()
    interval_s: int | None = None
    having: Predicate | None = None
    order: tuple[OrderTerm, ...] = ()
    limit: int | None = None
    offset: int = 0


def read_aggregate(
    scope: Scope, field: tree.Field, definition: CollectionDefinition
) -> AggregateTerm | None:
    """One function of an ``aggregate`` selection; faults are reported."""
    kinds = FUNCTIONS.get(field.name)
    if kinds is None:
        hint = (
            scope.did_you_mean(field.name, FUNCTIONS)
            or f"there are {', '.join(FUNCTIONS)}"
        )
        scope.report(field, f"there is no aggregate {shorten(field.name)}", hint)
        return None
    needed = () if field.name == "count" else ("field",)
    taken = take_arguments(scope, field, {"field": "field"}, needed)
    path = word_argument(scope, taken, "field")
    if path is None:
        counts = field.name == "count" and not taken
        return _term(field, None, FieldType.INT) if counts else None
    source = source_of(definition)
    found = find_field(scope, source, path, taken["field"])
    if found is None:
        return None
    of = found.field_type
    if of.kind not in kinds:
        scope.report(
            taken["field"],
            f"{shorten(path)} is of type {of}, which has no {field.name}",
        )
        return None
    return _term(field, path, of)


def _term(field: tree.Field, path: str | None, of: FieldType) -> AggregateTerm:
    result = of
    if field.name in {"count", "distinct"}:
        result = FieldType.INT
    elif field.name in {"avg", "stddev"}:
        result = FieldType.FLOAT
    return AggregateTerm(field.response_name, field.name, path, result)


# ------------------------------------------------------------------ groups
_GROUP: Final = {
    name: name
    for name in ("field", "fields", "interval", "having", "orderBy", "limit", "offset")
}


def read_group_arguments(
    scope: Scope, field: tree.Field, definition: CollectionDefinition
) -> GroupArguments:
    """The arguments of ``groupBy``; faults are reported."""
    taken = take_arguments(scope, field, _GROUP)
    keys = _keys(scope, field, taken, definition)
    source = group_source(_terms(scope, field, definition), keys)
    having = taken.get("having")
    order = taken.get("orderBy")
    return GroupArguments(
        fields=tuple(keys),
        interval_s=_interval(scope, taken, keys),
        having=None
        if having is None
        else read_where(scope.below("having"), having.value, source),
        order=()
        if order is None
        else read_order(scope.below("orderBy"), order.value, source),
        limit=_count(scope, taken, "limit"),
        offset=_count(scope, taken, "offset") or 0,
    )


def group_source(
    terms: Iterable[AggregateTerm], keys: Mapping[str, FieldDefinition]
) -> FieldSource:
    """What ``having`` and ``orderBy`` of a group can name."""
    fields = {term.name: FieldDefinition(term.result) for term in terms}
    fields["count"] = FieldDefinition(FieldType.INT, nullable=False)
    if len(keys) == 1:
        fields["key"] = next(iter(keys.values()))
    elif all("." not in name for name in keys):
        fields["keys"] = FieldDefinition(FieldType.object(keys))
    return FieldSource("a group", fields)


def _keys(
    scope: Scope, field: tree.Field, taken: Taken, definition: CollectionDefinition
) -> dict[str, FieldDefinition]:
    if ("field" in taken) == ("fields" in taken):
        scope.report(field, "groupBy needs either field or fields")
        return {}
    source = source_of(definition)
    if "field" in taken:
        name = word_argument(scope, taken, "field")
        found = (
            None if name is None else find_field(scope, source, name, taken["field"])
        )
        return {} if name is None or found is None else {name: found}
    here, value = scope.below("fields"), taken["fields"].value
    if not isinstance(value, tree.ListValue) or not value.items:
        here.report(value, "fields is a list of field names", 'write ["a", "b"]')
        return {}
    keys: dict[str, FieldDefinition] = {}
    for item in value.items:
        part = item.name if isinstance(item, tree.EnumValue) else read_text(here, item)
        key = None if part is UNBOUND else find_field(here, source, part, item)
        if key is not None and part is not UNBOUND:
            keys[part] = key
    return keys


def _terms(
    scope: Scope, field: tree.Field, definition: CollectionDefinition
) -> list[AggregateTerm]:
    """The aggregates among what a group selects; faults are told elsewhere."""
    if field.selection is None:
        return []
    before = len(scope.session.problems)
    found: list[AggregateTerm] = []
    for group in collect(scope, [field.selection]).fields.values():
        for part in group:
            if part.name == "aggregate" and part.selection is not None:
                inner = collect(scope, [part.selection]).fields.values()
                terms = [read_aggregate(scope, each[0], definition) for each in inner]
                found.extend(term for term in terms if term is not None)
    del scope.session.problems[before:]
    return found


def _interval(
    scope: Scope, taken: Taken, keys: Mapping[str, FieldDefinition]
) -> int | None:
    argument = taken.get("interval")
    if argument is None:
        return None
    here = scope.below("interval")
    if "fields" in taken:
        here.report(argument, "interval goes with a single field")
    for name, key in keys.items():
        if key.field_type.kind not in _TIMES:
            here.report(
                argument,
                f"{shorten(name)} is of type {key.field_type}; intervals are for "
                "DateTime and Date",
            )
    return read_interval(here, argument.value)


def read_interval(scope: Scope, value: tree.Value) -> int | None:
    """A span of time such as ``"15m"``, in seconds."""
    text = read_text(scope, value)
    if text is UNBOUND:
        return None
    match = _INTERVAL.match(text)
    if match is None:
        hint = 'write a number and s, m, h, d or w, such as "15m"'
        scope.report(value, f"{shorten(text)} is no interval", hint)
        return None
    return int(match[1]) * _SECONDS[match[2]]


def _count(scope: Scope, taken: Taken, name: str) -> int | None:
    argument = taken.get(name)
    if argument is None:
        return None
    number = read_count(scope.below(name), argument.value)
    return None if number is UNBOUND else number
