"""What is asked of groups, checked against the collection and put into order.

Pure; used wherever queries run. Functions that need the same of a field (a sum and an
average) share one *slot*, whose state is kept once for each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from aurora_actors.errors import InvalidFilterError
from aurora_actors.messages.query import (
    AggregateFunction,
    AggregateSpec,
    GroupKey,
    GroupSpec,
    QuerySpec,
)
from aurora_actors.query.aggregate_intervals import DAY_S, bucket_of
from aurora_actors.query.aggregate_states import (
    Budget,
    State,
    as_float,
    new_state,
)
from aurora_actors.query.check import check_query, field_type
from aurora_actors.query.predicate import Predicate, decode_predicate, terms
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)

__all__ = ["Key", "Slot", "Terms", "Wanted"]

_FAMILIES: Final = {
    AggregateFunction.COUNT: "count",
    AggregateFunction.SUM: "sum",
    AggregateFunction.AVG: "sum",
    AggregateFunction.STDDEV: "moments",
    AggregateFunction.MIN: "min",
    AggregateFunction.MAX: "max",
    AggregateFunction.COUNT_DISTINCT: "distinct",
    AggregateFunction.FIRST: "first",
    AggregateFunction.LAST: "last",
}
_NUMERIC: Final = frozenset({"sum", "moments"})
_NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.ANY})
_UNORDERED: Final = frozenset({Kind.OBJECT, Kind.ARRAY})
_MOMENTS: Final = frozenset({Kind.DATETIME, Kind.DATE, Kind.ANY})
_RESERVED: Final = frozenset({"id", "key", "keys", "nodes"})
_MOST_KEYS: Final = 32
_MOST_RESULTS: Final = 256
_MOST_NODES: Final = 10_000
_COUNTS: Final = frozenset({AggregateFunction.COUNT, AggregateFunction.COUNT_DISTINCT})
_MEANS: Final = frozenset({AggregateFunction.AVG, AggregateFunction.STDDEV})


class Key(NamedTuple):
    """One part of what makes a group.

    Attributes:
        field: The field.
        kind: Its declared type.
        interval_s: See ``messages.query.GroupKey``.
    """

    field: str
    kind: Kind
    interval_s: int | None

    def shown(self, value: object) -> object:
        """What the group shows for a document's value; equal for all its documents."""
        if self.interval_s is not None:
            return bucket_of(value, self.interval_s)
        return as_float(value) if self.kind is Kind.FLOAT else value

    @property
    def changes_values(self) -> bool:
        """Whether :meth:`shown` does anything."""
        return self.interval_s is not None or self.kind is Kind.FLOAT


class Slot(NamedTuple):
    """A state that each group keeps.

    Attributes:
        family: Which; see ``aggregate_states.new_state``.
        field: Of which field; ``None`` counts documents.
        kind: Its declared type.
    """

    family: str
    field: str | None
    kind: Kind


class Wanted(NamedTuple):
    """One result: its name, its function, and the number of its slot."""

    name: str
    function: AggregateFunction
    slot: int


