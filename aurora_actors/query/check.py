"""Does a query make sense for its collection? The one place that says so.

Pure functions, used wherever queries run, before anything is read. An unknown field of
a closed collection, an operator that the field's type has not, an operand of another
type: each is an :class:`~aurora_actors.errors.InvalidFilterError` that names the field
and says what would be right, instead of an empty result.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from aurora_actors.errors import InvalidFilterError
from aurora_actors.messages.query import QuerySpec
from aurora_actors.query.pattern import compile_pattern
from aurora_actors.query.predicate import (
    LIST_OPERATORS,
    NULL_OPERATORS,
    PLACE_OPERATORS,
    RANGE_OPERATORS,
    TEXT_OPERATORS,
    Compare,
    Predicate,
    terms,
)
from aurora_actors.schema.refusal import describe, kind_of
from aurora_actors.schema.types import CollectionDefinition, FieldType, Kind

__all__ = ["can_equal", "check_query", "field_type"]

_ORDERED: Final = frozenset(
    {Kind.INT, Kind.FLOAT, Kind.STRING, Kind.UUID, Kind.DATETIME, Kind.DATE, Kind.TIME}
)
_CONTAINERS: Final = frozenset({"contains_any", "contains_all"})
_MOST: Final = 2**63 - 1

# Kinds whose values compare with each other.
_LIKE: Final = {
    Kind.INT: frozenset({Kind.INT, Kind.FLOAT}),
    Kind.FLOAT: frozenset({Kind.INT, Kind.FLOAT}),
    Kind.STRING: frozenset({Kind.STRING, Kind.UUID}),
    Kind.UUID: frozenset({Kind.STRING, Kind.UUID}),
}


def check_query(
    definition: CollectionDefinition, spec: QuerySpec, predicate: Predicate | None
) -> None:
    """Check all of a query against the collection's definition.

    Raises:
        InvalidFilterError: the query does not make sense; the message names the field
            and says why.
    """
    _check_number("limit", 0 if spec.limit is None else spec.limit)
    _check_number("offset", spec.offset)
    for key in spec.order:
        field_type(definition, key.field, "order by")
    for name in spec.fields or ():
        field_type(definition, name, "select")
    if predicate is not None:
        for term in terms(predicate):
            _check_term(term, field_type(definition, term.field, "filter on"))


def _check_number(what: str, number: int) -> None:
    if not 0 <= number <= _MOST:
        raise InvalidFilterError(f"{what} must be a number from 0 on, not {number}")


# ------------------------------------------------------------------ fields
def field_type(
    definition: CollectionDefinition, path: str, purpose: str = "use"
) -> FieldType:
    """The declared type at a dotted path; ``ANY`` where nothing is declared.

    Raises:
        InvalidFilterError: there can be no such field.
    """
    first, *rest = names = path.split(".")
    if "" in names:
        raise InvalidFilterError(f"cannot {purpose} {path!r}: it is no field name")
    if first == "id":
        if rest:
            raise _no_fields(definition, path, "id", "String")
        return FieldType.STRING
    declared = definition.fields.get(first)
    if declared is None:
        if definition.open:
            return FieldType.ANY
        raise _unknown(definition, path, 0, ["id", *definition.fields], purpose)
    return _nested_type(definition, path, declared.field_type, purpose)


def _nested_type(
    definition: CollectionDefinition, path: str, found: FieldType, purpose: str
) -> FieldType:
    first, *rest = path.split(".")
    parent = first
    for number, name in enumerate(rest, 1):
        if found.kind is Kind.ANY or (found.kind is Kind.OBJECT and not found.fields):
            return FieldType.ANY
        if found.fields is None:
            raise _no_fields(definition, path, parent, str(found))
        declared = found.fields.get(name)
        if declared is None:
            raise _unknown(definition, path, number, list(found.fields), purpose)
        found, parent = declared.field_type, f"{parent}.{name}"
    return found


def _unknown(
    definition: CollectionDefinition,
    path: str,
    number: int,
    names: list[str],
    purpose: str,
) -> InvalidFilterError:
    """The error for the ``number``-th name of a path, where only ``names`` are."""
    parts = path.split(".")
    name, parent = parts[number], "".join(f"{part}." for part in parts[:number])
    near = get_close_matches(name, names, n=1)
    shown = f"{parent}{name}"[:80]
    context: dict[str, str | list[str]] = {
        "collection": definition.name,
        "field": path[:80],
        "known": names[:50],
    }
    if near:
        context["suggestion"] = f"{parent}{near[0]}"
        hint = f"; did you mean {parent}{near[0]!s}?"
    else:
        hint = f"; its fields are {', '.join(names[:20])}"
    text = f"cannot {purpose} {shown!r}: {definition.name} has no such field{hint}"
    return InvalidFilterError(text, **context)


def _no_fields(
    definition: CollectionDefinition, path: str, parent: str, kind: str
) -> InvalidFilterError:
    inner = "; arrays are searched with contains" if kind.startswith("[") else ""
    return InvalidFilterError(
        f"there is no {path[:80]!r} in {definition.name}: {parent} is of type {kind}, "
        f"which has no fields{inner}",
        collection=definition.name,
        field=path[:80],
    )


# ------------------------------------------------------------------ terms
def _check_term(term: Compare, declared: FieldType) -> None:
    if term.op == "matches":
        compile_pattern(str(term.value))
    if not _has_operator(declared.kind, term.op):
        raise InvalidFilterError(
            f"{term.field} is of type {declared}, which has no operator {term.op}"
            f"{_alternative(declared.kind, term.op)}",
            field=term.field,
            operator=term.op,
        )
    if term.op in RANGE_OPERATORS:
        _check_range(term, declared)
    elif term.op not in NULL_OPERATORS | TEXT_OPERATORS | {"size"}:
        _check_operands(term, declared)


def _has_operator(kind: Kind, op: str) -> bool:
    if kind is Kind.ANY or op in PLACE_OPERATORS:
        return True
    if op in RANGE_OPERATORS:
        return kind in _ORDERED
    if op in TEXT_OPERATORS:
        return kind is Kind.STRING
    if op in _CONTAINERS or op == "size":
        return kind is Kind.ARRAY
    return op != "contains" or kind in (Kind.STRING, Kind.ARRAY)


def _alternative(kind: Kind, op: str) -> str:
    if kind is Kind.STRING and op in _CONTAINERS:
        return "; for part of a text use contains"
    if kind is Kind.ARRAY and op in TEXT_OPERATORS:
        return "; for an element use contains"
    if op == "contains":
        return "; use eq, or in for several values"
    return ""


def _check_range(term: Compare, declared: FieldType) -> None:
    bounds = list(_sequence(term.value)) if term.op == "between" else [term.value]
    kinds = [kind_of(bound) for bound in bounds]
    for bound, kind in zip(bounds, kinds, strict=True):
        if kind not in _ORDERED:
            raise _wrong_operand(term, "a number, a text, or a date or time", bound)
        if declared.kind is not Kind.ANY and kind not in _like(declared.kind):
            raise _wrong_operand(term, str(declared), bound)
    if term.op == "between" and kinds[1] not in _like(kinds[0]):
        raise _wrong_operand(term, "two values of one kind", bounds)


def _check_operands(term: Compare, declared: FieldType) -> None:
    """Equality, membership and containment: each operand is of the type, or null."""
    single = term.op not in LIST_OPERATORS
    operands = [term.value] if single else list(_sequence(term.value))
    expected = declared
    if declared.kind is Kind.ARRAY and term.op in ("contains", *_CONTAINERS):
        expected = declared.of or FieldType.ANY
    for operand in operands:
        if term.op == "contains" and declared.kind is Kind.STRING:
            if not isinstance(operand, str):
                raise _wrong_operand(term, "String", operand)
        elif not can_equal(operand, expected):
            raise _wrong_operand(term, str(expected), operand)


def _sequence(value: object) -> Iterable[object]:
    return value if isinstance(value, (list, tuple)) else ()


def can_equal(value: object, declared: FieldType) -> bool:
    """Whether a value of the declared type could equal ``value``."""
    if value is None or declared.kind is Kind.ANY:
        return True
    if kind_of(value) not in _like(declared.kind):
        return False
    if isinstance(value, (list, tuple)) and declared.of is not None:
        return all(can_equal(item, declared.of) for item in value)
    return True


def _like(kind: Kind | None) -> frozenset[Kind]:
    if kind is None:
        return frozenset()
    return _LIKE.get(kind, frozenset({kind}))


def _wrong_operand(term: Compare, expected: str, operand: object) -> InvalidFilterError:
    return InvalidFilterError(
        f"{term.op} on field {term.field!r} needs {expected}, not {describe(operand)}",
        field=term.field,
        operator=term.op,
    )
