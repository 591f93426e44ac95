"""Queries from query parameters: ``where``, ``order``, ``select``, ``limit``, ``offset``.

``where`` is a JSON object in AQL's words::

    {"age": {"gte": 18}, "role": "admin", "or": [{"city": "Rome"}, {"city": "Bern"}]}

Fields side by side mean *and*; a plain value means ``eq``; ``and``, ``or`` and ``not``
combine. Values of date, UUID and bytes fields are texts, as in documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from aurora_actors.client.database import Aurora
from aurora_actors.client.document import Document
from aurora_actors.client.query import Query
from aurora_actors.errors import InvalidFilterError
from aurora_actors.http.wire import Fields, number_of
from aurora_actors.query.filters import Field, Filter, field
from aurora_actors.query.predicate import And, Or
from aurora_actors.schema.text import from_json
from aurora_actors.schema.types import FieldDefinition, Kind

__all__ = ["MAX_LIMIT", "condition", "matching", "query_of"]

MAX_LIMIT: Final = 10_000
_DEFAULT_LIMIT: Final = 100
_MAX_DEPTH: Final = 32

_OPERATORS: Final[dict[str, Callable[[Field, object], Filter]]] = {
    "eq": lambda f, v: f == v,
    "ne": lambda f, v: f != v,
    "gt": lambda f, v: f > v,
    "gte": lambda f, v: f >= v,
    "lt": lambda f, v: f < v,
    "lte": lambda f, v: f <= v,
    "in": lambda f, v: f.in_(_list("in", v)),
    "nin": lambda f, v: f.not_in(_list("nin", v)),
    "contains": lambda f, v: f.contains(v),
    "containsAny": lambda f, v: f.contains_any(_list("containsAny", v)),
    "containsAll": lambda f, v: f.contains_all(_list("containsAll", v)),
    "startsWith": lambda f, v: f.starts_with(_text("startsWith", v)),
    "endsWith": lambda f, v: f.ends_with(_text("endsWith", v)),
    "matches": lambda f, v: f.matches(_text("matches", v)),
    "between": lambda f, v: f.between(*_pair(v)),
    "isNull": lambda f, v: f.is_null() if v else f.is_not_null(),
    "isNotNull": lambda f, v: f.is_not_null() if v else f.is_null(),
}


def condition(where: object, fields: Fields, depth: int = 1) -> Filter | None:
    """The filter that a ``where`` object means; ``None`` when it is empty.

    Raises:
        InvalidFilterError: it makes no sense.
    """
    if not isinstance(where, dict):
        raise InvalidFilterError("where must be a JSON object")
    if depth > _MAX_DEPTH:
        raise InvalidFilterError(f"where nests more than {_MAX_DEPTH} levels deep")
    found: Filter | None = None
    for name, value in where.items():
        part = _part(name, value, fields, depth)
        if part is not None:
            found = part if found is None else found & part
    return found


def _part(name: str, value: object, fields: Fields, depth: int) -> Filter | None:
    if name in {"and", "or"}:
        parts = [condition(item, fields, depth + 1) for item in _list(name, value)]
        predicates = [part.predicate for part in parts if part is not None]
        if not predicates:
            raise InvalidFilterError(f"{name} needs at least one condition")
        return Filter(And(predicates) if name == "and" else Or(predicates))
    if name == "not":
        inner = condition(value, fields, depth + 1)
        if inner is None:
            raise InvalidFilterError("not needs a condition")
        return ~inner
    if not isinstance(value, dict) or any(key.startswith("$") for key in value):
        return field(name) == _value(name, value, fields)
    found: Filter | None = None
    for operator, operand in value.items():
        make = _OPERATORS.get(operator)
        if make is None:
            raise InvalidFilterError(
                f"there is no operator {operator!r:.60}; use {', '.join(_OPERATORS)}, "
                "and and, or, not around fields"
            )
        part = make(field(name), _value(name, operand, fields))
        found = part if found is None else found & part
    if found is None:
        raise InvalidFilterError(f"the condition on {name!r:.60} is empty")
    return found


def _value(name: str, value: object, fields: Fields) -> object:
    """An operand, as the field's type has it."""
    declared = _declared(name, fields)
    if isinstance(value, list):
        return [_value(name, item, fields) for item in value]
    types = {} if declared is None else {"value": declared}
    return from_json({"value": value}, types)["value"]


def _declared(name: str, fields: Fields) -> FieldDefinition | None:
    definition: FieldDefinition | None = None
    inner: Fields | None = fields
    for step in name.split("."):
        definition = None if inner is None else inner.get(step)
        if definition is None:
            return None
        kind = definition.field_type
        if kind.kind is Kind.ARRAY and kind.of is not None:
            definition, kind = FieldDefinition(kind.of), kind.of
        inner = kind.fields
    return definition


def _list(operator: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise InvalidFilterError(f"{operator} takes a list")
    return value


def _pair(value: object) -> tuple[object, object]:
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidFilterError("between takes a list of two values")
    return value[0], value[1]


def _text(operator: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidFilterError(f"{operator} takes a text")
    return value


def matching(
    db: Aurora, request: Request, collection: str, fields: Fields
) -> Query[Document]:
    """The query for all that the ``where`` of a request matches."""
    query = db.query(collection)
    if text := request.query_params.get("where"):
        found = condition(_json("where", text), fields)
        if found is not None:
            query = query.filter(found)
    return query


def query_of(
    db: Aurora,
    request: Request,
    collection: str,
    fields: Fields,
    *,
    limited: bool = True,
) -> Query[Document]:
    """The query that the parameters of a request describe."""
    given = request.query_params
    query = matching(db, request, collection, fields)
    for key in filter(None, given.get("order", "").split(",")):
        query = query.order_by(key.lstrip("-+ "), not key.startswith("-"))
    limit = number_of(request, "limit", _DEFAULT_LIMIT if limited else None, MAX_LIMIT)
    if limit is not None:
        query = query.limit(limit)
    if offset := number_of(request, "offset", None, 10**9):
        query = query.offset(offset)
    if names := [name for name in given.get("select", "").split(",") if name]:
        query = query.select(*names)
    return query


def _json(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as exc:
        raise HTTPException(400, f"{name} is no JSON: {exc}") from exc
