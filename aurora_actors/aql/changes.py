"""``data`` of a mutation: documents to insert, or changes to make.

Pure. A change is a value, which replaces the field's, or a modifier of
``schema.patch``: ``{increment: 1}``, ``{push: "x"}`` … An object with a single entry of
such a name is a modifier, unless the field's type declares a field of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.fields import FieldSource, find_field
from aurora_actors.aql.literals import describe_value
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import (
    object_entries,
    read_boolean,
    read_object,
    read_text,
    read_value,
)
from aurora_actors.errors import ValidationError
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.patch import (
    AddToSet,
    Decrement,
    Increment,
    Pull,
    Push,
    Unset,
)
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

__all__ = ["MODIFIERS", "read_changes", "read_document", "read_documents"]

_NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.ANY})
_ARRAYS: Final = frozenset({Kind.ARRAY, Kind.ANY})
_NUMERIC: Final[dict[str, Callable[[int | float], object]]] = {
    "increment": Increment,
    "decrement": Decrement,
}
_ELEMENT: Final[dict[str, Callable[[object], object]]] = {
    "push": Push,
    "pull": Pull,
    "addToSet": AddToSet,
}
MODIFIERS: Final = (*_NUMERIC, *_ELEMENT, "unset")
"""The modifiers by their names in AQL."""


# ------------------------------------------------------------------ documents
def read_document(
    scope: Scope, value: tree.Value, definition: CollectionDefinition
) -> tuple[str | None, dict[str, object]] | None:
    """A document to insert: its id, if it brings one, and its fields."""
    resolved = scope.resolve(value, FieldType.OBJECT, nullable=False)
    if resolved is UNBOUND:
        return None
    if not isinstance(resolved, tree.ObjectValue):
        scope.report(value, f"a document is an object, got {describe_value(resolved)}")
        return None
    own = [entry for entry in resolved.entries if entry.key == "id"]
    rest = tuple(entry for entry in resolved.entries if entry.key != "id")
    fields = read_object(
        scope,
        tree.ObjectValue(rest, position=resolved.position),
        definition.fields,
        open_=definition.open,
        label=definition.name,
    )
    for entry in own[1:]:
        scope.report(entry, '"id" stands twice in one object')
    return (_own_id(scope.below("id"), own[0]) if own else None), fields


def _own_id(scope: Scope, entry: tree.ObjectEntry) -> str | None:
    text = read_text(scope, entry.value)
    if text is UNBOUND:
        return None
    try:
        return check_id(text)
    except ValidationError as exc:
        scope.report(entry, exc.message)
        return None


def read_documents(
    scope: Scope, value: tree.Value, definition: CollectionDefinition
) -> list[tuple[str | None, dict[str, object]]]:
    """A list of documents to insert."""
    resolved = scope.resolve(value, FieldType.array(FieldType.OBJECT), nullable=False)
    if resolved is UNBOUND:
        return []
    if not isinstance(resolved, tree.ListValue):
        got = describe_value(resolved)
        scope.report(value, f"expected a list of documents, got {got}", "write [{…}]")
        return []
    documents = [
        read_document(scope.item(index), item, definition)
        for index, item in enumerate(resolved.items)
    ]
    return [document for document in documents if document is not None]


# ------------------------------------------------------------------ changes
def read_changes(
    scope: Scope, value: tree.Value, source: FieldSource
) -> dict[str, object]:
    """What to change, by dotted field name: new values and modifiers."""
    resolved = scope.resolve(value, FieldType.OBJECT, nullable=False)
    if resolved is UNBOUND:
        return {}
    if not isinstance(resolved, tree.ObjectValue):
        scope.report(value, f"changes are an object, got {describe_value(resolved)}")
        return {}
    changes: dict[str, object] = {}
    for path, entry in object_entries(scope, resolved).items():
        here = scope.below(path)
        if path == "id":
            here.report(entry, "the id of a document cannot be changed")
            continue
        field = find_field(here, source, path, entry)
        if field is not None:
            changes[path] = _change(here, field, entry)
    _check_overlaps(scope, resolved, changes)
    return changes


def _check_overlaps(scope: Scope, node: tree.Node, changes: dict[str, object]) -> None:
    for path in changes:
        names = path.split(".")
        for end in range(1, len(names)):
            outer = ".".join(names[:end])
            if outer in changes:
                scope.report(
                    node, f"{shorten(path)} and {shorten(outer)} change the same field"
                )


def _change(scope: Scope, field: FieldDefinition, entry: tree.ObjectEntry) -> object:
    value = entry.value
    if isinstance(value, tree.Variable):
        # Noted once as a use of the field's own type; what it brings decides.
        found = scope.resolve(value, field.field_type, nullable=field.nullable)
        if found is UNBOUND:
            return UNBOUND
        value = found
    modifier = _modifier(field, value)
    if modifier is not None:
        return _modify(scope.below(modifier.key), field, modifier)
    return read_value(scope, value, field.field_type, nullable=field.nullable, depth=2)


def _modifier(field: FieldDefinition, value: tree.Value) -> tree.ObjectEntry | None:
    """The entry that makes ``value`` a modifier, if it is one."""
    if not isinstance(value, tree.ObjectValue) or len(value.entries) != 1:
        return None
    entry = value.entries[0]
    if entry.key in (field.field_type.fields or {}):
        return None
    if entry.key in MODIFIERS:
        return entry
    # On a field that holds no objects, what looks like a modifier was meant as one.
    holds_objects = field.field_type.kind in {Kind.OBJECT, Kind.ANY}
    return None if holds_objects else entry


def _modify(scope: Scope, field: FieldDefinition, entry: tree.ObjectEntry) -> object:
    name, kind = entry.key, field.field_type.kind
    if name in _NUMERIC and kind in _NUMBERS:
        return _modify_number(scope, field, entry)
    if name in _ELEMENT and kind in _ARRAYS:
        return _modify_array(scope, field, entry)
    if name == "unset":
        return _unset(scope, field, entry)
    return _no_modifier(scope, field, entry)


def _modify_number(
    scope: Scope, field: FieldDefinition, entry: tree.ObjectEntry
) -> object:
    of = field.field_type
    wanted = FieldType.FLOAT if of.kind is Kind.ANY else of
    amount = read_value(scope, entry.value, wanted, nullable=False)
    made = _NUMERIC[entry.key]
    return made(amount) if isinstance(amount, int | float) else UNBOUND


def _modify_array(
    scope: Scope, field: FieldDefinition, entry: tree.ObjectEntry
) -> object:
    element = field.field_type.of or FieldType.ANY
    nullable = element.kind is Kind.ANY
    item = read_value(scope, entry.value, element, nullable=nullable, depth=3)
    return UNBOUND if item is UNBOUND else _ELEMENT[entry.key](item)


def _unset(scope: Scope, field: FieldDefinition, entry: tree.ObjectEntry) -> object:
    if not field.nullable:
        return scope.report(entry, "the field must not be null, so not unset")
    if read_boolean(scope, entry.value) is False:
        return scope.report(entry, "unset takes true", "leave the field out")
    return Unset()


def _no_modifier(
    scope: Scope, field: FieldDefinition, entry: tree.ObjectEntry
) -> object:
    hint = "" if entry.key in MODIFIERS else scope.did_you_mean(entry.key, MODIFIERS)
    return scope.report(
        entry,
        f"a field of type {field.field_type} has no modifier {shorten(entry.key)}",
        hint,
    )
