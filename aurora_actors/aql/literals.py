"""From one literal and a scalar type to one Python value.

Pure. Texts stand for what JSON-like notation has no literal for: RFC 3339 for
date-times, dates and times, the usual form for UUIDs, base64 for bytes. Nothing else is
coerced: a number is never a text, a bare word never a string.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Final
from uuid import UUID

from aurora_actors.aql import tree
from aurora_actors.aql.diagnostics import shorten
from aurora_actors.schema.types import FieldType, Kind

__all__ = ["Mismatch", "describe_value", "read_scalar", "read_untyped_scalar"]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}\Z")
_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
_RFC3339: Final = re.compile(
    rf"{_DATE}[Tt ]{_TIME}(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}})\Z"
)
_DATE_ONLY: Final = re.compile(rf"{_DATE}\Z")
_TIME_ONLY: Final = re.compile(rf"{_TIME}\Z")

_EXAMPLES: Final = {
    Kind.UUID: '"6ba7b810-9dad-11d1-80b4-00c04fd430c8"',
    Kind.DATETIME: '"2027-01-31T12:00:00Z"',
    Kind.DATE: '"2027-01-31"',
    Kind.TIME: '"12:30:00"',
    Kind.BYTES: 'base64, such as "aGVsbG8="',
}


class Mismatch(Exception):  # noqa: N818 - internal signal, becomes a Problem
    """A literal that the type does not take."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def describe_value(value: tree.Value) -> str:
    """A value for a message: its kind, and itself when it is short."""
    match value:
        case tree.IntValue() | tree.FloatValue() | tree.BooleanValue():
            kind = type(value).__name__.removesuffix("Value")
            return f"{kind} {str(value.value).lower()}"
        case tree.StringValue():
            return f"String {shorten(value.value)}"
        case tree.EnumValue():
            return f"the bare word {shorten(value.name).strip(chr(34))}"
        case tree.Variable():
            return f"${value.name}"
        case tree.GivenValue():
            return f"a {type(value.value).__name__}"
        case _:
            return _SHAPES[type(value)]


_SHAPES: Final[dict[type[tree.Value], str]] = {
    tree.NullValue: "null",
    tree.ListValue: "a list",
    tree.ObjectValue: "an object",
}


def read_scalar(value: tree.Value, field_type: FieldType) -> object:
    """The Python value of a literal other than null, a list or an object.

    Raises:
        Mismatch: the type does not take it.
    """
    return _READERS[field_type.kind](value)


def read_untyped_scalar(value: tree.Value) -> object:
    """The Python value a literal has by itself.

    Raises:
        Mismatch: it is a bare word, which is no value of a document.
    """
    match value:
        case (
            tree.BooleanValue() | tree.IntValue() | tree.FloatValue()
            | tree.StringValue() | tree.GivenValue()
        ):  # fmt: skip
            return value.value
        case tree.EnumValue():
            raise Mismatch(
                f"{value.name} is a bare word", f'for a text write "{value.name}"'
            )
        case _:
            raise Mismatch(f"{describe_value(value)} cannot stand here")


def _wrong(value: tree.Value, kind: Kind) -> Mismatch:
    hint = ""
    if isinstance(value, tree.EnumValue) and kind is Kind.STRING:
        hint = f'write "{value.name}"'
    elif kind in _EXAMPLES:
        hint = f"write {_EXAMPLES[kind]}"
    return Mismatch(f"expected {kind.value}, got {describe_value(value)}", hint)


def _string(value: tree.Value) -> object:
    if isinstance(value, tree.StringValue):
        return value.value
    raise _wrong(value, Kind.STRING)


def _int(value: tree.Value) -> object:
    if isinstance(value, tree.IntValue):
        return value.value
    raise _wrong(value, Kind.INT)


def _float(value: tree.Value) -> object:
    if isinstance(value, tree.FloatValue | tree.IntValue):
        return value.value
    raise _wrong(value, Kind.FLOAT)


def _bool(value: tree.Value) -> object:
    if isinstance(value, tree.BooleanValue):
        return value.value
    raise _wrong(value, Kind.BOOL)


def _uuid(value: tree.Value) -> object:
    if isinstance(value, tree.GivenValue) and isinstance(value.value, UUID):
        return value.value
    if isinstance(value, tree.StringValue) and _UUID.match(value.value):
        return UUID(value.value)
    raise _wrong(value, Kind.UUID)


def _datetime(value: tree.Value) -> object:
    if isinstance(value, tree.GivenValue) and isinstance(value.value, datetime):
        if value.value.tzinfo is not None:
            return value.value
        raise Mismatch(
            "a datetime without a time zone is no point in time",
            "give it tzinfo=datetime.UTC",
        )
    if isinstance(value, tree.StringValue) and _RFC3339.match(value.value):
        try:
            return datetime.fromisoformat(value.value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _wrong(value, Kind.DATETIME)


def _date(value: tree.Value) -> object:
    if isinstance(value, tree.GivenValue):
        given = value.value
        if isinstance(given, date) and not isinstance(given, datetime):
            return given
    elif isinstance(value, tree.StringValue) and _DATE_ONLY.match(value.value):
        try:
            return date.fromisoformat(value.value)
        except ValueError:
            pass
    raise _wrong(value, Kind.DATE)


def _time(value: tree.Value) -> object:
    if isinstance(value, tree.GivenValue) and isinstance(value.value, time):
        if value.value.tzinfo is None:
            return value.value
        raise Mismatch("a Time has no time zone", "drop the tzinfo")
    if isinstance(value, tree.StringValue) and _TIME_ONLY.match(value.value):
        try:
            return time.fromisoformat(value.value)
        except ValueError:
            pass
    raise _wrong(value, Kind.TIME)


def _bytes(value: tree.Value) -> object:
    if isinstance(value, tree.GivenValue) and isinstance(value.value, bytes):
        return value.value
    if isinstance(value, tree.StringValue):
        try:
            return b64decode(value.value.encode(), validate=True)
        except binascii.Error:
            pass
    raise _wrong(value, Kind.BYTES)


def _object(value: tree.Value) -> object:
    raise _wrong(value, Kind.OBJECT)


def _array(value: tree.Value) -> object:
    raise Mismatch(f"expected a list, got {describe_value(value)}", "write […]")


_READERS: Final[dict[Kind, Callable[[tree.Value], object]]] = {
    Kind.STRING: _string,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.BOOL: _bool,
    Kind.UUID: _uuid,
    Kind.DATETIME: _datetime,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.BYTES: _bytes,
    Kind.OBJECT: _object,
    Kind.ARRAY: _array,
    Kind.ANY: read_untyped_scalar,
}
