"""Predicates over whole columns: one meaning, evaluated a segment at a time.

The only module of the package that knows pyarrow besides ``query.column_scan``; executors
import it when a query first scans columns. A term becomes a mask: a boolean array without
nulls, true where the term is. What Arrow's kernels mean exactly as we do they compute;
for the rest the term is compiled as for documents and evaluated on the column's values,
which for a dictionary of words means once for each word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any, Final, TypeAlias
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.predicate import And, Compare, Not, Or, Predicate
from aurora_actors.query.vector_words import word_mask
from aurora_actors.schema.types import INT_MAX, INT_MIN, Kind

__all__ = ["Array", "column_values", "mask_of"]

Array: TypeAlias = Any

_EXACT: Final = 1 << 53
_RANGES: Final[dict[str, Callable[[Array, Any], Array]]] = {
    "gt": pc.greater,
    "gte": pc.greater_equal,
    "lt": pc.less,
    "lte": pc.less_equal,
}
_NEGATED: Final = {
    "ne": "eq",
    "nin": "in",
    "is_not_null": "is_null",
    "not_above": "above",
    "not_below": "below",
}
_PLACES: Final = {"above": "gt", "below": "lt"}
_OPERAND_TYPES: Final[dict[Kind, type]] = {
    Kind.BOOL: bool,
    Kind.STRING: str,
    Kind.BYTES: bytes,
    Kind.DATETIME: datetime,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.UUID: UUID,
}
_ORDERED: Final = frozenset(
    {Kind.INT, Kind.FLOAT, Kind.STRING, Kind.DATETIME, Kind.DATE, Kind.TIME}
)


def mask_of(
    predicate: Predicate,
    columns: Mapping[str, Array],
    kinds: Mapping[str, Kind],
    rows: int,
) -> Array:
    """Where ``predicate`` is true.

    Args:
        predicate: Its fields are all among ``columns``.
        columns: Arrays by field, of one length.
        kinds: The declared type of each.
        rows: The length.
    """
    match predicate:
        case And(parts):
            return _folded(
                pc.and_, [mask_of(p, columns, kinds, rows) for p in parts], rows
            )
        case Or(parts):
            return _folded(
                pc.or_, [mask_of(p, columns, kinds, rows) for p in parts], rows
            )
        case Not(part):
            return pc.invert(mask_of(part, columns, kinds, rows))
        case Compare():
            return _term_mask(
                predicate, columns[predicate.field], kinds[predicate.field]
            )


def _folded(
    join: Callable[[Array, Array], Array], masks: list[Array], rows: int
) -> Array:
    if not masks:
        return _constant(join is pc.and_, rows)
    result = masks[0]
    for mask in masks[1:]:
        result = join(result, mask)
    return result


def _constant(value: bool, rows: int) -> Array:
    return pa.repeat(pa.scalar(value), rows)


# ------------------------------------------------------------------ terms
def _term_mask(term: Compare, column: Array, kind: Kind) -> Array:
    positive = _NEGATED.get(term.op)
    if positive is not None:
        same = Compare(positive, term.field, term.value)  # type: ignore[arg-type]  # an operator
        return pc.invert(_term_mask(same, column, kind))
    if term.op == "is_null" or (term.op == "eq" and term.value is None):
        return pc.is_null(column)
    if term.op in _PLACES:
        return _place_mask(term, column, kind)
    if pa.types.is_dictionary(column.type):
        words = _term_mask(term, column.dictionary, kind)
        return _false_for_null(pc.take(words, column.indices))
    mask = _kernel_mask(term, column, kind)
    return _value_mask(term, column, kind) if mask is None else _false_for_null(mask)


def _place_mask(term: Compare, column: Array, kind: Kind) -> Array:
    """Where values are above or below one in the order of sorting: null comes first."""
    if term.value is None:
        if term.op == "above":
            return pc.is_valid(column)
        return _constant(value=False, rows=len(column))
    if type(term.value) is not _OPERAND_TYPES.get(kind, type(term.value)):
        return _value_mask(term, column, kind)
    words = column
    if pa.types.is_dictionary(column.type):
        words = column.dictionary
    same = Compare(_PLACES[term.op], term.field, term.value)  # type: ignore[arg-type]  # an operator
    mask = _kernel_mask(same, words, kind)
    if mask is None:
        return _value_mask(term, column, kind)
    if words is not column:
        mask = pc.take(mask, column.indices)
    return pc.fill_null(mask, fill_value=term.op == "below")


def _false_for_null(mask: Array) -> Array:
    return pc.fill_null(mask, fill_value=False) if mask.null_count else mask


def _kernel_mask(term: Compare, column: Array, kind: Kind) -> Array | None:
    """The mask by Arrow's kernels, or ``None`` if these mean something else."""
    operator, value = term.op, term.value
    if operator == "between" and isinstance(value, (list, tuple)):
        low = _kernel_mask(Compare("gte", term.field, value[0]), column, kind)
        high = _kernel_mask(Compare("lte", term.field, value[1]), column, kind)
        return None if low is None or high is None else pc.and_(low, high)
    if operator != "eq" and operator not in _RANGES:
        return word_mask(operator, value, column, kind, _OPERAND_TYPES)
    if kind in {Kind.INT, Kind.FLOAT}:
        return _number_mask(operator, value, column, kind)
    is_ordered = operator == "eq" or kind in _ORDERED
    if type(value) is not _OPERAND_TYPES.get(kind) or not is_ordered:
        return None
    if kind is Kind.BOOL:
        return column if value else pc.invert(column)
    plain = value.bytes if isinstance(value, UUID) else value
    compare = pc.equal if operator == "eq" else _RANGES[operator]
    return compare(column, pa.scalar(plain, column.type))


def _number_mask(operator: str, value: Any, column: Array, kind: Kind) -> Array | None:  # noqa: ANN401 - an operand
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    compare = pc.equal if operator == "eq" else _RANGES[operator]
    if kind is Kind.FLOAT:
        if isinstance(value, int) and abs(value) > _EXACT:
            return None
        return compare(column, pa.scalar(float(value), column.type))
    if isinstance(value, float):
        if not value.is_integer():
            # No Int equals it; a range of Ints ends at the next one inwards.
            if operator == "eq":
                return None
            value = math.floor(value) if operator in {"lte", "gt"} else math.ceil(value)
        value = int(value)
    if not INT_MIN <= value <= INT_MAX:
        return None
    return compare(column, pa.scalar(value, column.type))


def _value_mask(term: Compare, column: Array, kind: Kind) -> Array:
    """The mask by the term's own code, value by value."""
    matches = compile_predicate(Compare(term.op, "v", term.value))
    values = column_values(column, kind)
    return pa.array([matches({"v": value}, "") for value in values], pa.bool_())


def column_values(column: Array, kind: Kind) -> list[Any]:
    """The values of a column as documents have them."""
    values: list[Any] = column.to_pylist()
    if kind is Kind.UUID:
        return [None if value is None else UUID(bytes=value) for value in values]
    return values
