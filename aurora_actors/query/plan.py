"""Plans: which way to the documents a query takes, and how it went.

Pure functions, used wherever queries run. The planner asks a list of access rules in
order of preference; the first that applies decides, and the document scan always does.
A rule takes the query's conjuncts (terms that must all be true) and says what it can
serve and what is left to be tested, so ordered indexes, bitmaps and columns are more
rules in the list and nothing else.

``where`` is the planner's row bound: what surely reads few documents may run in the
caller's own process, everything else belongs to an executor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from aurora_actors.errors import ProtocolError
from aurora_actors.messages.query import QuerySpec, ResultMode
from aurora_actors.query.describe import describe_predicate
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate, conjuncts
from aurora_actors.schema.types import CollectionDefinition

__all__ = [
    "CALLER_ROWS",
    "Access",
    "AccessKind",
    "Plan",
    "PlanStep",
    "choose_access",
    "decode_plan",
    "encode_plan",
    "estimated_matches",
    "is_short",
    "plan_query",
    "row_bound",
]

CALLER_ROWS: Final = 256
"""A query that reads no more documents than this may run in the caller's process."""

AccessKind: TypeAlias = Literal[
    "primary_key",
    "unique_lookup",
    "index",
    "index_order",
    "column_scan",
    "document_scan",
]


class Access(msgspec.Struct, frozen=True):
    """The way to the documents.

    Attributes:
        kind: Which.
        field: The field whose index is used.
        values: What is looked up in it.
        residual: What is still to be tested of each document found.
    """

    kind: AccessKind
    field: str | None = None
    values: list[object] = []
    residual: Predicate | None = None


