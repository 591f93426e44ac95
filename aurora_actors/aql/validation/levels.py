"""Rules for selections: what can stand at each level of a result.

A level is what a selection set is about: a root field's documents, one document, an
object within it, the edges of a page, a group … It knows which fields there are; the
walk over items, fragments and directives is the same for all.

Names such as ``aggregate`` and ``edges`` have their special meaning only where the
collection declares no field so called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.aggregates import read_aggregate, read_group_arguments
from aurora_actors.aql.arguments import no_arguments, take_arguments
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.fields import source_of
from aurora_actors.aql.lookups import is_lookup, read_lookup
from aurora_actors.aql.ordering import read_order
from aurora_actors.aql.scope import Scope
from aurora_actors.aql.validation.directives import (
    SELECTION_DIRECTIVES,
    check_directives,
)
from aurora_actors.aql.values import read_count
from aurora_actors.schema.types import CollectionDefinition, FieldType, Kind

__all__ = [
    "SPECIAL",
    "DocumentLevel",
    "Level",
    "NamesLevel",
    "RootLevel",
    "check_selection",
    "special_fields",
]

SPECIAL: Final = ("aggregate", "groupBy", "edges", "pageInfo", "totalCount")
"""What can stand beside or instead of a root field's documents."""


class Level(ABC):
    """What one selection set is about.

    Attributes:
        label: What its fields belong to, for messages.
        collection: The collection whose fragments fit here, if any.
        every: Whether ``*`` can stand here.
        special: Whether :data:`SPECIAL` fields can.
    """

    label: str = ""
    collection: str | None = None
    every: bool = False
    special: bool = False

    @abstractmethod
    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check one field and what it selects."""


def check_selection(scope: Scope, selection: tree.SelectionSet, level: Level) -> None:
    """Check a selection set and all below it."""
    for item in selection.items:
        check_directives(scope, _directives(item), SELECTION_DIRECTIVES, "a selection")
        match item:
            case tree.Field():
                level.check(scope.below(item.response_name), item)
            case tree.EveryField():
                if not level.every:
                    scope.report(item, f"{level.label} has no fields for * to mean")
            case tree.FragmentSpread():
                _check_spread(scope, item, level)
            case tree.InlineFragment():
                _check_condition(scope, item, level)
                check_selection(scope, item.selection, level)


def _directives(item: tree.Selection) -> Iterable[tree.Directive]:
    return () if isinstance(item, tree.EveryField) else item.directives


def _check_condition(scope: Scope, item: tree.InlineFragment, level: Level) -> None:
    if item.on is None or item.on == level.collection:
        return
    if scope.collection(item.on, item) is not None:
        _report_misfit(scope, item, f"a fragment on {item.on}", level)


def _check_spread(scope: Scope, item: tree.FragmentSpread, level: Level) -> None:
    session = scope.session
    fragment = session.fragments.get(item.name)
    if fragment is None:
        hint = scope.did_you_mean(item.name, session.fragments)
        scope.report(item, f"there is no fragment {shorten(item.name)}", hint)
        return
    session.spreads.setdefault(item.name, item.position)
    if fragment.on != level.collection:
        _report_misfit(scope, item, f"{item.name}, a fragment on {fragment.on},", level)
    elif not level.special:
        session.plain_spreads.setdefault(item.name, (item.position, scope.path))


def _report_misfit(scope: Scope, node: tree.Node, what: str, level: Level) -> None:
    fits = level.collection
    hint = f"here one on {fits} fits" if fits else "no named fragment fits here"
    scope.report(node, f"{what} does not fit {level.label}", hint)


def special_fields(definition: CollectionDefinition) -> frozenset[str]:
    """The names with a special meaning at the root of this collection."""
    return frozenset(SPECIAL) - definition.fields.keys()


def _leaf(scope: Scope, field: tree.Field) -> None:
    """Check that a scalar has neither arguments nor a selection."""
    no_arguments(scope, field)
    if field.selection is not None:
        scope.report(
            field.selection, f"{shorten(field.name)} has no fields to select from"
        )


def _branch(scope: Scope, field: tree.Field, level: Level) -> None:
    """Check that a field has a selection, and the selection."""
    if field.selection is None:
        scope.report(field, f"{field.name} needs a selection {{ … }}")
    else:
        check_selection(scope, field.selection, level)


# ------------------------------------------------------------------ documents
class DocumentLevel(Level):
    """The fields of one document."""

    every = True

    def __init__(self, definition: CollectionDefinition) -> None:
        self.label = self.collection = definition.name
        self._definition = definition
        self._types = {
            name: field.field_type for name, field in definition.fields.items()
        }

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check a field of the collection."""
        if field.name == "id":
            _leaf(scope, field)
            return
        if is_lookup(field, self._definition):
            self._check_lookup(scope, field)
            return
        known = None if self._definition.open else self._types.keys()
        if field.name not in self._types and known is not None:
            if field.name in SPECIAL:
                hint = "it stands directly below a query's root field"
            else:
                hint = scope.did_you_mean(field.name, [*known, "id"])
            scope.report(
                field, f"{self.label} has no field {shorten(field.name)}", hint
            )
            return
        of = self._types.get(field.name, FieldType.ANY)
        _check_value(scope, field, of)

    def _check_lookup(self, scope: Scope, field: tree.Field) -> None:
        found = read_lookup(scope, field, self._definition)
        if found is not None and field.selection is not None:
            check_selection(scope, field.selection, DocumentLevel(found.target))


