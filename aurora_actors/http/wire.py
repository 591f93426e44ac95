"""Requests and answers: JSON in, JSON out, documents as ``schema.text`` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from aurora_actors.client.document import Document
from aurora_actors.schema.text import from_json, to_json
from aurora_actors.schema.types import FieldDefinition

__all__ = [
    "Fields",
    "answer",
    "body_of",
    "document_in",
    "document_out",
    "encode_json",
    "etag_of",
    "flag_of",
    "number_of",
    "object_of",
]

Fields: TypeAlias = Mapping[str, FieldDefinition]

encode_json = msgspec.json.Encoder().encode
_JSON_TYPES: Final = ("application/json", "application/merge-patch+json", "")
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


def answer(
    content: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer of plain JSON."""
    return Response(
        encode_json(content), status, headers=headers, media_type="application/json"
    )


async def body_of(request: Request) -> Any:  # noqa: ANN401 - whatever JSON says
    """The request's body, which must be JSON.

    Raises:
        HTTPException: 415 for another media type, 400 for no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON_TYPES:
        raise HTTPException(415, f"send application/json, not {kind}")
    try:
        return msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise HTTPException(400, f"the body is no JSON: {exc}") from exc


async def object_of(request: Request) -> dict[str, Any]:
    """The request's body, which must be a JSON object."""
    body = await body_of(request)
    if not isinstance(body, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return body


def document_out(document: Document, fields: Fields) -> dict[str, object]:
    """A document as JSON has it."""
    return {"id": document.id, **to_json(document.data, fields)}


def document_in(body: object, fields: Fields) -> dict[str, object]:
    """A document as the database has it; the id may be among its fields."""
    if not isinstance(body, dict):
        raise HTTPException(400, "a document must be a JSON object")
    return from_json(body, fields)


def etag_of(document: Document) -> str:
    """The version of a document: the change that wrote it."""
    return f'"{document.lsn}"'


def flag_of(request: Request, name: str) -> bool:
    """A yes or no among the query parameters; no when it is not there.

    Raises:
        HTTPException: it is neither.
    """
    text = request.query_params.get(name, "false").lower()
    if text not in _FLAGS:
        raise HTTPException(400, f"{name} must be true or false")
    return _FLAGS[text]


def number_of(
    request: Request, name: str, default: int | None, most: int
) -> int | None:
    """A number among the query parameters.

    Raises:
        HTTPException: it is none, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > most:
        raise HTTPException(400, f"{name} must be a number from 0 to {most}")
    return int(text)
