"""Which of many intervals contain a value.

An array of intervals sorted by their lower end, under a tree of the greatest upper ends:
a look-up takes O(log n) for each interval found and O(log n) when there is none. New
intervals wait in a short list that is searched one by one, and removed ones leave a
hole, until there are so many that the array is built anew (about every 2 √n changes).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import isqrt
from typing import Any, Final, Generic, TypeVar

from aurora_actors.schema.values import SortKey

__all__ = ["IntervalIndex"]

T = TypeVar("T")
_FEW: Final = 16


class IntervalIndex(Generic[T]):
    """Intervals with an item each; an item may have several.

    The ends are sort keys and belong to the interval.
    """

    __slots__ = ("_fresh", "_holes", "_items", "_lows", "_places", "_tops", "_width")

    def __init__(self) -> None:
        self._lows: list[Any] = []
        self._items: list[tuple[SortKey, T] | None] = []
        self._tops: list[Any] = []
        self._width = 0
        self._holes = 0
        self._places: dict[tuple[SortKey, SortKey, T], int] = {}
        self._fresh: dict[tuple[SortKey, SortKey, T], None] = {}

    def __len__(self) -> int:
        return len(self._items) - self._holes + len(self._fresh)

    def add(self, low: SortKey, high: SortKey, item: T) -> None:
        """Add an interval; the same one again changes nothing."""
        entry = (low, high, item)
        if entry in self._places:
            return
        self._fresh[entry] = None
        if len(self._fresh) > _FEW + 2 * isqrt(len(self._items)):
            self._build()

    def remove(self, low: SortKey, high: SortKey, item: T) -> None:
        """Remove an interval, if it is there."""
        entry = (low, high, item)
        if entry in self._fresh:
            del self._fresh[entry]
            return
        place = self._places.pop(entry, None)
        if place is not None:
            self._items[place] = None
            self._holes += 1
            if self._holes > _FEW + len(self._items) // 2:
                self._build()

    def _build(self) -> None:
        entries = sorted([*self._places, *self._fresh], key=lambda entry: entry[0])
        self._fresh = {}
        self._holes = 0
        self._lows = [entry[0] for entry in entries]
        self._items = [(entry[1], entry[2]) for entry in entries]
        self._places = {entry: place for place, entry in enumerate(entries)}
        width = 1
        while width < len(entries):
            width *= 2
        self._width = width
        tops: list[Any] = [None] * (2 * width)
        tops[width : width + len(entries)] = [entry[1] for entry in entries]
        for node in range(width - 1, 0, -1):
            left, right = tops[2 * node], tops[2 * node + 1]
            tops[node] = left if right is None or right < left else right
        self._tops = tops

    def at(self, key: SortKey) -> Iterator[T]:
        """The items of the intervals that contain ``key``."""
        for low, high, item in self._fresh:
            if low <= key and not high < key:
                yield item
        if self._lows:
            until = bisect_right(self._lows, key)
            if until:
                yield from self._below(1, 0, self._width, until, key)

    def _below(
        self, node: int, start: int, width: int, until: int, key: SortKey
    ) -> Iterator[T]:
        """What contains ``key`` below ``node``, which covers ``width`` places."""
        top = self._tops[node]
        if start >= until or top is None or top < key:
            return
        if width == 1:
            found = self._items[start]
            if found is not None:
                yield found[1]
            return
        half = width // 2
        yield from self._below(2 * node, start, half, until, key)
        yield from self._below(2 * node + 1, start + half, half, until, key)
