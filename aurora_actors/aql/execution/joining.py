"""Rows with their look-ups: many documents are looked up by one query.

The documents of a step are taken together: the values of their local fields, each once,
make one query for the other collection, which takes its keys or indexes as any query
does. What it finds is shaped once, look-ups within it included, and handed to all rows
it belongs to. Generators, which give others their turn after each query.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Final, NamedTuple, TypeAlias

from aurora_actors.aql.execution.notes import encode_result
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.reading import Reading
from aurora_actors.aql.execution.selecting import LookupWish, Selected
from aurora_actors.aql.execution.shapes import shaper_of
from aurora_actors.errors import LimitExceededError
from aurora_actors.messages.aql import AqlPart
from aurora_actors.messages.query import QuerySpec
from aurora_actors.query.check import can_equal
from aurora_actors.query.plan import PlanStep
from aurora_actors.query.predicate import And, Compare, Predicate, encode_predicate
from aurora_actors.schema.order import SortKey, sort_key
from aurora_actors.schema.record import pack_record, unpack_record
from aurora_actors.schema.types import Kind
from aurora_actors.schema.values import decode_document, get_path

__all__ = ["Joiner", "ShapedRow", "joined"]

_AT_ONCE: Final = 1_000
_MOST_ROWS: Final = 1_000_000
_MOST_BYTES: Final = 64 << 20


class ShapedRow(NamedTuple):
    """A document as it is seen; ``weight`` counts it and all that hangs below."""

    lsn: int
    id: str
    data: dict[str, object]
    weight: int


class _Document(NamedTuple):
    lsn: int
    id: str
    fields: dict[str, object]

    def value(self, path: str) -> object:
        """The value at a path."""
        return self.id if path == "id" else get_path(self.fields, path)


class _Spent:
    """What one look-up has cost, over all its queries."""

    def __init__(self) -> None:
        self.access = ""
        self.rows = 0
        self.seconds = 0.0


_Rows: TypeAlias = Generator[None, None, list[ShapedRow]]
_Batch: TypeAlias = tuple[dict[SortKey, object], list[tuple[int, list[SortKey]]]]


class Joiner:
    """Shapes documents, with what their look-ups find in ``reading``."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._spent: dict[str, _Spent] = {}

    def steps(self) -> list[PlanStep]:
        """What the look-ups have done, for the plan."""
        return [
            PlanStep(
                f"{name} by {spent.access}", spent.rows, round(spent.seconds * 1000, 3)
            )
            for name, spent in self._spent.items()
        ]

    def rows(self, selected: Selected, records: Iterable[bytes]) -> _Rows:
        """The documents of ``records`` as they are seen.

        Raises:
            LimitExceededError: too many documents belong to them.
        """
        documents = [
            _Document(lsn, document_id, decode_document(body))
            for lsn, document_id, body in map(unpack_record, records)
        ]
        shape = shaper_of(selected.shape)
        shown = [shape(each.id, each.fields) for each in documents]
        weights = [1] * len(documents)
        for wish in selected.lookups:
            yield from self._join(wish, documents, shown, weights)
        return [
            ShapedRow(document.lsn, document.id, data, weight)
            for document, data, weight in zip(documents, shown, weights, strict=True)
        ]

    # -------------------------------------------------------------- joining
    def _join(
        self,
        wish: LookupWish,
        documents: Sequence[_Document],
        shown: list[dict[str, object]],
        weights: list[int],
    ) -> Generator[None]:
        for row in shown:
            row[wish.name] = []
        for values, takers in _batches(wish, documents):
            records, belongs = yield from self._matches(wish, values)
            rows = yield from self.rows(wish.selected, records)
            for at, keys in takers:
                places = _places(wish, keys, belongs)
                shown[at][wish.name] = [rows[place].data for place in places]
                weights[at] += sum(rows[place].weight for place in places)
            if sum(weights) > _MOST_ROWS:
                raise _too_many(wish, "documents", _MOST_ROWS)
            yield

    def _matches(
        self, wish: LookupWish, values: dict[SortKey, object]
    ) -> Generator[None, None, tuple[list[bytes], dict[SortKey, list[int]]]]:
        """The documents to which any of ``values`` leads, and where each does."""
        spent = self._spent.setdefault(f"lookup {wish.path}", _Spent())
        started = perf_counter()
        most = None if wish.limit is None else wish.limit + wish.offset
        predicate = _condition(wish, [*values.values()])
        spec = QuerySpec(
            collection=wish.collection,
            predicate=encode_predicate(predicate),
            order=wish.order,
            fields=wish.fields,
        )
        execution = self._reading.run(spec, predicate)
        records: list[bytes] = []
        belongs: dict[SortKey, list[int]] = {key: [] for key in values}
        size = 0
        for found in execution.steps():
            for record in found:
                if _assign(wish, record, len(records), belongs, most):
                    records.append(record)
                    size += len(record)
            if size > _MOST_BYTES:
                raise _too_many(wish, "bytes", _MOST_BYTES)
            yield
        spent.access = execution.plan.access
        spent.rows += len(records)
        spent.seconds += perf_counter() - started
        return records, belongs


