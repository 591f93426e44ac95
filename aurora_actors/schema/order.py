"""How values compare: the total order, equality, and paths into documents.

Pure functions, used in every process. The order is::

    null < bool < numbers < text and uuid < date < time < date-time
         < bytes < array < object

Numbers compare by value whether Int or Float, a uuid compares as its text, date-times
as instants, arrays element by element, objects by their sorted fields. Equality is the
order's: ``values_equal(a, b)`` exactly when ``sort_key(a) == sort_key(b)``. So a bool
is no number, and ``{"a": None}`` is another object than ``{}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Final, TypeAlias
from uuid import UUID

from aurora_actors.schema.refusal import Refused, describe

__all__ = ["SortKey", "get_path", "kind_rank", "sort_key", "values_equal"]

SortKey: TypeAlias = tuple[object, ...]

_NULL, _BOOL, _NUMBER, _TEXT, _MOMENT, _BYTES, _ARRAY, _OBJECT = range(8)

# Of two values of one of these types, Python's == says what we mean. Not so date-times
# (two in different zones are unequal in Python when one of them is ambiguous).
_EQUAL_AS_IS: Final = frozenset({str, int, float, bool, UUID, bytes, date, time})


def _null_key(_value: object) -> SortKey:
    return (_NULL,)


def _bool_key(value: object) -> SortKey:
    return (_BOOL, value)


def _number_key(value: object) -> SortKey:
    return (_NUMBER, value)


def _text_key(value: object) -> SortKey:
    return (_TEXT, value)


def _uuid_key(value: object) -> SortKey:
    return (_TEXT, str(value))


def _date_key(value: object) -> SortKey:
    return (_MOMENT, 0, value)


def _time_key(value: object) -> SortKey:
    return (_MOMENT, 1, value)


def _datetime_key(value: datetime) -> SortKey:
    return (_MOMENT, 2, value if value.tzinfo is UTC else value.astimezone(UTC))


def _bytes_key(value: object) -> SortKey:
    return (_BYTES, value)


def _array_key(value: list[object] | tuple[object, ...]) -> SortKey:
    return (_ARRAY, tuple([sort_key(item) for item in value]))


def _object_key(value: dict[str, object]) -> SortKey:
    return (_OBJECT, tuple([(name, sort_key(value[name])) for name in sorted(value)]))


_Keyed: TypeAlias = Callable[..., SortKey]

# Bool before int, datetime before date: subclasses are looked for in this order.
_KEYS: Final[dict[type, tuple[int, _Keyed]]] = {
    type(None): (_NULL, _null_key),
    bool: (_BOOL, _bool_key),
    int: (_NUMBER, _number_key),
    float: (_NUMBER, _number_key),
    str: (_TEXT, _text_key),
    UUID: (_TEXT, _uuid_key),
    datetime: (_MOMENT, _datetime_key),
    date: (_MOMENT, _date_key),
    time: (_MOMENT, _time_key),
    bytes: (_BYTES, _bytes_key),
    list: (_ARRAY, _array_key),
    tuple: (_ARRAY, _array_key),
    dict: (_OBJECT, _object_key),
}


def _entry(value: object) -> tuple[int, _Keyed]:
    entry = _KEYS.get(type(value))
    if entry is not None:
        return entry
    for kind, candidate in _KEYS.items():
        if isinstance(value, kind):
            return candidate
    raise Refused(f"cannot be compared: {describe(value)}").error()


def kind_rank(value: object) -> int:
    """The place of the value's kind in the total order, 0 for null.

    Values of one rank are ordered by themselves; Int and Float share a rank, text and
    uuid do, and date, time and date-time do.

    Raises:
        ValidationError: no document can hold such a value.
    """
    return _entry(value)[0]


def sort_key(value: object) -> SortKey:
    """A tuple that orders like the value does, among values of all kinds.

    Raises:
        ValidationError: no document can hold such a value.
    """
    return _entry(value)[1](value)


def values_equal(left: object, right: object) -> bool:
    """Whether two values are the same: ``1 == 1.0``, a uuid is its text, null is null.

    Raises:
        ValidationError: no document can hold one of the values.
    """
    kind = type(left)
    if kind is type(right) and kind in _EQUAL_AS_IS:
        return left == right
    return sort_key(left) == sort_key(right)


def get_path(document: Mapping[str, object], path: str) -> object:
    """The value at a dotted path; ``None`` when there is none.

    Arrays are not entered, whatever the path says.
    """
    if "." not in path:
        return document.get(path)
    name, *others = path.split(".")
    value = document.get(name)
    for name in others:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
