"""Reductions of arrays of one length, asked for first and then computed together.

Executors only: it needs pyarrow. Over all rows each is one kernel. By few groups the
rows are sorted by group, which Arrow does by counting, and each is one kernel for each
group; by many, all of them are one pass of Arrow's hash aggregation. Null is no value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from aurora_actors.query.aggregate_kernels import Array

__all__ = ["Answer", "Reduction"]

# Numbering groups by hashing takes twice as long as sorting by their codes (6 and 3 ns a
# row), but a kernel for each group takes 6 us.
_SORTED_ROWS: Final = 2500

Answer: TypeAlias = Callable[[], Sequence[Any]]
"""Gives the results of the groups, in the order of what :meth:`Reduction.run` gives."""


class Reduction:
    """What is wanted of some arrays.

    Args:
        rows: Their length.
        codes: The group of each row; ``None`` if all are one.
        most: The codes are below this number.
    """

    def __init__(self, rows: int, codes: Array | None, most: int = 1) -> None:
        self._rows = rows
        self._codes = codes
        self._most = most
        self._asked: dict[tuple[str, int], int] = {}
        self._arrays: list[tuple[Array, str]] = []
        self._results: list[Sequence[Any]] = []
        self._found: list[int] = [0]

    @property
    def is_whole(self) -> bool:
        """Whether all rows are one group."""
        return self._codes is None

    @property
    def groups(self) -> int:
        """How many groups there are, once they are known."""
        return len(self._found)

    # -------------------------------------------------------------- asking
    def _ask(self, function: str, values: Array) -> Answer:
        key = function, id(values)
        number = self._asked.get(key)
        if number is None:
            number = self._asked[key] = len(self._arrays)
            self._arrays.append((values, function))
        return lambda: self._results[number]

    def count_all(self) -> Answer:
        """The number of rows."""
        if self.is_whole:
            return lambda: [self._rows]
        return self._ask("count_all", self._codes)

    def count(self, values: Array) -> Answer:
        """How many values there are."""
        if self.is_whole:
            count = len(values) - values.null_count
            return lambda: [count]
        if not values.null_count:
            return self.count_all()
        if pa.types.is_dictionary(values.type):
            values = values.indices
        return self._ask("count", values)

    def sum(self, values: Array) -> Answer:
        """The sum, which has to be a number of the same type; 0 of nothing."""
        return self._ask("sum", values)

    def least(self, values: Array) -> Answer:
        """The least value, or ``None``."""
        return self._ask("min", values)

    def greatest(self, values: Array) -> Answer:
        """The greatest value, or ``None``."""
        return self._ask("max", values)

    def listed(self, values: Array) -> Answer:
        """All values, without null."""
        found = self._by_group(values)
        return lambda: [
            [value for value in values if value is not None] for values in found()
        ]

    def first(self, values: Array, most: int) -> Answer:
        """The first ``most`` values, in the order of rows."""
        if self.is_whole:
            head = values[:most].to_pylist()
            return lambda: [head]
        return self._by_group(values, most)

    def distinct(self, codes: Array, words: int) -> Answer:
        """Which of ``words`` codes there are."""
        if self._codes is None:
            found = pc.unique(codes.drop_null()).to_pylist()
            return lambda: [found]
        pairs = pc.add(pc.multiply(self._codes.cast(pa.int64()), max(1, words)), codes)
        members: defaultdict[int, list[int]] = defaultdict(list)
        for pair in pc.unique(pairs.drop_null()).to_pylist():
            group, code = divmod(pair, words)
            members[group].append(code)
        return lambda: [members.get(code, ()) for code in self._found]

    def _by_group(self, values: Array, most: int | None = None) -> Answer:
        if self._codes is None:
            plain = values.to_pylist()
            return lambda: [plain]
        table = pa.table({"code": self._codes, "v": values})
        grouped = table.group_by("code", use_threads=False).aggregate([("v", "list")])
        lists = grouped.column("v_list")
        if most is not None:
            lists = pc.list_slice(lists, 0, most)
        found = dict(
            zip(grouped.column("code").to_pylist(), lists.to_pylist(), strict=True)
        )
        return lambda: [found[code] for code in self._found]

    # -------------------------------------------------------------- computing
    def run(self) -> Sequence[int]:
        """Compute everything; gives the codes of the groups."""
        if self._codes is None:
            self._results = [[_plain(function, v)] for v, function in self._arrays]
            return self._found
        kernels = self._most * len(self._arrays)
        if kernels * _SORTED_ROWS <= self._rows:
            self._sort(self._codes)
        else:
            self._hash(self._codes)
        return self._found

    def _sort(self, codes: Array) -> None:
        """Compute everything over the rows of each group, side by side."""
        counted = pc.mode(codes, n=self._most)
        modes, counts = (counted.field(at).to_pylist() for at in range(2))
        found = sorted(zip(modes, counts, strict=True))
        self._found = [code for code, _ in found]
        sizes = [size for _, size in found]
        starts = [0, *accumulate(sizes)]
        order = pc.sort_indices(codes)
        by_array: dict[int, Array] = {}
        for values, function in self._arrays:
            if function == "count_all":
                self._results.append(sizes)
                continue
            ordered = by_array.get(id(values))
            if ordered is None:
                ordered = by_array[id(values)] = values.take(order)
            self._results.append(
                [
                    _plain(function, ordered.slice(start, size))
                    for start, size in zip(starts, sizes, strict=False)
                ]
            )

    def _hash(self, codes: Array) -> None:
        """Compute everything in one pass over all rows."""
        names = [f"v{number}" for number in range(len(self._arrays))]
        table = pa.table(
            [codes, *(values for values, _ in self._arrays)], ["code", *names]
        )
        wanted: list[tuple[Any, ...]] = [
            ([], "count_all")
            if function == "count_all"
            else (name, function, _OPTIONS.get(function))
            for name, (_, function) in zip(names, self._arrays, strict=True)
        ]
        grouped = table.group_by("code", use_threads=False).aggregate(wanted)
        self._found = grouped.column("code").to_pylist()
        self._results = [
            grouped.column(
                "count_all" if function == "count_all" else f"{name}_{function}"
            ).to_pylist()
            for name, (_, function) in zip(names, self._arrays, strict=True)
        ]


_OPTIONS = {"sum": pc.ScalarAggregateOptions(min_count=0)}
_KERNELS = {
    "sum": partial(pc.sum, min_count=0),
    "min": pc.min,
    "max": pc.max,
    "count": pc.count,
}


def _plain(function: str, values: Array) -> Any:  # noqa: ANN401 - of the array's type
    return _KERNELS[function](values).as_py()
