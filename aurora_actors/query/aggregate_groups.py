"""Groups while they are being made, from documents' values and from parts of them.

Used wherever queries run; synchronous and pure. Documents come in batches as scans
give them (``Want.KEYS``): row, record, then one value for each field. What is computed
of whole columns comes as one increment for each slot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast

from aurora_actors.query.aggregate_bulk import Bulk, is_bulk
from aurora_actors.query.aggregate_states import (
    Budget,
    CountState,
    State,
    identities_of,
    identity_of,
)
from aurora_actors.query.aggregate_terms import Key, Terms
from aurora_actors.query.memory import memory_of, memory_of_all

__all__ = ["Group", "Groups"]

_GROUP_BYTES: Final = 300
_STATE_BYTES: Final = 150

Identity: TypeAlias = Hashable


class Group:
    """One group.

    Attributes:
        keys: What it shows for the fields it is made by.
        states: What is kept for each slot.
    """

    __slots__ = ("keys", "states")

    def __init__(self, keys: tuple[object, ...], states: list[State]) -> None:
        self.keys = keys
        self.states = states

    @property
    def count(self) -> int:
        """Its documents."""
        return cast("CountState", self.states[0]).count


class Groups:
    """All groups of a query.

    Args:
        terms: What is asked.
        budget: The memory there is.
    """

    def __init__(self, terms: Terms, budget: Budget) -> None:
        self._terms = terms
        self._budget = budget
        self._makers = terms.makers(budget)
        self._group_bytes = _GROUP_BYTES + _STATE_BYTES * len(terms.slots)
        self._places = {name: at for at, name in enumerate(terms.fields)}
        self.by_identity: dict[Identity, Group] = {}
        # Those that need no states yet; no group is in both.
        self.bulk: Bulk | None = None
        if not terms.keys:
            self._new((), ())

    def __len__(self) -> int:
        return len(self.by_identity) + (0 if self.bulk is None else len(self.bulk))

    def _find(self, identity: Identity) -> Group | None:
        group = self.by_identity.get(identity)
        if group is None and self.bulk is not None:
            found = self.bulk.take_out(identity)
            if found is not None:
                group = self.by_identity[identity] = Group(*found)
        return group

    def _new(self, identity: Identity, keys: tuple[object, ...]) -> Group:
        self._budget.grow(self._group_bytes + memory_of(keys))
        states = [make() for make in self._makers]
        group = self.by_identity[identity] = Group(keys, states)
        return group

    # -------------------------------------------------------------- documents
    def add(
        self,
        columns: Sequence[Sequence[object]],
        rows: Sequence[int],
        places: Sequence[int] | None = None,
    ) -> None:
        """Add documents: the values of each field, their rows, and their places.

        Without places, which have to ascend, rows are the places.
        """
        if not rows:
            return
        places = rows if places is None else places
        if not self._terms.keys:
            self._fill(self.by_identity[()], columns, rows, places)
            return
        shown = [self._shown(key, columns) for key in self._terms.keys]
        identities = self._identities(shown)
        members: defaultdict[Identity, list[int]] = defaultdict(list)
        for at, identity in enumerate(identities):
            members[identity].append(at)
        for identity, positions in members.items():
            first = positions[0]
            group = self._find(identity)
            if group is None:
                group = self._new(identity, tuple([part[first] for part in shown]))
            chosen = [[column[at] for at in positions] for column in columns]
            own_rows = [rows[at] for at in positions]
            own_places = own_rows
            if places is not rows:
                own_places = [places[at] for at in positions]
            self._fill(group, chosen, own_rows, own_places)

    def _shown(self, key: Key, columns: Sequence[Sequence[object]]) -> Sequence[object]:
        values = columns[self._places[key.field]]
        return [*map(key.shown, values)] if key.changes_values else values

    def _identities(self, shown: Sequence[Sequence[object]]) -> Iterable[Identity]:
        parts = [map(identity_of, values) for values in shown]
        return parts[0] if len(parts) == 1 else zip(*parts, strict=True)

    def _fill(
        self,
        group: Group,
        columns: Sequence[Sequence[object]],
        rows: Sequence[int],
        places: Sequence[int],
    ) -> None:
        for slot, state in zip(self._terms.slots, group.states, strict=True):
            values: Sequence[object] = rows
            if slot.field is not None:
                values = columns[self._places[slot.field]]
            state.take(values, places)

    # -------------------------------------------------------------- computed
    def absorb_all(
        self, keys: Sequence[tuple[object, ...]], columns: Sequence[Sequence[Any]]
    ) -> None:
        """Add to groups what was computed of many documents.

        Args:
            keys: Of each group.
            columns: For each slot, the increments of these groups.
        """
        if len(self) or not is_bulk(self._terms) or not self._take_bulk(keys, columns):
            for each, increments in zip(keys, zip(*columns, strict=True), strict=True):
                self.absorb(each, increments)

    def _take_bulk(
        self, keys: Sequence[tuple[object, ...]], columns: Sequence[Sequence[Any]]
    ) -> bool:
        places = dict(zip(identities_of(keys), range(len(keys)), strict=True))
        if len(places) < len(keys):
            return False  # the first intervals of all times are one
        size = len(keys) * self._group_bytes + memory_of_all(keys)
        self._budget.grow(size)
        self.bulk = Bulk(self._terms, self._makers, places, keys, columns)
        return True

    def absorb(self, keys: tuple[object, ...], increments: Iterable[Any]) -> None:
        """Add to one group what was computed of some of its documents."""
        identity = _identity(keys)
        group = self._find(identity)
        if group is None:
            group = self._new(identity, keys)
        for state, increment in zip(group.states, increments, strict=True):
            state.absorb(increment)


def _identity(keys: tuple[object, ...]) -> Identity:
    if len(keys) != 1:
        return tuple(map(identity_of, keys))
    key = keys[0]
    return key if type(key) is str else identity_of(key)  # nearly always
