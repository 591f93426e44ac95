"""From a predicate to rows, by the indexes alone.

What a term selects is a range of keys of an index; terms are put together by set
algebra. A selection is *exact* when it holds the rows that match and no others; else it
holds these and maybe more, which have to be tested on their documents. It speaks of the
state the indexes are at; the delta is the caller's business. Used wherever queries run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pyroaring import BitMap64

from aurora_actors.errors import ValidationError
from aurora_actors.indexing.index import Index
from aurora_actors.indexing.keys import compound_prefix
from aurora_actors.indexing.ranges import (
    EVERYTHING,
    NOT_NULL,
    NULL,
    Bound,
    KeyRange,
    between,
    equal_to,
    starting_with,
    within,
)
from aurora_actors.indexing.rowsets import RowSet
from aurora_actors.query.predicate import Compare, Or, Predicate, conjuncts
from aurora_actors.schema.types import Kind

__all__ = ["Candidate", "Selection", "Selector", "key_ranges"]

_MOST_VALUES: Final = 1000
# Beside so few rows it is cheaper to test documents than to read another set.
_FEW: Final = 64
_ALL: Final = 1 << 62


class Selection(NamedTuple):
    """Rows found by indexes.

    Attributes:
        rows: The rows.
        exact: Whether all of them match.
    """

    rows: RowSet
    exact: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A term, or some together, that one index can answer.

    Attributes:
        index: The index.
        ranges: The keys it has to look at; they do not overlap.
        exact: Whether what is found there need not be tested.
        negated: The rows are all but those found.
        parts: What of the predicate is answered.
    """

    index: Index
    ranges: list[KeyRange]
    exact: bool
    negated: bool
    parts: tuple[Predicate, ...]

    def count(self, most: int) -> int:
        """About how many rows it selects, counted up to ``most``."""
        total = 0
        for keys in self.ranges:
            total += self.index.range_count(keys, most - total)
            if total >= most:
                break
        return max(0, self.index.entries - total) if self.negated else total

    def rows(self) -> RowSet:
        """The rows it selects."""
        found = [self.index.range_rows(keys) for keys in self.ranges]
        rows = BitMap64.union(*found) if found else BitMap64()
        if self.negated:
            rows = self.index.range_rows(EVERYTHING) - rows
        return rows


# ------------------------------------------------------------------ terms
def key_ranges(
    term: Compare, kind: Kind, *, multi: bool
) -> tuple[list[KeyRange], bool, bool] | None:
    """The keys that a term selects in an index of a field of type ``kind``.

    Returns:
        The ranges, whether they are exact, whether the rest is meant; ``None`` when an
        index of this sort cannot answer the term.
    """
    try:
        found = _element_ranges(term) if multi else _value_ranges(term, kind)
    except (ValidationError, OverflowError, UnicodeEncodeError):
        return None
    if found is None:
        return None
    ranges, negated = found
    exact = all(keys.exact for keys in ranges)
    if multi:
        # Null is also the key of an array that is not there.
        exact = exact and NULL not in ranges
    if term.op == "starts_with":
        exact = exact and kind is Kind.STRING
    if negated and not exact:
        return None
    return ranges, exact, negated


def _value_ranges(term: Compare, kind: Kind) -> tuple[list[KeyRange], bool] | None:
    value = term.value
    found: list[KeyRange] | None
    match term.op:
        case "eq" | "ne":
            found = [equal_to(value)]
        case "in" | "nin":
            found = _equal_to_any(value)
        case "is_null":
            found = [NULL]
        case "is_not_null":
            found = [NOT_NULL]
        case "starts_with" if isinstance(value, str):
            found = [starting_with(value)]
        case "above" | "not_above" | "below" | "not_below":
            found = [_beyond(term)]
        case _:
            found = _interval(term)
    return None if found is None else (found, term.op in {"ne", "nin"})


def _beyond(term: Compare) -> KeyRange:
    """All keys on one side of a value, or on it: keys are in the order of sorting."""
    low, high, exact = equal_to(term.value)
    match term.op:
        case "above":
            return KeyRange(high if exact else low, EVERYTHING.high, exact)
        case "not_below":
            return KeyRange(low, EVERYTHING.high, exact)
        case "below":
            return KeyRange(EVERYTHING.low, low if exact else high, exact)
        case _:
            return KeyRange(EVERYTHING.low, high, exact)


