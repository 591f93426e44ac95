"""What is left of a predicate for one segment, by what is known of its columns.

Pure; used by executors. Where the least and greatest values of a column, or the number
of its nulls, rule a match out, none of the segment has to be read; a term that all rows
fulfil by them need not be tested. When in doubt a term is left.
"""

from __future__ import annotations

from datetime import date, datetime, time
from functools import lru_cache
from typing import Final, TypeAlias

from aurora_actors.indexing.segments import ColumnFacts, Segment
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate
from aurora_actors.schema.order import SortKey, kind_rank, sort_key
from aurora_actors.schema.values import decode_value

__all__ = ["Left", "left_of"]

_MOST_KNOWN: Final = 4096
# Elsewhere operators need not order as sorting does.
_RANGED: Final = frozenset({int, float, str, datetime, date, time})
_INTERVALS: Final = frozenset({"eq", "gt", "gte", "lt", "lte", "between"})

Left: TypeAlias = Predicate | bool
"""What has to be tested: a predicate; ``True``: all rows match, ``False``: none does."""


def left_of(predicate: Predicate | None, segment: Segment) -> Left:
    """What has to be tested on the rows of a segment's file."""
    match predicate:
        case None:
            return True
        case And(parts):
            return _joined(parts, segment, all_of=True)
        case Or(parts):
            return _joined(parts, segment, all_of=False)
        case Not(part):
            return _negated(left_of(part, segment), predicate)
        case Compare():
            return _of_term(predicate, segment)


def _of_term(term: Compare, segment: Segment) -> Left:
    facts = segment.column(term.field)
    if facts is None:
        return term
    if term.op in {"is_null", "is_not_null"} or (
        term.op == "eq" and term.value is None
    ):
        return _of_nulls(term, facts, segment.rows)
    return _of_interval(term, facts) if term.op in _INTERVALS else term


def _joined(parts: list[Predicate], segment: Segment, *, all_of: bool) -> Left:
    """What is left of parts that all have to be true, or one of them."""
    kept: list[Predicate] = []
    for part in parts:
        left = left_of(part, segment)
        if left is (not all_of):
            return left
        if left is not all_of:
            kept.append(left)  # type: ignore[arg-type]  # no bool is left
    if not kept:
        return all_of
    if len(kept) == 1:
        return kept[0]
    return And(kept) if all_of else Or(kept)


def _negated(left: Left, whole: Not) -> Left:
    if isinstance(left, bool):
        return not left
    return whole if left is whole.part else Not(left)


def _of_nulls(term: Compare, facts: ColumnFacts, rows: int) -> Left:
    if 0 < facts.nulls < rows:
        return term
    return (facts.nulls == rows) is (term.op != "is_not_null")


def _of_interval(term: Compare, facts: ColumnFacts) -> Left:
    """What is left of a term that is true of values in an interval."""
    low: object = term.value
    high: object = term.value
    if term.op == "between" and isinstance(term.value, (list, tuple)):
        low, high = term.value
    if facts.bounds is None or low is None or high is None:
        return term
    limits = _limits(*facts.bounds)
    if not kind_rank(low) == kind_rank(high) == limits.rank:
        return term
    keys = sort_key(low), sort_key(high)
    if not _may_hold(term.op, limits, *keys):
        return False
    is_alike = limits.are_like(low) and limits.are_like(high)
    is_sure = is_alike and (term.op == "eq" or limits.kind in _RANGED)
    if facts.nulls or not is_sure:
        return term
    return _holds(term.op, limits, *keys) or term


class _Limits:
    """The rank of the kind of encoded bounds, their type, and their sort keys."""

    __slots__ = ("highest", "kind", "lowest", "rank")

    def __init__(self, low: object, high: object) -> None:
        self.rank = kind_rank(low)
        self.kind = type(low)
        self.lowest = sort_key(low)
        self.highest = sort_key(high)

    def are_like(self, operand: object) -> bool:
        """Whether values and operand are of one type, or both numbers."""
        kind = type(operand)
        return kind is self.kind or {kind, self.kind} == {int, float}


@lru_cache(_MOST_KNOWN)
def _limits(low: bytes, high: bytes) -> _Limits:
    return _Limits(decode_value(low), decode_value(high))


def _may_hold(operator: str, limits: _Limits, low: SortKey, high: SortKey) -> bool:
    """Whether some value between limits may be where the operator wants it."""
    above = operator in {"lt", "lte"} or limits.highest >= low
    below = operator in {"gt", "gte"} or limits.lowest <= high
    return above and below


def _holds(operator: str, limits: _Limits, low: SortKey, high: SortKey) -> bool:
    """Whether all values between limits are where the operator wants them."""
    match operator:
        case "gt":
            return limits.lowest > low
        case "gte":
            return limits.lowest >= low
        case "lt":
            return limits.highest < high
        case "lte":
            return limits.highest <= high
    return limits.lowest >= low and limits.highest <= high
