"""What a query executor is asked, and what it answers.

A result travels in chunks of encoded records. The asker grants credit: the executor
has at most that many chunks under way, so a slow reader bounds the memory of both.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import msgspec

from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.storage import ReadStatistics, Statistics

__all__ = [
    "CancelQuery",
    "ChangeDocuments",
    "Explain",
    "ExplainReply",
    "GrantCredit",
    "OrderKey",
    "QueryReply",
    "QueryRequest",
    "QuerySpec",
    "ResultChunk",
    "ResultMode",
    "RunQuery",
    "decode_query_request",
]


class ResultMode(Enum):
    """What a query is to give."""

    DOCUMENTS = "documents"
    COUNT = "count"
    EXISTS = "exists"


class OrderKey(msgspec.Struct, frozen=True, array_like=True):
    """One key of an ordering: a dotted field name and its direction."""

    field: str
    ascending: bool = True


class QuerySpec(msgspec.Struct, frozen=True, kw_only=True):
    """A query as data; ``predicate`` is encoded by the query package."""

    collection: str
    predicate: bytes = b""
    order: list[OrderKey] = []
    limit: int | None = None
    offset: int = 0
    fields: list[str] | None = None
    mode: ResultMode = ResultMode.DOCUMENTS


class RunQuery(Message, frozen=True, kw_only=True, tag="query.run"):
    """Run a query; answered by one or more ``ResultChunk``."""

    query: QuerySpec
    credit: int = 8
    deadline_s: float = 30.0


class ChangeDocuments(Message, frozen=True, kw_only=True, tag="query.change"):
    """Update (``patch``) or delete (``None``) what the query matches.

    The executor finds the rows and passes the statement on to storage, which answers
    the asker.
    """

    query: QuerySpec
    patch: bytes | None
    deadline_s: float = 30.0


class Explain(Message, frozen=True, kw_only=True, tag="query.explain"):
    """Plan a query, run it, and say how it went."""

    query: QuerySpec
    deadline_s: float = 30.0


class GrantCredit(Message, frozen=True, kw_only=True, tag="query.credit"):
    """Let the query send ``chunks`` more."""

    query_id: int
    chunks: int


class CancelQuery(Message, frozen=True, kw_only=True, tag="query.cancel"):
    """Stop a query; nothing more is sent for it."""

    query_id: int


QueryRequest: TypeAlias = (
    RunQuery | ChangeDocuments | Explain | GrantCredit | CancelQuery | ReadStatistics
)


class ResultChunk(Message, frozen=True, kw_only=True, tag="query.chunk"):
    """A part of a result, in order.

    Attributes:
        records: Encoded document records (see ``schema.record``).
        number: 0 for the first chunk, then counting up.
        final: No chunk follows.
        lsn: The snapshot the whole result was read at.
        count: For the modes count and exists, the answer; else the documents so far.
    """

    records: list[bytes]
    number: int
    final: bool
    lsn: int
    count: int


class ExplainReply(Message, frozen=True, kw_only=True, tag="query.explained"):
    """An encoded plan (see ``query.plan``)."""

    plan: bytes


QueryReply: TypeAlias = ResultChunk | ExplainReply | Statistics | Failure

_decoder = msgspec.msgpack.Decoder(QueryRequest)


def decode_query_request(body: msgspec.Raw | bytes) -> QueryRequest:
    """Decode one request; ``msgspec.DecodeError`` when it is none."""
    request: QueryRequest = _decoder.decode(body)
    return request