def _interval(term: Compare) -> list[KeyRange] | None:
    value = term.value
    keys: KeyRange | None
    match term.op:
        case "gt" | "gte":
            keys = between(Bound(value, inclusive=term.op == "gte"), None)
        case "lt" | "lte":
            keys = between(None, Bound(value, inclusive=term.op == "lte"))
        case "between" if isinstance(value, (list, tuple)):
            low, high = value
            keys = between(Bound(low, inclusive=True), Bound(high, inclusive=True))
        case _:
            return None
    return [] if keys is None else [keys]


def _element_ranges(term: Compare) -> tuple[list[KeyRange], bool] | None:
    found: list[KeyRange] | None = None
    match term.op:
        case "contains":
            found = [equal_to(term.value)]
        case "contains_any":
            found = _equal_to_any(term.value)
        case "is_null":
            found = [NULL]
    return None if found is None else (found, False)


def _equal_to_any(value: object) -> list[KeyRange] | None:
    if isinstance(value, (list, tuple)) and len(value) <= _MOST_VALUES:
        return list({equal_to(item) for item in value})
    return None


# ------------------------------------------------------------------ predicates
class _Narrowed:
    """Rows that become fewer with each set of which they have to be."""

    def __init__(self) -> None:
        self.rows: RowSet | None = None
        self._served: list[Predicate] = []

    @property
    def is_narrow(self) -> bool:
        """Whether so few are left that one more set does not pay."""
        return self.rows is not None and len(self.rows) <= _FEW

    def has(self, parts: Sequence[Predicate]) -> bool:
        """Whether all of ``parts`` are known to be true of the rows."""
        return all(any(part is served for served in self._served) for part in parts)

    def take(self, rows: RowSet, parts: Sequence[Predicate], exact: bool) -> None:
        """Keep only those of ``rows``, which fulfil ``parts`` if that is exact."""
        self.rows = rows if self.rows is None else self.rows & rows
        if exact:
            self._served.extend(parts)


class Selector:
    """Answers predicates by the indexes of one collection."""

    def __init__(self, indexes: Mapping[tuple[str, ...], Index]) -> None:
        self._indexes = indexes
        self._compound = [index for fields, index in indexes.items() if len(fields) > 1]
        # Asked for again and again while a plan is made; a predicate outlives it.
        self._known: dict[int, list[Candidate]] = {}

    def candidates(self, predicate: Predicate | None) -> list[Candidate]:
        """What indexes can answer of the terms that must all be true."""
        known = self._known.get(id(predicate))
        if known is None:
            known = self._known[id(predicate)] = self._find_candidates(predicate)
        return known

    def _find_candidates(self, predicate: Predicate | None) -> list[Candidate]:
        parts = list(conjuncts(predicate))
        found = [c for index in self._compound if (c := _by_compound(index, parts))]
        singles = (self._by_single(part) for part in parts if isinstance(part, Compare))
        found.extend(_met(c for c in singles if c is not None))
        return found

    def _by_single(self, term: Compare) -> Candidate | None:
        index = self._indexes.get((term.field,))
        if index is None:
            return None
        ranges = key_ranges(term, index.types[0], multi=index.multi)
        if ranges is None:
            return None
        keys, exact, negated = ranges
        return Candidate(index, keys, exact, negated, (term,))

    def estimate(self, predicate: Predicate | None, most: int) -> int | None:
        """At most how many rows :meth:`select` would give; ``None``: it gives none."""
        if isinstance(predicate, Or):
            parts = [self.estimate(part, most) for part in predicate.parts]
            if None in parts:
                return None
            return sum(part or 0 for part in parts)
        counts = [c.count(most) for c in self.candidates(predicate)]
        counts += [
            count
            for part in conjuncts(predicate)
            if isinstance(part, Or) and (count := self.estimate(part, most)) is not None
        ]
        return min(counts, default=None)

    def covers(self, predicate: Predicate | None, *, by_bitmaps: bool = False) -> bool:
        """Whether indexes alone answer the predicate exactly, or even bitmaps do."""
        if isinstance(predicate, Or):
            return all(self.covers(p, by_bitmaps=by_bitmaps) for p in predicate.parts)
        served = [
            part
            for candidate in self.candidates(predicate)
            if candidate.exact and (candidate.index.is_bitmaps or not by_bitmaps)
            for part in candidate.parts
        ]
        return all(
            any(part is known for known in served)
            or (isinstance(part, Or) and self.covers(part, by_bitmaps=by_bitmaps))
            for part in conjuncts(predicate)
        )

    def fields(self, predicate: Predicate | None) -> list[str]:
        """The fields of the indexes that have something to say."""
        names = [", ".join(c.index.fields) for c in self.candidates(predicate)]
        parts = predicate.parts if isinstance(predicate, Or) else conjuncts(predicate)
        for part in parts:
            if isinstance(predicate, Or) or isinstance(part, Or):
                names += self.fields(part)
        return list(dict.fromkeys(names))

    def way(self, predicate: Predicate | None) -> str:
        """What :meth:`select` does, in words, for a plan."""
        used = self._used(predicate)
        kind = "bitmap" if all(one.index.is_bitmaps for one in used) else "index"
        if isinstance(predicate, Or):
            return f"{kind} union"
        several = len(used) > 1 or any(isinstance(p, Or) for p in conjuncts(predicate))
        if several:
            return f"{kind} intersection"
        return kind if kind == "bitmap" else "index range"

    def _used(self, predicate: Predicate | None) -> list[Candidate]:
        """The candidates of a predicate and of its alternatives."""
        if isinstance(predicate, Or):
            return [one for part in predicate.parts for one in self._used(part)]
        used = list(self.candidates(predicate))
        for part in conjuncts(predicate):
            if isinstance(part, Or):
                used += self._used(part)
        return used

    def select(self, predicate: Predicate | None) -> Selection | None:
        """The rows that match, or may; ``None`` when no index can say anything."""
        if isinstance(predicate, Or):
            return self._any_of(predicate.parts)
        narrowed = _Narrowed()
        candidates = self.candidates(predicate)
        if len(candidates) > 1:
            candidates = sorted(candidates, key=lambda c: c.count(_ALL))
        for candidate in candidates:
            if not narrowed.has(candidate.parts) and not narrowed.is_narrow:
                narrowed.take(candidate.rows(), candidate.parts, candidate.exact)
        parts = tuple(conjuncts(predicate))
        for part in parts:
            if isinstance(part, Or) and not narrowed.is_narrow:
                some = self._any_of(part.parts)
                if some is not None:
                    narrowed.take(some.rows, (part,), some.exact)
        if narrowed.rows is None:
            return None
        return Selection(narrowed.rows, narrowed.has(parts))

    def _any_of(self, parts: Iterable[Predicate]) -> Selection | None:
        rows, exact = BitMap64(), True
        for part in parts:
            found = self.select(part)
            if found is None:
                return None
            rows |= found.rows
            exact = exact and found.exact
        return Selection(rows, exact)


