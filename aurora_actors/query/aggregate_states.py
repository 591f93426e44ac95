"""What is kept of a group while its documents come in: one state for each function.

States take values of documents, or what was computed of many at once elsewhere, and can
be merged. Null is ignored by all of them, and by numeric functions whatever is no
number. Pure; used wherever queries run.

A *place* orders documents: their rows, or their numbers in a result that has an order
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import date, datetime, time
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias, cast
from uuid import UUID

from aurora_actors.errors import LimitExceededError
from aurora_actors.messages.query import AggregateFunction
from aurora_actors.query.aggregate_exact import ExactSum, Moments
from aurora_actors.query.memory import memory_of
from aurora_actors.schema.order import sort_key
from aurora_actors.schema.types import Kind

__all__ = [
    "Budget",
    "CountState",
    "DistinctState",
    "EdgeState",
    "ExtremeState",
    "MomentState",
    "NodesState",
    "State",
    "SumState",
    "as_float",
    "identities_of",
    "identity_of",
    "new_state",
]

_SLOT_BYTES: Final = 64
_SIMPLE: Final = frozenset({int, float, str, bytes, datetime, date, time})
_PLAIN: Final = _SIMPLE | {type(None)}
_COMPARABLE: Final = (frozenset({int, float}), *({kind} for kind in _SIMPLE))


class Budget:
    """The memory that a query's groups may take.

    Args:
        limit: In bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def grow(self, size: int) -> None:
        """Take ``size`` more bytes.

        Raises:
            LimitExceededError: that is too much.
        """
        self._held += size
        if self._held > self._limit:
            raise LimitExceededError(
                f"the groups of the query take more than {self._limit >> 20} MB of "
                "memory; filter it, or group by something with fewer values",
                limit_bytes=self._limit,
            )


# ------------------------------------------------------------------ values
def identity_of(value: object) -> object:
    """Something hashable that is equal for equal values, and for these alone."""
    kind = type(value)
    if kind in _SIMPLE or value is None:
        return value
    if kind is UUID:
        return str(value)
    return sort_key(value)


def identities_of(keys: Sequence[tuple[object, ...]]) -> Sequence[Hashable]:
    """What tells groups apart: of each of these keys something hashable."""
    values: Sequence[Any] = keys
    if keys and len(keys[0]) == 1:
        values = [key for (key,) in keys]
        kinds = {*map(type, values)}
        return values if kinds <= _PLAIN else [*map(identity_of, values)]
    if {*map(type, chain.from_iterable(keys))} <= _PLAIN:
        return values
    return [tuple(map(identity_of, key)) for key in keys]


def as_float(value: object) -> object:
    """The value of a Float field: an Int becomes the Float that equals it, if one does."""
    if type(value) is int:
        number = float(value)
        return number if number == value else value
    return value + 0.0 if type(value) is float else value


# ------------------------------------------------------------------ states
class State(Protocol):
    """One function over one field of one group."""

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Add the values that documents have, which come in the order of places."""

    def absorb(self, found: Any, /) -> None:  # noqa: ANN401 - each state its own
        """Add what was computed of many values elsewhere."""

    def result(self, function: AggregateFunction) -> object:
        """The result."""


class CountState:
    """How many documents there are, or have a value."""

    __slots__ = ("_counts_all", "count")

    def __init__(self, *, counts_all: bool) -> None:
        self.count = 0
        self._counts_all = counts_all

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Add documents."""
        if self._counts_all:
            self.count += len(places)
        else:
            self.count += len(values) - sum(value is None for value in values)

    def absorb(self, count: int) -> None:
        """Add what was counted elsewhere."""
        self.count += count

    def result(self, function: AggregateFunction) -> object:
        """The number."""
        return self.count


class SumState:
    """A sum, and how many numbers it has."""

    __slots__ = ("_kind", "sums")

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.sums = ExactSum()

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Add the numbers among values."""
        self.sums.take(values)

    def absorb(self, found: tuple[int, int, Sequence[float] | None]) -> None:
        """Add what was computed elsewhere."""
        self.sums.absorb(*found)

    def result(self, function: AggregateFunction) -> object:
        """The sum, or the average."""
        if self._kind is Kind.FLOAT:
            self.sums.has_float = True
        if function is AggregateFunction.AVG:
            return self.sums.mean()
        return self.sums.total()


class MomentState:
    """What a standard deviation needs."""

    __slots__ = ("moments",)

    def __init__(self) -> None:
        self.moments = Moments()

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Add the numbers among values."""
        self.moments.take(values)

    def absorb(
        self,
        found: tuple[int, int, Sequence[float] | None, int, Sequence[float] | None],
    ) -> None:
        """Add what was computed elsewhere: of numbers, and of their squares."""
        count, whole, parts, squared, squared_parts = found
        self.moments.sums.absorb(count, whole, parts)
        self.moments.squares.absorb(count, squared, squared_parts)

    def result(self, function: AggregateFunction) -> object:
        """The standard deviation."""
        return self.moments.deviation()


