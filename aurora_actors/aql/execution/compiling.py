"""From a checked text and its variables to a program.

Pure. Everything is read before anything runs, so what is wrong with a variable is said
before the first effect. The definitions are those of the snapshot the text was checked
against; schema statements of the text change them for what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.arguments import take_arguments, word_argument
from aurora_actors.aql.binding import bind_operation, check_variables
from aurora_actors.aql.execution.grouping import read_aggregates, read_group
from aurora_actors.aql.execution.plans import (
    DocumentQuery,
    EdgeWish,
    Introspection,
    MutationRoot,
    Page,
    Program,
    Root,
    StatementRoot,
)
from aurora_actors.aql.execution.selecting import (
    Selected,
    select_documents,
    select_fields,
    shape_of,
)
from aurora_actors.aql.execution.shapes import ALL_FIELDS, Shape, ShapeField
from aurora_actors.aql.mutations import Enqueue, read_mutation
from aurora_actors.aql.ordering import OrderTerm
from aurora_actors.aql.queries import QueryArguments, read_query_arguments
from aurora_actors.aql.schema_ops import SchemaChange, apply_change, read_statement
from aurora_actors.aql.scope import Definitions, Scope, Session
from aurora_actors.aql.selections import (
    Collected,
    collect,
    is_included,
    merged_selections,
)
from aurora_actors.aql.validation import Checked, CheckedOperation
from aurora_actors.aql.validation.introspection import INTROSPECTION
from aurora_actors.aql.validation.levels import special_fields
from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.query.predicate import encode_predicate
from aurora_actors.schema.types import CollectionDefinition

__all__ = ["compile_text", "order_keys", "query_of"]

_ID_ONLY = Selected(Shape((ShapeField("id", "id"),)), [])


def compile_text(
    checked: Checked, definitions: Definitions, given: Mapping[str, object]
) -> Program:
    """The program of a checked text.

    Raises:
        QueryValidationError: a variable is missing, unknown, or has a wrong value.
    """
    check_variables(checked, given)
    known = dict(definitions)
    roots: list[Root] = []
    for operation in checked.operations:
        definition = operation.definition
        if isinstance(definition, tree.Operation):
            scope = bind_operation(checked, operation, known, given)
            roots += _operation(scope, operation)
            scope.session.finish()
        else:
            changes, known = _changes(checked, definition, known)
            roots.append(StatementRoot(definition, changes))
    return Program(checked.text, (*roots,))


def _changes(
    checked: Checked, block: tree.Schema | tree.Migration, known: Definitions
) -> tuple[tuple[SchemaChange, ...], dict[str, CollectionDefinition]]:
    """What a block of statements changes, and the definitions it leaves."""
    scope = Scope(Session(checked.text, known, {}, {}))
    found: list[SchemaChange] = []
    for step in _steps(block):
        if not isinstance(step, tree.MigrateData):
            change = read_statement(scope, step)
            if change is not None:
                apply_change(scope, change)
                found.append(change)
    # What is recorded already may not apply again: faults were told when checking.
    return (*found,), scope.session.definitions


def _steps(block: tree.Schema | tree.Migration) -> Iterator[tree.MigrationStep]:
    if isinstance(block, tree.Schema):
        yield from block.statements
    else:
        for version in block.versions:
            yield from version.steps


def _operation(scope: Scope, operation: CheckedOperation) -> Iterator[Root]:
    definition = operation.definition
    assert isinstance(definition, tree.Operation)  # noqa: S101 - of the two kinds
    directives = {each.name for each in definition.directives}
    for item in definition.selection.items:
        if not isinstance(item, tree.Field) or not is_included(scope, item.directives):
            continue
        here = scope.below(item.response_name)
        if definition.kind == "mutation":
            change = _mutation(here, item)
            if change is not None:
                yield change
        elif item.name == INTROSPECTION:
            yield _introspection(here, item)
        else:
            root = query_of(here, item, explains="explain" in directives)
            if definition.kind == "subscription":
                way: Literal["live", "events"]
                way = "live" if "live" in directives else "events"
                if root.selected is not None and root.selected.lookups:
                    here.report(item, "a subscription has no lookup")
                root = msgspec.structs.replace(root, subscribes=way)
            yield root


# ------------------------------------------------------------------ queries
def query_of(
    scope: Scope, field: tree.Field, *, explains: bool = False
) -> DocumentQuery:
    """A root field of a query."""
    definition = scope.session.definitions[field.name]
    arguments = read_query_arguments(scope, field, definition)
    spec = _spec(definition, arguments)
    collected = Collected()
    if field.selection is not None:
        collected = collect(scope, [field.selection])
    special = special_fields(definition)
    plain = Collected(
        {n: f for n, f in collected.fields.items() if f[0].name not in special},
        collected.every or field.selection is None,
    )
    wished: dict[str, list[tuple[str, list[tree.Field]]]] = {}
    for name, fields in collected.fields.items():
        if fields[0].name in special:
            wished.setdefault(fields[0].name, []).append((name, fields))
    selected = None
    if plain.every or plain.fields:
        selected = select_fields(scope, plain, definition)
    return DocumentQuery(
        name=field.response_name,
        spec=spec,
        predicate=arguments.predicate,
        selected=selected,
        page=_page(arguments, wanted="edges" in wished or "pageInfo" in wished),
        edges=tuple(
            _edges(scope, n, f, definition) for n, f in wished.get("edges", ())
        ),
        page_info=tuple(
            (name, _names(scope, fields)) for name, fields in wished.get("pageInfo", ())
        ),
        totals=tuple(name for name, _ in wished.get("totalCount", ())),
        aggregates=tuple(
            read_aggregates(
                scope.below(name), name, merged_selections(fields), definition
            )
            for name, fields in wished.get("aggregate", ())
        ),
        groups=tuple(
            read_group(scope.below(name), fields, definition, spec)
            for name, fields in wished.get("groupBy", ())
        ),
        distinct=arguments.distinct,
        explains=explains,
    )


def _spec(definition: CollectionDefinition, arguments: QueryArguments) -> QuerySpec:
    predicate = arguments.predicate
    return QuerySpec(
        collection=definition.name,
        predicate=b"" if predicate is None else encode_predicate(predicate),
        order=order_keys(arguments.order),
        limit=arguments.limit,
        offset=arguments.offset,
    )


def order_keys(terms: tuple[OrderTerm, ...]) -> list[OrderKey]:
    """Order terms as the query engine takes them."""
    return [OrderKey(term.field, term.ascending) for term in terms]


def _page(arguments: QueryArguments, *, wanted: bool) -> Page | None:
    asked = (arguments.first, arguments.after, arguments.last, arguments.before)
    if not wanted and all(value is None for value in asked):
        return None
    first, after, last, before = asked
    return Page(first=first, after=after, last=last, before=before)


def _edges(
    scope: Scope,
    name: str,
    fields: list[tree.Field],
    definition: CollectionDefinition,
) -> EdgeWish:
    collected = collect(scope, merged_selections(fields))
    cursors, nodes = [], []
    for part, same in collected.fields.items():
        if same[0].name == "cursor":
            cursors.append(part)
        else:
            inner = merged_selections(same)
            here = scope.below(name).below(part)
            nodes.append((part, select_documents(here, inner, definition)))
    return EdgeWish(name, (*cursors,), (*nodes,))


def _names(scope: Scope, fields: list[tree.Field]) -> tuple[tuple[str, str], ...]:
    collected = collect(scope, merged_selections(fields))
    return tuple((name, same[0].name) for name, same in collected.fields.items())


# ------------------------------------------------------------------ the rest
def _mutation(scope: Scope, field: tree.Field) -> MutationRoot | None:
    mutation = read_mutation(scope, field)
    if mutation is None:
        return None
    selected = _ID_ONLY
    if field.selection is not None:
        if isinstance(mutation, Enqueue):
            shape = shape_of(scope, collect(scope, [field.selection]))
            selected = Selected(shape)
        else:
            definition = scope.session.definitions[mutation.collection]
            selected = select_documents(scope, [field.selection], definition)
    return MutationRoot(name=field.response_name, mutation=mutation, selected=selected)


def _introspection(scope: Scope, field: tree.Field) -> Introspection:
    taken = take_arguments(scope, field, {"name": "name"})
    shape = ALL_FIELDS
    if field.selection is not None:
        shape = shape_of(scope, collect(scope, [field.selection]))
    return Introspection(
        name=field.response_name,
        collection=word_argument(scope, taken, "name"),
        shape=shape,
    )
