"""Rules for ``__schema``."""

from __future__ import annotations

from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import no_arguments, take_arguments, word_argument
from aurora_actors.aql.scope import Merge, Scope
from aurora_actors.aql.validation.levels import NamesLevel, check_selection

__all__ = ["INTROSPECTION", "check_introspection"]

INTROSPECTION: Final = "__schema"
"""The root field that tells the schema."""


class _BranchLevel(NamesLevel):
    """Scalars, and one field with a level of its own."""

    def __init__(
        self, label: str, names: tuple[str, ...], branch: str, below: NamesLevel
    ) -> None:
        super().__init__(label, (*names, branch))
        self._branch = branch
        self._below = below

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check one of the scalars, or the branch."""
        if field.name != self._branch:
            super().check(scope, field)
            return
        no_arguments(scope, field)
        if field.selection is not None:
            check_selection(scope, field.selection, self._below)


_FIELDS: Final = NamesLevel(
    "a field", ("name", "type", "nullable", "unique", "indexed")
)
_COLLECTIONS: Final = _BranchLevel(
    "a collection", ("name", "count", "open"), "fields", _FIELDS
)
_SCHEMA: Final = _BranchLevel(INTROSPECTION, (), "collections", _COLLECTIONS)


def check_introspection(scope: Scope, field: tree.Field) -> None:
    """Check ``__schema`` and what it selects."""
    taken = take_arguments(scope, field, {"name": "name"})
    name = word_argument(scope, taken, "name")
    if name is not None:
        scope.collection(name, taken["name"].value)
    if field.selection is not None:
        check_selection(scope, field.selection, _SCHEMA)
        scope.session.merges.append(Merge(scope, field.selection, None))
