"""From tree to text: one canonical spelling, two spaces for each level.

Pure. ``parse(print_document(tree)) == tree`` for every tree that a text can have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.strings import quote

__all__ = ["print_document", "print_type", "print_value"]

_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")


def print_document(document: tree.Document) -> str:
    """The text of a tree, ending in a newline."""
    parts = [_definition(definition) for definition in document.definitions]
    return "\n\n".join(parts) + "\n"


def _definition(definition: tree.Definition) -> str:
    match definition:
        case tree.Operation():
            return _operation(definition)
        case tree.Fragment():
            head = f"fragment {definition.name} on {definition.on}"
            head += _directives(definition.directives)
            return f"{head} {_selection_set(definition.selection, '')}"
        case tree.Schema():
            return _block("schema", definition.statements, "")
        case tree.Migration():
            return _block("migrate", definition.versions, "")


# ------------------------------------------------------------------ operations
def _operation(operation: tree.Operation) -> str:
    head: str = operation.kind
    if operation.name is not None:
        head += f" {operation.name}"
    if operation.variables:
        listed = ", ".join(_variable(variable) for variable in operation.variables)
        head += f"({listed})"
    head += _directives(operation.directives)
    return f"{head} {_selection_set(operation.selection, '')}"


def _variable(variable: tree.VariableDefinition) -> str:
    text = f"${variable.name}: {print_type(variable.type)}"
    return text + _default(variable.default) + _directives(variable.directives)


def _selection_set(selection: tree.SelectionSet, indent: str) -> str:
    inner = f"{indent}  "
    lines = [f"{inner}{_selection(item, inner)}\n" for item in selection.items]
    return f"{{\n{''.join(lines)}{indent}}}"


def _selection(item: tree.Selection, indent: str) -> str:
    match item:
        case tree.Field():
            return _field(item, indent)
        case tree.EveryField():
            return "*"
        case tree.FragmentSpread():
            return f"...{item.name}{_directives(item.directives)}"
        case tree.InlineFragment():
            on = "" if item.on is None else f" on {item.on}"
            head = f"...{on}{_directives(item.directives)}"
            return f"{head} {_selection_set(item.selection, indent)}"


def _field(field: tree.Field, indent: str) -> str:
    text = field.name if field.alias is None else f"{field.alias}: {field.name}"
    text += _arguments(field.arguments) + _directives(field.directives)
    if field.selection is not None:
        text += f" {_selection_set(field.selection, indent)}"
    return text


def _arguments(arguments: Iterable[tree.Argument]) -> str:
    listed = ", ".join(f"{each.name}: {print_value(each.value)}" for each in arguments)
    return f"({listed})" if listed else ""


def _directives(directives: Iterable[tree.Directive]) -> str:
    return "".join(f" @{each.name}{_arguments(each.arguments)}" for each in directives)


# ------------------------------------------------------------------ values
def print_value(value: tree.Expression) -> str:  # noqa: PLR0911 - a case a form
    """The text of a value, on one line."""
    match value:
        case tree.ListValue():
            return f"[{', '.join(print_value(item) for item in value.items)}]"
        case tree.ObjectValue():
            return f"{{{', '.join(_entry(entry) for entry in value.entries)}}}"
        case tree.StringValue():
            return quote(value.value)
        case tree.Variable():
            return f"${value.name}"
        case tree.FieldReference():
            return value.path
        case tree.EnumValue():
            return value.name
        case tree.GivenValue():
            # As the text that stands for it: RFC 3339, base64.
            return msgspec.json.encode(value.value).decode()
        case _:
            return _scalar(value)


def _scalar(
    value: tree.NullValue | tree.BooleanValue | tree.IntValue | tree.FloatValue,
) -> str:
    match value:
        case tree.NullValue():
            return "null"
        case tree.BooleanValue():
            return "true" if value.value else "false"
        case tree.IntValue():
            return str(value.value)
        case tree.FloatValue():
            return repr(value.value)


def _entry(entry: tree.ObjectEntry) -> str:
    return f"{_key(entry.key)}: {print_value(entry.value)}"


def _key(key: str) -> str:
    return key if _NAME.match(key) else quote(key)


def _default(value: tree.Value | None) -> str:
    return "" if value is None else f" = {print_value(value)}"


# ------------------------------------------------------------------ types
def print_type(of: tree.TypeReference) -> str:
    """The text of a type, on one line."""
    mark = "!" if of.required else ""
    match of:
        case tree.NamedType():
            return f"{of.name}{mark}"
        case tree.ListType():
            return f"[{print_type(of.of)}]{mark}"
        case tree.ObjectType():
            return f"{{ {', '.join(_declaration(each) for each in of.fields)} }}{mark}"


def _declaration(field: tree.FieldDeclaration) -> str:
    text = f"{field.name}: {print_type(field.type)}"
    return text + _default(field.default) + _directives(field.directives)


# ------------------------------------------------------------------ schema
_Line = (
    tree.FieldDeclaration
    | tree.Statement
    | tree.Alteration
    | tree.Version
    | tree.MigrateData
    | tree.Assignment
)


def _block(head: str, items: Iterable[_Line], indent: str) -> str:
    inner = f"{indent}  "
    lines = [f"{inner}{_line(item, inner)}\n" for item in items]
    return f"{head} {{\n{''.join(lines)}{indent}}}" if lines else f"{head} {{}}"


def _line(item: _Line, indent: str) -> str:  # noqa: PLR0911 - a case a form
    match item:
        case tree.FieldDeclaration():
            return _declaration(item)
        case tree.DefineCollection():
            return _define(item, indent)
        case tree.AlterCollection():
            head = f"alter collection {item.name}"
            return _block(head, item.alterations, indent)
        case tree.DropCollection():
            return f"drop collection {item.name}{' if exists' * item.if_exists}"
        case tree.Version():
            return _block(f"{quote(item.name)}:", item.steps, indent)
        case tree.MigrateData():
            head = f"migrate data in {item.collection}"
            return _block(head, item.assignments, indent)
        case tree.Assignment():
            return _assignment(item)
        case _:
            return _alteration(item)


def _define(item: tree.DefineCollection, indent: str) -> str:
    head = f"define collection {item.name}{' if not exists' * item.if_not_exists}"
    return _block(head + _directives(item.directives), item.fields, indent)


def _alteration(item: tree.Alteration) -> str:
    match item:
        case tree.AddField():
            return f"add {_declaration(item.field)}"
        case tree.DropField():
            return f"drop {item.name}"
        case tree.RenameField():
            return f"rename {item.old} to {item.new}"
        case tree.ModifyField():
            return f"modify {_declaration(item.field)}"


def _assignment(item: tree.Assignment) -> str:
    text = f"set {_key(item.path)} = {print_value(item.expression)}"
    return text if item.where is None else f"{text} where {print_value(item.where)}"
