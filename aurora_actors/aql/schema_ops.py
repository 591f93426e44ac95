"""``define``, ``alter``, ``drop`` and ``migrate`` as changes of definitions, as data.

Pure: a statement and the definitions before it give a :class:`SchemaChange`, which has
the definition after it and what must be done to the documents that are there. Nothing
is carried out here. Applied in order, each to the outcome of the one before.

A migration version is known by its name and the checksum of its meaning: a version
that is only laid out or commented differently is still the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from aurora_actors.aql import tree
from aurora_actors.aql.collection_directives import read_collection_directives
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.migration.convert import convert
from aurora_actors.aql.scope import Scope, is_known
from aurora_actors.aql.types import read_declaration, read_default
from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    check_collection_name,
)
from aurora_actors.schema.values import decode_value, encode_value

__all__ = [
    "FieldChange",
    "SchemaChange",
    "apply_change",
    "read_statement",
]


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """What one alteration does to the documents that are there.

    Attributes:
        action: ``add`` fills the default in, ``drop`` removes the values, ``rename``
            moves them, ``modify`` converts them.
        field: The field; for ``rename`` its old name.
        new_name: For ``rename``.
        definition: The field as it is to be; ``None`` for ``drop``.
        default: For ``add``: what documents get; ``None`` for nothing.
    """

    action: Literal["add", "drop", "rename", "modify"]
    field: str
    new_name: str | None = None
    definition: FieldDefinition | None = None
    default: object = None


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """One statement.

    Attributes:
        action: What it does; ``none`` when ``if exists`` or ``if not exists`` says so.
        collection: Whose definition.
        before: The definition it finds; ``None`` when there is none.
        after: The definition it leaves; ``None`` when there is none.
        fields: For ``alter``, its steps in order.
    """

    action: Literal["define", "alter", "drop", "none"]
    collection: str
    before: CollectionDefinition | None
    after: CollectionDefinition | None
    fields: tuple[FieldChange, ...] = ()


# ------------------------------------------------------------------ statements
def read_statement(scope: Scope, statement: tree.Statement) -> SchemaChange | None:
    """The change a statement makes; faults are reported.

    The session's definitions are those before the statement: see :func:`apply_change`.
    """
    match statement:
        case tree.DefineCollection():
            return _define(scope, statement)
        case tree.AlterCollection():
            return _alter(scope, statement)
        case tree.DropCollection():
            return _drop(scope, statement)


def apply_change(scope: Scope, change: SchemaChange) -> None:
    """Let the session's definitions be as they are after ``change``."""
    if change.after is None:
        scope.session.definitions.pop(change.collection, None)
    else:
        scope.session.definitions[change.collection] = change.after


def _define(scope: Scope, statement: tree.DefineCollection) -> SchemaChange | None:
    name = statement.name
    fields: dict[str, FieldDefinition] = {}
    for declaration in statement.fields:
        here = scope.below(declaration.name)
        if declaration.name in fields:
            here.report(declaration, f"{shorten(declaration.name)} stands twice")
        field = read_declaration(here, declaration)
        fields[declaration.name], _ = _with_default(scope, declaration, field)
    open_, indexes = read_collection_directives(scope, statement)
    if not fields and not open_:
        hint = "declare some, or write @open for a collection that takes any field"
        scope.report(statement, f"{shorten(name)} has no fields", hint)
    after = _definition(scope, statement, name, fields, open_=open_, indexes=indexes)
    before = scope.session.definitions.get(name)
    if before is not None and after is not None:
        # Indexes made later are no part of what is declared.
        known = set(indexes) <= set(before.indexes)
        after = replace(after, indexes=before.indexes) if known else after
    if before is not None and before != after:
        if statement.if_not_exists:
            return SchemaChange(
                action="none", collection=name, before=before, after=before
            )
        hint = "alter it, or write if not exists"
        scope.report(statement, f"{shorten(name)} exists with another definition", hint)
    return SchemaChange(
        action="define" if before is None else "none",
        collection=name,
        before=before,
        after=after,
    )


def _with_default(
    scope: Scope, declaration: tree.FieldDeclaration, field: FieldDefinition
) -> tuple[FieldDefinition, object]:
    """The field with its default, and that as a value."""
    default = read_default(scope, declaration, field)
    if default is None or not is_known(default):
        return field, None
    return replace(field, default=encode_value(default)), default


def _definition(
    scope: Scope,
    node: tree.Node,
    name: str,
    fields: Mapping[str, FieldDefinition],
    *,
    open_: bool,
    indexes: tuple[tuple[str, ...], ...] = (),
) -> CollectionDefinition | None:
    """The definition, or ``None`` when the schema's own rules refuse it."""
    try:
        return CollectionDefinition(
            check_collection_name(name), dict(fields), open_, indexes
        )
    except ValidationError as exc:
        scope.report(node, exc.message)
        return None


def _drop(scope: Scope, statement: tree.DropCollection) -> SchemaChange | None:
    name = statement.name
    before = scope.session.definitions.get(name)
    if before is None:
        if statement.if_exists:
            return SchemaChange(action="none", collection=name, before=None, after=None)
        scope.collection(name, statement)
        return None
    return SchemaChange(action="drop", collection=name, before=before, after=None)


