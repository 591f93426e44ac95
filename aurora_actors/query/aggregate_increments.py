"""The increments that sums take of many groups, kept as columns.

An increment of one group is (count, whole, parts), as ``aggregate_states`` takes it; of
thousands of groups, few are ever looked at. Pure; used by executors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from math import fsum
from typing import Any

__all__ = ["Sums"]


class Sums(Sequence[Any]):
    """Sums of the groups, one increment for each.

    Args:
        counts: How many numbers there are.
        wholes: Their sums, of integers.
        parts: Of floats: lists that add up to the exact sums, place by place.

    Attributes:
        counts: As given.
    """

    def __init__(
        self,
        counts: Sequence[int],
        *,
        wholes: Sequence[int] = (),
        parts: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.counts = counts
        self._wholes = wholes
        self._parts = parts

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[tuple[int, int, Sequence[float] | None]]:
        if self._parts is None:
            return zip(self.counts, self._wholes, repeat(None), strict=False)
        parts = zip(*self._parts, strict=True) if self._parts else repeat(())
        return zip(self.counts, repeat(0), parts, strict=False)

    def __getitem__(self, at: Any) -> Any:  # noqa: ANN401 - an index, and no slices
        if self._parts is None:
            return self.counts[at], self._wholes[at], None
        return self.counts[at], 0, [part[at] for part in self._parts]

    def totals(self) -> Sequence[int | float]:
        """The sums, those of floats rounded once."""
        if self._parts is None:
            return self._wholes
        if len(self._parts) == 1:
            return [total + 0.0 for total in self._parts[0]]
        if len(self._parts) == 2:
            # One addition rounds as fsum does.
            return [a + b + 0.0 for a, b in zip(*self._parts, strict=True)]
        if not self._parts:
            return [0.0] * len(self)
        return [fsum(each) + 0.0 for each in zip(*self._parts, strict=True)]
