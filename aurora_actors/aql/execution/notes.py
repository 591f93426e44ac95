"""What is said about the rows of a root field, between executor and client.

A note is one msgpack map. Values in it, and in rows that were made in an executor, have
the form they have in documents; whole numbers may be of any length (see
``query.group_codec``). Pure; used by both sides.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.msgpack import Ext

from aurora_actors.aql.execution.shapes import Shape
from aurora_actors.errors import ProtocolError
from aurora_actors.schema.extensions import decode_ext
from aurora_actors.schema.types import INT_MAX, INT_MIN
from aurora_actors.schema.values import DECODE_FAULTS, Buffer, wire_value

__all__ = [
    "Note",
    "RootKind",
    "decode_note",
    "decode_result",
    "encode_note",
    "encode_result",
]

RootKind: TypeAlias = Literal[
    "query", "mutation", "schema", "migration", "more", "progress"
]
_EXT_INTEGER: Final = 100


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What begins the result of a root field.

    Attributes:
        kind: What it is the result of; ``more`` adds to the one before, ``progress`` is
            no result yet: of ``steps``, ``affected`` are done.
        name: The name of the result.
        collection: Whose documents.
        operation: For mutations and schema statements, which.
        shape: What is to be seen of the rows; without one they are as they are.
        form: What the value of the root is: its rows, its edges, or ``extras`` alone.
        page: For a page: more behind it, more before it, its first and last cursor.
        edges: Each name of ``edges`` with the name of its node.
        kinds: What of ``extras`` is what: ``aggregate``, ``groups`` or ``total_count``.
        extras: Encoded values by name, beside the rows.
        affected: How many documents were changed.
        status: What became of it.
        version: For migrations, the last version.
        steps: For migrations, how many versions were applied.
        explain: An encoded plan.
        template: How the client answers the text itself the next time.
    """

    kind: RootKind
    name: str = ""
    collection: str = ""
    operation: str = ""
    shape: Shape | None = None
    form: Literal["rows", "edges", "groups", "extras"] = "rows"
    page: tuple[bool, bool, str | None, str | None] | None = None
    edges: dict[str, str] = {}
    kinds: dict[str, str] = {}
    extras: bytes = b""
    affected: int = 0
    status: str = ""
    version: str = ""
    steps: int = 0
    explain: bytes = b""
    template: bytes = b""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_note: Final = msgspec.msgpack.Decoder(Note).decode
encode_note: Final = _encode


def decode_note(data: bytes) -> Note:
    """Decode a note.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return _decode_note(data)
    except DECODE_FAULTS as exc:
        raise ProtocolError(f"not a note on a result: {exc}") from exc


# ------------------------------------------------------------------ values
def _wire(value: object) -> object:
    if isinstance(value, dict):
        return {name: _wire(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_wire(item) for item in value]
    if type(value) is int and not INT_MIN <= value <= INT_MAX:
        size = value.bit_length() // 8 + 1
        return Ext(_EXT_INTEGER, value.to_bytes(size, "big", signed=True))
    return wire_value(value, 0)


def encode_result(value: object) -> bytes:
    """Encode values that were made, not stored."""
    return _encode(_wire(value))


def _ext(code: int, data: memoryview) -> object:
    if code == _EXT_INTEGER:
        return int.from_bytes(data, "big", signed=True)
    return decode_ext(code, data)


_decode: Final = msgspec.msgpack.Decoder(dict[str, object], ext_hook=_ext).decode


def decode_result(data: Buffer) -> dict[str, object]:
    """Decode what :func:`encode_result` has made of a dict.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return _decode(data)
    except DECODE_FAULTS as exc:
        raise ProtocolError(f"not an encoded result: {exc}") from exc
