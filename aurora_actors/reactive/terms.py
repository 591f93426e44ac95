"""By which terms a live query can be found when a document changes.

Pure functions over predicates. A query is filed under *access terms*: conditions of
which at least one holds for every document that matches. So whoever looks up the values
of a document finds every query the document may match, and usually few others.

``exact`` says that the terms are the whole predicate: what is found by them matches,
and need not be evaluated.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from aurora_actors.query.predicate import Compare, Or, Predicate, conjuncts
from aurora_actors.schema.values import SortKey, sort_key

__all__ = [
    "Access",
    "AccessTerm",
    "ElementTerm",
    "EqualTerm",
    "PrefixTerm",
    "RangeTerm",
    "access_of",
]

_MOST_KEYS: Final = 10_000
_NULL: Final = sort_key(None)


class EqualTerm(NamedTuple):
    """The field equals one of ``keys``."""

    field: str
    keys: tuple[SortKey, ...]


class ElementTerm(NamedTuple):
    """The field is an array with one of ``keys`` among its elements."""

    field: str
    keys: tuple[SortKey, ...]


class PrefixTerm(NamedTuple):
    """The field is a text that begins with ``text``."""

    field: str
    text: str


class RangeTerm(NamedTuple):
    """The field's sort key is not below ``low`` and not above ``high``.

    Both are of one kind of values. An open end is the beginning or the end of that
    kind, so a value of another kind is never within.
    """

    field: str
    low: SortKey
    high: SortKey


AccessTerm: TypeAlias = EqualTerm | ElementTerm | PrefixTerm | RangeTerm


class Access(NamedTuple):
    """How to find a query; without terms it is tried on every change.

    Attributes:
        terms: Each document that matches meets one of them.
        exact: Each document that meets one of them matches.
    """

    terms: tuple[AccessTerm, ...]
    exact: bool = False


_SCAN: Final = Access(())
_NOTHING: Final = 9


def access_of(predicate: Predicate | None) -> Access:
    """The best access terms of ``predicate``."""
    found = _best(predicate)
    return _SCAN if found is None else found


def _best(predicate: Predicate | None) -> Access | None:
    if isinstance(predicate, Or):
        return _any_of(predicate.parts)
    if isinstance(predicate, Compare):
        return _of_term(predicate)
    parts = list(conjuncts(predicate))
    if len(parts) == 1 and parts[0] is predicate:
        return None  # a negation
    found = [access for access in map(_best, parts) if access is not None]
    ranges = _joined_ranges(parts)
    if not found and not ranges:
        return None
    best = min([*found, *ranges], key=_rank)
    return Access(best.terms, best.exact and len(parts) == 1)


def _any_of(parts: list[Predicate]) -> Access | None:
    found = [_best(part) for part in parts]
    if not found or None in found:
        return None
    accesses = [access for access in found if access is not None]
    terms = tuple(term for access in accesses for term in access.terms)
    if len(terms) > _MOST_KEYS:
        return None
    return Access(terms, all(access.exact for access in accesses))


def _rank(access: Access) -> tuple[int, int]:
    """How many queries are likely to be found in vain; lower is better."""
    return max(map(_rank_of_term, access.terms), default=_NOTHING), len(access.terms)


def _rank_of_term(term: AccessTerm) -> int:
    match term:
        case EqualTerm(keys=keys):
            # Null is what most documents have in a field that few have.
            return 3 if _NULL in keys else 0
        case ElementTerm():
            return 1
        case PrefixTerm():
            return 2
        case RangeTerm(low=low, high=high):
            return 4 if _is_closed(low) and _is_closed(high) else 5


def _is_closed(bound: SortKey) -> bool:
    return not isinstance(bound[-1], _End)


# ------------------------------------------------------------------ terms
def _of_term(term: Compare) -> Access | None:
    match term.op:
        case "eq" | "is_null":
            value = term.value if term.op == "eq" else None
            return Access((EqualTerm(term.field, (sort_key(value),)),), exact=True)
        case "in":
            return _keyed(EqualTerm, term, exact=True)
        case "contains_any":
            return _keyed(ElementTerm, term, exact=True)
        case "contains_all":
            return _keyed(ElementTerm, term, exact=False)
        case "starts_with":
            return Access((PrefixTerm(term.field, str(term.value)),), exact=True)
        case _:
            found = _range_of(term)
            return None if found is None else Access((found,))


def _keyed(
    kind: type[EqualTerm | ElementTerm], term: Compare, *, exact: bool
) -> Access | None:
    values = term.value
    if not isinstance(values, (list, tuple)) or len(values) > _MOST_KEYS:
        return None
    if not values:
        # Of nothing, "any" is never true and "all" always.
        return Access((kind(term.field, ()),), exact=True) if exact else None
    chosen = values if exact else values[:1]
    keys = dict.fromkeys(sort_key(value) for value in chosen)
    return Access((kind(term.field, tuple(keys)),), exact=exact)


# ------------------------------------------------------------------ ranges
class _End:
    """Beyond every value of a kind: greater than anything but itself."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return other is not self


_END: Final = _End()
_MOMENT: Final = 4


def _kind(key: SortKey) -> SortKey:
    """What all keys of values of one kind begin with."""
    return key[:2] if key[0] == _MOMENT else key[:1]


def _range_of(term: Compare) -> RangeTerm | None:
    value = term.value
    if term.op == "between":
        low, high = (sort_key(bound) for bound in _pair(value))
        return RangeTerm(term.field, low, high) if _kind(low) == _kind(high) else None
    if term.op not in ("gt", "gte", "lt", "lte") or value is None:
        return None
    key = sort_key(value)
    if term.op in ("gt", "gte"):
        return RangeTerm(term.field, key, (*_kind(key), _END))
    return RangeTerm(term.field, _kind(key), key)


def _pair(value: object) -> tuple[object, object]:
    assert isinstance(value, (list, tuple))  # noqa: S101 - Compare has checked it
    return value[0], value[1]


def _joined_ranges(parts: list[Predicate]) -> list[Access]:
    """The ranges of each field made one: ``age > 3 and age < 5``."""
    by_field: dict[str, list[RangeTerm]] = {}
    for part in parts:
        if isinstance(part, Compare) and (found := _range_of(part)) is not None:
            by_field.setdefault(found.field, []).append(found)
    joined = []
    for field, ranges in by_field.items():
        kinds = {_kind(found.low) for found in ranges}
        if len(ranges) < 2 or len(kinds) > 1:
            continue
        low, high = max(r.low for r in ranges), min(r.high for r in ranges)
        joined.append(Access((RangeTerm(field, low, high),)))
    return joined
