"""Reading documents from a Parquet file, a batch of rows at a time.

Columns become fields of the same names, null becomes nothing, lists and structs become
arrays and objects. Text columns that an export has marked (see
``storage.export_parquet``), and text in columns whose declared fields are no text, are
read as the cells of ``schema.text``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from aurora_actors.errors import DataError, ValidationError
from aurora_actors.schema.text import from_cell
from aurora_actors.schema.types import CollectionDefinition, FieldType, Kind

__all__ = ["read_rows"]

_ROWS: Final = 2_000
_CELLS: Final = b"aurora.cells"


def read_rows(
    file: BinaryIO, definition: CollectionDefinition
) -> Iterator[tuple[float, list[dict[str, object] | DataError]]]:
    """Give the share of the file that has been read, and a batch of its documents.

    Raises:
        ValidationError: it is no Parquet file, or it is damaged.
    """
    # An executor's library: 0.2 s to import, which only an import of this kind pays.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.ParquetFile(file)
        total = max(1, table.metadata.num_rows)
        marked = (table.schema_arrow.metadata or {}).get(_CELLS, b"").decode()
        columns = _Columns(definition, set(marked.split("\n")) if marked else set())
        done = 0
        for batch in table.iter_batches(batch_size=_ROWS):
            done += batch.num_rows
            yield done / total, [columns.document(row) for row in batch.to_pylist()]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise ValidationError(f"no Parquet file that can be read: {exc}") from exc


class _Columns:
    """What each column's values become."""

    def __init__(self, definition: CollectionDefinition, cells: set[str]) -> None:
        self._types = {n: f.field_type for n, f in definition.fields.items()}
        self._cells = cells

    def document(self, row: dict[str, object]) -> dict[str, object] | DataError:
        """One document, or why there is none."""
        try:
            return {
                name: self._value(name, value)
                for name, value in row.items()
                if value is not None
            }
        except DataError as exc:
            return exc

    def _value(self, name: str, value: object) -> object:
        declared = self._types.get(name)
        if name == "id" or not isinstance(value, str):
            return value
        if not value:
            return value
        if name in self._cells or _is_no_text(declared):
            return from_cell(value, declared, name)
        return value


def _is_no_text(declared: FieldType | None) -> bool:
    return declared is not None and declared.kind not in {Kind.STRING, Kind.ANY}
