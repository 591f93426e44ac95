"""Groups of whole column segments: what Arrow computes, in the form states absorb.

Executors only: it needs pyarrow. All that the slots of a query need of one segment is
first asked for, as plain reductions of arrays (count, sum, least, greatest), and then
computed at once: over all rows, or for each group of them. What one segment gives for a
group is one increment for each slot, as ``aggregate_states`` takes them, so that it
makes no difference whether a document was met in a column or read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.indexing.arrow import ROW_COLUMN
from aurora_actors.indexing.sums import (
    bounds,
    extracted,
    integer_halves,
    joined,
    largest_size,
    sums_fit,
)
from aurora_actors.query.aggregate_exact import Moments
from aurora_actors.query.aggregate_increments import Sums
from aurora_actors.query.aggregate_kernels import (
    Array,
    float_squares,
    integer_squares,
)
from aurora_actors.query.aggregate_keys import Keys
from aurora_actors.query.aggregate_reduce import Reduction
from aurora_actors.query.aggregate_terms import Slot, Terms
from aurora_actors.query.segment_match import Joined, Matched
from aurora_actors.query.vector import column_values
from aurora_actors.schema.types import Kind

__all__ = ["segment_groups"]

_Part: TypeAlias = Callable[[], Sequence[Any]]
_DIRECT: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.DATE, Kind.DATETIME, Kind.BOOL})


def segment_groups(
    matched: Matched | Joined, terms: Terms
) -> tuple[Sequence[tuple[object, ...]], Sequence[Sequence[Any]]]:
    """What the matches in segments add to groups.

    Where the order of documents matters, the rows of ``matched`` ascend.

    Returns:
        The keys of each group, and for each slot the increments of all groups.
    """
    if not matched.count:
        return (), [() for _ in terms.slots]
    columns = {name: matched.column(name) for name in terms.fields}
    keys = None
    if terms.keys:
        keys = Keys([(key, columns[key.field]) for key in terms.keys])
    reduction = Reduction(matched.count, None)
    if keys is not None:
        reduction = Reduction(matched.count, keys.codes, keys.most)
    segment = _Segment(matched, columns, reduction)
    parts = [segment.ask(slot, terms.spec.nodes) for slot in terms.slots]
    codes = reduction.run()
    shown = [()] if keys is None else keys.shown(codes)
    return shown, [part() for part in parts]


class _Segment:
    """What slots ask of one segment's matches.

    Each gives what makes a slot's increments, one for each group, once all is computed.
    """

    def __init__(
        self, matched: Matched | Joined, columns: dict[str, Array], reduction: Reduction
    ) -> None:
        self._matched = matched
        self._columns = columns
        self._reduction = reduction
        self._rows: Array | None = None
        self._bounds: dict[str, tuple[Any, Any]] = {}

    def ask(self, slot: Slot, nodes: int) -> _Part:
        """Ask for what a slot needs; gives what makes its increments."""
        if slot.field is None:
            counts = slot.family == "count"
            return self._reduction.count_all() if counts else self._first_rows(nodes)
        column = self._columns[slot.field]
        if slot.family == "count":
            return self._reduction.count(column)
        ways = {
            "sum": self._sum,
            "moments": self._moments,
            "min": self._extreme,
            "max": self._extreme,
            "distinct": self._distinct,
        }
        return ways.get(slot.family, self._edge)(slot, column)

    # -------------------------------------------------------------- sums
    def _bounds_of(self, slot: Slot, column: Array) -> tuple[Any, Any]:
        field = str(slot.field)
        if field not in self._bounds:
            self._bounds[field] = bounds(column)
        return self._bounds[field]

    def _limits_of(self, slot: Slot, column: Array) -> tuple[Any, Any]:
        """Numbers that no value is below, or above."""
        field = str(slot.field)
        known = None if field in self._bounds else self._matched.limits(field)
        return self._bounds_of(slot, column) if known is None else known

    def _sum(self, slot: Slot, column: Array) -> _Part:
        count = self._reduction.count(column)
        if not pa.types.is_float64(column.type):
            whole = self._integer_total(column, *self._limits_of(slot, column))
            return lambda: Sums(count(), wholes=whole())
        parts: list[Array] | None = [column]
        if not self._matched.adds_up(str(slot.field)):
            low, high = self._limits_of(slot, column)
            parts = extracted(column, largest_size(low, high))
        if parts is None:
            listed = self._reduction.listed(column)
            return lambda: [
                (n, *_large_total(found, plain=True))
                for n, found in zip(count(), listed(), strict=True)
            ]
        totals = [self._reduction.sum(part) for part in parts]
        return lambda: Sums(count(), parts=[total() for total in totals])

    def _integer_total(self, values: Array, low: Any, high: Any) -> _Part:  # noqa: ANN401 - of an array
        if sums_fit(low, high, len(values)):
            return self._reduction.sum(values)
        upper, lower = map(self._reduction.sum, integer_halves(values))
        return lambda: [*map(joined, upper(), lower())]

    def _float_squares(self, values: Array, largest: float) -> _Part:
        """Gives the whole part and the parts of exact sums of squares."""
        parts = float_squares(values, largest)
        if parts is None:
            listed = self._reduction.listed(values)
            return lambda: [_large_total(found, plain=False) for found in listed()]
        totals = [self._reduction.sum(part) for part in parts]
        if not totals:
            return lambda: [(0, ())] * self._reduction.groups
        return lambda: [
            (0, group) for group in zip(*[total() for total in totals], strict=True)
        ]

    def _moments(self, slot: Slot, column: Array) -> _Part:
        sums = self._sum(slot, column)
        low, high = self._limits_of(slot, column)
        if pa.types.is_float64(column.type):
            total = self._float_squares(column, largest_size(low, high))
            return lambda: [(*s, *t) for s, t in zip(sums(), total(), strict=True)]
        squares = None if low is None else integer_squares(column, low, high)
        if low is None or squares is not None:
            most = 0 if low is None else max(-low, high) ** 2
            whole = self._integer_total(column if low is None else squares, 0, most)
        else:
            listed = self._reduction.listed(column)
            whole = partial(_squares, listed)
        return lambda: [(*s, w, None) for s, w in zip(sums(), whole(), strict=True)]

    # -------------------------------------------------------------- values
    def _extreme(self, slot: Slot, column: Array) -> _Part:
        is_min, kind = slot.family == "min", slot.kind
        if kind not in _DIRECT:
            return self._extreme_of_words(column, kind, is_min=is_min)
        if self._reduction.is_whole and kind is not Kind.BOOL:
            found = self._bounds_of(slot, column)[0 if is_min else 1]
            return lambda: [found]
        ask = self._reduction.least if is_min else self._reduction.greatest
        return ask(column)

    def _extreme_of_words(self, column: Array, kind: Kind, *, is_min: bool) -> _Part:
        """By the ranks of the different values, which Arrow can compare."""
        encoded = column
        if not pa.types.is_dictionary(column.type):
            encoded = column.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary)
        ranks = pc.take(pc.sort_indices(order), encoded.indices)
        ask = self._reduction.least if is_min else self._reduction.greatest
        best = ask(ranks)
        words, places = encoded.dictionary, order

        def found() -> list[object]:
            ranks = pa.array(best(), pa.int64())
            return column_values(words.take(places.take(ranks)), kind)

        return found

    def _distinct(self, slot: Slot, column: Array) -> _Part:
        if slot.kind is Kind.FLOAT:
            column = pc.add(column, 0.0)
        has_all = self._matched.is_complete
        if not pa.types.is_dictionary(column.type):
            column, has_all = column.dictionary_encode(), True
        words = column_values(column.dictionary, slot.kind)
        if has_all and self._reduction.is_whole:
            return lambda: [words]
        found = self._reduction.distinct(column.indices, len(words))
        return lambda: [[words[code] for code in codes] for codes in found()]

    # -------------------------------------------------------------- places
    def _row_column(self) -> Array:
        if self._rows is None:
            self._rows = self._matched.column(ROW_COLUMN)
        return self._rows

    def _edge(self, slot: Slot, column: Array) -> _Part:
        """The first or the last row that has a value, and the value."""
        # Rows ascend: positions order as they do, and find the value again.
        positions = pa.array(range(len(column)), pa.int64())
        if column.null_count:
            nothing = pa.scalar(None, pa.int64())
            positions = pc.if_else(pc.is_valid(column), positions, nothing)
        is_first = slot.family == "first"
        ask = self._reduction.least if is_first else self._reduction.greatest
        place, rows = ask(positions), self._row_column()

        def found() -> list[tuple[int, object]]:
            chosen = pa.array(place(), pa.int64())
            values = column.take(chosen)
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            found_rows = rows.take(chosen).to_pylist()
            return [*zip(found_rows, column_values(values, slot.kind), strict=True)]

        return found

    def _first_rows(self, most: int) -> _Part:
        first = self._reduction.first(self._row_column(), most)

        return lambda: [[(row, row) for row in found] for found in first()]


def _squares(listed: _Part) -> list[int]:
    return [sum(value * value for value in values) for values in listed()]


def _large_total(
    values: Sequence[float | None], *, plain: bool
) -> tuple[int, list[float]]:
    """The exact sum of floats, some of which are large, or of their squares."""
    moments = Moments()
    moments.take([value for value in values if value is not None])
    sums = moments.sums if plain else moments.squares
    return sums.whole, sums.parts
