"""What a query executor is asked, and what it answers.

A result travels in chunks of encoded records. The asker grants credit: the executor
has at most that many chunks under way, so a slow reader bounds the memory of both.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import msgspec

from aurora_actors.messages.aql import ExecuteAql
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.storage import ReadStatistics, Statistics

__all__ = [
    "AggregateFunction",
    "AggregateSpec",
    "CancelQuery",
    "ChangeDocuments",
    "Explain",
    "ExplainReply",
    "GrantCredit",
    "GroupKey",
    "GroupSpec",
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


class AggregateFunction(Enum):
    """What is computed of the documents of a group."""

    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    STDDEV = "stddev"
    COUNT_DISTINCT = "count_distinct"
    FIRST = "first"
    LAST = "last"


class AggregateSpec(msgspec.Struct, frozen=True, array_like=True):
    """One function over one field; without a field, documents are counted.

    Attributes:
        name: What the result calls it.
        function: The function.
        field: A dotted field name.
    """

    name: str
    function: AggregateFunction
    field: str | None = None


class GroupKey(msgspec.Struct, frozen=True, array_like=True):
    """A field by whose values documents are grouped.

    Attributes:
        field: A dotted field name.
        interval_s: Moments that many seconds long are one value, their beginning.
    """

    field: str
    interval_s: int | None = None


class GroupSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is computed of a query's documents; see ``query.aggregate``.

    Attributes:
        keys: What makes a group; without keys all documents are one.
        aggregates: What is computed of each group.
        having: An encoded predicate over the keys and results of a group.
        order: By keys and results; what is left is ordered by the keys.
        limit: How many groups at most.
        offset: How many to leave out first.
        nodes: How many documents of each group to give.
    """

    keys: list[GroupKey] = []
    aggregates: list[AggregateSpec] = []
    having: bytes = b""
    order: list[OrderKey] = []
    limit: int | None = None
    offset: int = 0
    nodes: int = 0


class RunQuery(Message, frozen=True, kw_only=True, tag="query.run"):
    """Run a query; answered by one or more ``ResultChunk``.

    With ``group`` the records of the chunks are encoded groups of the query's documents
    (see ``query.group_codec``).
    """

    query: QuerySpec
    credit: int = 8
    deadline_s: float = 30.0
    group: GroupSpec | None = None


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
    group: GroupSpec | None = None


class GrantCredit(Message, frozen=True, kw_only=True, tag="query.credit"):
    """Let the query send ``chunks`` more."""

    query_id: int
    chunks: int


class CancelQuery(Message, frozen=True, kw_only=True, tag="query.cancel"):
    """Stop a query; nothing more is sent for it."""

    query_id: int


QueryRequest: TypeAlias = (
    RunQuery
    | ExecuteAql
    | ChangeDocuments
    | Explain
    | GrantCredit
    | CancelQuery
    | ReadStatistics
)


class ResultChunk(Message, frozen=True, kw_only=True, tag="query.chunk"):
    """A part of a result, in order.

    Attributes:
        records: Encoded document records (see ``schema.record``), or groups.
        number: 0 for the first chunk, then counting up.
        final: No chunk follows.
        lsn: The snapshot the whole result was read at.
        count: For the modes count and exists, the answer; else the documents so far.
        note: In the result of a text, what begins or ends with this chunk.
    """

    records: list[bytes]
    number: int
    final: bool
    lsn: int
    count: int
    note: bytes = b""


class ExplainReply(Message, frozen=True, kw_only=True, tag="query.explained"):
    """An encoded plan (see ``query.plan``)."""

    plan: bytes


QueryReply: TypeAlias = ResultChunk | ExplainReply | Statistics | Failure

_decoder = msgspec.msgpack.Decoder(QueryRequest)


def decode_query_request(body: msgspec.Raw | bytes) -> QueryRequest:
    """Decode one request; ``msgspec.DecodeError`` when it is none."""
    request: QueryRequest = _decoder.decode(body)
    return request
