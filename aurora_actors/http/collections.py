"""Collections over REST: list, define, describe, drop."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aurora_actors.client.tokens import Role
from aurora_actors.errors import ValidationError
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import answer, object_of
from aurora_actors.schema.types import (
    SYSTEM_PREFIX,
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

__all__ = [
    "define_collection",
    "describe_collection",
    "drop_collection",
    "list_collections",
]

_SCALARS: Final = {kind.value: kind for kind in Kind if kind is not Kind.ARRAY}


async def list_collections(asked: Asked) -> Response:
    """The collections that the sender may read, with their fields and counts."""
    names = await asked.db.list_collections()
    found = [
        await _describe(asked, name)
        for name in names
        if asked.grant.on(name) >= Role.READ
    ]
    return answer({"collections": found})


async def describe_collection(asked: Asked) -> Response:
    """One collection: its fields and how many documents it has."""
    return answer(await _describe(asked, asked.collection(Role.READ)))


async def define_collection(asked: Asked) -> Response:
    """Define a collection; the same definition again changes nothing."""
    asked.grant.need(Role.ADMIN)
    try:
        wanted = msgspec.convert(await object_of(asked.request), _Collection)
        fields = _fields(wanted.fields)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise HTTPException(422, f"the definition is not understood: {exc}") from exc
    is_new = await asked.db.new_collection(wanted.name, fields, open=wanted.open)
    body = await _describe(asked, wanted.name)
    headers = {"Location": f"/collections/{wanted.name}"}
    return answer(body, 201 if is_new else 200, headers)


async def drop_collection(asked: Asked) -> Response:
    """Remove a collection with all its documents."""
    name = asked.collection(Role.ADMIN)
    if name.startswith(SYSTEM_PREFIX):
        raise ValidationError(f"{name} belongs to the database", collection=name)
    await asked.db.drop_collection(name)
    return Response(status_code=204)


# ------------------------------------------------------------------ as JSON
class _Field(msgspec.Struct, forbid_unknown_fields=True):
    type: str | dict[str, _Field] = "Any"
    unique: bool = False
    indexed: bool = False
    nullable: bool = True


class _Collection(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    fields: dict[str, _Field] = {}
    open: bool = False


def _fields(fields: dict[str, _Field]) -> dict[str, FieldDefinition]:
    return {
        name: FieldDefinition(
            _type(field.type, name),
            unique=field.unique,
            indexed=field.indexed,
            nullable=field.nullable,
        )
        for name, field in fields.items()
    }


def _type(given: str | dict[str, _Field], path: str) -> FieldType:
    if isinstance(given, dict):
        return FieldType.object(_fields(given))
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


async def _describe(asked: Asked, name: str) -> dict[str, Any]:
    definition = await asked.db.collection_definition(name)
    return {
        "name": name,
        "open": definition.open,
        "count": await asked.db.query(name).count(),
        "fields": _shown(definition),
    }


def _shown(definition: CollectionDefinition) -> dict[str, Any]:
    return {name: _shown_field(field) for name, field in definition.fields.items()}


def _shown_field(field: FieldDefinition) -> dict[str, Any]:
    inner = field.field_type.fields
    shown: object = str(field.field_type)
    if inner is not None:
        shown = {name: _shown_field(part) for name, part in inner.items()}
    return {
        "type": shown,
        "unique": field.unique,
        "indexed": field.indexed,
        "nullable": field.nullable,
    }