class _ObjectLevel(Level):
    """The fields of an object within a document."""

    every = True

    def __init__(self, label: str, fields: Mapping[str, FieldType] | None) -> None:
        self.label = label
        self._fields = fields

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check a field of the object."""
        if self._fields is None:
            _check_value(scope, field, FieldType.ANY)
        elif field.name in self._fields:
            _check_value(scope, field, self._fields[field.name])
        else:
            hint = scope.did_you_mean(field.name, self._fields)
            scope.report(
                field, f"{self.label} has no field {shorten(field.name)}", hint
            )


def _check_value(scope: Scope, field: tree.Field, of: FieldType) -> None:
    while of.of is not None:
        of = of.of
    if of.kind not in {Kind.OBJECT, Kind.ANY}:
        _leaf(scope, field)
        return
    no_arguments(scope, field)
    if field.selection is not None:
        declared = of.fields
        inner = (
            None
            if declared is None
            else {name: each.field_type for name, each in declared.items()}
        )
        check_selection(scope, field.selection, _ObjectLevel(field.name, inner))


class NamesLevel(Level):
    """A fixed set of scalars."""

    def __init__(self, label: str, names: Iterable[str]) -> None:
        self.label = label
        self._names = tuple(names)

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check that the field is one of them."""
        if field.name in self._names:
            _leaf(scope, field)
            return
        hint = scope.did_you_mean(field.name, self._names)
        hint = hint or f"there are {', '.join(self._names)}"
        scope.report(field, f"{self.label} has no field {shorten(field.name)}", hint)


# ------------------------------------------------------------------ the root
_PAGE_INFO: Final = NamesLevel(
    "pageInfo", ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")
)


class RootLevel(DocumentLevel):
    """Below a root field: documents, a page of them, aggregates or groups."""

    special = True

    def __init__(self, definition: CollectionDefinition) -> None:
        super().__init__(definition)
        self._special = special_fields(definition)

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check a field of the collection, or one with a special meaning."""
        if field.name not in self._special:
            super().check(scope, field)
            return
        match field.name:
            case "totalCount":
                _leaf(scope, field)
            case "pageInfo":
                no_arguments(scope, field)
                _branch(scope, field, _PAGE_INFO)
            case "edges":
                no_arguments(scope, field)
                _branch(scope, field, _EdgesLevel(self._definition))
            case "aggregate":
                no_arguments(scope, field)
                _branch(scope, field, _AggregateLevel(self._definition))
            case _:
                group = read_group_arguments(scope, field, self._definition)
                level = _GroupLevel(self._definition, group.fields)
                _branch(scope, field, level)


class _EdgesLevel(NamesLevel):
    """The edges of a page."""

    def __init__(self, definition: CollectionDefinition) -> None:
        super().__init__("edges", ("cursor", "node"))
        self._definition = definition

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check ``cursor`` or ``node``."""
        if field.name == "node":
            no_arguments(scope, field)
            if field.selection is not None:
                check_selection(scope, field.selection, DocumentLevel(self._definition))
        else:
            super().check(scope, field)


class _AggregateLevel(Level):
    """Functions over the documents."""

    label = "aggregate"

    def __init__(self, definition: CollectionDefinition) -> None:
        self._definition = definition

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check one function."""
        read_aggregate(scope, field, self._definition)
        if field.selection is not None:
            scope.report(
                field.selection, f"{shorten(field.name)} has no fields to select from"
            )


class _GroupLevel(NamesLevel):
    """One group of ``groupBy``."""

    def __init__(self, definition: CollectionDefinition, keys: Iterable[str]) -> None:
        super().__init__("a group", ("key", "keys", "count", "aggregate", "nodes"))
        self._definition = definition
        self._keys = tuple(keys)

    def check(self, scope: Scope, field: tree.Field) -> None:
        """Check a part of a group."""
        match field.name:
            case "keys":
                no_arguments(scope, field)
                if field.selection is not None:
                    level = NamesLevel("keys", self._keys)
                    check_selection(scope, field.selection, level)
            case "aggregate":
                no_arguments(scope, field)
                _branch(scope, field, _AggregateLevel(self._definition))
            case "nodes":
                self._check_nodes(scope, field)
            case _:
                super().check(scope, field)

    def _check_nodes(self, scope: Scope, field: tree.Field) -> None:
        taken = take_arguments(scope, field, _NODES)
        for name in ("limit", "offset"):
            if name in taken:
                read_count(scope.below(name), taken[name].value)
        if "orderBy" in taken:
            source = source_of(self._definition)
            read_order(scope.below("orderBy"), taken["orderBy"].value, source)
        if field.selection is not None:
            check_selection(scope, field.selection, DocumentLevel(self._definition))


_NODES: Final = {name: name for name in ("limit", "offset", "orderBy")}
