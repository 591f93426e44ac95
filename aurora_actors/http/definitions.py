"""Fields and collections as JSON: what ``POST /collections`` takes and answers show.

A type is a word of AQL (``"Int"``, ``"[String]"``) or an object of fields.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

__all__ = ["JsonField", "definitions_of", "in_aql", "shown"]

_SCALARS: Final = {kind.value: kind for kind in Kind if kind is not Kind.ARRAY}


class JsonField(msgspec.Struct, forbid_unknown_fields=True):
    """A field as JSON has it."""

    type: str | dict[str, JsonField] = "Any"
    unique: bool = False
    indexed: bool = False
    nullable: bool = True
    default: Any = msgspec.UNSET


def definitions_of(fields: dict[str, JsonField]) -> dict[str, FieldDefinition]:
    """The definitions that ``fields`` mean.

    Raises:
        ValidationError: there is no such type; has ``path``.
    """
    return {name: _definition(field, name) for name, field in fields.items()}


def _definition(field: JsonField, path: str) -> FieldDefinition:
    if field.default is not msgspec.UNSET:
        raise ValidationError(
            f"field {path}: a default is for fields added to what is there", path=path
        )
    return FieldDefinition(
        _type(field.type, path),
        unique=field.unique,
        indexed=field.indexed,
        nullable=field.nullable,
    )


def _type(given: str | dict[str, JsonField], path: str) -> FieldType:
    if isinstance(given, dict):
        return FieldType.object(
            {
                name: _definition(field, f"{path}.{name}")
                for name, field in given.items()
            }
        )
    text = given.strip()
    if text.startswith("[") and text.endswith("]"):
        return FieldType.array(_type(text[1:-1], path))
    kind = _SCALARS.get(text)
    if kind is None:
        raise ValidationError(
            f"field {path}: there is no type {text!r:.60}; use {', '.join(_SCALARS)}, "
            "[Type], or an object of fields",
            path=path,
        )
    return FieldType(kind)


def in_aql(name: str, field: JsonField) -> str:
    """A field as a schema statement declares it: ``age: Int! @indexed = 18``."""
    bare = msgspec.structs.replace(field, default=msgspec.UNSET)
    definition = _definition(bare, name)
    text = f"{name}: {_type_in_aql(definition.field_type)}"
    if not definition.nullable:
        text += "!"
    if field.default is not msgspec.UNSET:
        text += f" = {json.dumps(field.default, ensure_ascii=False)}"
    text += " @unique" if definition.unique else ""
    return text + (" @indexed" if definition.indexed else "")


def _type_in_aql(given: FieldType) -> str:
    if given.of is not None:
        return f"[{_type_in_aql(given.of)}]"
    if given.fields is not None:
        inner = " ".join(
            f"{name}: {_type_in_aql(part.field_type)}{'' if part.nullable else '!'}"
            f"{' @indexed' if part.indexed else ''}"
            for name, part in given.fields.items()
        )
        return f"{{ {inner} }}"
    return given.kind.value


def shown(definition: CollectionDefinition) -> dict[str, Any]:
    """The fields of a collection, as JSON."""
    return {name: _shown(field) for name, field in definition.fields.items()}


def _shown(field: FieldDefinition) -> dict[str, Any]:
    inner = field.field_type.fields
    kind: object = str(field.field_type)
    if inner is not None:
        kind = {name: _shown(part) for name, part in inner.items()}
    return {
        "type": kind,
        "unique": field.unique,
        "indexed": field.indexed,
        "nullable": field.nullable,
    }
