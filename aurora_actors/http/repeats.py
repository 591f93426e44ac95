"""Requests that have their effect once, however often they are sent.

A ``POST`` or ``PATCH`` with an ``Idempotency-Key`` leaves, in the transaction of its effect, what it
was and how it was answered, in the collection ``_sys_http_requests``. The same key with
the same request gets that answer again; with another request it is refused. Keys are
kept for a day, each sender's apart from all others'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException

from aurora_actors.client.database import Aurora
from aurora_actors.client.protocol import STORAGE
from aurora_actors.client.transaction import Transaction
from aurora_actors.errors import CollectionNotFoundError
from aurora_actors.http.routing import Asked
from aurora_actors.messages.storage import DefineCollection
from aurora_actors.query.filters import field
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)

__all__ = ["REPEATS", "forget_old", "once"]

REPEATS: Final = "_sys_http_requests"

_KEPT: Final = timedelta(days=1)
_LONGEST_KEY: Final = 200
_DEFINITION: Final = CollectionDefinition(
    REPEATS,
    {
        "request": FieldDefinition(FieldType.BYTES, nullable=False),
        "answer": FieldDefinition(FieldType.STRING, nullable=False),
        "at": FieldDefinition(FieldType.DATETIME, nullable=False),
    },
)


async def once(
    asked: Asked,
    body: object,
    effect: Callable[[Transaction], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """Carry out ``effect`` in a transaction, once for the request's idempotency key.

    Args:
        asked: The request.
        body: Its body; another one under the same key is refused.
        effect: Gives the answer.
    """
    key = asked.request.headers.get("idempotency-key")
    if key is None:
        return await asked.db.run_transaction(effect)
    if not 0 < len(key) <= _LONGEST_KEY:
        raise HTTPException(
            400, f"an Idempotency-Key has 1 to {_LONGEST_KEY} characters"
        )
    request = asked.request
    name = _digest(asked.grant.name, key).hex()
    print_ = _digest(request.method, request.url.path, msgspec.json.encode(body))

    async def effect_once(tx: Transaction) -> dict[str, Any]:
        known = await tx.get_document(REPEATS, name)
        if known is not None:
            if known["request"] != print_:
                raise HTTPException(
                    422, "this Idempotency-Key was used for another request"
                )
            found: dict[str, Any] = msgspec.json.decode(known["answer"])
            return found
        given = await effect(tx)
        entry = {
            "id": name,
            "request": print_,
            "answer": msgspec.json.encode(given).decode(),
            "at": datetime.now(UTC),
        }
        await tx.insert_into(REPEATS, entry)
        return given

    try:
        return await asked.db.run_transaction(effect_once)
    except CollectionNotFoundError as exc:
        if exc.context.get("collection") != REPEATS:
            raise
    await define(asked.db)
    return await asked.db.run_transaction(effect_once)


async def define(db: Aurora) -> None:
    """Make the collection of past requests."""
    request = DefineCollection(definition=encode_definition(_DEFINITION))
    await db._open().shell.call(STORAGE, request, None)  # noqa: SLF001 - a system collection


async def forget_old(db: Aurora) -> None:
    """Remove the keys that are older than a day."""
    before = datetime.now(UTC) - _KEPT
    try:
        await db.query(REPEATS).filter(field("at") < before).delete()
    except CollectionNotFoundError:
        return


def _digest(*parts: str | bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
