"""Values as a field of another type has them, as far as nothing is lost.

Pure. A conversion is allowed when the old value can be told from the new one: 3 and 3.0,
``"2026-01-31"`` and that date, 42 and ``"42"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Final
from uuid import UUID

from aurora_actors.errors import ValidationError
from aurora_actors.schema.text import from_json
from aurora_actors.schema.types import FieldDefinition, FieldType, Kind

__all__ = ["LossError", "convert"]

_INT_MAX: Final = 2**63


class LossError(ValueError):
    """A value has no counterpart of the type."""


def convert(value: object, wanted: FieldType) -> object:
    """``value`` as the type ``wanted`` has it.

    Raises:
        ValueError: that would lose something, or makes no sense; often a
            :class:`LossError`.
    """
    if wanted.kind is Kind.ANY or value is None:
        return value
    return _CONVERSIONS[wanted.kind](value, wanted)


def _string(value: object, _wanted: FieldType) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise LossError


def _int(value: object, _wanted: FieldType) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and len(value) <= 20 and str(int(value)) == value
    ):
        found = int(value)
    else:
        raise LossError
    if not -_INT_MAX <= found < _INT_MAX:
        raise LossError
    return found


def _float(value: object, _wanted: FieldType) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise LossError
    found = float(value)
    if isinstance(value, int) and int(found) != value:
        raise LossError
    if not math.isfinite(found):
        raise LossError
    return found


def _bool(value: object, _wanted: FieldType) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise LossError


def _parsed(value: object, wanted: FieldType) -> object:
    """A UUID, a date or a time of its text."""
    if isinstance(value, _TYPES[wanted.kind]) and not (
        wanted.kind is Kind.DATE and isinstance(value, datetime)
    ):
        return value
    if not isinstance(value, str):
        raise LossError
    try:
        return from_json({"v": value}, {"v": FieldDefinition(wanted)})["v"]
    except ValidationError as exc:
        raise LossError from exc


def _array(value: object, wanted: FieldType) -> list[object]:
    if not isinstance(value, list | tuple) or wanted.of is None:
        raise LossError
    return [convert(item, wanted.of) for item in value]


def _object(value: object, wanted: FieldType) -> dict[str, object]:
    if not isinstance(value, dict):
        raise LossError
    fields = wanted.fields or {}
    return {
        name: convert(item, fields[name].field_type) if name in fields else item
        for name, item in value.items()
    }


def _bytes(value: object, _wanted: FieldType) -> bytes:
    if not isinstance(value, bytes):
        raise LossError
    return value


_TYPES: Final[dict[Kind, type]] = {
    Kind.UUID: UUID,
    Kind.DATETIME: datetime,
    Kind.DATE: date,
    Kind.TIME: time,
}
_CONVERSIONS: Final[dict[Kind, Callable[[object, FieldType], object]]] = {
    Kind.STRING: _string,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.ARRAY: _array,
    Kind.OBJECT: _object,
    Kind.BYTES: _bytes,
    **dict.fromkeys(_TYPES, _parsed),
}
