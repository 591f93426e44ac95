"""The rows of a segment that can be among the first few of an order.

A row can be if its value is not behind the k-th best of its segment. Equal values all
stay, because other keys or the ids decide among them. Executors only.
"""

from __future__ import annotations

from array import array

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.indexing.arrow import ROW_COLUMN, row_ids
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.segment_match import Matched
from aurora_actors.query.vector import Array

__all__ = ["topmost_rows"]


def topmost_rows(matched: Matched, key: OrderKey, keep: int) -> array[int]:
    """The rows that can be among the first ``keep`` by ``key``; maybe some more."""
    rows = matched.table.select([ROW_COLUMN])
    if matched.mask is not None:
        rows = rows.filter(matched.mask)
    if rows.num_rows <= keep or not keep:
        return row_ids(rows)
    wanted = _wanted(_comparable(matched.column(key.field)), key, keep)
    return row_ids(rows if wanted is None else rows.filter(wanted))


def _comparable(values: Array) -> Array:
    """Numbers that order as the values do, for types that Arrow cannot select from."""
    if not pa.types.is_dictionary(values.type):
        return values
    order = pc.sort_indices(values.dictionary)
    ranks = pc.sort_indices(order).cast(pa.int64())
    return pc.take(ranks, values.indices)


def _wanted(values: Array, key: OrderKey, keep: int) -> Array | None:
    """Which of more than ``keep`` values are among the first; ``None``: all may be."""
    nulls = values.null_count
    if key.ascending:
        # Null comes before all values.
        if nulls >= keep:
            return pc.is_null(values)
        keep -= nulls
    elif len(values) - nulls <= keep:
        return None
    direction = "ascending" if key.ascending else "descending"
    table = pa.table({"v": values.drop_null()})
    best = pc.select_k_unstable(table, keep, [("v", direction)])
    worst = table.column("v").take(best[-1:])[0]
    compare = pc.less_equal if key.ascending else pc.greater_equal
    mask = pc.fill_null(compare(values, worst), fill_value=False)
    return pc.or_(mask, pc.is_null(values)) if key.ascending and nulls else mask
