"""Queries as descriptions: what is asked, without a way to run it.

A query is a value. Each method that refines it returns a new one, so one can be kept
and shared. What needs no schema is checked when it is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar, cast

import msgspec

from aurora_actors.client.asked import Asked
from aurora_actors.client.document import document_of
from aurora_actors.client.encoding import name_of
from aurora_actors.client.grouping import Grouped, Intervals, group_keys
from aurora_actors.client.paging import bounded_spec
from aurora_actors.client.session import Session
from aurora_actors.errors import InvalidFilterError
from aurora_actors.messages.query import OrderKey, QuerySpec, ResultMode
from aurora_actors.query.describe import describe_predicate
from aurora_actors.query.filters import Filter, FilterBuilder
from aurora_actors.query.predicate import (
    And,
    Compare,
    Predicate,
    decode_predicate,
    encode_predicate,
)
from aurora_actors.schema.values import Buffer

__all__ = ["QueryBuilder", "asked_of"]

T = TypeVar("T")

_LONGEST_DEBOUNCE_S = 3600.0
_MOST = 2**63 - 1


def asked_of(collection: str | type) -> Asked:
    """The query for everything in a collection."""
    model = collection if isinstance(collection, type) else None
    return Asked(name_of(collection), model)


class QueryBuilder(Generic[T]):
    """The refining half of a query; ``T`` is what it will give."""

    __slots__ = ("_asked", "_session")

    def __init__(self, session: Callable[[], Session], asked: Asked) -> None:
        self._session = session
        self._asked = asked

    def _with(self, **changes: object) -> Self:
        asked = msgspec.structs.replace(self._asked, **changes)
        return type(self)(self._session, asked)

    def filter(self, condition: Filter | Callable[[FilterBuilder], Filter]) -> Self:
        """Keep what also meets ``condition``.

        Args:
            condition: ``field("age") > 25``, or ``lambda f: f.gt("age", 25)``.

        Raises:
            InvalidFilterError: it is neither.
        """
        found = condition
        if type(found) is not Filter:
            found = condition(_BUILDER) if callable(condition) else condition
            if not isinstance(found, Filter):
                raise InvalidFilterError(
                    f"a filter is needed, not {type(found).__name__}; "
                    'for example field("age") > 25 or lambda f: f.gt("age", 25)'
                )
        return self._with(predicate=_both(self._asked.predicate, found.predicate))

    def order_by(self, field: str, ascending: bool = True) -> Self:
        """Sort by ``field``, after the keys given before; ties come by id."""
        key = OrderKey(_field_name(field), bool(ascending))
        return self._with(order=(*self._asked.order, key))

    def limit(self, count: int) -> Self:
        """Give at most ``count`` documents."""
        return self._with(limit=_count("limit", count))

    def offset(self, count: int) -> Self:
        """Leave out the first ``count`` documents."""
        return self._with(offset=_count("offset", count))

    def after(self, cursor: str) -> Self:
        """Give only what comes behind a place of the result.

        Without an order the result is in the order of the ids.

        Args:
            cursor: The cursor of an edge of a page in this order, or a document's id.
        """
        return self._with(after=_cursor(cursor))

    def before(self, cursor: str) -> Self:
        """Give only what comes before a place of the result; see :meth:`after`."""
        return self._with(before=_cursor(cursor))

    def debounce(self, seconds: float) -> Self:
        """When watched, look at most once in ``seconds``, and tell the difference."""
        is_number = isinstance(seconds, int | float)
        if not is_number or not 0 <= seconds <= _LONGEST_DEBOUNCE_S:
            raise InvalidFilterError(
                f"debounce takes 0 to {_LONGEST_DEBOUNCE_S:g} seconds, not {seconds!r}"
            )
        return self._with(debounce_s=float(seconds))

    def _selecting(self, fields: tuple[str, ...]) -> Self:
        if not fields:
            raise InvalidFilterError("select needs at least one field name")
        return self._with(fields=tuple(map(_field_name, fields)), model=None)

    # -------------------------------------------------------------- as data
    def _spec(
        self, mode: ResultMode = ResultMode.DOCUMENTS, at_most: int | None = None
    ) -> QuerySpec:
        asked = self._asked
        limit = asked.limit
        if at_most is not None:
            limit = at_most if limit is None else min(limit, at_most)
        spec = QuerySpec(
            collection=asked.collection,
            predicate=encode_predicate(asked.predicate) if asked.predicate else b"",
            order=list(asked.order),
            limit=limit,
            offset=asked.offset,
            fields=None if asked.fields is None else list(asked.fields),
            mode=mode,
        )
        if asked.after is None and asked.before is None:
            return spec
        return bounded_spec(self._session(), spec, asked.after, asked.before)

    def _predicate(self, spec: QuerySpec) -> Predicate | None:
        """What ``spec`` has encoded."""
        asked = self._asked
        if asked.after is None and asked.before is None:
            return asked.predicate
        return decode_predicate(spec.predicate)

    def _grouped(self, fields: tuple[str, ...], interval: Intervals) -> Grouped:
        keys = group_keys(fields, interval)
        return Grouped(query=self._spec(), result=self._result, keys=keys)

    def _at_once(self, session: Session, at_most: int | None) -> list[T] | None:
        """The results, if looking them up takes no plan; else ``None``."""
        asked = self._asked
        if not asked.is_simple:
            return None
        order, term, most = asked.order, asked.predicate, asked.limit
        if at_most is not None:
            most = at_most if most is None else min(most, at_most)
        lookup, convert = session.lookup, self._result
        if not order and not asked.offset and type(term) is Compare:
            return lookup.find_by_key(asked.collection, term, convert, most=most)
        if len(order) == 1 and most is not None:
            return lookup.find_first(asked, most, convert)
        return None

    @property
    def _result(self) -> Callable[[Buffer], T]:
        """What makes a result of a record."""
        model = self._asked.model
        # T is Document exactly when there is no model.
        if model is None:
            return cast("Callable[[Buffer], T]", document_of)
        return lambda record: cast("T", document_of(record).to(model))

    def __repr__(self) -> str:
        asked = self._asked
        said = [f"{type(self).__name__} on {asked.collection}"]
        if asked.predicate is not None:
            said.append(f"where {describe_predicate(asked.predicate)}")
        said += [
            f"by {key.field}" if key.ascending else f"by {key.field} descending"
            for key in asked.order
        ]
        if asked.limit is not None:
            said.append(f"limit {asked.limit}")
        if asked.offset:
            said.append(f"offset {asked.offset}")
        if asked.fields is not None:
            said.append(f"select {', '.join(asked.fields)}")
        return f"<{' '.join(said)}>"


_BUILDER = FilterBuilder()


def _both(first: Predicate | None, second: Predicate) -> Predicate:
    if first is None:
        return second
    parts = first.parts if isinstance(first, And) else [first]
    return And([*parts, second])


def _count(what: str, value: int) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not 0 <= value <= _MOST:
        raise InvalidFilterError(
            f"{what} must be a number from 0 on, not {value!r:.80}"
        )
    return value


def _cursor(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidFilterError(f"a cursor is a text, not {type(text).__name__}")
    return text


def _field_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidFilterError(f"a field name is needed, not {name!r}")
    return name
