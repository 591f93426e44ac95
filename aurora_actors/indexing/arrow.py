"""Columns as Arrow arrays, and segments as Arrow files.

The only module of the package that knows pyarrow (see ADR 0002), which costs 0.1 s and
13 MiB to import: the index builder imports it, and the executors do when a query first
scans columns. In a file the column ``#row`` has the row ids; the others are called as
the fields:

=========  ==================================================================
Boolean    bool
Int        int64
Float      float64; an Int that no float equals is opaque
String     dictionary of utf8 when few values repeat, else utf8
Bytes      binary
Uuid       fixed-size binary of 16 bytes
DateTime   timestamp of microseconds, UTC
Date       date32
Time       time64 of microseconds
=========  ==================================================================

A text or bytes of more than :data:`LONGEST_VALUE` is opaque. Null and missing are null.
"""

from __future__ import annotations

import os
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from aurora_actors.errors import CorruptionError
from aurora_actors.indexing.segments import ColumnFacts
from aurora_actors.indexing.sums import bounds, float_parts, integer_total
from aurora_actors.schema.types import Kind
from aurora_actors.storage.environment import file_errors

__all__ = [
    "LONGEST_VALUE",
    "ROW_COLUMN",
    "Array",
    "ArrowTable",
    "arrow_type",
    "column_array",
    "column_facts",
    "drop_rows",
    "merge_tables",
    "open_segment_table",
    "packed",
    "release_memory",
    "row_ids",
    "row_positions",
    "segment_table",
    "write_segment_table",
]

Array: TypeAlias = Any
ArrowTable: TypeAlias = Any

ROW_COLUMN: Final = "#row"
"""No field can be asked for by this name."""
LONGEST_VALUE: Final = 1024

_LONGEST_BOUND: Final = 64
# A dictionary pays when each value stands there several times.
_LEAST_REPEATS: Final = 4
_MOST_WORDS: Final = 1 << 15
_HEAD: Final = 4096
# Of values that repeat, but seldom, the beginning has few twice.
_MOST_NEW: Final = 0.75

_TYPES: Final[dict[Kind, Any]] = {
    Kind.BOOL: pa.bool_(),
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.BYTES: pa.binary(),
    Kind.UUID: pa.binary(16),
    Kind.DATETIME: pa.timestamp("us", "UTC"),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
}


def arrow_type(kind: Kind) -> Any:  # noqa: ANN401 - pyarrow has no types for mypy
    """The Arrow type of a field's column, before it is packed."""
    return _TYPES[kind]


# ------------------------------------------------------------------ from values
def column_array(kind: Kind, values: Sequence[Any]) -> tuple[Array, list[int]]:
    """The values as an array, and the positions of those it cannot hold."""
    if kind is Kind.UUID:
        plain: list[object] = [
            value.bytes if type(value) is UUID else None for value in values
        ]
        return pa.array(plain, _TYPES[kind]), []
    opaque = _long_values(values) if kind in {Kind.STRING, Kind.BYTES} else []
    if opaque:
        values = _without(values, opaque)
    try:
        return pa.array(values, _TYPES[kind]), opaque
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
        opaque = _unfit_values(kind, values)
        return pa.array(_without(values, opaque), _TYPES[kind]), opaque


def _long_values(values: Sequence[Any]) -> list[int]:
    longest = max((len(value) for value in values if value is not None), default=0)
    if longest <= LONGEST_VALUE:
        return []
    return [
        at
        for at, value in enumerate(values)
        if value is not None and len(value) > LONGEST_VALUE
    ]


def _unfit_values(kind: Kind, values: Sequence[Any]) -> list[int]:
    """The positions of values that do not fit the type; found one by one."""
    unfit = []
    for at, value in enumerate(values):
        try:
            pa.scalar(value, _TYPES[kind])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
            unfit.append(at)
    return unfit


def _without(values: Sequence[Any], positions: Iterable[int]) -> list[Any]:
    kept = list(values)
    for at in positions:
        kept[at] = None
    return kept


def packed(array: Array) -> Array:
    """The array as it is written: texts that repeat as a dictionary of them.

    Each word of the dictionary occurs in the array.
    """
    if not pa.types.is_string(array.type) or len(array) < _LEAST_REPEATS:
        return array
    # A look at the beginning spares unique texts the whole dictionary.
    head = array[:_HEAD]
    if pc.count_distinct(head).as_py() > _MOST_NEW * len(head):
        return array
    encoded = array.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    words = len(encoded.dictionary)
    if words > _MOST_WORDS or words * _LEAST_REPEATS > len(array):
        return array
    return encoded


def segment_table(rows: Sequence[int], columns: dict[str, Array]) -> ArrowTable:
    """A segment's table, rows first."""
    arrays = [pa.array(rows, pa.uint64())]
    arrays += [packed(array) for array in columns.values()]
    return pa.table(arrays, names=[ROW_COLUMN, *columns])


