"""The first few in the order of one index, and nothing else: no plan is made.

The commonest query that has an order: perhaps a range of one field, the order of that
field, a limit. It runs in the caller's process. Whatever is not as simple (documents
that have changed since the index, ids that do not ascend with the rows, an operand that
the field cannot have) is for the planner, which gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import islice
from typing import Final
from uuid import UUID

from pyroaring import BitMap64

from aurora_actors.indexing.index import Index
from aurora_actors.indexing.keys import LONGEST_KEY
from aurora_actors.indexing.ranges import EVERYTHING, KeyRange
from aurora_actors.indexing.reader import IndexSnapshot
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.predicate import Compare, Predicate
from aurora_actors.query.selection import key_ranges
from aurora_actors.schema.types import Kind
from aurora_actors.storage.reader import CollectionInfo

__all__ = ["first_rows"]

_OPERATORS: Final = frozenset({"eq", "gt", "gte", "lt", "lte"})
# Operands that certainly make sense for a field of the kind.
_OPERANDS: Final[dict[Kind, tuple[type, ...]]] = {
    Kind.INT: (int, float),
    Kind.FLOAT: (int, float),
    Kind.STRING: (str,),
    Kind.UUID: (UUID,),
    Kind.DATETIME: (datetime,),
    Kind.DATE: (date,),
}
_MOST_KNOWN: Final = 1024


def first_rows(
    snapshot: IndexSnapshot,
    info: CollectionInfo,
    predicate: Predicate | None,
    order: OrderKey,
    most: int,
) -> list[int] | None:
    """The first rows of those that match, in the order of one field, ties by id.

    Args:
        snapshot: Indexes that speak of the present state of the collection.
        info: The collection.
        predicate: What the rows are to match.
        order: The order.
        most: How many rows.

    Returns:
        ``None`` when that takes a plan.
    """
    index = snapshot.index_on(info.id, order.field)
    if index is None or index.multi:
        return None
    keys = _keys_in(index, predicate)
    disordered = snapshot.disordered(info.id)
    if keys is None or disordered is None:
        return None
    found: list[int] = []
    for key, rows in index.scan_sets(keys, descending=not order.ascending):
        # A truncated key stands for several values.
        if len(key) > LONGEST_KEY or (disordered and _meets(disordered, rows)):
            return None
        found += islice(rows, most - len(found))
        if len(found) >= most:
            break
    return found


def _meets(disordered: RowSet, rows: RowSet | Sequence[int]) -> bool:
    """Whether documents have to be read to tell the order of these rows."""
    if len(rows) == 1:
        return False
    return bool(disordered & (rows if isinstance(rows, BitMap64) else BitMap64(rows)))


def _keys_in(index: Index, predicate: Predicate | None) -> KeyRange | None:
    """The keys of an index on one field that a predicate selects, exactly.

    ``None`` for a predicate of another sort, which the planner has to look at.
    """
    if predicate is None:
        return EVERYTHING
    if not isinstance(predicate, Compare) or (predicate.field,) != index.fields:
        return None
    kind, value = index.types[0], predicate.value
    if predicate.op not in _OPERATORS or type(value) not in _OPERANDS.get(kind, ()):
        return None
    return _keys(predicate.op, value, kind)


@lru_cache(_MOST_KNOWN, typed=True)
def _keys(operator: str, value: object, kind: Kind) -> KeyRange | None:
    term = Compare(operator, "v", value)  # type: ignore[arg-type]  # one of ours
    found = key_ranges(term, kind, multi=False)
    if found is None:
        return None
    ranges, exact, negated = found
    return ranges[0] if exact and not negated and len(ranges) == 1 else None
