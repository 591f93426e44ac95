"""A collection's fields as a msgspec struct, and what is left to check after decoding.

Private to the schema package, used where documents are written. One typed decode does
nearly all of validation in C. What a msgspec type cannot say, a *check* does: a
function of the decoded value that is false, or raises ``Refused``, when the value does
not fit.

* ``Ext`` takes any extension: the check looks at its code and its form.
* ``datetime`` would take text as well: such fields are decoded without a type, which
  makes a datetime of a timestamp alone.
* Values of no declared type are walked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from sys import float_info
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta
from msgspec.msgpack import Ext

from aurora_actors.schema.extensions import EXT_DATE, EXT_TIME, EXT_UUID, decode_ext
from aurora_actors.schema.types import INT_MAX, FieldDefinition, FieldType, Kind
from aurora_actors.schema.values import wire_object, wire_value

__all__ = [
    "Check",
    "can_name",
    "check_for",
    "ext_value",
    "is_expressible",
    "struct_for",
]

Check: TypeAlias = Callable[[Any], bool]

# msgpack has no integer below -2**63, so only the upper bound needs to be asked for.
_INT: Final = Annotated[int, Meta(le=INT_MAX)]
# The bounds refuse infinities, and NaN with them. An Int is kept as it is: as a float
# it would lose digits, and so would the unique index.
_FLOAT: Final = (
    Annotated[int, Meta(le=INT_MAX)]
    | Annotated[float, Meta(ge=-float_info.max, le=float_info.max)]
)
_TYPES: Final[dict[Kind, object]] = {
    Kind.STRING: str,
    Kind.INT: _INT,
    Kind.FLOAT: _FLOAT,
    Kind.BOOL: bool,
    Kind.UUID: Ext,
    Kind.DATETIME: object,
    Kind.DATE: Ext,
    Kind.TIME: Ext,
    Kind.BYTES: bytes,
    Kind.OBJECT: dict[str, object],
    Kind.ANY: object,
}
_NO_STRUCT_NAME: Final = re.compile(r'[\x00-\x1f"\\]')
_EXT_CODES: Final = {Kind.UUID: EXT_UUID, Kind.DATE: EXT_DATE, Kind.TIME: EXT_TIME}


def is_expressible(fields: Mapping[str, FieldDefinition]) -> bool:
    """Whether msgspec can have structs with all these names; few it cannot."""
    for name, field in fields.items():
        inner = field.field_type
        while inner.of is not None:
            inner = inner.of
        if not can_name([name]) or not is_expressible(inner.fields or {}):
            return False
    return True


def can_name(names: Iterable[str]) -> bool:
    """Whether msgspec can have a struct with fields of these names."""
    return not any(map(_NO_STRUCT_NAME.search, names))


def struct_for(
    fields: Mapping[str, FieldDefinition], *, strict: bool = True
) -> type[msgspec.Struct]:
    """A struct with the fields as ``f0``, ``f1``, … in their order.

    A field that may be missing is ``UNSET`` then, so that it differs from null.

    Args:
        fields: The fields to decode.
        strict: Refuse others; otherwise they are passed over.
    """
    specs: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for number, field in enumerate(fields.values()):
        wire_type: Any = _wire_type(field.field_type)
        if field.nullable:
            specs.append((f"f{number}", wire_type | None, UNSET))
        else:
            specs.append((f"f{number}", wire_type))
    names = {f"f{number}": name for number, name in enumerate(fields)}
    return msgspec.defstruct(
        "Fields",
        specs,
        rename=names,
        kw_only=True,
        forbid_unknown_fields=strict,
        gc=False,  # short-lived, and never part of a cycle
    )


def _wire_type(field_type: FieldType) -> Any:  # noqa: ANN401 - a type, made at run time
    if field_type.of is not None:
        return list[_wire_type(field_type.of)]  # type: ignore[misc]  # run-time type
    if field_type.fields is not None:
        return struct_for(field_type.fields)
    return _TYPES[field_type.kind]


def check_for(field_type: FieldType, depth: int = 1) -> Check | None:
    """The check for values of the type with ``depth`` containers around them.

    ``None`` when decoding with the type has checked everything. A check is not to be
    called with ``None`` unless null is a value of the type.
    """
    kind = field_type.kind
    if kind in _EXT_CODES:
        return _ext_check(_EXT_CODES[kind])
    if kind is Kind.DATETIME:
        return lambda value: type(value) is datetime
    if field_type.of is not None:
        return _array_check(field_type.of, depth)
    if field_type.fields is not None:
        return _object_check(field_type.fields, depth)
    if kind is Kind.ANY or kind is Kind.OBJECT:
        walk = wire_object if kind is Kind.OBJECT else wire_value
        return lambda value: walk(value, depth) is not UNSET
    return None


def _ext_check(code: int) -> Check:
    if code == EXT_UUID:
        return lambda ext: ext.code == code and len(ext.data) == 16

    def check(ext: Ext) -> bool:
        if ext.code != code:
            return False
        decode_ext(code, bytes(ext.data))
        return True

    return check


def _array_check(of: FieldType, depth: int) -> Check | None:
    item_check = check_for(of, depth + 1)
    return None if item_check is None else lambda items: all(map(item_check, items))


def _object_check(fields: Mapping[str, FieldDefinition], depth: int) -> Check | None:
    checks = [
        (f"f{number}", check)
        for number, field in enumerate(fields.values())
        if (check := check_for(field.field_type, depth + 1)) is not None
    ]
    if not checks:
        return None

    def check_object(struct: msgspec.Struct) -> bool:
        for name, check in checks:
            value = getattr(struct, name)
            if value is not None and value is not UNSET and not check(value):
                return False
        return True

    return check_object


def ext_value(ext: Ext) -> object:
    """The value an extension stands for, after its check."""
    return decode_ext(ext.code, bytes(ext.data))
