"""Collections over REST: list, define, describe, alter, drop; their indexes."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aurora_actors.client.tokens import Role
from aurora_actors.errors import NotFoundError, ValidationError
from aurora_actors.http.definitions import JsonField, definitions_of, in_aql, shown
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import answer, object_of

__all__ = [
    "alter_collection",
    "create_index",
    "define_collection",
    "describe_collection",
    "drop_collection",
    "drop_index",
    "list_collections",
    "list_indexes",
]

T = TypeVar("T")

_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")


class _Collection(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    fields: dict[str, JsonField] = {}
    open: bool = False


class _Changes(msgspec.Struct, forbid_unknown_fields=True):
    add: dict[str, JsonField] = {}
    modify: dict[str, JsonField] = {}
    rename: dict[str, str] = {}
    drop: list[str] = []


class _Index(msgspec.Struct, forbid_unknown_fields=True):
    fields: list[str]


async def _convert(asked: Asked, kind: type[T]) -> T:
    try:
        return msgspec.convert(await object_of(asked.request), kind)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise HTTPException(422, f"the body is not understood: {exc}") from exc


# ------------------------------------------------------------------ definitions
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
    wanted = await _convert(asked, _Collection)
    fields = definitions_of(wanted.fields)
    is_new = await asked.db.new_collection(wanted.name, fields, open=wanted.open)
    body = await _describe(asked, wanted.name)
    headers = {"Location": f"/collections/{wanted.name}"}
    return answer(body, 201 if is_new else 200, headers)


async def alter_collection(asked: Asked) -> Response:
    """Add, modify, rename and drop fields, in this order, as one change."""
    name = asked.collection(Role.ADMIN)
    changes = await _convert(asked, _Changes)
    for word in [*changes.rename, *changes.rename.values(), *changes.drop]:
        _check_name(word)
    steps = [f"add {in_aql(_check_name(n), f)}" for n, f in changes.add.items()]
    steps += [f"modify {in_aql(_check_name(n), f)}" for n, f in changes.modify.items()]
    steps += [f"rename {old} to {new}" for old, new in changes.rename.items()]
    steps += [f"drop {field}" for field in changes.drop]
    if not steps:
        raise ValidationError("nothing to change: give add, modify, rename or drop")
    await asked.db.collection_definition(name)
    lines = "\n".join(steps)
    await asked.db.execute(f"schema {{ alter collection {name} {{\n{lines}\n}} }}")
    return answer(await _describe(asked, name))


async def drop_collection(asked: Asked) -> Response:
    """Remove a collection with all its documents."""
    await asked.db.drop_collection(asked.collection(Role.ADMIN))
    return Response(status_code=204)


def _check_name(field: str) -> str:
    if _NAME.match(field) is None:
        raise ValidationError(f"{field!r:.80} is no name of a field", path=field)
    return field


async def _describe(asked: Asked, name: str) -> dict[str, Any]:
    definition = await asked.db.collection_definition(name)
    return {
        "name": name,
        "open": definition.open,
        "count": await asked.db.query(name).count(),
        "fields": shown(definition),
    }


# ------------------------------------------------------------------ indexes
async def list_indexes(asked: Asked) -> Response:
    """The indexes of a collection, and whether they are complete."""
    found = await asked.db.list_indexes(asked.collection(Role.READ))
    return answer({"indexes": [msgspec.structs.asdict(index) for index in found]})


async def create_index(asked: Asked) -> Response:
    """Make an index on one field or several; it is filled in the background."""
    name = asked.collection(Role.ADMIN)
    wanted = await _convert(asked, _Index)
    is_new = await asked.db.create_index(name, *wanted.fields)
    return answer({"fields": wanted.fields}, 201 if is_new else 200)


async def drop_index(asked: Asked) -> Response:
    """Remove an index; its fields stand in the path, separated by commas."""
    name, text = asked.collection(Role.ADMIN), str(asked.request.path_params["fields"])
    if not await asked.db.drop_index(name, *text.split(",")):
        raise NotFoundError(f"{name} has no index on {text:.200}", collection=name)
    return Response(status_code=204)
