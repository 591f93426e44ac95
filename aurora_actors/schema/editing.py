"""Changing single fields of encoded documents; the others stay as they are encoded.

Used where patches are applied (``schema.patch``); holds no state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.extensions import decode_ext
from aurora_actors.schema.refusal import Refused
from aurora_actors.schema.values import DECODE_FAULTS, Buffer, encode_within

__all__ = ["edit_document", "set_fields"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ext_hook=decode_ext).decode
_decode_parts = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode


def edit_document(
    data: Buffer,
    names: Iterable[str],
    change: Callable[[dict[str, object]], dict[str, object]],
) -> bytes:
    """Change some fields of an encoded document.

    Args:
        data: The document.
        names: The fields that ``change`` may touch, add or remove.
        change: Given those that there are, what they are to be.

    Raises:
        CorruptionError: ``data`` is no encoded document.
        ValidationError: a value that no document can have; ``path`` is where.
    """
    try:
        fields = _decode_parts(data)
        before = {name: _decode(fields[name]) for name in names if name in fields}
    except DECODE_FAULTS as exc:
        raise CorruptionError(f"not an encoded document: {exc}") from exc
    after = change(before)
    for name in names:
        if name not in after:
            fields.pop(name, None)
            continue
        try:
            fields[name] = msgspec.Raw(encode_within(after[name], 1))
        except Refused as refused:
            raise refused.within(name).error() from None
    return _encode(fields)


def set_fields(data: Buffer, fields: Iterable[tuple[str, object, object]]) -> bytes:
    """Set top-level fields of an encoded document.

    Args:
        data: The document.
        fields: The names first, the values last, with anything between.

    Raises:
        CorruptionError: ``data`` is no encoded document.
        ValidationError: a value that no document can have; ``path`` is where.
    """
    try:
        parts = _decode_parts(data)
    except DECODE_FAULTS as exc:
        raise CorruptionError(f"not an encoded document: {exc}") from exc
    for name, _, value in fields:
        try:
            parts[name] = msgspec.Raw(encode_within(value, 1))
        except Refused as refused:
            raise refused.within(name).error() from None
    return _encode(parts)
