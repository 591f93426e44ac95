"""What is known of whole segments: increments that nobody has to compute.

A segment's entry says how many values a column has, their bounds, and the sum of its
numbers (see ``indexing.segments``). Where all of its rows are counted in, and nothing
else is asked of them, its file is not read. Pure; used by executors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aurora_actors.indexing.segments import ColumnFacts, Segment
from aurora_actors.query.aggregate_terms import Slot, Terms
from aurora_actors.schema.types import Kind

__all__ = ["known_increments"]


def known_increments(segment: Segment, terms: Terms) -> Sequence[Any] | None:
    """What a segment adds to the one group of all documents, for each slot.

    ``None`` where that is not known: by groups it never is.
    """
    if terms.keys:
        return None
    increments: list[Any] = []
    for slot in terms.slots:
        if slot.field is None and slot.family == "count":
            increments.append(segment.rows)
            continue
        facts = None if slot.field is None else segment.column(slot.field)
        known = None if facts is None else _known(slot, facts, segment.rows)
        if known is None:
            return None
        increments += known
    return increments


def _known(slot: Slot, facts: ColumnFacts, rows: int) -> list[Any] | None:
    """The increment of a slot, as ``aggregate_states`` takes it, alone in a list."""
    match slot.family:
        case "count":
            return [rows - facts.nulls]
        case "sum":
            return _sum(slot, facts, rows - facts.nulls)
        case "min" | "max" if facts.bounds is not None:
            return [facts.low if slot.family == "min" else facts.high]
        case "min" | "max" if facts.nulls == rows:
            return [None]
    return None


def _sum(slot: Slot, facts: ColumnFacts, count: int) -> list[Any] | None:
    if slot.kind is Kind.INT and facts.total is not None:
        return [(count, facts.total, None)]
    if slot.kind is Kind.FLOAT and facts.parts is not None:
        return [(count, 0, facts.parts)]
    return None
