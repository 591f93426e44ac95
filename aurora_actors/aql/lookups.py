"""The arguments of ``lookup``: documents of another collection beside each document.

Pure. A look-up stands in the selection of a document, wherever the collection declares
no field of that name. ``localField`` is a field of the document, ``foreignField`` one of
the other collection; documents in which the two are equal belong together. An array on
either side stands for its elements, and null is equal to nothing here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import Spellings, Taken, take_arguments, word_argument
from aurora_actors.aql.fields import find_field, source_of
from aurora_actors.aql.filters import read_where
from aurora_actors.aql.ordering import OrderTerm, read_order
from aurora_actors.aql.scope import UNBOUND, Scope
from aurora_actors.aql.values import read_count
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldType, Kind

__all__ = ["LOOKUP", "LookupArguments", "is_lookup", "read_lookup"]

LOOKUP: Final = "lookup"
"""The name of the field."""

_NEEDED: Final = ("collection", "localField", "foreignField")
_SPELLINGS: Final[Spellings] = {
    **{name: name for name in (*_NEEDED, "where", "orderBy", "limit", "offset")},
    "filter": "where",
    "take": "limit",
    "skip": "offset",
}
_TEXTS: Final = frozenset({Kind.STRING, Kind.UUID})
_NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT})


class LookupArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a look-up, read.

    Attributes:
        target: The other collection.
        local: The path in the document.
        foreign: The path in the other collection.
        foreign_type: What is declared there.
        predicate: What the documents must be like as well.
        order: How those of one document are ordered.
        limit: How many of them at most.
        offset: How many of them to leave out first.
    """

    target: CollectionDefinition
    local: str
    foreign: str
    foreign_type: FieldType
    predicate: Predicate | None = None
    order: tuple[OrderTerm, ...] = ()
    limit: int | None = None
    offset: int = 0


def is_lookup(field: tree.Field, definition: CollectionDefinition) -> bool:
    """Whether ``field``, selected from a document, is a look-up."""
    if field.name != LOOKUP or LOOKUP in definition.fields:
        return False
    # An open collection may have a field of this name; that takes no arguments.
    return bool(field.arguments) or not definition.open


def read_lookup(
    scope: Scope, field: tree.Field, definition: CollectionDefinition
) -> LookupArguments | None:
    """The arguments of a look-up; ``None`` after faults, which are reported."""
    taken = take_arguments(scope, field, _SPELLINGS, _NEEDED)
    local, local_type = _field(scope, taken, "localField", definition)
    name = word_argument(scope, taken, "collection")
    if name is None:
        return None
    target = scope.collection(name, taken["collection"].value)
    if target is None:
        return None
    foreign, foreign_type = _field(scope, taken, "foreignField", target)
    source = source_of(target)
    where, order = taken.get("where"), taken.get("orderBy")
    predicate = None
    if where is not None:
        predicate = read_where(scope.below(where.name), where.value, source)
    terms: tuple[OrderTerm, ...] = ()
    if order is not None:
        terms = read_order(scope.below("orderBy"), order.value, source)
    limit, offset = (_count(scope, taken, name) for name in ("limit", "offset"))
    if local_type is None or foreign_type is None:
        return None
    if not _comparable(local_type, foreign_type):
        scope.report(
            taken["foreignField"],
            f"{definition.name}.{local} is of type {local_type} and {target.name}."
            f"{foreign} of type {foreign_type}: they are never equal",
        )
        return None
    return LookupArguments(
        target=target,
        local=local,
        foreign=foreign,
        foreign_type=foreign_type,
        predicate=predicate,
        order=terms,
        limit=limit,
        offset=offset or 0,
    )


def _field(
    scope: Scope, taken: Taken, name: str, definition: CollectionDefinition
) -> tuple[str, FieldType | None]:
    path = word_argument(scope, taken, name)
    if path is None:
        return "", None
    here = scope.below(name)
    found = find_field(here, source_of(definition), path, taken[name].value)
    return path, None if found is None else found.field_type


def _count(scope: Scope, taken: Taken, name: str) -> int | None:
    argument = taken.get(name)
    if argument is None:
        return None
    number = read_count(scope.below(argument.name), argument.value)
    return None if number is UNBOUND else number


def _comparable(one: FieldType, other: FieldType) -> bool:
    kinds = {_element(one), _element(other)}
    return Kind.ANY in kinds or len(kinds) == 1 or kinds in (_TEXTS, _NUMBERS)


def _element(of: FieldType) -> Kind:
    return of.kind if of.of is None else of.of.kind
