"""The rows of a segment that can be among the first of an order, for each kind of value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from uuid import UUID

import pyarrow as pa
import pytest

from aurora_actors.indexing.arrow import ROW_COLUMN, arrow_type, packed
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.segment_match import Matched
from aurora_actors.query.topmost import topmost_rows
from aurora_actors.schema.types import Kind

VALUES = {
    Kind.BOOL: [False, True] * 6,
    Kind.INT: [*range(-6, 6)],
    Kind.FLOAT: [n / 4 for n in range(-6, 6)],
    Kind.STRING: [chr(ord("a") + n % 7) for n in range(12)],
    Kind.BYTES: [bytes([n % 5, n]) for n in range(12)],
    Kind.UUID: [UUID(int=n << 100).bytes for n in range(12)],
    Kind.DATETIME: [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(n) for n in range(12)],
    Kind.DATE: [date(2020, 1, 1) + timedelta(n) for n in range(12)],
    Kind.TIME: [time(n) for n in range(12)],
}


@pytest.mark.parametrize("kind", VALUES)
def test_what_is_behind_the_last_wanted_value_is_left_out(kind):
    for ascending, nulls, keep in product([True, False], [0, 2, 5], [1, 3, 6]):
        check(kind, ascending=ascending, nulls=nulls, keep=keep)


def check(kind, *, ascending, nulls, keep):
    values = [*VALUES[kind], *[None] * nulls]
    values = values[1::2] + values[::2]
    column = packed(pa.array(values, arrow_type(kind)))
    rows = pa.array(range(len(values)), pa.uint64())
    table = pa.table({ROW_COLUMN: rows, "v": column})
    found = topmost_rows(Matched(table, None), OrderKey("v", ascending), keep)

    def place(value):
        return (value is not None, value if value is not None else 0)

    ordered = sorted(values, key=place, reverse=not ascending)
    last = place(ordered[keep - 1])
    wanted = [
        row
        for row, value in enumerate(values)
        if (place(value) <= last if ascending else place(value) >= last)
    ]
    assert [*found] == wanted, (ascending, nulls, keep)
