"""Texts that are a look-up by one key: data by which a client answers them itself.

An executor that has run such a text tells the client its template; from then on the
client finds the document in its own process, as it does for a fluent query, until the
schema changes. Pure.
"""

from __future__ import annotations

from typing import Final

import msgspec

from aurora_actors.aql import tree
from aurora_actors.aql.execution.keys import KINDS, Template
from aurora_actors.aql.execution.plans import DocumentQuery, Program
from aurora_actors.aql.scope import Definitions
from aurora_actors.aql.validation import Checked, CheckedOperation
from aurora_actors.query.predicate import Compare
from aurora_actors.schema.types import CollectionDefinition, Kind
from aurora_actors.schema.values import encode_value

__all__ = ["template_of"]

_encode: Final = msgspec.msgpack.Encoder().encode


def template_of(  # noqa: PLR0911 - a case for each reason why not
    checked: Checked, program: Program, definitions: Definitions, version: int
) -> bytes:
    """The encoded template of a text; empty when it is no such look-up."""
    if len(program.roots) != 1 or len(checked.operations) != 1:
        return b""
    root, operation = program.roots[0], checked.operations[0]
    if not isinstance(root, DocumentQuery) or not _is_plain(root):
        return b""
    field = _root_field(operation)
    term = root.predicate
    if field is None or not isinstance(term, Compare) or term.op != "eq":
        return b""
    kind = _key_kind(definitions[root.spec.collection], term.field)
    variables = operation.variables
    if kind is None or len(variables) > 1 or root.selected is None:
        return b""
    variable = ""
    if variables:
        variable = _operand(field)
        if variable != variables[0].name or variables[0].field_type.kind is not kind:
            return b""
    elif type(term.value) is not KINDS[kind]:
        return b""
    return _encode(
        Template(
            name=root.name,
            collection=root.spec.collection,
            field=term.field,
            variable=variable,
            kind=kind,
            value=b"" if variable else encode_value(term.value),
            shape=root.selected.shape,
            version=version,
        )
    )


def _is_plain(root: DocumentQuery) -> bool:
    beside = (root.page, root.edges, root.page_info, root.totals, root.aggregates)
    if any(beside) or root.groups or root.distinct or root.explains or root.subscribes:
        return False
    if root.selected is not None and root.selected.lookups:
        return False
    return not root.spec.order and root.spec.limit is None and not root.spec.offset


def _root_field(operation: CheckedOperation) -> tree.Field | None:
    definition = operation.definition
    if not isinstance(definition, tree.Operation):
        return None
    item = definition.selection.items[0]
    return item if isinstance(item, tree.Field) and not item.directives else None


def _key_kind(definition: CollectionDefinition, name: str) -> Kind | None:
    if name == "id":
        return Kind.STRING
    field = definition.fields.get(name)
    if field is None or not (field.unique or field.indexed):
        return None
    return field.field_type.kind if field.field_type.kind in KINDS else None


def _operand(field: tree.Field) -> str:
    """The variable that is the only operand of the only condition, or nothing."""
    if len(field.arguments) != 1:
        return ""
    value: tree.Value = field.arguments[0].value
    while isinstance(value, tree.ObjectValue) and len(value.entries) == 1:
        value = value.entries[0].value
    return value.name if isinstance(value, tree.Variable) else ""
