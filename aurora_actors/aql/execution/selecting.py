"""What a selection of documents asks for: their shape, and the fields to be read.

Pure: a bound scope and selection sets, fragments opened, give a :class:`Selected`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.execution.shapes import ALL_FIELDS, Shape, ShapeField
from aurora_actors.aql.scope import Scope
from aurora_actors.aql.selections import Collected, collect, merged_selections

__all__ = ["Selected", "select_documents", "select_fields", "shape_of"]


class Selected(msgspec.Struct, frozen=True):
    """What is wanted of each document.

    Attributes:
        shape: What is seen of it.
        fields: The stored fields that are needed; ``None`` for all.
    """

    shape: Shape = ALL_FIELDS
    fields: list[str] | None = None

    @property
    def only_ids(self) -> bool:
        """Whether nothing but the id is wanted."""
        return self.fields == []


def select_documents(scope: Scope, sets: Iterable[tree.SelectionSet]) -> Selected:
    """What selection sets want of documents; none of them want all."""
    given = [*sets]
    if not given:
        return Selected()
    return select_fields(scope, collect(scope, given))


def select_fields(scope: Scope, collected: Collected) -> Selected:
    """What collected fields want of documents."""
    shape = shape_of(scope, collected)
    if shape.every:
        return Selected(shape)
    sources = [field.source for field in shape.fields if field.source != "id"]
    return Selected(shape, [*dict.fromkeys(sources)])


def shape_of(scope: Scope, collected: Collected) -> Shape:
    """The shape that collected fields describe."""
    fields = []
    for name, same in collected.fields.items():
        inner = merged_selections(same)
        below = shape_of(scope, collect(scope, inner)) if inner else None
        fields.append(ShapeField(name, same[0].name, below))
    return Shape((*fields,), collected.every)
