"""``where`` objects as predicates.

Pure. ``{field: {op: value, …}, "a.b": {…}, and: […], or: […], not: {…}}``: several
entries mean AND, ``{}`` matches everything, ``{field: value}`` is short for ``eq``.

What has no comparison of its own becomes one that has:

* ``isNull: false`` is ``isNotNull: true``, and the other way round;
* ``isEmpty: true`` equals the empty array; ``isEmpty: false`` is "not null and not
  empty", so that null is neither;
* ``containsIgnoreCase`` is ``matches`` with the text quoted and ``(?i)`` before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.fields import FieldSource, find_field, source_of
from aurora_actors.aql.literals import describe_value
from aurora_actors.aql.operators import OPERATORS, Operator, Takes, operators_for
from aurora_actors.aql.scope import UNBOUND, Scope, Session, Unbound
from aurora_actors.aql.sizes import read_size
from aurora_actors.aql.values import object_entries, read_boolean, read_text, read_value
from aurora_actors.errors import InvalidFilterError
from aurora_actors.query.pattern import compile_pattern
from aurora_actors.query.predicate import MAX_DEPTH, And, Compare, Not, Or, Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldDefinition, FieldType

__all__ = ["build_filter", "conjunction", "read_filter", "read_where"]

_SPECIAL: Final = re.compile(r"[^\w]", re.ASCII)


def build_filter(
    where: tree.Value,
    definition: CollectionDefinition,
    variables: Mapping[str, tree.Value] | None = None,
) -> Predicate | None:
    """The predicate of a ``where`` value on its own; ``None`` when it matches all.

    Raises:
        QueryValidationError: it does not fit the collection, or a variable is missing.
    """
    session = Session("", {definition.name: definition}, {}, variables or {})
    predicate = read_where(Scope(session), where, source_of(definition))
    session.finish()
    return predicate


def read_where(
    scope: Scope, value: tree.Value, source: FieldSource
) -> Predicate | None:
    """A whole filter, its depth checked; ``None`` when it matches everything."""
    predicate = read_filter(scope, value, source)
    if predicate is not None and _depth(predicate) > MAX_DEPTH:
        scope.report(value, f"and, or and not are more than {MAX_DEPTH} levels deep")
        return None
    return predicate


def _depth(predicate: Predicate) -> int:
    match predicate:
        case And(parts) | Or(parts):
            return 1 + max((_depth(part) for part in parts), default=0)
        case Not(part):
            return 1 + _depth(part)
        case Compare():
            return 0


def read_filter(
    scope: Scope, value: tree.Value, source: FieldSource
) -> Predicate | None:
    """The predicate of a filter; ``None`` when it matches everything."""
    resolved = scope.resolve(value, FieldType.OBJECT)
    if resolved is UNBOUND or isinstance(resolved, tree.NullValue):
        return None
    if not isinstance(resolved, tree.ObjectValue):
        scope.report(
            value,
            f"a filter is an object, got {describe_value(resolved)}",
            "write {field: {eq: value}}",
        )
        return None
    parts: list[Predicate | None] = []
    for key, entry in object_entries(scope, resolved).items():
        here = scope.below(key)
        combine = _COMBINE.get(key)
        if combine is not None:
            parts.append(combine(here, entry.value, source))
            continue
        field = find_field(here, source, key, entry)
        if field is not None:
            parts.append(_field(here, key, field, entry.value))
    return conjunction(parts)


def conjunction(parts: list[Predicate | None]) -> Predicate | None:
    """All of ``parts``; ``None`` is a part that matches everything."""
    real = [part for part in parts if part is not None]
    if len(real) < 2:
        return real[0] if real else None
    return And(real)


# ------------------------------------------------------------------ combinators
def _filters(
    scope: Scope, value: tree.Value, source: FieldSource
) -> list[Predicate | None]:
    resolved = scope.resolve(value, FieldType.array(FieldType.OBJECT))
    if isinstance(resolved, tree.ListValue):
        return [
            read_filter(scope.item(index), item, source)
            for index, item in enumerate(resolved.items)
        ]
    if resolved is UNBOUND:
        return [None]
    return [read_filter(scope, resolved, source)]


def _and(scope: Scope, value: tree.Value, source: FieldSource) -> Predicate | None:
    return conjunction(_filters(scope, value, source))


def _or(scope: Scope, value: tree.Value, source: FieldSource) -> Predicate | None:
    parts = _filters(scope, value, source)
    real = [part for part in parts if part is not None]
    if len(real) < len(parts):
        return None
    return real[0] if len(real) == 1 else Or(real)


def _not(scope: Scope, value: tree.Value, source: FieldSource) -> Predicate | None:
    part = read_filter(scope, value, source)
    return Or([]) if part is None else Not(part)


_COMBINE: Final[
    dict[str, Callable[[Scope, tree.Value, FieldSource], Predicate | None]]
] = {"and": _and, "or": _or, "not": _not}


# ------------------------------------------------------------------ one field
def _field(
    scope: Scope, path: str, field: FieldDefinition, value: tree.Value
) -> Predicate | None:
    if not isinstance(value, tree.Variable):
        resolved: tree.Value | Literal[Unbound.UNBOUND] = value
    else:
        resolved = scope.resolve(value, field.field_type)
    if not isinstance(resolved, tree.ObjectValue):
        return _compare(scope, path, field, "eq", value)
    return conjunction(
        [
            _operation(scope.below(name), path, field, name, entry)
            for name, entry in object_entries(scope, resolved).items()
        ]
    )


def _operation(
    scope: Scope,
    path: str,
    field: FieldDefinition,
    name: str,
    entry: tree.ObjectEntry,
) -> Predicate | None:
    operator = OPERATORS.get(name)
    if operator is None:
        hint = scope.did_you_mean(name, OPERATORS)
        nested = field.field_type.fields or {}
        if name in nested:
            hint = f'for the nested field write "{path}.{name}": {{…}}'
        scope.report(entry, f"there is no operator {shorten(name)}", hint)
        return None
    if field.field_type.kind not in operator.kinds:
        scope.report(
            entry,
            f"{shorten(path)} is of type {field.field_type}, which has no operator "
            f"{name}",
            f"it has {', '.join(operators_for(field.field_type))}",
        )
        return None
    return _compare(scope, path, field, name, entry.value)


def _compare(
    scope: Scope,
    path: str,
    field: FieldDefinition,
    name: str,
    value: tree.Value,
) -> Predicate | None:
    operator = OPERATORS[name]
    match operator.takes:
        case Takes.FLAG | Takes.EMPTINESS:
            return _flag(scope, path, operator, value)
        case Takes.SIZE:
            return read_size(scope, path, value)
        case Takes.FOLDED | Takes.PATTERN:
            return _matches(scope, path, operator, value)
    operand = _operand(scope, field.field_type, operator, value)
    return None if operand is UNBOUND else Compare(operator.op, path, operand)


def _operand(  # noqa: PLR0911 - a case for each kind of operand
    scope: Scope, of: FieldType, operator: Operator, value: tree.Value
) -> object:
    match operator.takes:
        case Takes.VALUES:
            return _many(scope, value, of)
        case Takes.RANGE:
            bounds = _many(scope, value, of, nullable=False)
            if isinstance(bounds, list) and len(bounds) != 2:
                return scope.report(value, "a range has two ends", "write [low, high]")
            return bounds
        case Takes.MEMBERS:
            return _many(scope, value, of.of or FieldType.ANY)
        case Takes.MEMBER:
            # Within a text a text, in an array an element; in Any either.
            return read_value(scope, value, of.of or of)
        case Takes.TEXT:
            return read_text(scope, value)
        case _:
            return read_value(scope, value, of)


def _many(
    scope: Scope, value: tree.Value, of: FieldType, *, nullable: bool = True
) -> list[object] | Literal[Unbound.UNBOUND]:
    """A list of values; unlike in documents, null may be one of them."""
    resolved = scope.resolve(value, FieldType.array(of), nullable=False)
    if resolved is UNBOUND:
        return UNBOUND
    if not isinstance(resolved, tree.ListValue):
        got = describe_value(resolved)
        return scope.report(value, f"expected a list of {of}, got {got}", "write […]")
    return [
        read_value(scope.item(index), item, of, nullable=nullable)
        for index, item in enumerate(resolved.items)
    ]


def _flag(
    scope: Scope, path: str, operator: Operator, value: tree.Value
) -> Predicate | None:
    wanted = read_boolean(scope, value)
    if wanted is UNBOUND:
        return None
    if operator.takes is Takes.EMPTINESS:
        empty = Compare("eq", path, [])
        return empty if wanted else And([Compare("is_not_null", path), Not(empty)])
    positive = wanted is (operator.op == "is_null")
    return Compare("is_null" if positive else "is_not_null", path)


def _matches(
    scope: Scope, path: str, operator: Operator, value: tree.Value
) -> Predicate | None:
    text = read_text(scope, value)
    if text is UNBOUND:
        return None
    if operator.takes is Takes.FOLDED:
        pattern = _quoted(text)
    else:
        scope.session.spend_pattern(value.position)
        pattern = text
    try:
        compile_pattern(pattern)
    except InvalidFilterError as exc:
        scope.report(value, exc.message)
        return None
    return Compare("matches", path, pattern)


def _quoted(text: str) -> str:
    """The pattern that finds ``text`` whatever its case, in RE2's syntax."""
    return "(?i)" + _SPECIAL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if not character.isascii():
        return character
    return f"\\x{ord(character):02x}" if character < " " else f"\\{character}"
