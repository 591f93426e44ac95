"""Whether a decoded document fits its collection, value by value, with the exact fault.

Private to the schema package, used where documents are written. This is the meaning of
validation; ``validation`` has the fast form, which falls back to this one whenever it
is not sure, and always for open collections.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from aurora_actors.schema.extensions import decode_ext
from aurora_actors.schema.refusal import Refused, describe, did_you_mean, kind_of
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
)
from aurora_actors.schema.values import (
    DECODE_FAULTS,
    Buffer,
    wire_fields,
)

__all__ = ["conforming_fields", "map_length"]

_decode_map = msgspec.msgpack.Decoder(dict[str, object], ext_hook=decode_ext).decode


def conforming_fields(
    definition: CollectionDefinition, body: Buffer
) -> dict[str, object]:
    """Decode ``body`` and return its fields, if it is a document of the collection.

    Raises:
        ValidationError: it is not; the context has ``collection``, ``path``,
            ``expected``, ``got`` and, for an unknown field, a ``suggestion``.
    """
    try:
        fields = _decode_map(body)
        if map_length(body) != len(fields):
            raise Refused("has a field twice")  # noqa: TRY301 - one place makes errors
        wire_fields(fields)
        _check_object(fields, definition.fields, is_open=definition.open)
    except Refused as refused:
        raise refused.error(definition.name) from None
    except DECODE_FAULTS as exc:
        damaged = Refused(f"is no encoded document: {exc}")
        raise damaged.error(definition.name) from exc
    return fields


def map_length(body: Buffer) -> int:
    """How many entries the msgpack map ``body`` says it has."""
    head = body[0]
    if head < 0x90:
        return head - 0x80
    return int.from_bytes(body[1 : 3 if head == 0xDE else 5], "big")


def _check_object(
    fields: Mapping[str, object],
    declared: Mapping[str, FieldDefinition],
    *,
    is_open: bool = False,
) -> None:
    # A misspelt name first: it explains the required field that is missing.
    if not is_open:
        for name, value in fields.items():
            if name not in declared:
                raise _unknown(name, value, declared)
    for name, definition in declared.items():
        try:
            _check_field(name in fields, fields.get(name), definition)
        except Refused as refused:
            raise refused.within(name) from None


def _unknown(
    name: str, value: object, declared: Mapping[str, FieldDefinition]
) -> Refused:
    return Refused(
        "is not declared",
        expected=f"one of {', '.join(sorted(declared))}" if declared else "no fields",
        got=describe(value),
        suggestion=did_you_mean(name, list(declared)),
    ).within(name)


def _check_field(present: bool, value: object, definition: FieldDefinition) -> None:
    if value is not None:
        _check_value(value, definition.field_type)
    elif not definition.nullable:
        expected = f"{definition.field_type}!"
        if present:
            fault = f"must not be null, it is of type {expected}"
        else:
            fault = f"is missing, it is of type {expected}"
        raise Refused(fault, expected=expected, got="null" if present else "nothing")


def _check_value(value: object, field_type: FieldType) -> None:
    kind, actual = field_type.kind, kind_of(value)
    if kind is Kind.ANY:
        return
    if actual is not kind and (kind is not Kind.FLOAT or actual is not Kind.INT):
        got = describe(value)
        fault = f"must be of type {field_type}, got {got}"
        raise Refused(fault, expected=str(field_type), got=got)
    if field_type.of is not None and isinstance(value, list):
        for position, item in enumerate(value):
            try:
                _check_value(item, field_type.of)
            except Refused as refused:
                raise refused.at(position) from None
    elif field_type.fields is not None and isinstance(value, dict):
        _check_object(value, field_type.fields)
