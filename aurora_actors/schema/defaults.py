"""Defaults: what a new document gets in fields that it does not have.

Storage fills them in before it checks an inserted document. A field that is there, even
with null, stays as it is; documents that exist are not touched. Works on encoded
documents, without decoding any value. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from aurora_actors.schema.conformance import map_length
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import DECODE_FAULTS

__all__ = ["Defaults"]

_encode: Final = msgspec.msgpack.Encoder().encode
_names: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode


class Defaults:
    """The defaults of one collection; false when there are none."""

    __slots__ = ("_pairs",)

    def __init__(self, definition: CollectionDefinition) -> None:
        self._pairs = {
            name: _encode(name) + field.default
            for name, field in definition.fields.items()
            if field.default
        }

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def fill(self, bodies: Sequence[bytes]) -> list[bytes]:
        """The encoded documents with what they lack."""
        return [self._filled(body) for body in bodies]

    def _filled(self, body: bytes) -> bytes:
        try:
            present = _names(body)
        except DECODE_FAULTS:
            return body  # the validator says what is wrong with it
        missing = [pair for name, pair in self._pairs.items() if name not in present]
        if not missing:
            return body
        is_short = body[0] < 0x90
        count = body[0] - 0x80 if is_short else map_length(body)
        start = 1 if is_short else 3 if body[0] == 0xDE else 5
        return b"".join((_head(count + len(missing)), body[start:], *missing))


def _head(count: int) -> bytes:
    """The beginning of an encoded map."""
    if count < 16:
        return bytes((0x80 + count,))
    if count < 1 << 16:
        return b"\xde" + count.to_bytes(2, "big")
    return b"\xdf" + count.to_bytes(4, "big")
