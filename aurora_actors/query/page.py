"""Pages: a part of a result behind (or before) a place in it.

Pure functions. A place is the values of the order keys of a document and its id, as a
:class:`Cursor`; a page is the query with a condition more, so that it is found by the
same ways as any other. What comes and goes elsewhere in the result makes no difference:
pages that follow each other neither skip nor repeat a document that stays where it is.

A query without an order is paged in the order of the ids.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec

from aurora_actors.errors import InvalidFilterError, UsageError, ValidationError
from aurora_actors.messages.query import OrderKey, QuerySpec, ResultMode
from aurora_actors.query.predicate import (
    And,
    Compare,
    Operator,
    Or,
    Predicate,
    decode_predicate,
    encode_predicate,
)
from aurora_actors.query.projection import projection
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import (
    Buffer,
    decode_document,
    decode_value,
    encode_value,
    get_path,
)

__all__ = ["Cursor", "PagePlan", "PageRows", "beyond", "bounded", "plan_page"]

_MARK: Final = b"\xa7c"
_PRINT_BYTES: Final = 4


class Cursor(msgspec.Struct, frozen=True):
    """The place of one document in an ordered result.

    Attributes:
        values: Its values of the order keys.
        id: Its id.
    """

    values: list[object]
    id: str

    def encode(self, spec: QuerySpec) -> str:
        """The cursor as opaque text, for the order of ``spec`` alone."""
        data = _MARK + _fingerprint(spec) + encode_value([*self.values, self.id])
        return urlsafe_b64encode(data).rstrip(b"=").decode()

    @classmethod
    def of(cls, record: Buffer, order: Sequence[OrderKey]) -> Cursor:
        """The place of the document in ``record``."""
        name = record_id(record)
        fields = decode_document(record_body(record)) if order else {}
        values = [
            name if key.field == "id" else get_path(fields, key.field) for key in order
        ]
        return cls(values, name)


def _fingerprint(spec: QuerySpec) -> bytes:
    """What a cursor is good for: the collection and the order."""
    keys = [(key.field, key.ascending) for key in spec.order]
    text = repr((spec.collection, keys)).encode()
    return blake2b(text, digest_size=_PRINT_BYTES).digest()


Locate: TypeAlias = Callable[[str], "Buffer | None"]
"""Finds a document by its id, which is good as a cursor, too."""


def _decode_cursor(spec: QuerySpec, text: str, locate: Locate) -> Cursor:
    """The place that a cursor, or the id of a document, means.

    Raises:
        InvalidFilterError: it is neither, or a cursor of another order.
    """
    data = _unpacked(text)
    if data is None:
        record = locate(text)
        if record is None:
            raise InvalidFilterError(
                f"{text[:80]!r} is no cursor, and no document of {spec.collection} has "
                "this id",
                collection=spec.collection,
            )
        return Cursor.of(record, spec.order)
    if data[:_PRINT_BYTES] != _fingerprint(spec):
        raise InvalidFilterError(
            "the cursor belongs to another collection or another order",
            collection=spec.collection,
        )
    try:
        values = decode_value(data[_PRINT_BYTES:])
    except ValidationError as exc:
        raise InvalidFilterError("the cursor is damaged") from exc
    if (
        not isinstance(values, list)
        or len(values) != len(spec.order) + 1
        or not isinstance(values[-1], str)
    ):
        raise InvalidFilterError("the cursor is damaged")
    return Cursor(values[:-1], values[-1])


def _unpacked(text: str) -> bytes | None:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        return None
    return data.removeprefix(_MARK) if data.startswith(_MARK) else None


# ------------------------------------------------------------------ conditions
def beyond(
    order: Sequence[OrderKey], cursor: Cursor, *, before: bool = False
) -> Predicate:
    """What documents behind a place (or before it) fulfil, and no others."""
    op: Operator = "lt" if before else "gt"
    not_yet: Operator
    surely: Operator
    condition: Predicate = Compare(op, "id", cursor.id)
    for key, value in zip(reversed(order), reversed(cursor.values), strict=True):
        if key.field == "id":
            op = "gt" if key.ascending != before else "lt"
            condition = Compare(op, "id", cursor.id)
            continue
        if key.ascending != before:
            not_yet, surely = "not_below", "above"
        else:
            not_yet, surely = "not_above", "below"
        condition = And(
            [
                Compare(not_yet, key.field, value),
                Or([Compare(surely, key.field, value), condition]),
            ]
        )
    return condition


def _joined(predicate: bytes, conditions: list[Predicate]) -> bytes:
    if not conditions:
        return predicate
    parts: list[Predicate] = [decode_predicate(predicate)] if predicate else []
    for condition in conditions:
        # The planner looks at the terms that must all be true.
        parts += condition.parts if isinstance(condition, And) else [condition]
    return encode_predicate(And(parts))


# ------------------------------------------------------------------ pages
class PageRows(msgspec.Struct, frozen=True):
    """One page.

    Attributes:
        records: Its documents, as selected, in the order of the result.
        cursors: The place of each.
        has_next: There are more behind it.
        has_previous: There are more before it.
    """

    records: list[bytes]
    cursors: list[str]
    has_next: bool
    has_previous: bool


class PagePlan(msgspec.Struct, frozen=True):
    """How to get a page: run :attr:`query`, give the records to :meth:`finish`.

    Attributes:
        query: What to run; one document more than the page has tells whether there are
            more.
        size: The most documents of the page; ``None`` for all.
        backwards: The query gives the page from its end.
        is_inside: A cursor bounds the page at the side it begins from.
        spec: The query whose result is paged.
    """

    query: QuerySpec
    size: int | None
    backwards: bool
    is_inside: bool
    spec: QuerySpec

    @property
    def predicate(self) -> Predicate | None:
        """The predicate of :attr:`query`, decoded."""
        data = self.query.predicate
        return decode_predicate(data) if data else None

    def finish(self, records: Sequence[bytes]) -> PageRows:
        """The page, of the records that the query gave."""
        size, spec = self.size, self.spec
        has_more = size is not None and len(records) > size
        kept = list(records if size is None else records[:size])
        if self.backwards:
            kept.reverse()
        cursors = [Cursor.of(record, spec.order).encode(spec) for record in kept]
        if spec.fields is not None:
            select = projection(spec.fields)
            kept = [select(memoryview(record)) for record in kept]
        has_next, has_previous = has_more, self.is_inside
        if self.backwards:
            has_next, has_previous = has_previous, has_next
        return PageRows(kept, cursors, has_next, has_previous)


def bounded(
    spec: QuerySpec, locate: Locate, after: str | None, before: str | None
) -> QuerySpec:
    """The query for that part of a result which is between two places.

    Raises:
        InvalidFilterError: a cursor is none.
    """
    conditions: list[Predicate] = []
    if after is not None:
        place = _decode_cursor(spec, after, locate)
        conditions.append(beyond(spec.order, place))
    if before is not None:
        place = _decode_cursor(spec, before, locate)
        conditions.append(beyond(spec.order, place, before=True))
    if not conditions:
        return spec
    return msgspec.structs.replace(
        spec,
        predicate=_joined(spec.predicate, conditions),
        order=spec.order or [OrderKey("id")],
    )


def plan_page(
    spec: QuerySpec,
    locate: Locate,
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> PagePlan:
    """How to get the page of a query's result that the arguments mean.

    Args:
        spec: The query, without limit and offset.
        locate: Finds a document by its id.
        first: So many from the beginning, or from behind ``after``.
        after: A cursor, or an id: what comes behind it.
        last: So many from the end, or from before ``before``.
        before: A cursor, or an id: what comes before it.

    Raises:
        UsageError: the arguments do not go together, or with the query.
        InvalidFilterError: a cursor is none.
    """
    if first is not None and last is not None:
        raise UsageError("a page takes first or last, not both")
    for name, number in (("first", first), ("last", last)):
        if number is not None and (type(number) is not int or number < 0):
            raise UsageError(f"{name} must be a number from 0 on, not {number!r:.40}")
    if spec.limit is not None or spec.offset:
        raise UsageError("pages have first and last instead of limit and offset")
    if spec.mode is not ResultMode.DOCUMENTS:
        raise UsageError("only documents come in pages")
    backwards = last is not None
    size = last if backwards else first
    query = msgspec.structs.replace(
        bounded(spec, locate, after, before),
        order=_order(spec, backwards=backwards),
        limit=None if size is None else size + 1,
        fields=None,
    )
    inside = before if backwards else after
    return PagePlan(query, size, backwards, inside is not None, spec)


def _order(spec: QuerySpec, *, backwards: bool) -> list[OrderKey]:
    keys = spec.order or [OrderKey("id")]
    if not backwards:
        return list(keys)
    turned = [OrderKey(key.field, not key.ascending) for key in keys]
    if all(key.field != "id" for key in keys):
        turned.append(OrderKey("id", ascending=False))
    return turned