def row_ids(table: ArrowTable) -> array[int]:
    """The rows of a table, copied without making an object of each."""
    rows = array("Q")
    for chunk in table.column(ROW_COLUMN).chunks:
        data = memoryview(chunk.buffers()[1])
        rows.frombytes(data[8 * chunk.offset : 8 * (chunk.offset + len(chunk))])
    return rows


def row_positions(table: ArrowTable, rows: Iterable[int]) -> list[int]:
    """Where these of a table's rows are; both ascend."""
    (column,) = table.column(ROW_COLUMN).chunks or [pa.array([], pa.uint64())]
    data = memoryview(column.buffers()[1]).cast("Q")
    first, end = column.offset, column.offset + len(column)
    at, found = first, []
    for row in rows:
        at = bisect_left(data, row, at, end)
        if at < end and data[at] == row:
            found.append(at - first)
    return found


# ------------------------------------------------------------------ facts
def column_facts(table: ArrowTable) -> tuple[ColumnFacts, ...]:
    """What the columns hold, but for the rows."""
    return tuple(
        _facts(name, table.column(name))
        for name in table.column_names
        if name != ROW_COLUMN
    )


def _facts(name: str, column: Array) -> ColumnFacts:
    nulls = column.null_count
    kind = column.type
    if pa.types.is_int64(kind) or pa.types.is_float64(kind):
        return _number_facts(name, column.combine_chunks())
    if nulls == len(column):
        return ColumnFacts.of(name, nulls, None, None)
    if pa.types.is_dictionary(kind):
        column = pa.chunked_array([chunk.dictionary for chunk in column.chunks])
    bounds = pc.min_max(column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if pa.types.is_fixed_size_binary(kind):
        low, high = UUID(bytes=low), UUID(bytes=high)
    if isinstance(low, (str, bytes)) and max(len(low), len(high)) > _LONGEST_BOUND:
        low = high = None
    return ColumnFacts.of(name, nulls, low, high)


def _number_facts(name: str, column: Array) -> ColumnFacts:
    low, high = bounds(column)
    nulls = column.null_count
    if pa.types.is_int64(column.type):
        total = integer_total(column, low, high)
        return ColumnFacts.of(name, nulls, low, high, total=total)
    parts = float_parts(column, low, high)
    return ColumnFacts.of(name, nulls, low, high, parts=parts)


# ------------------------------------------------------------------ files
def write_segment_table(table: ArrowTable, path: Path) -> tuple[int, int]:
    """Write a segment's file; returns its length and CRC-32. It is not synced."""
    table = table.combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with file_errors(path), os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
    return data.size, zlib.crc32(data)


def open_segment_table(path: Path, size: int, crc: int) -> ArrowTable:
    """Map a segment's file into memory, and check it.

    Raises:
        UnavailableError: the file is not there; a later segment took its place.
        CorruptionError: it is damaged.
    """
    with file_errors(path):
        source = pa.memory_map(str(path))
        data = source.read_buffer()
    if data.size != size or zlib.crc32(data) != crc:
        raise CorruptionError(f"{path} is damaged", file=str(path))
    try:
        return pa.ipc.open_file(data).read_all()
    except pa.ArrowException as exc:
        raise CorruptionError(f"{path} is damaged: {exc}", file=str(path)) from exc


def release_memory() -> None:
    """Give back what a segment's making has taken and nobody uses any more."""
    pa.default_memory_pool().release_unused()


# ------------------------------------------------------------------ merging
def drop_rows(table: ArrowTable, dead: Sequence[int]) -> ArrowTable:
    """The table without some of its rows."""
    if not len(dead):
        return table
    gone = pc.is_in(table.column(ROW_COLUMN), value_set=pa.array(dead, pa.uint64()))
    return table.filter(pc.invert(gone))


def merge_tables(tables: Sequence[ArrowTable]) -> ArrowTable:
    """One table of all rows, ascending, with the columns that all tables have."""
    names = [
        name
        for name in tables[0].column_names
        if all(name in table.column_names for table in tables)
    ]
    merged = pa.concat_tables([_unpacked(table.select(names)) for table in tables])
    ascending = all(
        before.column(ROW_COLUMN)[-1].as_py() < behind.column(ROW_COLUMN)[0].as_py()
        for before, behind in pairwise(tables)
        if before.num_rows and behind.num_rows
    )
    if not ascending:
        merged = merged.sort_by(ROW_COLUMN)
    columns = [packed(column.combine_chunks()) for column in merged.columns]
    return pa.table(columns, names=names)


def _unpacked(table: ArrowTable) -> ArrowTable:
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(at).cast(field.type.value_type)
            table = table.set_column(at, field.name, plain)
    return table
