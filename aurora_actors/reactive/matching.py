"""Finding the live queries that a change concerns.

One :class:`MatchIndex` holds the queries on one collection, filed under their access
terms (see ``reactive.terms``): equalities and elements in hash tables, prefixes in hash
tables by length, ranges in an interval index. Only queries without such a term are
tried on every change. So a change costs as much as it has matches, however many queries
there are.

Pure and synchronous; owned by a feed of the reactive dispatcher.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, Protocol, TypeVar

from aurora_actors.query.compile import Matcher
from aurora_actors.reactive.intervals import IntervalIndex
from aurora_actors.reactive.terms import (
    Access,
    AccessTerm,
    ElementTerm,
    EqualTerm,
    PrefixTerm,
    RangeTerm,
)
from aurora_actors.schema.values import SortKey, get_path, sort_key

__all__ = ["Fields", "MatchIndex", "Matched"]

Fields = dict[str, object]


class Matched(Protocol):
    """What can be filed: something that knows its access terms and its test."""

    @property
    def access(self) -> Access:
        """How it is found."""
        ...

    @property
    def matches(self) -> Matcher:
        """Whether a document matches."""
        ...


Q = TypeVar("Q", bound=Matched)
_Bucket = dict[Q, None]


class MatchIndex(Generic[Q]):
    """Live queries on one collection, found by the values of a document."""

    __slots__ = ("_elements", "_equal", "_prefixes", "_ranges", "_rest", "_size")

    def __init__(self) -> None:
        self._equal: dict[str, dict[SortKey, _Bucket[Q]]] = {}
        self._elements: dict[str, dict[SortKey, _Bucket[Q]]] = {}
        self._prefixes: dict[str, dict[int, dict[str, _Bucket[Q]]]] = {}
        self._ranges: dict[str, IntervalIndex[Q]] = {}
        self._rest: _Bucket[Q] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    # -------------------------------------------------------------- filing
    def add(self, query: Q) -> None:
        """File a query."""
        self._size += 1
        if not query.access.terms:
            self._rest[query] = None
        for term in query.access.terms:
            self._file(term, query)

    def _file(self, term: AccessTerm, query: Q) -> None:
        match term:
            case EqualTerm(field, keys):
                _put(self._equal, field, keys, query)
            case ElementTerm(field, keys):
                _put(self._elements, field, keys, query)
            case PrefixTerm(field, text):
                lengths = self._prefixes.setdefault(field, {})
                _put(lengths, len(text), (text,), query)
            case RangeTerm(field, low, high):
                index = self._ranges.setdefault(field, IntervalIndex())
                index.add(low, high, query)

    def remove(self, query: Q) -> None:
        """Take a query out; nothing of it is left."""
        self._size -= 1
        self._rest.pop(query, None)
        for term in query.access.terms:
            self._unfile(term, query)

    def _unfile(self, term: AccessTerm, query: Q) -> None:
        match term:
            case EqualTerm(field, keys):
                _take(self._equal, field, keys, query)
            case ElementTerm(field, keys):
                _take(self._elements, field, keys, query)
            case PrefixTerm(field, text):
                lengths = self._prefixes.get(field, {})
                _take(lengths, len(text), (text,), query)
                if not lengths:
                    self._prefixes.pop(field, None)
            case RangeTerm(field, low, high):
                index = self._ranges.get(field)
                if index is not None:
                    index.remove(low, high, query)
                    if not index:
                        del self._ranges[field]

    # -------------------------------------------------------------- finding
    def matching(self, fields: Fields, document_id: str) -> dict[Q, None]:
        """The queries that match a document, each once."""
        found: dict[Q, None] = {}
        for path, buckets in self._equal.items():
            if bucket := buckets.get(sort_key(_value(path, fields, document_id))):
                for query in bucket:
                    if query.access.exact or query.matches(fields, document_id):
                        found[query] = None
        if self._elements or self._prefixes or self._ranges or self._rest:
            self._find_others(_Taker(found, fields, document_id), fields, document_id)
        return found

    def _find_others(self, take: _Taker[Q], fields: Fields, document_id: str) -> None:
        if self._elements:
            self._find_elements(fields, take)
        if self._prefixes:
            self._find_prefixes(fields, document_id, take)
        for path, index in self._ranges.items():
            take(index.at(sort_key(_value(path, fields, document_id))))
        if self._rest:
            take(self._rest)

    def _find_elements(self, fields: Fields, take: _Taker[Q]) -> None:
        for path, buckets in self._elements.items():
            value = get_path(fields, path)
            if type(value) is list:
                for item in value:
                    if bucket := buckets.get(sort_key(item)):
                        take(bucket)

    def _find_prefixes(self, fields: Fields, document_id: str, take: _Taker[Q]) -> None:
        for path, lengths in self._prefixes.items():
            value = _value(path, fields, document_id)
            if type(value) is str:
                for length, buckets in lengths.items():
                    if bucket := buckets.get(value[:length]):
                        take(bucket)


def _value(path: str, fields: Fields, document_id: str) -> object:
    if path == "id":
        return document_id
    return fields.get(path) if "." not in path else get_path(fields, path)


class _Taker(Generic[Q]):
    """Adds to the result those candidates that do match."""

    __slots__ = ("_fields", "_found", "_id")

    def __init__(self, found: dict[Q, None], fields: Fields, document_id: str) -> None:
        self._found = found
        self._fields = fields
        self._id = document_id

    def __call__(self, candidates: Iterable[Q]) -> None:
        found, fields, document_id = self._found, self._fields, self._id
        for query in candidates:
            if query not in found and (
                query.access.exact or query.matches(fields, document_id)
            ):
                found[query] = None


K = TypeVar("K", bound=Hashable)
B = TypeVar("B", bound=Hashable)


def _put(
    table: dict[K, dict[B, _Bucket[Q]]], name: K, keys: Iterable[B], query: Q
) -> None:
    buckets = table.setdefault(name, {})
    for key in keys:
        buckets.setdefault(key, {})[query] = None
    if not buckets:
        del table[name]


def _take(
    table: dict[K, dict[B, _Bucket[Q]]], name: K, keys: Iterable[B], query: Q
) -> None:
    buckets = table.get(name)
    if buckets is None:
        return
    for key in keys:
        bucket = buckets.get(key)
        if bucket is not None:
            bucket.pop(query, None)
            if not bucket:
                del buckets[key]
    if not buckets:
        del table[name]
