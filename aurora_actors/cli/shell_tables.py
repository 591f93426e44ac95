"""Results as tables for people; used by the shell, with rich."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, Final, TypeAlias

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from aurora_actors.client.aql_results import (
    BatchResult,
    ExecutionResult,
    MigrationResult,
    MutationResult,
    QueryResult,
    SchemaResult,
    json_text,
)
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["print_result", "print_schema", "rows_table"]

_MOST_ROWS: Final = 500
_LONGEST_CELL: Final = 200
_Row: TypeAlias = Mapping[str, Any]


def print_result(console: Console, result: ExecutionResult) -> None:
    """Print a result: its rows as a table, and what else there is."""
    for part in _parts(result):
        console.print(part)


def _parts(result: ExecutionResult) -> Iterator[RenderableType]:
    match result:
        case BatchResult(results=results):
            for each in results:
                yield Text(each.name, style="bold")
                yield from _parts(each)
        case QueryResult():
            yield from _query(result)
        case MutationResult():
            if any(document.data for document in result.documents):
                yield rows_table(result.to_dicts())
            count = result.affected_count
            of = f" of {result.collection}" if result.collection else ""
            yield f"{result.operation}: {count:,} document{'s' * (count != 1)}{of}"
        case SchemaResult():
            yield f"{result.operation} {result.collection}: {result.status}"
        case MigrationResult():
            yield f"{result.status} {result.steps_applied}, last: {result.version}"


def _query(result: QueryResult) -> Iterator[RenderableType]:
    value = result.value
    if result.groups is not None:
        yield rows_table(result.groups)
    elif isinstance(value, list):
        yield rows_table(value)
        count = len(value)
        yield Text(f"{count:,} document{'s' * (count != 1)}", style="dim")
    else:
        if result.edges is not None or result.has_documents:
            yield rows_table(result.to_dicts())
        rest = {
            name: part
            for name, part in value.items()
            if name != "documents" and not (part and part is result.edges)
        }
        if rest:
            yield rows_table([rest])


def rows_table(rows: Sequence[_Row]) -> Table:
    """Rows as a table, whose columns are all names there are."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = [*dict.fromkeys(name for row in rows[:_MOST_ROWS] for name in row)]
    for name in names:
        right = all(_is_number(row.get(name)) for row in rows[:_MOST_ROWS])
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*[_cell(row, name) for name in names])
    if len(rows) > _MOST_ROWS:
        table.caption = f"and {len(rows) - _MOST_ROWS:,} more"
    return table


def _is_number(value: object) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool)
    )


def _cell(row: _Row, name: str) -> Text:
    value = row.get(name)
    if value is None:
        return Text("null" if name in row else "", style="dim")
    if isinstance(value, str):
        text = value
    elif isinstance(value, date | datetime | time):
        text = value.isoformat()
    else:
        text = json_text(value)
    shown = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_CELL])
    return Text(shown + ("…" if len(text) > _LONGEST_CELL else ""))


def print_schema(console: Console, definitions: Iterable[CollectionDefinition]) -> None:
    """Print what collections there are."""
    for definition in definitions:
        suffix = " @open" if definition.open else ""
        console.print(Text(f"{definition.name}{suffix}", style="bold"))
        rows = [
            {
                "field": name,
                "type": f"{field.field_type}{'' if field.nullable else '!'}",
                "": " ".join(
                    word
                    for word, is_so in (
                        ("@unique", field.unique),
                        ("@indexed", field.indexed),
                    )
                    if is_so
                ),
            }
            for name, field in definition.fields.items()
        ]
        if rows:
            console.print(rows_table(rows))