# ------------------------------------------------------------------ alterations
def _alter(scope: Scope, statement: tree.AlterCollection) -> SchemaChange | None:
    before = scope.collection(statement.name, statement)
    if before is None:
        return None
    current = before
    steps: list[FieldChange] = []
    for alteration in statement.alterations:
        step = _alteration(scope, alteration, current)
        if step is None:
            continue
        after = _definition(
            scope,
            alteration,
            current.name,
            _altered(current.fields, step),
            open_=current.open,
            indexes=_indexes_after(current, step),
        )
        if after is not None:
            steps.append(step)
            current = after
    return SchemaChange(
        action="alter",
        collection=statement.name,
        before=before,
        after=current,
        fields=tuple(steps),
    )


def _altered(
    fields: Mapping[str, FieldDefinition], step: FieldChange
) -> dict[str, FieldDefinition]:
    if step.action == "rename":
        new = step.new_name or step.field
        return {new if name == step.field else name: of for name, of in fields.items()}
    result = dict(fields)
    if step.definition is None:
        del result[step.field]
    else:
        result[step.field] = step.definition
    return result


def _indexes_after(
    current: CollectionDefinition, step: FieldChange
) -> tuple[tuple[str, ...], ...]:
    """The indexes made apart from fields: they follow a field that is renamed."""
    indexes = current.indexes
    if step.action == "rename":
        new = step.new_name or step.field
        return tuple(
            tuple(_renamed(path, step.field, new) for path in names)
            for names in indexes
        )
    if step.action == "drop":
        return tuple(
            names
            for names in indexes
            if all(path.split(".")[0] != step.field for path in names)
        )
    return indexes


def _renamed(path: str, old: str, new: str) -> str:
    first, dot, rest = path.partition(".")
    return f"{new}{dot}{rest}" if first == old else path


def _alteration(
    scope: Scope, alteration: tree.Alteration, current: CollectionDefinition
) -> FieldChange | None:
    match alteration:
        case tree.AddField(declaration):
            return _add(scope, declaration, current)
        case tree.DropField(name):
            if not _known(scope.below(name), alteration, name, current):
                return None
            return FieldChange(action="drop", field=name)
        case tree.RenameField():
            return _rename(scope, alteration, current)
        case tree.ModifyField(declaration):
            return _modify(scope, declaration, current)


def _known(
    scope: Scope, node: tree.Node, name: str, current: CollectionDefinition
) -> bool:
    if name in current.fields:
        return True
    hint = scope.did_you_mean(name, current.fields)
    scope.report(node, f"{current.name} has no field {shorten(name)}", hint)
    return False


def _add(
    scope: Scope, declaration: tree.FieldDeclaration, current: CollectionDefinition
) -> FieldChange | None:
    name = declaration.name
    here = scope.below(name)
    field, default = _with_default(
        scope, declaration, read_declaration(here, declaration)
    )
    existing = current.fields.get(name)
    if existing is not None:
        if not _offers(existing, field):
            hint = "use modify to change it"
            said = f"{current.name} has another field {shorten(name)}"
            here.report(declaration, said, hint)
            return None
        field = replace(existing, default=field.default or existing.default)
    elif not field.nullable and declaration.default is None:
        hint = "give it a default, which the documents that are there will get"
        here.report(declaration, f"{shorten(name)} must not be null", hint)
    return FieldChange(action="add", field=name, definition=field, default=default)


def _rename(
    scope: Scope, alteration: tree.RenameField, current: CollectionDefinition
) -> FieldChange | None:
    here = scope.below(alteration.old)
    if not _known(here, alteration, alteration.old, current):
        return None
    if alteration.new in current.fields:
        here.report(
            alteration, f"{current.name} has a field {shorten(alteration.new)} already"
        )
        return None
    return FieldChange(
        action="rename",
        field=alteration.old,
        new_name=alteration.new,
        definition=current.fields[alteration.old],
    )


def _modify(
    scope: Scope, declaration: tree.FieldDeclaration, current: CollectionDefinition
) -> FieldChange | None:
    here = scope.below(declaration.name)
    if not _known(here, declaration, declaration.name, current):
        return None
    if declaration.default is not None:
        here.report(declaration.default, "modify takes no default", "use migrate data")
    field = read_declaration(here, declaration)
    default = current.fields[declaration.name].default
    if default:
        field = replace(field, default=_converted_default(default, field.field_type))
    return FieldChange(action="modify", field=declaration.name, definition=field)


def _offers(existing: FieldDefinition, wanted: FieldDefinition) -> bool:
    """Whether a field is what is wanted already."""
    return (
        existing.field_type == wanted.field_type
        and existing.unique >= wanted.unique
        and existing.indexed >= wanted.indexed
        and existing.nullable <= wanted.nullable
    )


def _converted_default(default: bytes, wanted: FieldType) -> bytes:
    try:
        return encode_value(convert(decode_value(default), wanted))
    except (ValueError, OverflowError):
        return b""
