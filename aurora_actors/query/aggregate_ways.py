"""Which way an aggregation takes to its documents.

The first of these that serves:

* the number of documents alone, where nothing else is asked;
* the results of the query, where it has a limit, or an order that matters;
* whole columns, and documents for the rows that columns do not speak for;
* the documents that a scan finds.

Used wherever queries run.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.messages.query import ResultMode
from aurora_actors.query.aggregate_gather import (
    Asked,
    CountGathering,
    DocumentGathering,
    Gathering,
    ResultGathering,
)
from aurora_actors.query.aggregate_segments import LEAST_SHARED, SegmentGathering
from aurora_actors.query.choose import Choice, choose
from aurora_actors.query.derived import Derived
from aurora_actors.query.predicate import terms as terms_of

__all__ = ["gathering_of"]

# Of fewer documents each is read sooner than pyarrow is got going.
_FEW: Final = 1000


def gathering_of(asked: Asked) -> Gathering:
    """The best way to the documents."""
    spec, terms = asked.spec, asked.terms
    is_part = spec.limit is not None or spec.offset > 0
    is_ordered = bool(spec.order) and terms.minds_order
    found = spec if is_part else msgspec.structs.replace(spec, order=[])
    if terms.counts_only:
        found = msgspec.structs.replace(found, order=[], mode=ResultMode.COUNT)
    choice = choose(asked.snapshot, asked.info, found, asked.predicate, asked.aids)
    if not is_part and not is_ordered:
        gathering = _by_columns(asked._replace(spec=found), choice)
        if gathering is not None:
            return gathering
    if terms.counts_only:
        return CountGathering(asked._replace(spec=found), choice)
    if is_part or is_ordered:
        return ResultGathering(asked, choice)
    return DocumentGathering(asked._replace(spec=found), choice)


def _by_columns(asked: Asked, choice: Choice) -> Gathering | None:
    """By columns, where that is quicker than what was chosen."""
    if choice.kind not in {"column_scan", "document_scan"}:
        return None
    if asked.terms.counts_only and (
        choice.kind != "column_scan" or asked.info.count < LEAST_SHARED
    ):
        return None
    derived, tables = _usable(asked), asked.aids.tables
    if derived is None or tables is None:
        return None
    return SegmentGathering(asked, choice, derived, tables)


def _usable(asked: Asked) -> Derived | None:
    """The derived data, if its columns have most of what is read."""
    snapshot, info, _, predicate, terms, aids = asked
    if aids.tables is None or info.count < _FEW:
        return None
    derived = Derived.of(aids.index, snapshot, info)
    columns = None if derived is None else derived.columns
    if derived is None or columns is None:
        return None
    read = {*terms.fields}
    if predicate is not None:
        read.update(term.field for term in terms_of(predicate))
    if not read <= columns.fields.keys():
        return None
    beside = columns.document_count + len(derived.changed)
    return derived if 2 * beside <= info.count else None