class PlanStep(msgspec.Struct, frozen=True, array_like=True):
    """One step of a plan that was run.

    Attributes:
        name: What was done.
        rows: How many rows came out.
        milliseconds: How long it took.
        estimated_rows: How many rows the planner expected; ``None`` if it did not say.
    """

    name: str
    rows: int
    milliseconds: float
    estimated_rows: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a query is (or was) answered.

    Attributes:
        collection: The collection.
        access: How documents are found: by ``primary_key`` or ``unique_lookup``; by
            what indexes select (``index``), or in the order of one (``index_order``);
            by a ``column_scan`` or a ``document_scan``.
        where: Where the query itself runs: by the ``caller``, if surely few documents
            are read, else by an ``executor``. Plans are always made by an executor.
        index_field: The fields of the indexes used; ``None`` for a scan.
        filter: What is tested of each document read, as text.
        order: The order keys, as text; empty for insertion order.
        limit: The most results.
        offset: The results left out.
        fields: The fields selected; ``None`` for all.
        estimated_rows: How many results the planner expected.
        actual_rows: How many there were; ``None`` if the query was not run.
        rows_read: How many documents, or rows of columns, were read or tested.
        steps: What was done, in order, each with its rows and its time.
    """

    collection: str
    access: AccessKind
    where: Literal["caller", "executor"]
    index_field: str | None = None
    filter: str = "true"
    order: str = ""
    limit: int | None = None
    offset: int = 0
    fields: list[str] | None = None
    estimated_rows: int = 0
    actual_rows: int | None = None
    rows_read: int = 0
    steps: list[PlanStep] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Plan)


def encode_plan(plan: Plan) -> bytes:
    """Encode a plan for the wire."""
    return _encoder.encode(plan)


def decode_plan(data: bytes) -> Plan:
    """Decode a plan.

    Raises:
        ProtocolError: ``data`` is none.
    """
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError as exc:
        raise ProtocolError(f"not an encoded plan: {exc}") from exc


# ------------------------------------------------------------------ access
_Rule: TypeAlias = Callable[
    [CollectionDefinition, Sequence[Predicate]], "Access | None"
]


def choose_access(
    definition: CollectionDefinition, predicate: Predicate | None
) -> Access:
    """The best way to the documents that match."""
    parts = list(conjuncts(predicate))
    for rule in _RULES:
        access = rule(definition, parts)
        if access is not None:
            return access
    return Access("document_scan", residual=predicate)


def _by_primary_key(
    _definition: CollectionDefinition, parts: Sequence[Predicate]
) -> Access | None:
    for part in parts:
        if isinstance(part, Compare) and part.field == "id":
            values = _equals(part)
            if values is not None:
                # An id is a text: what is neither text nor uuid equals none.
                ids = dict.fromkeys(
                    str(value) for value in values if isinstance(value, (str, UUID))
                )
                return Access("primary_key", "id", list(ids), _without(parts, part))
    return None


def _by_unique_field(
    definition: CollectionDefinition, parts: Sequence[Predicate]
) -> Access | None:
    for part in parts:
        if isinstance(part, Compare):
            declared = definition.fields.get(part.field)
            values = _equals(part)
            # Null is not in the index: several documents may have none.
            if declared and declared.unique and values and None not in values:
                rest = _without(parts, part)
                return Access("unique_lookup", part.field, values, rest)
    return None


_RULES: Final[tuple[_Rule, ...]] = (_by_primary_key, _by_unique_field)


def _equals(term: Compare) -> list[object] | None:
    """The values one of which the field must equal, if the term says that."""
    if term.op == "eq":
        return [term.value]
    if term.op == "in" and isinstance(term.value, (list, tuple)):
        return list(term.value)
    return None


def _without(parts: Sequence[Predicate], served: Predicate) -> Predicate | None:
    rest = [part for part in parts if part is not served]
    return And(rest) if rest else None


# ------------------------------------------------------------------ plans
def plan_query(
    definition: CollectionDefinition,
    spec: QuerySpec,
    predicate: Predicate | None,
    collection_count: int,
) -> Plan:
    """Plan a query without running it."""
    access = choose_access(definition, predicate)
    bound = row_bound(spec, access, collection_count)
    matching: float = estimated_matches(access, collection_count)
    wanted = max(0.0, matching - spec.offset)
    if spec.limit is not None:
        wanted = min(wanted, spec.limit)
    return Plan(
        collection=definition.name,
        access=access.kind,
        where="caller" if bound <= CALLER_ROWS else "executor",
        index_field=access.field,
        filter=describe_predicate(access.residual),
        order=", ".join(
            f"{key.field} {'ascending' if key.ascending else 'descending'}"
            for key in spec.order
        ),
        limit=spec.limit,
        offset=spec.offset,
        fields=spec.fields,
        estimated_rows=round(wanted),
    )


def is_short(
    definition: CollectionDefinition,
    spec: QuerySpec,
    predicate: Predicate | None,
    collection_count: int,
) -> bool:
    """Whether a query surely reads so little that the caller may run it itself."""
    access = choose_access(definition, predicate)
    return row_bound(spec, access, collection_count) <= CALLER_ROWS


def row_bound(spec: QuerySpec, access: Access, count: int) -> int:
    """How many documents are read at most."""
    if access.kind != "document_scan":
        return min(count, len(access.values))
    if access.residual is None:
        if spec.mode is not ResultMode.DOCUMENTS:
            return 0  # the catalog has the count
        if not spec.order and spec.limit is not None:
            return min(count, spec.offset + spec.limit)
    return count


def estimated_matches(access: Access, count: int) -> float:
    """A guess at how many documents of ``count`` match."""
    found = count if access.kind == "document_scan" else len(access.values)
    share = 1.0 if access.residual is None else _selectivity(access.residual)
    return min(count, found) * share


_SHARES: Final = {
    "eq": 0.1,
    "ne": 0.9,
    "in": 0.2,
    "nin": 0.8,
    "between": 0.25,
    "is_null": 0.1,
    "is_not_null": 0.9,
}


def _selectivity(predicate: Predicate) -> float:
    """A guess, for want of statistics, at the share of documents that match."""
    match predicate:
        case Compare(op):
            return _SHARES.get(op, 1 / 3)
        case Not(part):
            return 1 - _selectivity(part)
        case And(parts):
            share = 1.0
            for part in parts:
                share *= _selectivity(part)
            return share
        case Or(parts):
            missed = 1.0
            for part in parts:
                missed *= 1 - _selectivity(part)
            return 1 - missed
