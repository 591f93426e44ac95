"""Values of documents: what they may be, and how they are encoded.

Used in every process; holds no state. A document's fields (without its id) are one
msgpack map, the same at rest and on the wire:

========================  ====================================================
null, bool, text, bytes   msgpack nil, bool, str, bin
int                       msgpack int within 64 signed bits
float                     msgpack float 64, finite
list or tuple, dict       msgpack array, map with text keys
aware datetime            timestamp, extension -1; comes back in UTC
UUID                      extension 1: its 16 bytes
date                      extension 2: int32 big-endian, days since 1970-01-01
naive time                extension 3: int64 big-endian, microseconds of the day
========================  ====================================================

Invariants: what is encoded here decodes to an equal value (tuples come back as lists,
values of subclasses as those of the plain class); nothing but the above is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from math import inf
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import msgspec

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.extensions import (
    decode_ext,
    wire_date,
    wire_time,
    wire_uuid,
)
from aurora_actors.schema.order import (
    SortKey,
    get_path,
    kind_rank,
    sort_key,
    values_equal,
)
from aurora_actors.schema.refusal import Refused, short
from aurora_actors.schema.types import INT_MAX, INT_MIN, MAX_DEPTH, field_name_fault

__all__ = [
    "DECODE_FAULTS",
    "Buffer",
    "SortKey",
    "decode_document",
    "decode_ext",
    "decode_map",
    "decode_value",
    "encode_document",
    "encode_value",
    "encode_within",
    "get_path",
    "kind_rank",
    "sort_key",
    "values_equal",
    "wire_fields",
    "wire_object",
    "wire_value",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

DECODE_FAULTS: Final = (
    msgspec.DecodeError,
    UnicodeDecodeError,  # text that is not UTF-8
    RecursionError,  # containers far beyond MAX_DEPTH
    Refused,  # an extension we do not have
)
"""All that decoding bytes of unknown origin can raise."""

_PLAIN: Final = frozenset({str, bool, bytes, type(None)})

_encode = msgspec.msgpack.Encoder().encode


# ------------------------------------------------------------------ encoding
def encode_document(fields: Mapping[str, object]) -> bytes:
    """Encode the fields of a document, without its id.

    Raises:
        ValidationError: a name or a value that no document can have; ``path`` is
            where.
    """
    try:
        return _encode(wire_fields(fields))
    except Refused as refused:
        raise refused.error() from None
    except UnicodeEncodeError:
        raise _unencodable(fields).error() from None


def encode_value(value: object) -> bytes:
    """Encode one value.

    Raises:
        ValidationError: no document can hold it.
    """
    try:
        return encode_within(value, 0)
    except Refused as refused:
        raise refused.error() from None


def encode_within(value: object, depth: int) -> bytes:
    """Encode a value that is to have ``depth`` containers around it.

    Raises:
        Refused: no document can hold the value there.
    """
    try:
        return _encode(wire_value(value, depth))
    except UnicodeEncodeError:
        raise _unencodable(value) from None


def wire_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """A document's fields as msgpack is to have them: ``fields`` itself if plain.

    Raises:
        Refused: a name or a value cannot be in a document.
    """
    plain: dict[str, Any] = fields if type(fields) is dict else _as_dict(fields)
    _check_names(plain)
    out: dict[str, object] | None = None
    name = ""
    try:
        for name, value in plain.items():
            kind = type(value)
            if kind in _PLAIN or (kind is int and INT_MIN <= value <= INT_MAX):
                continue
            if kind is float and -inf < value < inf:
                continue
            wire = wire_value(value, 1)
            if wire is not value:
                if out is None:
                    out = dict(plain)
                out[name] = wire
    except Refused as refused:
        raise refused.within(name) from None
    return plain if out is None else out


def wire_value(value: object, depth: int) -> object:
    """``value`` as msgpack is to have it, with ``depth`` containers around it.

    Raises:
        Refused: no document can hold the value.
    """
    convert = _WIRE.get(type(value), _wire_other)
    return convert(value, depth)


def _as_dict(fields: object) -> dict[str, object]:
    if isinstance(fields, Mapping):
        return dict(fields)
    name = type(fields).__qualname__
    raise Refused(f"must be a mapping of fields, not {name}", expected="dict", got=name)


def _check_names(fields: Mapping[str, object], *, top_level: bool = True) -> None:
    # All names are looked at at once; one by one only when something is wrong.
    try:
        plain = "." not in "".join(fields) and "" not in fields
        if plain and not (top_level and "id" in fields):
            return
    except TypeError:
        pass
    _refuse_name(fields, top_level=top_level)


def _refuse_name(fields: Mapping[str, object], *, top_level: bool) -> None:
    for name in fields:
        if fault := field_name_fault(name, top_level=top_level):
            raise Refused(fault, expected="a field name", got=short(name)).within(name)


def _as_is(value: object, _depth: int) -> object:
    return value


def _wire_int(value: int, _depth: int) -> object:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise Refused(
        f"must be an Int of 64 signed bits, got {short(value)}",
        expected="Int",
        got=short(value),
    )


def _wire_float(value: float, _depth: int) -> object:
    if -inf < value < inf:
        return value
    raise Refused(f"must be finite, got {value}", expected="Float", got=str(value))


def _wire_datetime(value: datetime, _depth: int) -> object:
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise Refused(
            "must be a datetime with a time zone, such as datetime.UTC; "
            f"got the naive {value}",
            expected="DateTime",
            got="naive datetime",
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        fault = f"is a datetime out of range in UTC: {value}"
        raise Refused(fault, expected="DateTime", got=str(value)) from None


def _wire_array(value: list[object] | tuple[object, ...], depth: int) -> object:
    if depth >= MAX_DEPTH:
        raise _too_deep()
    for item in value:
        if type(item) is not str:
            break
    else:
        return value
    out: list[object] = []
    try:
        for item in value:
            convert = _WIRE.get(type(item), _wire_other)
            out.append(convert(item, depth + 1))
    except Refused as refused:
        raise refused.at(len(out)) from None
    return out


def wire_object(fields: dict[str, object], depth: int) -> object:
    """An object within a document: what :func:`wire_value` makes of it.

    Raises:
        Refused: no document can hold it.
    """
    if depth >= MAX_DEPTH:
        raise _too_deep()
    _check_names(fields, top_level=False)
    out: dict[str, object] | None = None if type(fields) is dict else dict(fields)
    name = ""
    try:
        for name, value in fields.items():
            kind = type(value)
            if kind in _PLAIN:
                continue
            wire = _WIRE.get(kind, _wire_other)(value, depth + 1)
            if wire is not value:
                if out is None:
                    out = dict(fields)
                out[name] = wire
    except Refused as refused:
        raise refused.within(name) from None
    return fields if out is None else out


def _too_deep() -> Refused:
    return Refused(f"is nested more than {MAX_DEPTH} levels deep")


_Convert: TypeAlias = Callable[..., object]

_WIRE: Final[dict[type, _Convert]] = {
    type(None): _as_is,
    bool: _as_is,
    str: _as_is,
    bytes: _as_is,
    int: _wire_int,
    float: _wire_float,
    datetime: _wire_datetime,
    UUID: wire_uuid,
    date: wire_date,
    time: wire_time,
    list: _wire_array,
    tuple: _wire_array,
    dict: wire_object,
}
# A datetime is a date as well, so it is asked for first. The unbound methods make
# values of the plain class, which is all that msgspec encodes.
_SUBCLASSES: Final[tuple[tuple[type | tuple[type, ...], _Convert], ...]] = (
    (str, lambda value, _depth: str.__str__(value)),
    (int, lambda value, depth: _wire_int(int.__int__(value), depth)),
    (float, lambda value, depth: _wire_float(float.__float__(value), depth)),
    (bytes, lambda value, _depth: bytes.__getitem__(value, slice(None))),
    (datetime, lambda value, depth: _wire_datetime(_plain_datetime(value), depth)),
    *((kind, _WIRE[kind]) for kind in (UUID, date, time, dict)),
    ((list, tuple), lambda value, depth: _wire_array(list(value), depth)),
)


def _plain_datetime(value: datetime) -> datetime:
    return datetime.combine(value.date(), value.timetz())


def _wire_other(value: object, depth: int) -> object:
    for kind, convert in _SUBCLASSES:
        if isinstance(value, kind):
            return convert(value, depth)
    name = type(value).__qualname__
    raise Refused(
        f"is of type {name}, which no document can hold; got {short(value)}",
        expected="a document value",
        got=name,
    )


def _unencodable(value: object) -> Refused:
    """The refusal of the first text in ``value`` that has no UTF-8 form."""
    items: list[tuple[object, object]] = []
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    for place, item in items:
        try:
            _encode((place, wire_value(item, 0)))
        except UnicodeEncodeError:
            refused = _unencodable(item)
            return (
                refused.at(place) if isinstance(place, int) else refused.within(place)
            )
    return Refused("has a lone surrogate, which is no text", expected="String")


# ------------------------------------------------------------------ decoding
_decode = msgspec.msgpack.Decoder(ext_hook=decode_ext).decode
decode_map: Final = msgspec.msgpack.Decoder(
    dict[str, object], ext_hook=decode_ext
).decode
"""As :func:`decode_document`, but raises one of :data:`DECODE_FAULTS`."""


def decode_document(data: Buffer) -> dict[str, object]:
    """Decode a document's fields.

    Raises:
        CorruptionError: ``data`` is no encoded document. Bytes that have not been
            checked yet go through ``DocumentValidator`` first.
    """
    try:
        return decode_map(data)
    except DECODE_FAULTS as exc:
        raise CorruptionError(f"not an encoded document: {exc}") from exc


def decode_value(data: Buffer) -> object:
    """Decode one value, from anywhere, and check it.

    Raises:
        ValidationError: ``data`` is no encoded value, or one no document can hold.
    """
    try:
        value = cast("object", _decode(data))
        wire_value(value, 0)
    except DECODE_FAULTS as exc:
        refused = exc if isinstance(exc, Refused) else Refused(f"is damaged: {exc}")
        raise refused.error() from exc
    return value
