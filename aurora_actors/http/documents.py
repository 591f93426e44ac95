"""Documents over REST: create, list, read, replace, change, remove; import and export.

A document's version is its ``ETag``. ``If-Match`` makes a change conditional on it,
``If-None-Match: *`` on there being none. A ``POST`` or ``PATCH`` with an
``Idempotency-Key`` has its effect once, however often it is sent (see :mod:`aurora_actors.http.repeats`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aurora_actors.client.database import Aurora
from aurora_actors.client.document import Document
from aurora_actors.client.tokens import Role
from aurora_actors.client.transaction import Transaction
from aurora_actors.errors import DataError, NotFoundError, ValidationError
from aurora_actors.http.conditions import matching, query_of
from aurora_actors.http.repeats import once
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import (
    Fields,
    answer,
    body_of,
    document_in,
    document_out,
    encode_json,
    etag_of,
    flag_of,
    object_of,
)
from aurora_actors.schema.patch import (
    AddToSet,
    Decrement,
    Increment,
    Pull,
    Push,
    Unset,
)
from aurora_actors.schema.text import from_json

__all__ = [
    "change_document",
    "create_documents",
    "export_documents",
    "import_documents",
    "list_documents",
    "put_document",
    "read_document",
    "remove_document",
]

_MODIFIERS: Final = {
    "$increment": Increment,
    "$decrement": Decrement,
    "$push": Push,
    "$pull": Pull,
    "$addToSet": AddToSet,
}
# With one of these a change needs a transaction.
_CAREFUL: Final = ("if-match", "if-none-match", "idempotency-key")
_LINES_A_BATCH: Final = 1_000
_EXPORT_BYTES: Final = 65_536


async def list_documents(asked: Asked) -> Response:
    """The documents that a query matches, or a page of them."""
    collection, request = asked.collection(Role.READ), asked.request
    fields = await _fields(asked.db, collection)
    query = query_of(asked.db, request, collection, fields)
    found = await query.collect()
    body: dict[str, object] = {
        "documents": [document_out(document, fields) for document in found]
    }
    if flag_of(request, "count"):
        body["count"] = await matching(asked.db, request, collection, fields).count()
    return answer(body)


async def create_documents(asked: Asked) -> Response:
    """Insert one document, or a list of them: all or none."""
    collection = asked.collection(Role.WRITE)
    fields = await _fields(asked.db, collection)
    body = await body_of(asked.request)
    if isinstance(body, list):
        documents = [document_in(item, fields) for item in body]

        async def insert_all(tx: Transaction) -> dict[str, Any]:
            return {"ids": await tx.insert_many(collection, documents)}

        return answer(await once(asked, body, insert_all), 201)
    document = document_in(body, fields)
    if "idempotency-key" not in asked.request.headers:
        return _created(collection, await asked.db.insert_into(collection, document))

    async def insert(tx: Transaction) -> dict[str, Any]:
        return {"id": await tx.insert_into(collection, document)}

    created = await once(asked, body, insert)
    return _created(collection, created["id"])


def _created(collection: str, document_id: str) -> Response:
    location = f"/collections/{quote(collection)}/docs/{quote(document_id, safe='')}"
    return answer({"id": document_id}, 201, {"Location": location})


async def read_document(asked: Asked) -> Response:
    """One document; 304 when the caller has it already."""
    collection = asked.collection(Role.READ)
    fields = await _fields(asked.db, collection)
    document = _found(await asked.db.get_document(collection, asked.document_id), asked)
    tag = etag_of(document)
    if tag in _tags(asked.request, "if-none-match"):
        return Response(status_code=304, headers={"ETag": tag})
    return answer(document_out(document, fields), headers={"ETag": tag})


async def put_document(asked: Asked) -> Response:
    """Replace a document, or create it under this id."""
    collection, key = asked.collection(Role.WRITE), asked.document_id
    fields = await _fields(asked.db, collection)
    document = document_in(await object_of(asked.request), fields)
    if document.pop("id", key) != key:
        raise ValidationError("the body's id is not the path's", path="id")

    async def put(tx: Transaction) -> bool:
        old = await tx.get_document(collection, key)
        _check_conditions(asked.request, old)
        if old is None:
            await tx.insert_into(collection, {"id": key, **document})
        else:
            await tx.replace_document(collection, key, document)
        return old is None

    is_new = await asked.db.run_transaction(put)
    return await _written(asked, collection, fields, 201 if is_new else 200)


async def change_document(asked: Asked) -> Response:
    """Merge fields into a document; ``{"$increment": 1}`` and the like modify them."""
    collection, key = asked.collection(Role.WRITE), asked.document_id
    fields = await _fields(asked.db, collection)
    body = await object_of(asked.request)
    patch = _patch(body, fields)
    if any(header in asked.request.headers for header in _CAREFUL):

        async def change(tx: Transaction) -> dict[str, Any]:
            _check_conditions(asked.request, await tx.get_document(collection, key))
            await tx.update_document(collection, key, patch)
            return {}

        await once(asked, body, change)
    else:
        await asked.db.update_document(collection, key, patch)
    return await _written(asked, collection, fields, 200)


async def remove_document(asked: Asked) -> Response:
    """Remove a document."""
    collection, key = asked.collection(Role.WRITE), asked.document_id

    async def remove(tx: Transaction) -> bool:
        _check_conditions(asked.request, await tx.get_document(collection, key))
        return await tx.delete_document(collection, key)

    if "if-match" in asked.request.headers:
        removed = await asked.db.run_transaction(remove)
    else:
        removed = await asked.db.delete_document(collection, key)
    if not removed:
        _found(None, asked)
    return Response(status_code=204)


# ------------------------------------------------------------------ in bulk
async def import_documents(asked: Asked) -> Response:
    """Insert JSON lines as they arrive; each batch is whole or not at all."""
    collection = asked.collection(Role.WRITE)
    fields = await _fields(asked.db, collection)
    imported = 0
    try:
        async for batch in _batches(asked.request, fields):
            await asked.db.insert_many(collection, batch)
            imported += len(batch)
    except DataError as exc:
        exc.context["imported"] = imported
        raise
    return answer({"imported": imported})


async def _batches(
    request: Request, fields: Fields
) -> AsyncIterator[list[dict[str, object]]]:
    line = 0
    batch: list[dict[str, object]] = []
    async for text in _lines(request):
        line += 1
        if not text.strip():
            continue
        try:
            batch.append(from_json(msgspec.json.decode(text, type=dict), fields))
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
            raise ValidationError(f"line {line} is no JSON object: {exc}") from exc
        except ValidationError as exc:
            raise ValidationError(f"line {line}: {exc.message}", **exc.context) from exc
        if len(batch) >= _LINES_A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _lines(request: Request) -> AsyncIterator[bytes]:
    most = request.app.state.gateway.settings.max_body_bytes
    rest = b""
    async for piece in request.stream():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > most:
            raise HTTPException(413, f"a line is longer than {most} bytes")
        for line in lines:
            yield line
    if rest:
        yield rest


async def export_documents(asked: Asked) -> Response:
    """All documents that a query matches, as JSON lines, streamed from one snapshot."""
    collection = asked.collection(Role.READ)
    fields = await _fields(asked.db, collection)
    query = query_of(asked.db, asked.request, collection, fields, limited=False)

    async def lines() -> AsyncIterator[bytes]:
        held = bytearray()
        async with query.stream() as stream:
            async for document in stream:
                held += encode_json(document_out(document, fields)) + b"\n"
                if len(held) >= _EXPORT_BYTES:
                    yield bytes(held)
                    held.clear()
        yield bytes(held)

    begun = lines()
    # What is refused is refused before the answer has a status.
    first = await anext(begun)

    async def all_lines() -> AsyncIterator[bytes]:
        yield first
        async for more in begun:
            yield more

    return StreamingResponse(all_lines(), media_type="application/x-ndjson")


# ------------------------------------------------------------------ parts
async def _fields(db: Aurora, collection: str) -> Fields:
    return (await db.collection_definition(collection)).fields


async def _written(
    asked: Asked, collection: str, fields: Fields, status: int
) -> Response:
    document = _found(await asked.db.get_document(collection, asked.document_id), asked)
    return answer(document_out(document, fields), status, {"ETag": etag_of(document)})


def _found(document: Document | None, asked: Asked) -> Document:
    if document is None:
        name = asked.request.path_params["collection"]
        raise NotFoundError(
            f"no document {asked.document_id!r:.80} in {name}",
            collection=name,
            id=asked.document_id,
        )
    return document


def _tags(request: Request, header: str) -> list[str]:
    return [
        tag.strip().removeprefix("W/")
        for tag in request.headers.get(header, "").split(",")
    ]


def _check_conditions(request: Request, document: Document | None) -> None:
    tag = None if document is None else etag_of(document)
    if "if-match" in request.headers:
        wanted = _tags(request, "if-match")
        if tag is None or not (tag in wanted or "*" in wanted):
            raise HTTPException(412, f"the document is not at version {wanted[0]:.40}")
    if "if-none-match" in request.headers and tag is not None:
        unwanted = _tags(request, "if-none-match")
        if tag in unwanted or "*" in unwanted:
            raise HTTPException(412, "there is a document under this id")


def _patch(body: dict[str, Any], fields: Fields) -> dict[str, object]:
    patch: dict[str, object] = {}
    plain: dict[str, object] = {}
    for name, value in body.items():
        modifier = _modifier(name, value, fields)
        if modifier is None:
            plain[name] = value
        else:
            patch[name] = modifier
    return {**from_json(plain, fields), **patch}


def _modifier(name: str, value: object, fields: Fields) -> object:
    if not isinstance(value, dict) or len(value) != 1:
        return None
    (mark, operand), *_ = value.items()
    if mark == "$unset":
        return Unset()
    make = _MODIFIERS.get(mark)
    if make is None:
        return None
    declared = fields.get(name)
    if declared is not None and declared.field_type.of is not None:
        operand = from_json({name: [operand]}, fields)[name][0]  # type: ignore[index]
    modifier: object = make(operand)
    return modifier
