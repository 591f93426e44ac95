"""Filters: how an application says which documents it means.

Public, used in the application's process. Two spellings give the same
:class:`Filter`::

    (field("age") > 25) & field("email").ends_with("@x.io")
    lambda f: f.and_(f.gt("age", 25), f.ends_with("email", "@x.io"))

A filter is immutable and combines with ``&``, ``|`` and ``~``. Python's ``and``, ``or``
and ``not`` cannot be overloaded, so a filter's truth value is an error, not a trap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from aurora_actors.errors import InvalidFilterError, UsageError
from aurora_actors.query.describe import describe_predicate
from aurora_actors.query.predicate import And, Compare, Not, Operator, Or, Predicate

__all__ = ["Field", "Filter", "FilterBuilder", "field"]


class Filter:
    """A condition on documents; combine with ``&``, ``|`` and ``~``.

    Attributes:
        predicate: The condition as data.
    """

    __slots__ = ("predicate",)

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate

    def __and__(self, other: Filter) -> Filter:
        return Filter(And([*_parts(self, And), *_parts(other, And)]))

    def __or__(self, other: Filter) -> Filter:
        return Filter(Or([*_parts(self, Or), *_parts(other, Or)]))

    def __invert__(self) -> Filter:
        return Filter(Not(self.predicate))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Filter):
            return NotImplemented
        return self.predicate == other.predicate

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> NoReturn:
        raise UsageError(
            "a filter has no truth value: combine filters with & | ~ in place of "
            "and, or, not, and write a < x < b as field(x).between(a, b)"
        )

    def __repr__(self) -> str:
        return f"<Filter {describe_predicate(self.predicate)}>"


def _parts(item: object, kind: type[And | Or] | None = None) -> list[Predicate]:
    if not isinstance(item, Filter):
        raise InvalidFilterError(
            f"a filter combines with another filter, not with {item!r:.80}; "
            "put each comparison in parentheses: (field('a') > 1) & (field('b') < 2)"
        )
    predicate = item.predicate
    if kind is not None and isinstance(predicate, kind):
        return predicate.parts
    return [predicate]


def _values(values: object, method: str) -> list[object]:
    """A list of operands; a lone text is refused, it would be taken letter by letter."""
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise InvalidFilterError(f"{method} needs a list of values, not {values!r:.80}")
    return list(values)


class Field:
    """A field of the documents; comparing it gives a :class:`Filter`.

    Dotted names reach into objects; ``id`` is the document's id.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def _filter(self, op: Operator, value: object = None) -> Filter:
        return Filter(Compare(op, self.name, value))

    def __gt__(self, value: object) -> Filter:
        return self._filter("gt", value)

    def __ge__(self, value: object) -> Filter:
        return self._filter("gte", value)

    def __lt__(self, value: object) -> Filter:
        return self._filter("lt", value)

    def __le__(self, value: object) -> Filter:
        return self._filter("lte", value)

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self._filter("eq", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return self._filter("ne", value)

    __hash__ = None  # type: ignore[assignment]

    def in_(self, values: Iterable[object]) -> Filter:
        """The value is one of ``values``."""
        return self._filter("in", _values(values, "in_"))

    def not_in(self, values: Iterable[object]) -> Filter:
        """The value is none of ``values``."""
        return self._filter("nin", _values(values, "not_in"))

    def contains(self, value: object) -> Filter:
        """The text contains ``value``, or the array has it as an element."""
        return self._filter("contains", value)

    def contains_any(self, values: Iterable[object]) -> Filter:
        """The array has at least one of ``values``."""
        return self._filter("contains_any", _values(values, "contains_any"))

    def contains_all(self, values: Iterable[object]) -> Filter:
        """The array has each of ``values``."""
        return self._filter("contains_all", _values(values, "contains_all"))

    def starts_with(self, prefix: str) -> Filter:
        """The text begins with ``prefix``."""
        return self._filter("starts_with", prefix)

    def ends_with(self, suffix: str) -> Filter:
        """The text ends with ``suffix``."""
        return self._filter("ends_with", suffix)

    def matches(self, pattern: str) -> Filter:
        """The RE2 ``pattern`` occurs in the text; ``^`` and ``$`` anchor it."""
        return self._filter("matches", pattern)

    def between(self, low: object, high: object) -> Filter:
        """The value is from ``low`` to ``high``, both included."""
        return self._filter("between", [low, high])

    def is_null(self) -> Filter:
        """The field is null or missing."""
        return self._filter("is_null")

    def is_not_null(self) -> Filter:
        """The field has a value."""
        return self._filter("is_not_null")

    def __bool__(self) -> NoReturn:
        raise UsageError(
            f"field({self.name!r}) is no condition: compare it, "
            f"as in field({self.name!r}) == True"
        )

    def __contains__(self, value: object) -> NoReturn:
        raise UsageError(
            f"write field({self.name!r}).contains({value!r:.60}) in place of `in`"
        )

    __iter__ = None

    def __repr__(self) -> str:
        return f"field({self.name!r})"


def field(name: str) -> Field:
    """The field called ``name``, to be compared: ``field("age") > 25``.

    Raises:
        InvalidFilterError: (from the comparison) the name cannot be a field's.
    """
    return Field(name)


class FilterBuilder:
    """Makes filters by method: what ``filter(lambda f: ...)`` is called with.

    The methods mean what those of :class:`Field` do.
    """

    __slots__ = ()

    def eq(self, name: str, value: object) -> Filter:
        """The field equals ``value``; null equals a missing field."""
        return Field(name) == value

    def ne(self, name: str, value: object) -> Filter:
        """The complement of :meth:`eq`."""
        return Field(name) != value

    def gt(self, name: str, value: object) -> Filter:
        """The field is greater than ``value`` and of its kind."""
        return Field(name) > value

    def gte(self, name: str, value: object) -> Filter:
        """The field is at least ``value`` and of its kind."""
        return Field(name) >= value

    def lt(self, name: str, value: object) -> Filter:
        """The field is less than ``value`` and of its kind."""
        return Field(name) < value

    def lte(self, name: str, value: object) -> Filter:
        """The field is at most ``value`` and of its kind."""
        return Field(name) <= value

    def in_values(self, name: str, values: Iterable[object]) -> Filter:
        """The field is one of ``values``."""
        return Field(name).in_(values)

    def not_in(self, name: str, values: Iterable[object]) -> Filter:
        """The field is none of ``values``."""
        return Field(name).not_in(values)

    def contains(self, name: str, value: object) -> Filter:
        """The text contains ``value``, or the array has it as an element."""
        return Field(name).contains(value)

    def contains_any(self, name: str, values: Iterable[object]) -> Filter:
        """The array has at least one of ``values``."""
        return Field(name).contains_any(values)

    def contains_all(self, name: str, values: Iterable[object]) -> Filter:
        """The array has each of ``values``."""
        return Field(name).contains_all(values)

    def starts_with(self, name: str, prefix: str) -> Filter:
        """The text begins with ``prefix``."""
        return Field(name).starts_with(prefix)

    def ends_with(self, name: str, suffix: str) -> Filter:
        """The text ends with ``suffix``."""
        return Field(name).ends_with(suffix)

    def matches(self, name: str, pattern: str) -> Filter:
        """The RE2 ``pattern`` occurs in the text."""
        return Field(name).matches(pattern)

    def between(self, name: str, low: object, high: object) -> Filter:
        """The field is from ``low`` to ``high``, both included."""
        return Field(name).between(low, high)

    def is_null(self, name: str) -> Filter:
        """The field is null or missing."""
        return Field(name).is_null()

    def is_not_null(self, name: str) -> Filter:
        """The field has a value."""
        return Field(name).is_not_null()

    def and_(self, *filters: Filter) -> Filter:
        """All of ``filters``; without any, every document."""
        return Filter(And([part for item in filters for part in _parts(item, And)]))

    def or_(self, *filters: Filter) -> Filter:
        """At least one of ``filters``; without any, no document."""
        return Filter(Or([part for item in filters for part in _parts(item, Or)]))

    def not_(self, condition: Filter) -> Filter:
        """What ``condition`` is not."""
        (part,) = _parts(condition)
        return Filter(Not(part))
