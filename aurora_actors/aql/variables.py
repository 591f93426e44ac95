"""Variables: what an operation declares, what it uses, and what the caller gives.

Pure. :func:`sign` runs once, when a text is checked; :func:`bind` for each run. A
variable that is not declared takes the type of its place, and must be given. One that
is declared nullable, or has a default, may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.aql.scope import Scope, Session, VariableUse
from aurora_actors.aql.types import read_type
from aurora_actors.aql.values import lift, read_value
from aurora_actors.schema.types import FieldType, Kind

__all__ = ["Signature", "bind", "check_given", "sign"]


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a variable of one operation takes.

    Attributes:
        name: Without the dollar sign.
        field_type: The type declared, or that of its place.
        nullable: Whether null may be given.
        required: Whether it must be given.
        default: Its value when it is not given.
        position: Its declaration, or its first use.
    """

    name: str
    field_type: FieldType
    nullable: bool
    required: bool
    default: tree.Value
    position: tree.Position


# ------------------------------------------------------------------ checking
def sign(
    scope: Scope,
    definitions: Iterable[tree.VariableDefinition],
    uses: Iterable[VariableUse],
) -> tuple[Signature, ...]:
    """The variables of an operation, declared ones first; faults are reported."""
    by_name: dict[str, list[VariableUse]] = {}
    for use in sorted(uses, key=lambda u: (u.position.line, u.position.column)):
        by_name.setdefault(use.name, []).append(use)
    signed: dict[str, Signature] = {}
    for definition in definitions:
        here = scope.below(f"${definition.name}")
        if definition.name in signed:
            here.report(definition, f"${definition.name} is declared twice")
            continue
        signed[definition.name] = signature = _declared(here, definition)
        _check_uses(scope, signature, by_name.get(definition.name, []))
        if definition.name not in by_name:
            here.report(
                definition,
                f"${definition.name} is declared but not used",
                scope.did_you_mean(definition.name, by_name) if by_name else "",
            )
    for name, found in by_name.items():
        if name not in signed:
            signed[name] = _undeclared(scope, name, found)
    return tuple(signed.values())


def _declared(scope: Scope, definition: tree.VariableDefinition) -> Signature:
    field_type = read_type(scope, definition.type)
    required = definition.type.required
    for directive in definition.directives:
        scope.report(directive, f"a variable has no directive @{directive.name[:40]}")
    default = definition.default
    if default is not None:
        _check_default(scope, default, field_type, nullable=not required)
    return Signature(
        name=definition.name,
        field_type=field_type,
        nullable=not required,
        required=required and default is None,
        default=default or tree.NullValue(position=definition.position),
        position=definition.position,
    )


def _check_default(
    scope: Scope, default: tree.Value, field_type: FieldType, *, nullable: bool
) -> None:
    # A session without variables, so that one in a default is reported.
    session = Session(scope.session.text, {}, {}, variables={})
    read_value(
        Scope(session, scope.path), default, _loose(field_type), nullable=nullable
    )
    for problem in session.problems:
        scope.session.report(problem)


def _check_uses(
    scope: Scope, signature: Signature, uses: Iterable[VariableUse]
) -> None:
    for use in uses:
        if not _fits(signature.field_type, use.field_type):
            Scope(scope.session, use.path).report(
                tree.NullValue(position=use.position),
                f"${use.name} is of type {signature.field_type}, where "
                f"{use.field_type} is needed",
            )


_FROM_TEXT = frozenset({Kind.UUID, Kind.DATETIME, Kind.DATE, Kind.TIME, Kind.BYTES})


def _fits(given: FieldType, wanted: FieldType) -> bool:
    """Whether some value of ``given`` can stand where ``wanted`` is needed."""
    kinds = (given.kind, wanted.kind)
    if Kind.ANY in kinds or kinds == (Kind.INT, Kind.FLOAT):
        return True
    if given.kind is Kind.STRING and wanted.kind in _FROM_TEXT:
        return True
    if kinds == (Kind.ARRAY, Kind.ARRAY):
        return _fits(given.of or FieldType.ANY, wanted.of or FieldType.ANY)
    # A filter may be an object wherever a field's value may stand.
    return given.kind is wanted.kind or given.kind is Kind.OBJECT


def _undeclared(scope: Scope, name: str, uses: list[VariableUse]) -> Signature:
    first = uses[0]
    field_type = first.field_type
    for use in uses[1:]:
        if _fits(field_type, use.field_type):
            continue
        if _fits(use.field_type, field_type):
            field_type = use.field_type
            continue
        Scope(scope.session, use.path).report(
            tree.NullValue(position=use.position),
            f"${name} stands for {use.field_type} here and for {field_type} at line "
            f"{first.position.line}, column {first.position.column}",
            "use two variables",
        )
    return Signature(
        name=name,
        field_type=field_type,
        nullable=all(use.nullable for use in uses),
        required=True,
        default=tree.NullValue(position=first.position),
        position=first.position,
    )


# ------------------------------------------------------------------ running
def check_given(
    scope: Scope, signatures: Iterable[Signature], given: Iterable[str]
) -> None:
    """Report each given variable that no operation of the text has."""
    known = {signature.name for signature in signatures}
    for name in given:
        if name not in known:
            scope.report(
                tree.NullValue(),
                f"the variable {shorten(str(name))} is given, but the text has none "
                "of this name",
                scope.did_you_mean(str(name), known),
            )


def bind(
    scope: Scope, signatures: Iterable[Signature], given: Mapping[str, object]
) -> dict[str, tree.Value]:
    """The value of each variable of an operation; faults are reported.

    A value is lifted into the tree, so that readers treat it like a literal, and
    checked against the variable's type.
    """
    bound: dict[str, tree.Value] = {}
    for signature in signatures:
        name = signature.name
        node = tree.NullValue(position=signature.position)
        here = scope.below(f"${name}")
        if name not in given:
            if signature.required:
                here.report(
                    node, f"the variable ${name} of type {_spelt(signature)} is missing"
                )
            bound[name] = signature.default
            continue
        before = len(scope.session.problems)
        value = lift(here, given[name], signature.position)
        if len(scope.session.problems) == before:
            _check_type(here, value, signature)
        bound[name] = value
    return bound


def _check_type(scope: Scope, value: tree.Value, signature: Signature) -> None:
    read_value(scope, value, _loose(signature.field_type), nullable=signature.nullable)


def _loose(field_type: FieldType) -> FieldType:
    """The type as far as it is for a variable to say; its place says the rest.

    An object may be a filter, and lists may hold null where a filter's list may.
    """
    if field_type.kind is Kind.OBJECT:
        return FieldType.OBJECT
    if field_type.kind is Kind.ARRAY:
        return FieldType.array(FieldType.ANY)
    return field_type


def _spelt(signature: Signature) -> str:
    return f"{signature.field_type}{'' if signature.nullable else '!'}"
