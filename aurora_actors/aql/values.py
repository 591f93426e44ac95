"""From literals, lists and objects to the values a schema's fields hold, and back.

Pure; reports to its :class:`~aurora_actors.aql.scope.Scope` instead of raising, so that
all that is wrong with one document is told at once. The meaning of single literals is
in :mod:`aurora_actors.aql.literals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from math import isfinite
from typing import Literal
from uuid import UUID

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.literals import (
    Mismatch,
    describe_value,
    read_scalar,
)
from aurora_actors.aql.scope import UNBOUND, Scope, Session, Unbound
from aurora_actors.schema.types import (
    INT_MAX,
    INT_MIN,
    MAX_DEPTH,
    FieldDefinition,
    FieldType,
    Kind,
    field_name_fault,
)

__all__ = [
    "lift",
    "object_entries",
    "read_boolean",
    "read_count",
    "read_object",
    "read_text",
    "read_value",
    "read_word",
    "value_of",
]

_Read = object | Literal[Unbound.UNBOUND]


def value_of(
    value: tree.Value, field_type: FieldType = FieldType.ANY, *, nullable: bool = True
) -> object:
    """The Python value of a literal without variables.

    Raises:
        QueryValidationError: ``field_type`` does not take it.
    """
    session = Session("", {}, {}, variables={})
    result = read_value(Scope(session), value, field_type, nullable=nullable)
    session.finish()
    return result


def read_value(
    scope: Scope,
    value: tree.Value,
    field_type: FieldType,
    *,
    nullable: bool = True,
    depth: int = 1,
) -> _Read:
    """The Python value of ``value`` as a ``field_type``; faults are reported.

    Args:
        scope: Where to report, and where variables are looked up.
        value: A literal or a variable, at any depth.
        field_type: What is wanted.
        nullable: Whether null is.
        depth: How many containers of the document are around it.
    """
    resolved = scope.resolve(value, field_type, nullable=nullable)
    if resolved is UNBOUND:
        return UNBOUND
    if isinstance(resolved, tree.NullValue):
        if nullable:
            return None
        return scope.report(value, f"null where {field_type} must not be null")
    try:
        return _read(scope, resolved, field_type, depth)
    except Mismatch as fault:
        return scope.report(value, fault.message, fault.hint)


def _read(scope: Scope, value: tree.Value, field_type: FieldType, depth: int) -> object:
    is_list = isinstance(value, tree.ListValue) and field_type.kind in _LISTS
    is_object = isinstance(value, tree.ObjectValue) and field_type.kind in _OBJECTS
    if (is_list or is_object) and depth > MAX_DEPTH:
        raise Mismatch(f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, tree.ListValue) and is_list:
        return _read_list(scope, value, field_type.of or FieldType.ANY, depth)
    if isinstance(value, tree.ObjectValue) and is_object:
        return read_object(scope, value, field_type.fields, depth=depth)
    return read_scalar(value, field_type)


_LISTS = frozenset({Kind.ARRAY, Kind.ANY})
_OBJECTS = frozenset({Kind.OBJECT, Kind.ANY})


def _read_list(
    scope: Scope, value: tree.ListValue, element: FieldType, depth: int
) -> list[object]:
    nullable = element.kind is Kind.ANY
    return [
        read_value(scope.item(index), item, element, nullable=nullable, depth=depth + 1)
        for index, item in enumerate(value.items)
    ]


def read_object(
    scope: Scope,
    value: tree.ObjectValue,
    fields: Mapping[str, FieldDefinition] | None,
    *,
    open_: bool = False,
    depth: int = 1,
    label: str = "the object",
) -> dict[str, object]:
    """The fields of an object, checked against their declarations.

    Args:
        scope: Where to report.
        value: The object.
        fields: The declared fields; ``None`` takes any.
        open_: Take fields that are not declared, too.
        depth: 1 for a whole document.
        label: What the fields belong to, for messages.
    """
    result: dict[str, object] = {}
    declared = fields or {}
    closed = fields is not None and not open_
    for key, entry in object_entries(scope, value).items():
        here = scope.below(key)
        field = declared.get(key)
        if field is None:
            if closed:
                hint = scope.did_you_mean(key, declared)
                here.report(entry, f"{label} has no field {shorten(key)}", hint)
                continue
            if fault := field_name_fault(key, top_level=False):
                here.report(entry, f"the field {fault}")
                continue
            field = _ANYTHING
        result[key] = read_value(
            here,
            entry.value,
            field.field_type,
            nullable=field.nullable,
            depth=depth + 1,
        )
    for name, field in declared.items():
        if field.nullable or field.default:
            continue
        if name not in result and not _has(value, name):
            scope.report(value, f"{label} needs the field {shorten(name)}")
    return result


_ANYTHING = FieldDefinition(FieldType.ANY)


def _has(value: tree.ObjectValue, name: str) -> bool:
    return any(entry.key == name for entry in value.entries)


def object_entries(
    scope: Scope, value: tree.ObjectValue
) -> dict[str, tree.ObjectEntry]:
    """The entries by key; a key that stands twice is reported."""
    found: dict[str, tree.ObjectEntry] = {}
    for entry in value.entries:
        if entry.key in found:
            scope.report(entry, f"{shorten(entry.key)} stands twice in one object")
        else:
            found[entry.key] = entry
    return found


# ------------------------------------------------------------------ single arguments
def read_text(scope: Scope, value: tree.Value) -> str | Literal[Unbound.UNBOUND]:
    """A String that is not null."""
    text = read_value(scope, value, FieldType.STRING, nullable=False)
    return text if isinstance(text, str) else UNBOUND


def read_boolean(scope: Scope, value: tree.Value) -> bool | Literal[Unbound.UNBOUND]:
    """A Boolean that is not null."""
    flag = read_value(scope, value, FieldType.BOOL, nullable=False)
    return flag if isinstance(flag, bool) else UNBOUND


def read_count(
    scope: Scope, value: tree.Value
) -> int | Literal[Unbound.UNBOUND] | None:
    """A whole number from 0; null is as if nothing had been written."""
    number = read_value(scope, value, FieldType.INT)
    if isinstance(number, int) and number < 0:
        return scope.report(value, f"{number} is negative")
    return number if isinstance(number, int) or number is None else UNBOUND


def read_word(scope: Scope, value: tree.Value) -> str | Literal[Unbound.UNBOUND]:
    """A bare word, or a text in its place."""
    resolved = scope.resolve(value, FieldType.STRING, nullable=False)
    match resolved:
        case tree.EnumValue():
            return resolved.name
        case tree.StringValue():
            return resolved.value
        case Unbound():
            return UNBOUND
        case _:
            return scope.report(
                value, f"expected a word, got {describe_value(resolved)}"
            )


# ------------------------------------------------------------------ given values
def lift(  # noqa: PLR0911 - a case for each type
    scope: Scope, value: object, position: tree.Position, depth: int = 0
) -> tree.Value:
    """The tree of a Python value, as if it had been written at ``position``.

    What no document can hold is reported, and null stands in its place.
    """
    match value:
        case None | bool():
            return (
                tree.NullValue(position=position)
                if value is None
                else tree.BooleanValue(value, position=position)
            )
        case int() if INT_MIN <= value <= INT_MAX:
            return tree.IntValue(int(value), position=position)
        case float() if isfinite(value):
            return tree.FloatValue(float(value), position=position)
        case str():
            return _lift_text(scope, value, position)
        case UUID() | date() | time() | bytes():
            return tree.GivenValue(value, position=position)
        case list() | tuple() | Mapping() if depth <= MAX_DEPTH:
            return _lift_container(scope, value, position, depth)
        case _:
            return _refuse(scope, value, position, depth)


def _lift_text(scope: Scope, value: str, position: tree.Position) -> tree.Value:
    try:
        value.encode()
    except UnicodeEncodeError:
        node = tree.NullValue(position=position)
        scope.report(node, "half of a surrogate pair is no character")
        return node
    return tree.StringValue(str(value), position=position)


def _lift_container(
    scope: Scope,
    value: list[object] | tuple[object, ...] | Mapping[object, object],
    position: tree.Position,
    depth: int,
) -> tree.Value:
    if not isinstance(value, Mapping):
        items = tuple(
            lift(scope.item(index), item, position, depth + 1)
            for index, item in enumerate(value)
        )
        return tree.ListValue(items, position=position)
    entries = []
    for key, item in value.items():
        if isinstance(key, str):
            inner = lift(scope.below(key), item, position, depth + 1)
            entries.append(tree.ObjectEntry(key, inner, position=position))
        else:
            node = tree.NullValue(position=position)
            scope.report(node, f"a key of type {type(key).__name__}: keys are text")
    return tree.ObjectValue(tuple(entries), position=position)


def _refuse(
    scope: Scope, value: object, position: tree.Position, depth: int
) -> tree.Value:
    node = tree.NullValue(position=position)
    if isinstance(value, list | tuple | Mapping) and depth > MAX_DEPTH:
        fault = f"nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, int):
        fault = "the number does not fit into 64 bits"
    elif isinstance(value, float):
        fault = f"{value!r} is no number that can be stored"
    else:
        fault = f"a {type(value).__name__} is no value of a document"
    scope.report(node, fault)
    return node
