"""What makes groups, as numbers: each row of a segment gets the code of its group.

Executors only: it needs pyarrow. A code is the position of the row's value among the
different values of a key; several keys make one number of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.query.aggregate_intervals import (
    DAY_S,
    date_of,
    moment_of,
    origin_s,
)
from aurora_actors.query.aggregate_kernels import Array
from aurora_actors.query.aggregate_terms import Key
from aurora_actors.query.vector import column_values
from aurora_actors.schema.types import Kind

__all__ = ["Keys"]

_MOST_CODES: Final = 1 << 62


class Keys:
    """The keys of the rows of one segment.

    Args:
        keys: Each key with the values of its field.

    Attributes:
        codes: A number for each row; equal for the rows of a group.
        most: The numbers are below this one.
    """

    def __init__(self, keys: Sequence[tuple[Key, Array]]) -> None:
        self._words: list[list[object]] = []
        # Codes that were numbered anew on the way: (after how many keys, the old ones).
        self._renumbered: dict[int, list[int]] = {}
        codes, size = None, 1
        for number, (key, column) in enumerate(keys):
            words, own = _encoded(key, column)
            self._words.append(words)
            if codes is None:
                codes, size = own, len(words)
                continue
            if size * len(words) >= _MOST_CODES:
                codes, size = self._renumber(codes, number)
            codes = pc.add(pc.multiply(codes.cast(pa.int64()), len(words)), own)
            size *= len(words)
        self.codes: Array = codes
        self.most = size

    def _renumber(self, codes: Array, number: int) -> tuple[Array, int]:
        encoded = codes.dictionary_encode()
        self._renumbered[number] = encoded.dictionary.to_pylist()
        return encoded.indices, len(encoded.dictionary)

    def shown(self, codes: Sequence[int]) -> list[tuple[object, ...]]:
        """What the groups of codes show for each key."""
        shown: list[list[object]] = []
        for number in range(len(self._words) - 1, 0, -1):
            words = self._words[number]
            pairs = [divmod(code, len(words)) for code in codes]
            shown.append([words[own] for _, own in pairs])
            codes = [rest for rest, _ in pairs]
            if number in self._renumbered:
                before = self._renumbered[number]
                codes = [before[code] for code in codes]
        first = self._words[0]
        shown.append([first[code] for code in codes])
        return [*zip(*shown[::-1], strict=True)]


def _encoded(key: Key, column: Array) -> tuple[list[object], Array]:
    """The different values of a key, null last, and the place of each row's."""
    if key.interval_s is not None:
        return _intervals(key, column, key.interval_s)
    if key.kind is Kind.FLOAT:
        column = pc.add(column, 0.0)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    words: list[object] = [*column_values(column.dictionary, key.kind)]
    return _with_null(words, column.indices)


def _intervals(key: Key, column: Array, interval_s: int) -> tuple[list[object], Array]:
    is_date = key.kind is Kind.DATE
    scale = 1 if is_date else 1_000_000
    unit = DAY_S if is_date else 1
    step = interval_s // unit * scale
    start = origin_s(interval_s) // unit * scale
    moments = column.cast(pa.int32()).cast(pa.int64()) if is_date else column
    since = pc.subtract(moments.cast(pa.int64()), start)
    whole = pc.divide(since, step)
    # Division of what is before the origin rounds towards it.
    behind = pc.greater(pc.multiply(whole, step), since).cast(pa.int64())
    encoded = pc.subtract(whole, behind).dictionary_encode()
    make = date_of if is_date else moment_of
    words = [make(start + n * step) for n in encoded.dictionary.to_pylist()]
    return _with_null([*words], encoded.indices)


def _with_null(words: list[object], codes: Array) -> tuple[list[object], Array]:
    if codes.null_count:
        codes = pc.fill_null(codes, len(words))
        words.append(None)
    return words, codes