def joined(joiner: Joiner, selected: Selected, records: Sequence[bytes]) -> Parts:
    """Rows with their look-ups, as parts of a result."""
    for at in range(0, len(records), _AT_ONCE):
        rows = yield from joiner.rows(selected, records[at : at + _AT_ONCE])
        part: list[bytes] = []
        weight = 0
        for row in rows:
            part.append(pack_record(row.lsn, row.id, encode_result(row.data)))
            weight += row.weight
            if weight >= _AT_ONCE:
                yield AqlPart(b"", part)
                part, weight = [], 0
        yield AqlPart(b"", part) if part else None


def _too_many(wish: LookupWish, what: str, maximum: int) -> LimitExceededError:
    return LimitExceededError(
        f"the look-up {wish.path} gives more than {maximum:,} {what} at a time: give "
        "it a limit, or query fewer documents",
        limit=f"lookup_{what}",
        maximum=maximum,
    )


def _batches(wish: LookupWish, documents: Sequence[_Document]) -> Iterator[_Batch]:
    """Values to be looked up together, and which rows they are for."""
    values: dict[SortKey, object] = {}
    takers: list[tuple[int, list[SortKey]]] = []
    for at, document in enumerate(documents):
        keys = []
        for value in _elements(document.value(wish.local)):
            if can_equal(value, wish.element_type):
                key = sort_key(value)
                values[key] = value
                keys.append(key)
        if keys:
            takers.append((at, keys))
        if len(values) >= _AT_ONCE:
            yield values, takers
            values, takers = {}, []
    if values:
        yield values, takers


def _elements(value: object) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return [item for item in value if item is not None]
    return () if value is None else (value,)


def _condition(wish: LookupWish, values: list[object]) -> Predicate:
    parts: list[Predicate] = []
    if wish.foreign_type.kind is not Kind.ARRAY:
        parts.append(Compare("in", wish.foreign, values))
    else:
        parts.append(Compare("contains_any", wish.foreign, values))
    if wish.predicate is not None:
        parts.append(wish.predicate)
    return parts[0] if len(parts) == 1 else And(parts)


def _assign(
    wish: LookupWish,
    record: bytes,
    place: int,
    belongs: dict[SortKey, list[int]],
    most: int | None,
) -> bool:
    """Note to which values a document belongs; false when all have enough."""
    lsn, document_id, body = unpack_record(record)
    value = _Document(lsn, document_id, decode_document(body)).value(wish.foreign)
    many = wish.foreign_type.kind is Kind.ARRAY
    is_wanted = False
    for item in _elements(value) if many else (value,):
        places = belongs.get(sort_key(item))
        if places is None or (places and places[-1] == place):
            continue
        if most is None or len(places) < most:
            places.append(place)
            is_wanted = True
    return is_wanted


def _places(
    wish: LookupWish, keys: list[SortKey], belongs: dict[SortKey, list[int]]
) -> list[int]:
    """The documents for one row, in their order, each once."""
    if len(keys) == 1:
        places = belongs[keys[0]]
    else:
        places = sorted({place for key in keys for place in belongs[key]})
    stop = None if wish.limit is None else wish.offset + wish.limit
    return places[wish.offset : stop]