class ExtremeState:
    """The least or the greatest value; of equal ones the first."""

    __slots__ = ("_is_min", "_key", "_kind", "value")

    def __init__(self, kind: Kind, *, is_min: bool) -> None:
        self._kind = kind
        self._is_min = is_min
        self._key: tuple[object, ...] = ()
        self.value: object = None

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Compare with values."""
        present = [value for value in values if value is not None]
        if not present:
            return
        choose = cast("Callable[..., object]", min if self._is_min else max)
        kinds = {*map(type, present)}
        if any(kinds <= alike for alike in _COMPARABLE):
            self.absorb(choose(present))
        else:
            self.absorb(choose(present, key=sort_key))

    def absorb(self, value: object) -> None:
        """Compare with a value, or with nothing."""
        if value is None:
            return
        if self._kind is Kind.FLOAT:
            value = as_float(value)
        key = sort_key(value)
        if self.value is None or (key < self._key if self._is_min else key > self._key):
            self.value, self._key = value, key

    def result(self, function: AggregateFunction) -> object:
        """The value; null of nothing."""
        return self.value


class DistinctState:
    """The different values."""

    __slots__ = ("_budget", "identities")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.identities: set[object] = set()

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Add values."""
        self.absorb(values)

    def absorb(self, values: Iterable[object]) -> None:
        """Add values."""
        new = {*map(identity_of, values)} - self.identities
        new.discard(None)
        if new:
            size = memory_of(next(iter(new))) + _SLOT_BYTES
            self._budget.grow(size * len(new))
            self.identities |= new

    def result(self, function: AggregateFunction) -> object:
        """Their number."""
        return len(self.identities)


class EdgeState:
    """The value of the first document that has one, or of the last."""

    __slots__ = ("_is_first", "_kind", "place", "value")

    def __init__(self, kind: Kind, *, is_first: bool) -> None:
        self._kind = kind
        self._is_first = is_first
        self.place = -1
        self.value: object = None

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Compare places with those of values."""
        step = 1 if self._is_first else -1
        for value, place in zip(values[::step], places[::step], strict=True):
            if value is not None:
                self.absorb((place, value))
                return

    def absorb(self, found: tuple[int, object] | None) -> None:
        """Compare places with a value's."""
        if found is None or found[1] is None:
            return
        place, value = found
        if self.place < 0 or (place < self.place) is self._is_first:
            self.place = place
            self.value = as_float(value) if self._kind is Kind.FLOAT else value

    def result(self, function: AggregateFunction) -> object:
        """The value; null of nothing."""
        return self.value


class NodesState:
    """The rows of the first documents, by their places."""

    __slots__ = ("_budget", "_most", "found")

    def __init__(self, most: int, budget: Budget) -> None:
        self._most = most
        self._budget = budget
        self.found: list[tuple[int, int]] = []

    def take(self, values: Sequence[object], places: Sequence[int]) -> None:
        """Compare places; the values are rows."""
        rows = cast("Sequence[int]", values)
        self.absorb([*zip(places[: self._most], rows[: self._most], strict=True)])

    def absorb(self, found: Iterable[tuple[int, int]]) -> None:
        """Compare places with those of (place, row)."""
        before = len(self.found)
        self.found = sorted([*self.found, *((place, row) for place, row in found)])[
            : self._most
        ]
        self._budget.grow((len(self.found) - before) * _SLOT_BYTES * 2)

    @property
    def rows(self) -> list[int]:
        """The rows."""
        return [row for _place, row in self.found]

    def result(self, function: AggregateFunction) -> object:
        """The rows."""
        return self.rows


# ------------------------------------------------------------------ making
_Maker: TypeAlias = Callable[[], State]


def new_state(
    family: str, field: str | None, kind: Kind, budget: Budget, *, nodes: int = 0
) -> Callable[[], State]:
    """What makes empty states of a family (see ``aggregate_terms``) for a field."""
    makers: dict[str, _Maker] = {
        "count": partial(CountState, counts_all=field is None),
        "sum": partial(SumState, kind),
        "moments": MomentState,
        "min": partial(ExtremeState, kind, is_min=True),
        "max": partial(ExtremeState, kind, is_min=False),
        "distinct": partial(DistinctState, budget),
        "first": partial(EdgeState, kind, is_first=True),
        "last": partial(EdgeState, kind, is_first=False),
        "nodes": partial(NodesState, nodes, budget),
    }
    return makers[family]
