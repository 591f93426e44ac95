"""What a name in a filter, an ordering or a selection refers to.

Pure. A :class:`FieldSource` is a collection's documents, or the rows of a group; dotted
names reach into objects, never into arrays, as in ``schema.values.get_path``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import Scope
from aurora_actors.schema.types import (
    MAX_DEPTH,
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

__all__ = ["ANYTHING", "FieldSource", "find_field", "source_of"]

ANYTHING: Final = FieldDefinition(FieldType.ANY)
_ID: Final = FieldDefinition(FieldType.STRING, unique=True, nullable=False)


class FieldSource(msgspec.Struct, frozen=True):
    """Named values that can be compared and ordered.

    Attributes:
        label: What they belong to, for messages.
        fields: The known names with their types.
        open: Other names are allowed, too, and may hold anything.
    """

    label: str
    fields: Mapping[str, FieldDefinition]
    open: bool = False


def source_of(definition: CollectionDefinition) -> FieldSource:
    """The fields of a collection's documents, their id included."""
    return FieldSource(
        definition.name, {"id": _ID, **definition.fields}, definition.open
    )


def find_field(
    scope: Scope, source: FieldSource, path: str, node: tree.Node
) -> FieldDefinition | None:
    """The field that ``path`` names; ``None`` when there is none, after reporting."""
    names = path.split(".")
    if not all(names) or len(names) > MAX_DEPTH:
        scope.report(node, f"{shorten(path)} is no field path", 'write "a.b"')
        return None
    field = source.fields.get(names[0])
    if field is None:
        if source.open:
            return ANYTHING
        hint = scope.did_you_mean(names[0], source.fields)
        scope.report(node, f"{source.label} has no field {shorten(names[0])}", hint)
        return None
    nullable = field.nullable
    for index, name in enumerate(names[1:], start=1):
        inner = _inner(scope, field, names[:index], name, node)
        if inner is None:
            return None
        field = inner
        nullable = nullable or field.nullable
    return msgspec.structs.replace(field, nullable=True) if nullable else field


def _inner(
    scope: Scope,
    field: FieldDefinition,
    outer: list[str],
    name: str,
    node: tree.Node,
) -> FieldDefinition | None:
    of = field.field_type
    if of.kind is Kind.ANY or (of.kind is Kind.OBJECT and of.fields is None):
        return ANYTHING
    label = shorten(".".join(outer))
    if of.fields is None:
        hint = "paths do not enter arrays" if of.kind is Kind.ARRAY else ""
        scope.report(node, f"{label} is of type {of} and has no fields", hint)
        return None
    inner = of.fields.get(name)
    if inner is None:
        hint = scope.did_you_mean(name, of.fields)
        scope.report(node, f"{label} has no field {shorten(name)}", hint)
    return inner
