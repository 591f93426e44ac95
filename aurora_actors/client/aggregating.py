"""What can be computed of documents, and what comes of it.

Public, used in the application's process: ``query.aggregate(total=Sum("amount"))`` and
``query.group_by("role").aggregate(n=Count())``. Null, and a field that is missing, is
ignored by every function; by numeric ones also whatever is no number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from aurora_actors.errors import InvalidFilterError
from aurora_actors.messages.query import AggregateFunction, AggregateSpec

__all__ = [
    "Aggregate",
    "Avg",
    "Computed",
    "Count",
    "CountDistinct",
    "First",
    "Group",
    "Last",
    "Max",
    "Min",
    "StdDev",
    "Sum",
    "aggregate_specs",
]

T = TypeVar("T")

Computed: TypeAlias = Any
"""What a function gives; only the field's definition can say more."""


class Aggregate:
    """A function over one field; its subclasses are the functions.

    Attributes:
        field: The field, dotted; ``None`` for documents as such.
    """

    __slots__ = ("field",)

    function: ClassVar[AggregateFunction]

    def __init__(self, field: str) -> None:
        if not isinstance(field, str) or not field:
            raise InvalidFilterError(
                f"{type(self).__name__} needs the name of a field, not {field!r}"
            )
        self.field: str | None = field

    def __repr__(self) -> str:
        field = "" if self.field is None else repr(self.field)
        return f"{type(self).__name__}({field})"


class Count(Aggregate):
    """The number of documents, or of those that have a value in ``field``."""

    __slots__ = ()
    function = AggregateFunction.COUNT

    def __init__(self, field: str | None = None) -> None:
        if field is None:
            self.field = None
        else:
            super().__init__(field)


class Sum(Aggregate):
    """The sum; of Ints an exact int, however large; of nothing 0.

    With Floats it is the exact sum, rounded once: the order of documents makes no
    difference.
    """

    __slots__ = ()
    function = AggregateFunction.SUM


class Avg(Aggregate):
    """The average, a float; of nothing ``None``."""

    __slots__ = ()
    function = AggregateFunction.AVG


class Min(Aggregate):
    """The least value, of numbers, texts, moments and whatever has an order."""

    __slots__ = ()
    function = AggregateFunction.MIN


class Max(Aggregate):
    """The greatest value, of numbers, texts, moments and whatever has an order."""

    __slots__ = ()
    function = AggregateFunction.MAX


class StdDev(Aggregate):
    """The sample standard deviation, a float; of fewer than two numbers ``None``."""

    __slots__ = ()
    function = AggregateFunction.STDDEV


class CountDistinct(Aggregate):
    """How many different values there are."""

    __slots__ = ()
    function = AggregateFunction.COUNT_DISTINCT


class First(Aggregate):
    """The value of the first document that has one, in the order of the query.

    Without an order, that is the one inserted first.
    """

    __slots__ = ()
    function = AggregateFunction.FIRST


class Last(Aggregate):
    """The value of the last document that has one, in the order of the query."""

    __slots__ = ()
    function = AggregateFunction.LAST


def aggregate_specs(results: Mapping[str, Aggregate]) -> list[AggregateSpec]:
    """What is to be computed, as it travels.

    Raises:
        InvalidFilterError: a result is not one of the functions.
    """
    specs = []
    for name, result in results.items():
        if not isinstance(result, Aggregate) or type(result) is Aggregate:
            raise InvalidFilterError(
                f"{name} is to be a function such as Count() or Sum('amount'), "
                f"not {result!r}"
            )
        specs.append(AggregateSpec(name, result.function, result.field))
    return specs


class Group(Generic[T]):
    """One group of documents and what was computed of it.

    ``group["n"]`` is the result called ``n``.

    Attributes:
        keys: The value of each field that the groups were made by.
        results: All results, by name.
        nodes: The first documents of the group, as many as were asked for.
    """

    __slots__ = ("keys", "nodes", "results")

    def __init__(
        self,
        keys: dict[str, Computed],
        results: dict[str, Computed],
        nodes: list[T],
    ) -> None:
        self.keys = keys
        self.results = results
        self.nodes = nodes

    @property
    def key(self) -> Computed:
        """The value the group was made by; of several fields a tuple of them."""
        values = tuple(self.keys.values())
        return values[0] if len(values) == 1 else values

    def __getitem__(self, name: str) -> Computed:
        return self.results[name]

    def __contains__(self, name: object) -> bool:
        return name in self.results

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Group):
            return NotImplemented
        return (self.keys, self.results, self.nodes) == (
            other.keys,
            other.results,
            other.nodes,
        )

    __hash__ = None  # type: ignore[assignment]  # it holds what can be changed

    def __repr__(self) -> str:
        said = [f"{name}={value!r}" for name, value in self.results.items()]
        return f"<Group {' '.join([repr(self.key), *said])}>"
