"""Whether a segment can hold a match at all, by what is known of its columns.

Pure; used by executors. It says no only when the least and greatest values of a column
rule a match out; when in doubt it says yes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from aurora_actors.indexing.segments import ColumnFacts, Segment
from aurora_actors.query.predicate import And, Compare, Or, Predicate
from aurora_actors.schema.order import SortKey, kind_rank, sort_key
from aurora_actors.schema.values import decode_value

__all__ = ["may_match"]

_MOST_KNOWN: Final = 4096
_INTERVALS: Final = frozenset({"eq", "gt", "gte", "lt", "lte", "between"})


def may_match(predicate: Predicate | None, segment: Segment) -> bool:
    """Whether some row of the segment may match."""
    match predicate:
        case And(parts):
            return all(may_match(part, segment) for part in parts)
        case Or(parts):
            return any(may_match(part, segment) for part in parts)
        case Compare(op) if op in _INTERVALS:
            facts = segment.column(predicate.field)
            return facts is None or _may_be_in(predicate, facts)
    return True


def _may_be_in(term: Compare, facts: ColumnFacts) -> bool:
    if facts.bounds is None or term.value is None:
        return True
    low: object = term.value
    high: object = term.value
    if term.op == "between" and isinstance(term.value, (list, tuple)):
        low, high = term.value
    rank, lowest, highest = _limits(*facts.bounds)
    if not kind_rank(low) == kind_rank(high) == rank:
        return True
    above = term.op in {"lt", "lte"} or highest >= sort_key(low)
    below = term.op in {"gt", "gte"} or lowest <= sort_key(high)
    return above and below


@lru_cache(_MOST_KNOWN)
def _limits(low: bytes, high: bytes) -> tuple[int, SortKey, SortKey]:
    """The rank of the kind of encoded bounds, and their sort keys."""
    lowest, highest = decode_value(low), decode_value(high)
    return kind_rank(lowest), sort_key(lowest), sort_key(highest)
