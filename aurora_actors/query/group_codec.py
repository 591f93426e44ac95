"""Groups on the wire, and between processes.

One group is one msgpack array ``[keys, results, nodes]``; values have the form they
have in documents, and an integer of more than 64 bits, which only a sum can be, is an
extension of code 100 with its bytes, big-endian and signed. Pure; used where groups are
made and by clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.msgpack import Ext

from aurora_actors.errors import ProtocolError
from aurora_actors.schema.extensions import decode_ext
from aurora_actors.schema.types import INT_MAX, INT_MIN
from aurora_actors.schema.values import DECODE_FAULTS, Buffer, wire_value

__all__ = [
    "GroupRow",
    "decode_group",
    "decode_increments",
    "encode_group",
    "encode_groups",
    "encode_increments",
]

_EXT_INTEGER: Final = 100
# msgpack has these as they are.
_PLAIN: Final = frozenset({str, float, bool, type(None)})
_encode: Final = msgspec.msgpack.Encoder().encode


class GroupRow(NamedTuple):
    """One group of a result.

    Attributes:
        keys: Its values of the fields it is made by, in their order.
        results: What was computed of it, in the order asked for.
        nodes: The records of its first documents.
    """

    keys: Sequence[object]
    results: Sequence[object]
    nodes: Sequence[bytes]


def _ext(code: int, data: memoryview) -> object:
    if code == _EXT_INTEGER:
        return int.from_bytes(data, "big", signed=True)
    return decode_ext(code, data)


_decode: Final = msgspec.msgpack.Decoder(GroupRow, ext_hook=_ext).decode


def _wire(value: object) -> object:
    kind = type(value)
    if kind is int and not INT_MIN <= value <= INT_MAX:  # type: ignore[operator]
        number: int = value  # type: ignore[assignment]  # its type was looked at
        size = number.bit_length() // 8 + 1
        return Ext(_EXT_INTEGER, number.to_bytes(size, "big", signed=True))
    if value is None or kind is str or kind is float or kind is int:
        return value
    return wire_value(value, 0)


def encode_group(row: GroupRow) -> bytes:
    """Encode one group."""
    keys, results, nodes = row
    return _encode(([*map(_wire, keys)], [*map(_wire, results)], nodes))


def encode_groups(rows: Sequence[GroupRow]) -> list[bytes]:
    """Encode many groups: what :func:`encode_group` makes of each."""
    values = [each for row in rows for part in row[:2] for each in part]
    kinds = {*map(type, values)}
    if kinds <= _PLAIN:
        return [*map(_encode, rows)]
    if kinds <= _PLAIN | {int}:
        numbers = [value for value in values if type(value) is int]
        if min(numbers) >= INT_MIN and max(numbers) <= INT_MAX:
            return [*map(_encode, rows)]
    return [*map(encode_group, rows)]


def encode_increments(keys: Sequence[object], parts: Sequence[object]) -> bytes:
    """Encode what some documents add to a group."""
    return _encode(([*map(_wire, keys)], [*map(_deep, parts)], ()))


def decode_increments(data: bytes) -> tuple[tuple[object, ...], list[Any]]:
    """Decode what some documents add to a group, and the group's keys.

    Raises:
        ProtocolError: it is nothing of the kind.
    """
    found = decode_group(data)
    return tuple(found.keys), [*found.results]


def _deep(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [*map(_deep, value)]
    return _wire(value)


def decode_group(data: Buffer) -> GroupRow:
    """Decode one group.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return _decode(data)
    except DECODE_FAULTS as exc:
        raise ProtocolError(f"not an encoded group: {exc}") from exc