def _met(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates, with the ranges of one field put together where they meet."""
    found: list[Candidate] = []
    ranges: dict[tuple[str, ...], Candidate] = {}
    for candidate in candidates:
        if candidate.negated or candidate.index.multi or len(candidate.ranges) != 1:
            found.append(candidate)
            continue
        fields = candidate.index.fields
        other = ranges.get(fields)
        ranges[fields] = candidate if other is None else _meet(other, candidate)
    return [*found, *ranges.values()]


def _meet(left: Candidate, right: Candidate) -> Candidate:
    """What fulfils both on one field; exact only if both are.

    Terms that contradict each other leave no range, and then no other term adds one.
    """
    exact = left.exact and right.exact
    keys = [
        KeyRange(low, high, exact)
        for a in left.ranges
        for b in right.ranges
        if (low := max(a.low, b.low)) < (high := min(a.high, b.high))
    ]
    parts = (*left.parts, *right.parts)
    return Candidate(left.index, keys, exact, negated=False, parts=parts)


def _by_compound(index: Index, parts: Sequence[Predicate]) -> Candidate | None:
    """Equal first fields, then maybe a range of the next one."""
    values: list[object] = []
    served: list[Predicate] = []
    for at, name in enumerate(index.fields):
        term = _term(parts, name, {"eq"})
        if term is not None:
            values.append(term.value)
            served.append(term)
            continue
        inner = _term(parts, name, {"gt", "gte", "lt", "lte", "between", "starts_with"})
        ranges = inner and key_ranges(inner, index.types[at], multi=False)
        if inner is None or not ranges or not values:
            break
        keys = [within(compound_prefix(values), one) for one in ranges[0]]
        exact = ranges[1] and all(one.exact for one in keys)
        return Candidate(index, keys, exact, negated=False, parts=(*served, inner))
    if not values:
        return None
    try:
        keys = [within(compound_prefix(values), EVERYTHING)]
    except ValidationError:
        return None
    return Candidate(index, keys, keys[0].exact, negated=False, parts=tuple(served))


def _term(parts: Sequence[Predicate], name: str, operators: set[str]) -> Compare | None:
    for part in parts:
        if isinstance(part, Compare) and part.field == name and part.op in operators:
            return part
    return None
