"""Values that msgpack has no form for: UUIDs, dates and times of day as extensions.

Private to the schema package, used in every process. The codes and forms are part of
the storage format; ``values`` has the table.
"""

from __future__ import annotations

from datetime import date, time
from typing import Final
from uuid import UUID, SafeUUID

from msgspec.msgpack import Ext

from aurora_actors.schema.refusal import Refused

__all__ = [
    "EXT_DATE",
    "EXT_TIME",
    "EXT_UUID",
    "decode_ext",
    "wire_date",
    "wire_time",
    "wire_uuid",
]

EXT_UUID: Final = 1
EXT_DATE: Final = 2
EXT_TIME: Final = 3
_EPOCH: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date.max.toordinal()
_DAY_US: Final = 86_400_000_000

_new_uuid = UUID.__new__
_set_int = UUID.__dict__["int"].__set__
_set_is_safe = UUID.__dict__["is_safe"].__set__
_UNKNOWN: Final = SafeUUID.unknown


def wire_uuid(value: UUID, _depth: int) -> object:
    """A UUID for msgpack; the second argument is that of all such functions."""
    return Ext(EXT_UUID, value.bytes)


def wire_date(value: date, _depth: int) -> object:
    """A date for msgpack."""
    return Ext(EXT_DATE, (value.toordinal() - _EPOCH).to_bytes(4, "big", signed=True))


def wire_time(value: time, _depth: int) -> object:
    """A time of day for msgpack.

    Raises:
        Refused: it has a time zone.
    """
    if value.tzinfo is not None:
        raise Refused(
            f"must be a time without a time zone, got {value}",
            expected="Time",
            got="time with a time zone",
        )
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    micros = seconds * 1_000_000 + value.microsecond
    return Ext(EXT_TIME, micros.to_bytes(8, "big"))


def _uuid(number: int) -> UUID:
    # What UUID(int=number) does, without its checks: 0.35 µs instead of 1.05.
    value = _new_uuid(UUID)
    _set_int(value, number)
    _set_is_safe(value, _UNKNOWN)
    return value


def decode_ext(code: int, data: bytes | bytearray | memoryview) -> object:
    """The value of an extension of ours.

    Raises:
        Refused: ``code`` is none of ours, or ``data`` is not of its form.
    """
    if code == EXT_UUID and len(data) == 16:
        return _uuid(int.from_bytes(data, "big"))
    if code == EXT_DATE and len(data) == 4:
        day = int.from_bytes(data, "big", signed=True) + _EPOCH
        if 1 <= day <= _LAST_DAY:
            return date.fromordinal(day)
    if code == EXT_TIME and len(data) == 8:
        micros = int.from_bytes(data, "big", signed=True)
        if 0 <= micros < _DAY_US:
            seconds, micros = divmod(micros, 1_000_000)
            minutes, second = divmod(seconds, 60)
            return time(minutes // 60, minutes % 60, second, micros)
    raise Refused(f"is msgpack extension {code} with {len(data)} bytes: no such value")
