"""Groups that were computed all at once, and of which nothing more has been found.

Where all documents are in columns, what is computed of these is the whole of most groups.
Then no states are made: results come from the increments, a slot at a time, and are those
that states would give. A group of which more is found is taken out. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

from aurora_actors.messages.query import AggregateFunction
from aurora_actors.query.aggregate_increments import Sums
from aurora_actors.query.aggregate_states import State
from aurora_actors.query.aggregate_terms import Slot, Terms
from aurora_actors.schema.types import Kind

__all__ = ["Bulk", "is_bulk"]

# The memory of the others grows with what is in them.
_FAMILIES: Final = frozenset({"count", "sum", "min", "max", "moments"})

_Results = Sequence[object]


def is_bulk(terms: Terms) -> bool:
    """Whether groups can be kept without states."""
    return bool(terms.keys) and all(slot.family in _FAMILIES for slot in terms.slots)


class Bulk:
    """Groups without states.

    Args:
        terms: What is asked.
        makers: What makes the states of a group.
        places: Where each group is, by its identity.
        keys: What each group shows.
        columns: The increments of each slot, one for each group.
    """

    def __init__(
        self,
        terms: Terms,
        makers: Sequence[Callable[[], State]],
        places: dict[Hashable, int],
        keys: Sequence[tuple[object, ...]],
        columns: Sequence[Sequence[Any]],
    ) -> None:
        self._terms = terms
        self._makers = makers
        self._places = places
        self._keys = keys
        self._columns = columns

    def __len__(self) -> int:
        return len(self._places)

    def take_out(
        self, identity: object
    ) -> tuple[tuple[object, ...], list[State]] | None:
        """The keys and states of a group, which is no longer here; or ``None``."""
        place = self._places.pop(identity, None)
        if place is None:
            return None
        states = [make() for make in self._makers]
        for state, column in zip(states, self._columns, strict=True):
            state.absorb(column[place])
        return self._keys[place], states

    def finished(self) -> list[tuple[tuple[object, ...], tuple[object, ...]]]:
        """The keys and the results of each group.

        Raises:
            LimitExceededError: a result is larger than any Float.
        """
        keys, columns = self._keys, self._columns
        if len(self._places) < len(keys):
            left = [*self._places.values()]
            keys = [keys[at] for at in left]
            columns = [[column[at] for at in left] for column in columns]
        results = [
            self._results(wanted.slot, wanted.function, columns[wanted.slot])
            for wanted in self._terms.wanted
        ]
        if not results:
            return [(each, ()) for each in keys]
        return [*zip(keys, zip(*results, strict=True), strict=True)]

    def _results(
        self, number: int, function: AggregateFunction, found: Sequence[Any]
    ) -> _Results:
        slot = self._terms.slots[number]
        quick = _QUICK.get(slot.family)
        results = None if quick is None else quick(slot, function, found)
        if results is not None:
            return results
        results, make = [], self._makers[number]
        for increment in found:
            state = make()
            state.absorb(increment)
            results.append(state.result(function))
        return results


def _counts(
    _slot: Slot, _function: AggregateFunction, found: Sequence[Any]
) -> _Results:
    return found


def _extremes(
    slot: Slot, _function: AggregateFunction, found: Sequence[Any]
) -> _Results:
    if slot.kind is not Kind.FLOAT:
        return found
    return [None if value is None else value + 0.0 for value in found]


def _sums(
    _slot: Slot, function: AggregateFunction, found: Sequence[Any]
) -> _Results | None:
    """What ``SumState`` makes of one increment; ``None`` where that is not as simple."""
    if not isinstance(found, Sums):
        return None
    totals = found.totals()
    if function is not AggregateFunction.AVG:
        return totals
    return [
        total / count if count else None
        for total, count in zip(totals, found.counts, strict=True)
    ]


_QUICK: Final[
    Mapping[str, Callable[[Slot, AggregateFunction, Sequence[Any]], _Results | None]]
] = {"count": _counts, "min": _extremes, "max": _extremes, "sum": _sums}
