"""Rules for what stands together: one response name, one meaning.

Selections that share a response name must be the same field with the same arguments,
and so must, in turn, what they select (GraphQL specification, October 2021, 5.3.2,
without the exception for types that exclude each other, which AQL has not). Fragments
are opened for this, so the session's budget of selections bounds it.
"""

from __future__ import annotations

from collections.abc import Iterable

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import Scope, Session
from aurora_actors.aql.selections import Collected, collect, merged_selections
from aurora_actors.aql.validation.levels import special_fields
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["check_merges"]


def check_merges(session: Session) -> None:
    """Check what operations select, fragments in place.

    The fragments must be free of cycles. Where one stands that does not fit, the rest
    of its kind below it is not looked at: that fault has been reported.
    """
    for scope, selection, definition in session.merges:
        collected = _check_merging(scope, [selection], 2 * session.limits.depth)
        if definition is not None:
            _check_root_shape(scope, collected, definition)


def _check_merging(
    scope: Scope, selections: Iterable[tree.SelectionSet], levels: int
) -> Collected:
    """Check selection sets that make one object, and all below them."""
    collected = collect(scope, selections)
    for name, fields in collected.fields.items():
        here = scope.below(name)
        first = fields[0]
        for other in fields[1:]:
            _check_same(here, name, first, other)
        inner = merged_selections(fields)
        if inner and levels:
            _check_merging(here, inner, levels - 1)
    return collected


def _check_same(scope: Scope, name: str, first: tree.Field, other: tree.Field) -> None:
    where = f"at line {first.position.line}, column {first.position.column}"
    if first.name != other.name:
        scope.report(
            other,
            f"{shorten(name)} means {shorten(other.name)} here and "
            f"{shorten(first.name)} {where}",
            "give one of them another alias",
        )
    elif frozenset(first.arguments) != frozenset(other.arguments):
        scope.report(
            other,
            f"{shorten(name)} has other arguments here than {where}",
            "give one of them an alias",
        )


def _check_root_shape(
    scope: Scope, collected: Collected, definition: CollectionDefinition
) -> None:
    """Check that a root field gives documents, or one page, or groups."""
    special = special_fields(definition)
    plain = [
        fields[0]
        for fields in collected.fields.values()
        if fields[0].name not in special
    ]
    for fields in collected.fields.values():
        name = fields[0].name
        if name not in special or name == "aggregate":
            continue
        inside = {"edges": "node { … }", "groupBy": "nodes { … }"}.get(name)
        for other in plain:
            hint = f"select it within {inside}" if inside else "use an alias"
            hint = hint if inside else "a page has edges { node { … } }"
            scope.report(
                other, f"{shorten(other.name)} cannot stand beside {name}", hint
            )
        if plain:
            return
    names = {fields[0].name for fields in collected.fields.values()} & special
    if "groupBy" in names and names & {"edges", "pageInfo"}:
        node = next(f[0] for f in collected.fields.values() if f[0].name == "groupBy")
        scope.report(node, "groupBy cannot stand beside edges and pageInfo")
