"""``orderBy`` in each of its forms, as a list of order terms.

Pure. Forms: ``"field"`` or a bare word; ``{field: DESC, other: ASC}``, in the order
written; ``{field: "f", direction: DESC}``; a list of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.fields import FieldSource, find_field
from aurora_actors.aql.literals import describe_value
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import object_entries, read_text, read_word
from aurora_actors.schema.types import FieldType

__all__ = ["DIRECTIONS", "OrderTerm", "read_order"]


class OrderTerm(msgspec.Struct, frozen=True):
    """One key of an ordering.

    Attributes:
        field: A dotted field name.
        ascending: Small values first.
        nulls_first: Where missing and null stand. In the order of all values null is
            the smallest, so this is ``ascending`` unless the text says otherwise.
    """

    field: str
    ascending: bool = True
    nulls_first: bool = True


DIRECTIONS: Final[dict[str, tuple[bool, bool]]] = {
    "ASC": (True, True),
    "DESC": (False, False),
    "ASC_NULLS_LAST": (True, False),
    "DESC_NULLS_FIRST": (False, True),
}
"""Each direction as (ascending, nulls first)."""


def read_order(
    scope: Scope, value: tree.Value, source: FieldSource
) -> tuple[OrderTerm, ...]:
    """The order terms; a field that stands twice counts where it stands first."""
    resolved = scope.resolve(value, FieldType.ANY)
    if resolved is UNBOUND or isinstance(resolved, tree.NullValue):
        return ()
    found: dict[str, OrderTerm] = {}
    items = resolved.items if isinstance(resolved, tree.ListValue) else (resolved,)
    for item in items:
        for term in _terms(scope, item, source):
            found.setdefault(term.field, term)
    return tuple(found.values())


def _terms(scope: Scope, value: tree.Value, source: FieldSource) -> Iterator[OrderTerm]:
    resolved = scope.resolve(value, FieldType.ANY)
    match resolved:
        case tree.StringValue(text) | tree.EnumValue(text):
            yield from _term(scope, source, text, None, resolved)
        case tree.ObjectValue():
            entries = object_entries(scope, resolved)
            if _is_spelt_out(entries):
                yield from _spelt_out(scope, source, entries, resolved)
                return
            for name, entry in entries.items():
                yield from _term(scope, source, name, entry.value, entry)
        case tree.Node():
            scope.report(
                resolved,
                f"cannot order by {describe_value(resolved)}",
                "write {field: ASC} or {field: DESC}",
            )


def _is_spelt_out(entries: dict[str, tree.ObjectEntry]) -> bool:
    """Whether this is ``{field: "f", direction: DESC}``, not a field called field."""
    if "field" not in entries or not entries.keys() <= {"field", "direction"}:
        return False
    value = entries["field"].value
    if isinstance(value, tree.StringValue):
        return value.value.upper() not in DIRECTIONS
    return isinstance(value, tree.Variable) or "direction" in entries


def _spelt_out(
    scope: Scope,
    source: FieldSource,
    entries: dict[str, tree.ObjectEntry],
    node: tree.Node,
) -> Iterator[OrderTerm]:
    field = entries["field"].value
    name = field.name if isinstance(field, tree.EnumValue) else read_text(scope, field)
    direction = entries.get("direction")
    value = None if direction is None else direction.value
    if name is UNBOUND:
        _direction(scope, value)
        return
    yield from _term(scope, source, name, value, node)


def _term(
    scope: Scope,
    source: FieldSource,
    name: str,
    direction: tree.Value | None,
    node: tree.Node,
) -> Iterator[OrderTerm]:
    here = scope.below(name)
    field = find_field(here, source, name, node)
    ways = _direction(here, direction)
    if field is not None and ways is not None:
        yield OrderTerm(name, *ways)


def _direction(scope: Scope, value: tree.Value | None) -> tuple[bool, bool] | None:
    if value is None:
        return DIRECTIONS["ASC"]
    word = read_word(scope, value)
    if word is UNBOUND:
        return None
    ways = DIRECTIONS.get(word.upper())
    if ways is None:
        hint = scope.did_you_mean(word, DIRECTIONS) or f"write {', '.join(DIRECTIONS)}"
        scope.report(value, f"{shorten(word)} is no direction", hint)
    return ways
