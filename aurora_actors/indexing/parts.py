"""Which derived parts a collection has, by its definition.

* an index for each field declared ``indexed``, over the elements where the field is an
  array, also for fields of nested objects; and for each compound index;
* the columns: all scalar fields, dotted names for those of nested objects;
* the order of ids, where there is an index: whether ids ascend with the rows decides
  whether equal keys have to be sorted by id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from aurora_actors.indexing.layout import Part, PartKind
from aurora_actors.schema.types import (
    SHADOW_PREFIX,
    SYSTEM_PREFIX,
    CollectionDefinition,
    FieldDefinition,
    Kind,
)

__all__ = ["COLUMN_KINDS", "wanted_parts"]

COLUMN_KINDS: Final = frozenset(
    {
        Kind.STRING,
        Kind.INT,
        Kind.FLOAT,
        Kind.BOOL,
        Kind.UUID,
        Kind.DATETIME,
        Kind.DATE,
        Kind.TIME,
        Kind.BYTES,
    }
)
"""The types whose values a column can hold."""


def wanted_parts(collection: int, definition: CollectionDefinition) -> list[Part]:
    """The parts of a collection, all with the number 0."""
    declared = dict(_flat(definition.fields))
    parts = [
        Part(
            number=0,
            kind=PartKind.INDEX,
            collection=collection,
            fields=(name,),
            types=(field.field_type.kind,),
            multi=field.field_type.kind is Kind.ARRAY,
        )
        for name, field in declared.items()
        if field.indexed
    ]
    parts += _compound(collection, definition, declared)
    if parts:
        parts.append(Part(number=0, kind=PartKind.IDS, collection=collection))
    scalars = {
        name: field.field_type.kind
        for name, field in declared.items()
        if field.field_type.kind in COLUMN_KINDS
    }
    if scalars and _has_columns(definition.name):
        parts.append(
            Part(
                number=0,
                kind=PartKind.COLUMNS,
                collection=collection,
                fields=tuple(scalars),
                types=tuple(scalars.values()),
            )
        )
    return parts


def _flat(
    fields: Mapping[str, FieldDefinition], parent: str = ""
) -> Iterator[tuple[str, FieldDefinition]]:
    for name, field in fields.items():
        path = f"{parent}{name}"
        yield path, field
        if field.field_type.kind is Kind.OBJECT and field.field_type.fields:
            yield from _flat(field.field_type.fields, f"{path}.")


def _compound(
    collection: int,
    definition: CollectionDefinition,
    declared: Mapping[str, FieldDefinition],
) -> list[Part]:
    return [
        Part(
            number=0,
            kind=PartKind.INDEX,
            collection=collection,
            fields=fields,
            types=tuple(
                declared[name].field_type.kind if name in declared else Kind.ANY
                for name in fields
            ),
            multi=len(fields) == 1 and _is_array(declared.get(fields[0])),
        )
        for fields in definition.indexes
        if len(fields) > 1 or not _is_indexed(declared.get(fields[0]))
    ]


def _has_columns(collection: str) -> bool:
    """Not those of the database itself, but what is to become one of the user's."""
    is_system = collection.startswith(SYSTEM_PREFIX)
    return not is_system or collection.startswith(SHADOW_PREFIX)


def _is_array(field: FieldDefinition | None) -> bool:
    return field is not None and field.field_type.kind is Kind.ARRAY


def _is_indexed(field: FieldDefinition | None) -> bool:
    return field is not None and field.indexed
