"""Rules for operations: their root fields, and what these select."""

from __future__ import annotations

from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.mutations import MUTATIONS, Enqueue, read_mutation
from aurora_actors.aql.queries import (
    LIVE_ARGUMENTS,
    QUERY_ARGUMENTS,
    SUBSCRIPTION_ARGUMENTS,
    read_query_arguments,
)
from aurora_actors.aql.scope import Merge, Scope
from aurora_actors.aql.validation.directives import (
    OPERATION_DIRECTIVES,
    SELECTION_DIRECTIVES,
    check_directives,
)
from aurora_actors.aql.validation.introspection import (
    INTROSPECTION,
    check_introspection,
)
from aurora_actors.aql.validation.levels import (
    DocumentLevel,
    NamesLevel,
    RootLevel,
    check_selection,
)
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["check_operation"]

_JOB: Final = NamesLevel(
    "a job",
    (
        "id", "jobType", "payload", "queue", "status", "priority",
        "maxRetries", "runAt", "uniqueKey",
    ),
)  # fmt: skip


def check_operation(scope: Scope, operation: tree.Operation) -> None:
    """Check an operation; its variables are for the caller."""
    known = OPERATION_DIRECTIVES[operation.kind]
    check_directives(scope, operation.directives, known, f"a {operation.kind}")
    roots = _roots(scope, operation)
    for field in roots:
        here = scope.below(field.response_name)
        check_directives(here, field.directives, SELECTION_DIRECTIVES, "a field")
        match operation.kind:
            case "query":
                _check_query(here, field)
            case "mutation":
                _check_mutation(here, field)
            case "subscription":
                live = any(each.name == "live" for each in operation.directives)
                _check_subscription(here, field, live=live)
    if operation.kind == "subscription" and len(roots) > 1:
        scope.report(roots[1], "a subscription has one root field", "open two")


def _roots(scope: Scope, operation: tree.Operation) -> list[tree.Field]:
    """The root fields, each response name once."""
    seen: set[str] = set()
    roots: list[tree.Field] = []
    for item in operation.selection.items:
        if not isinstance(item, tree.Field):
            hint = "write the root fields out"
            scope.report(item, "fragments and * cannot stand at the root", hint)
            continue
        name = item.response_name
        if name in seen:
            here = scope.below(name)
            here.report(item, f'two root fields are called "{name}"', "use an alias")
        seen.add(name)
        roots.append(item)
    return roots


def _check_query(scope: Scope, field: tree.Field) -> None:
    if field.name == INTROSPECTION:
        check_introspection(scope, field)
        return
    definition = scope.collection(field.name, field)
    if definition is None:
        return
    read_query_arguments(scope, field, definition, QUERY_ARGUMENTS)
    if field.selection is not None:
        check_selection(scope, field.selection, RootLevel(definition))
        _merge_later(scope, field.selection, definition)


def _check_subscription(scope: Scope, field: tree.Field, *, live: bool) -> None:
    definition = scope.collection(field.name, field)
    if definition is None:
        return
    spellings = LIVE_ARGUMENTS if live else SUBSCRIPTION_ARGUMENTS
    read_query_arguments(scope, field, definition, spellings)
    if field.selection is not None:
        check_selection(scope, field.selection, DocumentLevel(definition))
        _merge_later(scope, field.selection)


def _check_mutation(scope: Scope, field: tree.Field) -> None:
    mutation = read_mutation(scope, field)
    if field.selection is None or field.name not in MUTATIONS:
        return
    if isinstance(mutation, Enqueue) or field.name.startswith("enqueue"):
        check_selection(scope, field.selection, _JOB)
    elif mutation is not None:
        definition = scope.session.definitions[mutation.collection]
        check_selection(scope, field.selection, DocumentLevel(definition))
    _merge_later(scope, field.selection)


def _merge_later(
    scope: Scope,
    selection: tree.SelectionSet,
    definition: CollectionDefinition | None = None,
) -> None:
    scope.session.merges.append(Merge(scope, selection, definition))
