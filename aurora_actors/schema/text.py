"""Documents as JSON and as cells of a table, without losing anything.

JSON has no dates, UUIDs or bytes. Where a collection declares such a type, its values
are plain text (RFC 3339, hexadecimal with dashes, base64); everywhere else they are
marked: ``{"$datetime": "2026-01-31T12:00:00Z"}``, ``$date``, ``$time``, ``$uuid``,
``$bytes``. An object that looks like a mark by accident is put into ``{"$object": …}``.

A cell of a table is the value's text; objects and arrays are JSON. An empty cell is no
value. A text that is empty or starts with a quotation mark is written as JSON, and so is
one of a field without a type that would otherwise be read as something else.

Pure functions, in any process.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Final
from uuid import UUID

import msgspec

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import FieldDefinition, FieldType, Kind

__all__ = ["from_cell", "from_json", "to_cell", "to_json"]

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_MARKS: Final[dict[type, tuple[str, Kind]]] = {
    datetime: ("$datetime", Kind.DATETIME),
    date: ("$date", Kind.DATE),
    time: ("$time", Kind.TIME),
    UUID: ("$uuid", Kind.UUID),
    bytes: ("$bytes", Kind.BYTES),
}
_PARSERS: Final[dict[Kind, type]] = {
    Kind.DATETIME: datetime,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.UUID: UUID,
}
_KIND_OF_MARK: Final = dict(_MARKS.values())
_OBJECT: Final = "$object"
_json: Final = msgspec.json.Encoder()


# ------------------------------------------------------------------ JSON
def to_json(
    fields: Mapping[str, object], types: Mapping[str, FieldDefinition]
) -> dict[str, object]:
    """The fields of a document as values JSON has."""
    out: dict[str, object] = {}
    for name, value in fields.items():
        if type(value) in _PLAIN:
            out[name] = value
        else:
            declared = types.get(name)
            out[name] = _mark(value, None if declared is None else declared.field_type)
    return out


def _mark(value: object, declared: FieldType | None) -> object:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        inner = None if declared is None else declared.of
        return [_mark(item, inner) for item in value]
    if isinstance(value, dict):
        fields = (declared.fields if declared is not None else None) or {}
        marked = to_json(value, fields)
        if len(marked) == 1 and next(iter(marked)).startswith("$"):
            return {_OBJECT: marked}
        return marked
    mark, kind = _MARKS[type(value)]
    text = _text(value)
    if declared is not None and declared.kind is kind:
        return text
    return {mark: text}


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    text: str = msgspec.to_builtins(value)
    return text


def from_json(
    fields: Mapping[str, object], types: Mapping[str, FieldDefinition]
) -> dict[str, object]:
    """The fields of a document that :func:`to_json` made, or somebody wrote.

    Raises:
        ValidationError: a text is not what its field or its mark says; has ``path``.
    """
    return _unmark_all(fields, types, "")


def _unmark_all(
    fields: Mapping[str, object], types: Mapping[str, FieldDefinition], at: str
) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in fields.items():
        declared = types.get(name)
        kind = None if declared is None else declared.field_type
        if type(value) in _PLAIN and (kind is None or kind.kind not in _TEXTUAL):
            out[name] = value
        else:
            out[name] = _unmark(value, kind, f"{at}{name}")
    return out


_TEXTUAL: Final = frozenset({*_PARSERS, Kind.BYTES})


def _unmark(value: object, declared: FieldType | None, path: str) -> object:
    if isinstance(value, str):
        if declared is not None and declared.kind in _TEXTUAL:
            return _parse(value, declared.kind, path)
    elif isinstance(value, list):
        inner = None if declared is None else declared.of
        return [_unmark(item, inner, path) for item in value]
    elif isinstance(value, dict):
        return _unmark_object(value, declared, path)
    return value


def _unmark_object(
    value: dict[str, object], declared: FieldType | None, path: str
) -> object:
    fields = (declared.fields if declared is not None else None) or {}
    if len(value) == 1:
        ((mark, inner),) = value.items()
        if mark == _OBJECT and isinstance(inner, dict):
            return _unmark_all(inner, fields, f"{path}.")
        if mark in _KIND_OF_MARK and isinstance(inner, str):
            return _parse(inner, _KIND_OF_MARK[mark], path)
    return _unmark_all(value, fields, f"{path}.")


def _parse(text: str, kind: Kind, path: str) -> object:
    try:
        if kind is Kind.BYTES:
            return b64decode(text, validate=True)
        return msgspec.convert(text, _PARSERS[kind])
    except ValueError as exc:  # msgspec.ValidationError is one
        raise ValidationError(
            f"{path}: {text[:80]!r} is no {kind.value}: {exc}",
            path=path,
            expected=kind.value,
        ) from exc


# ------------------------------------------------------------------ cells
def to_cell(value: object, declared: FieldType | None) -> str:
    """A value as the text of a cell; empty for none."""
    if value is None:
        return ""
    kind = Kind.ANY if declared is None else declared.kind
    if isinstance(value, str):
        if not value or value[0] == '"' or (kind is Kind.ANY and _is_json(value)):
            return _json.encode(value).decode()
        return value
    if type(value) in _MARKS and _MARKS[type(value)][1] is kind:
        return _text(value)
    return _json.encode(_mark(value, declared)).decode()


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


_NUMBERS: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: _truth,
}


def from_cell(text: str, declared: FieldType | None, path: str) -> object:
    """The value of a cell that is not empty.

    Raises:
        ValidationError: it is not what its column's field takes.
    """
    kind = Kind.ANY if declared is None else declared.kind
    if kind in _TEXTUAL:
        return _parse(text, kind, path)
    if kind in _NUMBERS:
        try:
            return _NUMBERS[kind](text.strip())
        except (ValueError, KeyError) as exc:
            raise ValidationError(
                f"{path}: {text[:80]!r} is no {kind.value}",
                path=path,
                expected=kind.value,
            ) from exc
    if kind is Kind.STRING and text[0] != '"':
        return text
    try:
        return _unmark(msgspec.json.decode(text), declared, path)
    except msgspec.DecodeError as exc:
        if kind in {Kind.STRING, Kind.ANY}:
            return text
        raise ValidationError(
            f"{path}: {text[:80]!r} is no {kind.value} in JSON: {exc}",
            path=path,
            expected=kind.value,
        ) from exc
