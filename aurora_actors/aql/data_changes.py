"""What ``migrate data`` does, and what a migration version means as a whole. Pure."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.fields import find_field, source_of
from aurora_actors.aql.filters import read_where
from aurora_actors.aql.printer import print_document
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import read_value
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldType, Kind

__all__ = ["DataChange", "Reference", "read_data_change", "version_checksum"]


class Reference(msgspec.Struct, frozen=True):
    """The value that another field of the same document has."""

    path: str


class DataChange(msgspec.Struct, frozen=True, kw_only=True):
    """One ``set`` of ``migrate data``.

    Attributes:
        collection: Whose documents.
        path: The dotted name of the field to set.
        value: A value of the schema, or a :class:`Reference`.
        predicate: Which documents; ``None`` for all.
    """

    collection: str
    path: str
    value: object
    predicate: Predicate | None


def read_data_change(
    scope: Scope, assignment: tree.Assignment, definition: CollectionDefinition
) -> DataChange | None:
    """One ``set``; faults are reported."""
    source = source_of(definition)
    here = scope.below(assignment.path)
    predicate = None
    if assignment.where is not None:
        predicate = read_where(here.below("where"), assignment.where, source)
    if assignment.path == "id":
        here.report(assignment, "the id of a document cannot be changed")
        return None
    field = find_field(here, source, assignment.path, assignment)
    if field is None:
        return None
    expression = assignment.expression
    value: object
    if isinstance(expression, tree.FieldReference):
        origin = find_field(here, source, expression.path, expression)
        if origin is None:
            return None
        _check_copy(here, expression, origin.field_type, field.field_type)
        value = Reference(expression.path)
    else:
        value = read_value(
            here, expression, field.field_type, nullable=field.nullable, depth=2
        )
    return DataChange(
        collection=definition.name,
        path=assignment.path,
        value=None if value is UNBOUND else value,
        predicate=predicate,
    )


def _check_copy(
    scope: Scope, node: tree.Node, origin: FieldType, target: FieldType
) -> None:
    if origin == target or Kind.ANY in {origin.kind, target.kind}:
        return
    if (origin.kind, target.kind) != (Kind.INT, Kind.FLOAT):
        scope.report(node, f"a field of type {target} cannot take a {origin}")


def version_checksum(version: tree.Version) -> str:
    """What a version means, in 32 hexadecimal digits."""
    document = tree.Document((tree.Migration((version,)),))
    return blake2b(print_document(document).encode(), digest_size=16).hexdigest()
