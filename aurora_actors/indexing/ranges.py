"""Which keys a condition on an indexed field selects.

Pure functions, used by the planner. A :class:`KeyRange` goes from ``low`` to before
``high``. It is *exact* when what it finds needs no second look at the documents; not so
when a bound had to be truncated.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aurora_actors.indexing.keys import (
    LONGEST_KEY,
    NULL_KEY,
    after,
    is_truncated,
    kind_bounds,
    text_prefix,
    value_key,
)

__all__ = [
    "EVERYTHING",
    "NOT_NULL",
    "NULL",
    "Bound",
    "KeyRange",
    "between",
    "equal_to",
    "starting_with",
    "within",
]

_CUT: Final = b"\xff"


class KeyRange(NamedTuple):
    """Keys from ``low`` to before ``high``.

    Attributes:
        low: Where it starts.
        high: Where it ends.
        exact: Whether all keys in it fulfil the condition, not only may.
    """

    low: bytes
    high: bytes
    exact: bool = True


EVERYTHING: Final = KeyRange(b"", _CUT)
NULL: Final = KeyRange(NULL_KEY, after(NULL_KEY))
NOT_NULL: Final = KeyRange(after(NULL_KEY), _CUT)


class Bound(NamedTuple):
    """One end of an interval of values."""

    value: object
    inclusive: bool


def equal_to(value: object) -> KeyRange:
    """The values equal to ``value``; for multi-value indexes, the elements.

    Raises:
        ValidationError: no document can hold the value.
    """
    key = value_key(value)
    return KeyRange(key, after(key), not is_truncated(key))


def between(low: Bound | None, high: Bound | None) -> KeyRange | None:
    """The values of the bounds' kind between them; at least one bound is given.

    Returns:
        ``None`` when no value can be: the bounds are of different kinds, or of one
        without an order, or the wrong way round.
    """
    families = {kind_bounds(bound.value) for bound in (low, high) if bound is not None}
    family = families.pop() if len(families) == 1 else None
    if family is None:
        return None
    start, end = family
    exact = True
    if low is not None:
        key = value_key(low.value)
        exact = not is_truncated(key)
        start = key if low.inclusive or not exact else after(key)
    if high is not None:
        key = value_key(high.value)
        whole = not is_truncated(key)
        end = after(key) if high.inclusive or not whole else key
        exact = exact and whole
    return KeyRange(start, end, exact) if start < end else None


def starting_with(text: str) -> KeyRange:
    """The texts that start with ``text``."""
    low = text_prefix(text)
    # Behind all keys that begin so, also behind a truncated one.
    return KeyRange(low, low + _CUT + _CUT, len(low) < LONGEST_KEY)


def within(prefix: bytes, inner: KeyRange) -> KeyRange:
    """Keys of a compound index: ``prefix`` for its first fields, then ``inner``."""
    low, high = prefix + inner.low, prefix + inner.high
    if max(len(low), len(high)) <= LONGEST_KEY:
        return KeyRange(low, high, inner.exact)
    return KeyRange(low[:LONGEST_KEY], high[:LONGEST_KEY] + _CUT + _CUT, exact=False)
