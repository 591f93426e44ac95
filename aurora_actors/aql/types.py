"""Type references of a text as the schema's types.

Pure. The names are those of ``schema.types.Kind``, and ``ID``, which is a String.
"""

from __future__ import annotations

from typing import Final

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import Scope
from aurora_actors.aql.values import read_value
from aurora_actors.schema.types import FieldDefinition, FieldType, Kind

__all__ = ["TYPE_NAMES", "read_declaration", "read_default", "read_type"]

TYPE_NAMES: Final[dict[str, FieldType]] = {
    kind.value: FieldType(kind) for kind in Kind if kind is not Kind.ARRAY
} | {"ID": FieldType.STRING}

_FIELD_DIRECTIVES: Final = ("unique", "indexed")


def read_type(scope: Scope, reference: tree.TypeReference) -> FieldType:
    """The type that ``reference`` names; ``Any`` stands in for an unknown one."""
    match reference:
        case tree.ListType():
            return FieldType.array(read_type(scope, reference.of))
        case tree.ObjectType():
            fields: dict[str, FieldDefinition] = {}
            for declaration in reference.fields:
                if declaration.name in fields:
                    _report_twice(scope, declaration)
                fields[declaration.name] = _nested(scope, declaration)
            return FieldType.object(fields)
        case tree.NamedType():
            found = TYPE_NAMES.get(reference.name)
            if found is None:
                hint = scope.did_you_mean(reference.name, TYPE_NAMES)
                hint = hint or f"types are {', '.join(TYPE_NAMES)}, [T] and {{…}}"
                scope.report(
                    reference, f"there is no type {shorten(reference.name)}", hint
                )
            return found or FieldType.ANY


def _nested(scope: Scope, declaration: tree.FieldDeclaration) -> FieldDefinition:
    here = scope.below(declaration.name)
    if declaration.default is not None:
        here.report(
            declaration.default,
            "a nested field cannot have a default",
            "give the whole object one",
        )
    return read_declaration(here, declaration)


def _report_twice(scope: Scope, declaration: tree.FieldDeclaration) -> None:
    scope.report(declaration, f"the field {shorten(declaration.name)} stands twice")


def read_declaration(
    scope: Scope, declaration: tree.FieldDeclaration
) -> FieldDefinition:
    """The field that is declared, without its default."""
    seen: set[str] = set()
    for directive in declaration.directives:
        name = directive.name
        if name not in _FIELD_DIRECTIVES:
            hint = scope.did_you_mean(name, _FIELD_DIRECTIVES)
            hint = hint or "a field can be @unique and @indexed"
            scope.report(directive, f"a field has no directive @{name[:40]}", hint)
        elif name in seen:
            scope.report(directive, f"@{name} stands twice")
        elif directive.arguments:
            scope.report(directive.arguments[0], f"@{name} takes no arguments")
        seen.add(name)
    return FieldDefinition(
        read_type(scope, declaration.type),
        unique="unique" in seen,
        indexed="indexed" in seen,
        nullable=not declaration.type.required,
    )


def read_default(
    scope: Scope, declaration: tree.FieldDeclaration, field: FieldDefinition
) -> object:
    """The default of a field; ``None`` when there is none."""
    if declaration.default is None:
        return None
    here = scope.below(declaration.name)
    return read_value(
        here, declaration.default, field.field_type, nullable=field.nullable, depth=2
    )
