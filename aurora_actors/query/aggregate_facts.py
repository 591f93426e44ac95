"""What is known of whole segments: increments that nobody has to compute.

A segment's entry says how many values a column has, their bounds, and the sum of its
numbers (see ``indexing.segments``). Where all of its rows match, and nothing else is
asked of them, its file is not read, but for the few rows that do not count any more:
what these had is taken off again, which with exact sums leaves nothing behind. Pure; used
by executors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from aurora_actors.indexing.segments import ColumnFacts, Segment
from aurora_actors.query.aggregate_terms import Slot, Terms
from aurora_actors.schema.types import Kind

__all__ = ["GoneValues", "known_increments"]

GoneValues: TypeAlias = Callable[[str], Sequence[Any] | None]


def known_increments(
    segment: Segment, terms: Terms, gone: int, gone_values: GoneValues
) -> Sequence[Any] | None:
    """What a segment adds to the one group of all documents, for each slot.

    Args:
        segment: The segment, all rows of which match.
        terms: What is asked.
        gone: How many of its rows do not count any more.
        gone_values: Gives their values of a field; ``None`` if they cannot be had.

    Returns:
        ``None`` where that is not known: by groups it never is.
    """
    if terms.keys:
        return None
    increments: list[Any] = []
    gone_by_field: dict[str, Sequence[Any] | None] = {}
    for slot in terms.slots:
        if slot.field is None:
            if slot.family != "count":
                return None
            increments.append(segment.rows - gone)
            continue
        facts = segment.column(slot.field)
        if facts is not None and slot.field not in gone_by_field:
            gone_by_field[slot.field] = gone_values(slot.field) if gone else ()
        less = gone_by_field.get(slot.field)
        if facts is None or less is None:
            return None
        there = [value for value in less if value is not None]
        count = segment.rows - facts.nulls - len(there)
        known = _known(slot, facts, count, there)
        if known is None:
            return None
        increments += known
    return increments


def _known(
    slot: Slot, facts: ColumnFacts, count: int, less: Sequence[Any]
) -> list[Any] | None:
    """The increment of a slot, as ``aggregate_states`` takes it, alone in a list.

    Args:
        slot: The slot.
        facts: Of its column.
        count: How many values are left.
        less: Values that count no more.
    """
    match slot.family:
        case "count":
            return [count]
        case "sum":
            return _sum(slot, facts, count, less)
        case "min" | "max" if not count:
            return [None]
        case "min" | "max" if facts.bounds is not None:
            bound = facts.low if slot.family == "min" else facts.high
            return None if any(value == bound for value in less) else [bound]
    return None


def _sum(
    slot: Slot, facts: ColumnFacts, count: int, less: Sequence[Any]
) -> list[Any] | None:
    if slot.kind is Kind.INT and facts.total is not None:
        return [(count, facts.total - sum(less), None)]
    if slot.kind is Kind.FLOAT and facts.parts is not None:
        return [(count, 0, [*facts.parts, *(-value for value in less)])]
    return None
