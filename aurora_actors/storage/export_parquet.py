"""Writing a collection as Parquet, in row groups of bounded size.

A declared scalar field is a column of its type (``Uuid`` as text); everything else,
objects, arrays, ``Any`` and the undeclared fields of open collections, is a text column
with the cells of ``schema.text``. The names of such columns are in the file's metadata
under ``aurora.cells``, so that an import reads them back as they were. Runs in a
maintenance process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from aurora_actors.schema.text import to_cell
from aurora_actors.schema.types import CollectionDefinition, FieldType, Kind

__all__ = ["CELLS", "write_parquet"]

CELLS: Final = b"aurora.cells"
"""The metadata key under which the names of text columns with cells stand."""

_GROUP: Final = 10_000
_TYPES: Final[Mapping[Kind, pa.DataType]] = {
    Kind.STRING: pa.string(),
    Kind.INT: pa.int64(),
    Kind.FLOAT: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.UUID: pa.string(),
    Kind.DATETIME: pa.timestamp("us", tz="UTC"),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.BYTES: pa.binary(),
}


def write_parquet(
    file: BinaryIO,
    definition: CollectionDefinition,
    further: Iterable[str],
    documents: Iterator[tuple[str, dict[str, object]]],
) -> Iterator[int]:
    """Write ``documents`` to ``file``, and give how many there are so far.

    Args:
        file: Where to.
        definition: The collection's fields.
        further: The names of undeclared fields.
        documents: Ids and fields.
    """
    types = {name: field.field_type for name, field in definition.fields.items()}
    columns: dict[str, FieldType | None] = {**types, **dict.fromkeys(further)}
    schema = _schema(columns)
    written = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(documents, _GROUP)):
            arrays = [pa.array([document_id for document_id, _ in group], pa.string())]
            for name, declared in columns.items():
                values = [fields.get(name) for _, fields in group]
                arrays.append(_column(values, declared))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            written += len(group)
            yield written


def _schema(columns: Mapping[str, FieldType | None]) -> pa.Schema:
    cells: list[str] = []
    fields = [pa.field("id", pa.string(), nullable=False)]
    for name, declared in columns.items():
        if declared is None or declared.kind not in _TYPES:
            cells.append(name)
            fields.append(pa.field(name, pa.string()))
        else:
            fields.append(pa.field(name, _TYPES[declared.kind]))
    return pa.schema(fields, metadata={CELLS: "\n".join(cells).encode()})


def _column(values: list[object], declared: FieldType | None) -> pa.Array:
    if declared is None or declared.kind not in _TYPES:
        cells = [
            None if value is None else to_cell(value, declared) for value in values
        ]
        return pa.array(cells, pa.string())
    if declared.kind is Kind.UUID:
        values = [None if value is None else str(value) for value in values]
    elif declared.kind is Kind.FLOAT:
        values = [float(value) if isinstance(value, int) else value for value in values]
    return pa.array(values, _TYPES[declared.kind])