class Terms:
    """A checked :class:`GroupSpec`.

    Attributes:
        keys: What makes a group.
        slots: What is kept of each; the first counts its documents, the second has
            the rows of the first of them, if some are to be given.
        wanted: The results.
        fields: All fields that keys and slots read.
        having: Which groups to give.
        spec: What it was made of.

    Raises:
        InvalidFilterError: something makes no sense for the collection.
    """

    def __init__(self, definition: CollectionDefinition, spec: GroupSpec) -> None:
        self.spec = spec
        _check_numbers(spec)
        self.keys = [_key(definition, key) for key in spec.keys]
        self.slots = [Slot("count", None, Kind.ANY)]
        if spec.nodes:
            self.slots.append(Slot("nodes", None, Kind.ANY))
        self.wanted = [self._want(definition, each) for each in spec.aggregates]
        self.fields = tuple(
            dict.fromkeys(
                [key.field for key in self.keys]
                + [slot.field for slot in self.slots if slot.field is not None]
            )
        )
        self.having: Predicate | None = None
        if spec.having:
            self.having = decode_predicate(spec.having)
        self._check_names(definition)

    def _want(self, definition: CollectionDefinition, spec: AggregateSpec) -> Wanted:
        family = _FAMILIES[spec.function]
        if spec.field is None and family != "count":
            raise InvalidFilterError(f"{spec.function.value} needs a field")
        kind = Kind.ANY
        if spec.field is not None:
            found = field_type(definition, spec.field, "aggregate")
            kind = found.kind
            refused = (family in _NUMERIC and kind not in _NUMBERS) or (
                family in {"min", "max"} and kind in _UNORDERED
            )
            if refused:
                raise InvalidFilterError(
                    f"{spec.field} is of type {found}, which has no "
                    f"{spec.function.value}",
                    field=spec.field,
                )
        slot = Slot(family, spec.field, kind)
        if slot not in self.slots:
            self.slots.append(slot)
        return Wanted(spec.name, spec.function, self.slots.index(slot))

    # -------------------------------------------------------------- names
    def _check_names(self, definition: CollectionDefinition) -> None:
        names = [wanted.name for wanted in self.wanted]
        fields = {key.field: FieldDefinition(self._type(key.kind)) for key in self.keys}
        for name in names:
            if not name or "." in name or name in _RESERVED or names.count(name) > 1:
                raise InvalidFilterError(f"a result cannot be called {name!r} here")
            if any(field.partition(".")[0] == name for field in fields):
                raise InvalidFilterError(
                    f"{name!r} is already what the groups are made by: give the "
                    "result another name"
                )
        if self.having is None and not self.spec.order:
            return
        named = _nested(fields)
        for wanted in self.wanted:
            named[wanted.name] = FieldDefinition(self._result_type(wanted))
        if len(self.keys) == 1:
            named["key"] = next(iter(fields.values()))
        named["keys"] = FieldDefinition(FieldType.object(_nested(fields)))
        self._check_use(CollectionDefinition("groups", named))

    def _check_use(self, groups: CollectionDefinition) -> None:
        used = [key.field for key in self.spec.order]
        if self.having is not None:
            used += [term.field for term in terms(self.having)]
        if "id" in used and not any(key.field == "id" for key in self.keys):
            raise InvalidFilterError("a group has no id; its fields are its results")
        order = QuerySpec(collection=groups.name, order=self.spec.order)
        check_query(groups, order, self.having)

    @staticmethod
    def _type(kind: Kind) -> FieldType:
        if kind in {Kind.ARRAY, Kind.OBJECT}:
            return FieldType.ANY
        return FieldType(kind)

    def _result_type(self, wanted: Wanted) -> FieldType:
        if wanted.function in _COUNTS:
            return FieldType.INT
        if wanted.function in _MEANS:
            return FieldType.FLOAT
        return self._type(self.slots[wanted.slot].kind)

    # -------------------------------------------------------------- states
    def makers(self, budget: Budget) -> list[Callable[[], State]]:
        """What makes the empty states of a group, in the order of slots."""
        nodes = self.spec.nodes
        return [new_state(*slot, budget, nodes=nodes) for slot in self.slots]

    @property
    def counts_only(self) -> bool:
        """Whether the number of all documents together says everything."""
        return not self.keys and len(self.slots) == 1

    @property
    def minds_order(self) -> bool:
        """Whether it makes a difference in which order documents come."""
        return any(slot.family in {"first", "last", "nodes"} for slot in self.slots)

    def results(self, states: Sequence[State]) -> list[object]:
        """The results of a group, in the order of ``wanted``."""
        return [states[each.slot].result(each.function) for each in self.wanted]


def _nested(fields: dict[str, FieldDefinition]) -> dict[str, FieldDefinition]:
    """Dotted names as objects, as paths enter them."""
    tops: dict[str, FieldDefinition] = {}
    below: dict[str, dict[str, FieldDefinition]] = {}
    for path, definition in fields.items():
        first, _, rest = path.partition(".")
        if rest:
            below.setdefault(first, {})[rest] = definition
        else:
            tops[first] = definition
    for first, inner in below.items():
        if first in tops:
            raise InvalidFilterError(
                f"groups are made either by {first!r} or by fields within it, not both"
            )
        tops[first] = FieldDefinition(FieldType.object(_nested(inner)))
    return tops


def _key(definition: CollectionDefinition, key: GroupKey) -> Key:
    found = field_type(definition, key.field, "group by")
    if key.interval_s is None:
        return Key(key.field, found.kind, None)
    if found.kind not in _MOMENTS:
        raise InvalidFilterError(
            f"{key.field} is of type {found}; intervals are for DateTime and Date",
            field=key.field,
        )
    if not 0 < key.interval_s <= 10_000_000 * 7 * DAY_S:
        raise InvalidFilterError("an interval is a positive number of seconds")
    if found.kind is Kind.DATE and key.interval_s % DAY_S:
        raise InvalidFilterError(
            f"{key.field} is of type Date: its intervals are whole days",
            field=key.field,
        )
    return Key(key.field, found.kind, key.interval_s)


def _check_numbers(spec: GroupSpec) -> None:
    _check_most("keys", len(spec.keys), _MOST_KEYS)
    _check_most("aggregates", len(spec.aggregates), _MOST_RESULTS)
    _check_most("nodes", spec.nodes, _MOST_NODES)
    _check_most("limit", 0 if spec.limit is None else spec.limit, 2**63 - 1)
    _check_most("offset", spec.offset, 2**63 - 1)
    _check_twice(key.field for key in spec.keys)


def _check_most(what: str, number: int, most: int) -> None:
    if not 0 <= number <= most:
        raise InvalidFilterError(
            f"{what}: a number from 0 to {most} is needed, not {number}"
        )


def _check_twice(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidFilterError(f"groups are made by {name!r} twice")
        seen.add(name)
