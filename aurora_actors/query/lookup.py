"""Values as bytes that order like the values do.

Pure functions, used in the index builder, which writes keys, and in every process that
looks them up. The order of the bytes is the order of ``schema.order``, and equal values
(``5`` and ``5.0``, a uuid and its text) have equal keys. One byte names the kind, then::

    null, false, true   nothing
    number              u64 of the nearest double, made sortable; u16, what the double
                        is off from an Int, plus 0x8000
    text, uuid          UTF-8, with 00 as 00 FF; ends with 00 00
    date                u32, days since 1970-01-01 plus 2**31
    time                u64, microseconds of the day
    date-time           u64, microseconds since 1970-01-01 UTC plus 2**63
    bytes               like text
    array               the keys of the elements; ends with 00
    object              for each field, by name: the name as text, the key of the value;
                        ends with 00

Invariants: no key is the beginning of another, so keys of several fields can be put
together. A key of more than :data:`LONGEST_KEY` bytes is cut there and marked with FF:
it is *truncated*, stands for all values that begin alike, and what it finds has to be
checked again on the documents. Cutting keeps the order, but for values cut alike.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from aurora_actors.errors import ValidationError
from aurora_actors.schema.types import Kind

__all__ = [
    "EMPTY_KEY",
    "LONGEST_KEY",
    "NULL_KEY",
    "after",
    "compound_key",
    "compound_prefix",
    "decode_key",
    "element_keys",
    "is_truncated",
    "kind_bounds",
    "text_prefix",
    "value_key",
]

LONGEST_KEY: Final = 492
"""Bytes of the longest whole key; a truncated one has one more."""

NULL_KEY: Final = b"\x01"
_FALSE: Final = b"\x02"
_TRUE: Final = b"\x03"
_NUMBER, _TEXT, _DATE, _TIME, _DATETIME, _BYTES, _ARRAY, _OBJECT = range(4, 12)
EMPTY_KEY: Final = b"\x0c"
"""Stands in a multi-value index for an array without elements."""

_CUT: Final = b"\xff"
_END: Final = b"\x00"
_TEXT_END: Final = b"\x00\x00"
_TEXT_TAG: Final = bytes([_TEXT])
_BYTES_TAG: Final = bytes([_BYTES])
_ARRAY_TAG: Final = bytes([_ARRAY])
_OBJECT_TAG: Final = bytes([_OBJECT])

_PAIR = struct.Struct(">BQH")
_DAYS = struct.Struct(">BI")
_TICKS = struct.Struct(">BQ")
_DOUBLE = struct.Struct(">d")
_U64 = struct.Struct(">Q")
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_MIDDLE: Final = 0x8000
_EXACT: Final = 1 << 53
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)


# ------------------------------------------------------------------ encoding
def _number(value: float) -> bytes:
    # An Int beyond 2**53 differs from its nearest double by at most 512: the pair
    # orders Ints and Floats exactly.
    nearest = float(value)
    rest = value - int(nearest) if isinstance(value, int) else 0
    (bits,) = _U64.unpack(_DOUBLE.pack(nearest + 0.0))
    sortable = bits ^ _ALL if bits & _SIGN else bits | _SIGN
    return _PAIR.pack(_NUMBER, sortable, rest + _MIDDLE)


def _text(value: str) -> bytes:
    # Only so many characters can be part of a key, however long the text is.
    data = value[: LONGEST_KEY + 1].encode()
    if b"\0" in data:
        data = data.replace(b"\0", b"\0\xff")
    return _TEXT_TAG + data + _TEXT_END


def _uuid(value: UUID) -> bytes:
    return _text(str(value))


def _bytes(value: bytes) -> bytes:
    data = value[: LONGEST_KEY + 1].replace(b"\0", b"\0\xff")
    return _BYTES_TAG + data + _TEXT_END


def _bool(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def _null(_value: None) -> bytes:
    return NULL_KEY


def _date(value: date) -> bytes:
    return _DAYS.pack(_DATE, value.toordinal() - _EPOCH_DAY + (1 << 31))


def _time(value: time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return _TICKS.pack(_TIME, seconds * 1_000_000 + value.microsecond)


def _datetime(value: datetime) -> bytes:
    return _TICKS.pack(_DATETIME, (value - _EPOCH) // _MICROSECOND + _SIGN)


def _array(value: Iterable[object]) -> bytes:
    return _joined(_ARRAY_TAG, map(_encode, value)) + _END


def _object(value: dict[str, object]) -> bytes:
    items = (_text(name) + _encode(value[name]) for name in sorted(value))
    return _joined(_OBJECT_TAG, items) + _END


def _joined(key: bytes, parts: Iterable[bytes]) -> bytes:
    """``key`` and as many ``parts`` as a key can have."""
    for part in parts:
        key += part
        if len(key) > LONGEST_KEY:
            break
    return key


# Bool before int, datetime before date: subclasses are looked for in this order.
_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    type(None): _null,
    bool: _bool,
    int: _number,
    float: _number,
    str: _text,
    UUID: _uuid,
    datetime: _datetime,
    date: _date,
    time: _time,
    bytes: _bytes,
    list: _array,
    tuple: _array,
    dict: _object,
}


def _encode(value: object) -> bytes:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        for kind, candidate in _ENCODERS.items():
            if isinstance(value, kind):
                return candidate(value)
        raise ValidationError(f"a {type(value).__name__} cannot be in an index")
    return encoder(value)


def _cut(key: bytes) -> bytes:
    return key if len(key) <= LONGEST_KEY else key[:LONGEST_KEY] + _CUT


def value_key(value: object) -> bytes:
    """The key of any value a document can hold.

    Raises:
        ValidationError: no document can hold it.
    """
    return _cut(_encode(value))


def compound_key(values: Iterable[object]) -> bytes:
    """The key of several values, which orders by the first, then the second, and so on."""
    return _cut(_joined(b"", map(_encode, values)))


def element_keys(value: object) -> set[bytes]:
    """The keys of a field in a multi-value index: one for each distinct element.

    An array without elements has :data:`EMPTY_KEY`; a value that is no array (null,
    above all) has its own key.
    """
    if isinstance(value, (list, tuple)):
        return {value_key(item) for item in value} or {EMPTY_KEY}
    return {value_key(value)}


def is_truncated(key: bytes) -> bool:
    """Whether the key may stand for other values besides the one it was made of."""
    return len(key) > LONGEST_KEY


# ------------------------------------------------------------------ bounds
def after(key: bytes) -> bytes:
    """Where what comes behind ``key``, and all that begins with it, starts."""
    return key + _CUT


def compound_prefix(values: Iterable[object]) -> bytes:
    """What the keys begin with whose first values are these; cut like a key."""
    return compound_key(values)


def text_prefix(text: str) -> bytes:
    """What the keys of all texts that start with ``text`` begin with.

    With more than :data:`LONGEST_KEY` bytes it is cut: then the keys that begin with
    it are those of texts that may start so.
    """
    return _text(text)[: -len(_TEXT_END)][:LONGEST_KEY]


_FAMILIES: Final[dict[type, int]] = {
    int: _NUMBER,
    float: _NUMBER,
    str: _TEXT,
    UUID: _TEXT,
    date: _DATE,
    time: _TIME,
    datetime: _DATETIME,
}


def kind_bounds(value: object) -> tuple[bytes, bytes] | None:
    """Between which keys lie all values that a range can compare with ``value``.

    Ranges stay within a kind; ``None`` when ``value`` is of a kind that has none.
    """
    tag = _FAMILIES.get(type(value))
    return None if tag is None else (bytes([tag]), bytes([tag + 1]))


# ------------------------------------------------------------------ decoding
def _decode_number(key: bytes, kind: Kind) -> object:
    _, sortable, rest = _PAIR.unpack_from(key)
    bits = sortable ^ _SIGN if sortable & _SIGN else sortable ^ _ALL
    nearest: float = _DOUBLE.unpack(_U64.pack(bits))[0]
    return int(nearest) + rest - _MIDDLE if kind is Kind.INT else nearest


def _decode_text(key: bytes, kind: Kind) -> object:
    # The first 00 00 ends the text: within it, 00 is followed by FF.
    end = key.index(_TEXT_END, 1)
    data = key[1:end].replace(b"\0\xff", b"\0")
    if kind is Kind.BYTES:
        return data
    return UUID(data.decode()) if kind is Kind.UUID else data.decode()


def _decode_time(key: bytes, _kind: Kind) -> object:
    return (_EPOCH + _TICKS.unpack_from(key)[1] * _MICROSECOND).time()


def _decode_datetime(key: bytes, _kind: Kind) -> object:
    return _EPOCH + (_TICKS.unpack_from(key)[1] - _SIGN) * _MICROSECOND


def _decode_date(key: bytes, _kind: Kind) -> object:
    days: int = _DAYS.unpack_from(key)[1]
    return date.fromordinal(days - (1 << 31) + _EPOCH_DAY)


_DECODERS: Final[dict[int, Callable[[bytes, Kind], object]]] = {
    1: lambda _key, _kind: None,
    2: lambda _key, _kind: False,
    3: lambda _key, _kind: True,
    _NUMBER: _decode_number,
    _TEXT: _decode_text,
    _BYTES: _decode_text,
    _DATE: _decode_date,
    _TIME: _decode_time,
    _DATETIME: _decode_datetime,
}


def decode_key(key: bytes, kind: Kind) -> object:
    """The scalar that ``key`` stands for in a field of type ``kind``.

    Bytes behind the key do not matter. In a Float field, which also takes Ints, the
    value comes back as a float: equal, but not always of the document's own type.

    Raises:
        ValidationError: the key is truncated, or no scalar's.
    """
    decoder = _DECODERS.get(key[0])
    if decoder is None:
        raise ValidationError("the key is not that of a scalar")
    try:
        return decoder(key, kind)
    except ValueError as exc:
        raise ValidationError("the key is truncated") from exc
