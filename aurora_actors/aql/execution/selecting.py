"""What a selection of documents asks for: their shape, and the fields to be read.

Pure: a bound scope and selection sets, fragments opened, give a :class:`Selected`.
"""

from __future__ import annotations

from collections.abc import Iterable, Set as AbstractSet

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.execution.shapes import ALL_FIELDS, Shape, ShapeField
from aurora_actors.aql.lookups import is_lookup, read_lookup
from aurora_actors.aql.scope import Scope
from aurora_actors.aql.selections import Collected, collect, merged_selections
from aurora_actors.messages.query import OrderKey
from aurora_actors.query.predicate import Predicate
from aurora_actors.schema.types import CollectionDefinition, FieldType

__all__ = [
    "LookupWish",
    "Selected",
    "select_documents",
    "select_fields",
    "shape_of",
]

_NOTHING = "\0"  # no field has this name: a place that is filled later


class LookupWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a look-up adds to each document.

    Attributes:
        name: Its name in the result.
        path: Where it stands in the result, for messages.
        collection: The other collection.
        local: The path in the document.
        foreign: The path in the other collection that has to be equal.
        foreign_type: What is declared there.
        predicate: What the documents found must be like as well.
        order: The order of those that belong to one document.
        limit: The most of them.
        offset: How many of them are left out first.
        selected: What is seen of them.
        fields: The stored fields needed for all that; ``None`` for all.
    """

    name: str
    path: str
    collection: str
    local: str
    foreign: str
    foreign_type: FieldType
    predicate: Predicate | None
    order: list[OrderKey]
    limit: int | None
    offset: int
    selected: Selected
    fields: list[str] | None

    @property
    def element_type(self) -> FieldType:
        """What a value of the document is compared with."""
        return self.foreign_type.of or self.foreign_type


class Selected(msgspec.Struct, frozen=True):
    """What is wanted of each document.

    Attributes:
        shape: What is seen of it.
        fields: The stored fields that are needed; ``None`` for all.
        lookups: What else belongs into the places that the shape leaves.
    """

    shape: Shape = ALL_FIELDS
    fields: list[str] | None = None
    lookups: tuple[LookupWish, ...] = ()

    @property
    def only_ids(self) -> bool:
        """Whether nothing but the id is wanted."""
        return self.fields == [] and not self.lookups


def select_documents(
    scope: Scope,
    sets: Iterable[tree.SelectionSet],
    definition: CollectionDefinition,
) -> Selected:
    """What selection sets want of documents; none of them want all."""
    given = [*sets]
    if not given:
        return Selected()
    return select_fields(scope, collect(scope, given), definition)


def select_fields(
    scope: Scope, collected: Collected, definition: CollectionDefinition
) -> Selected:
    """What collected fields want of documents."""
    wishes = []
    for name, same in collected.fields.items():
        if is_lookup(same[0], definition):
            wish = _lookup(scope.below(name), name, same, definition)
            if wish is not None:
                wishes.append(wish)
    shape = _shape(scope, collected, {wish.name for wish in wishes})
    if shape.every:
        return Selected(shape, None, (*wishes,))
    sources = [field.source for field in shape.fields]
    sources += [wish.local.partition(".")[0] for wish in wishes]
    return Selected(shape, _stored(sources), (*wishes,))


def _stored(sources: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(sources) if name not in ("id", _NOTHING)]


def _lookup(
    scope: Scope,
    name: str,
    same: list[tree.Field],
    definition: CollectionDefinition,
) -> LookupWish | None:
    found = read_lookup(scope, same[0], definition)
    if found is None:
        return None
    selected = select_documents(scope, merged_selections(same), found.target)
    fields = selected.fields
    if fields is not None:
        fields = _stored([*fields, found.foreign.partition(".")[0]])
    return LookupWish(
        name=name,
        path=scope.path,
        collection=found.target.name,
        local=found.local,
        foreign=found.foreign,
        foreign_type=found.foreign_type,
        predicate=found.predicate,
        order=[OrderKey(term.field, term.ascending) for term in found.order],
        limit=found.limit,
        offset=found.offset,
        selected=selected,
        fields=fields,
    )


def shape_of(scope: Scope, collected: Collected) -> Shape:
    """The shape that collected fields describe."""
    return _shape(scope, collected, frozenset())


def _shape(scope: Scope, collected: Collected, left: AbstractSet[str]) -> Shape:
    """The shape, with a place for each of the names in ``left``."""
    fields = []
    for name, same in collected.fields.items():
        if name in left:
            fields.append(ShapeField(name, _NOTHING))
            continue
        inner = merged_selections(same)
        below = shape_of(scope, collect(scope, inner)) if inner else None
        fields.append(ShapeField(name, same[0].name, below))
    return Shape((*fields,), collected.every)
