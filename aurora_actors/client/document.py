"""Documents as the caller gets them.

A :class:`Document` is a value: it does not change when the database does. Its ``lsn``
says which change wrote it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from struct import error
from typing import Any, Final, TypeAlias, TypeVar
from zlib import crc32

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.models import from_document
from aurora_actors.schema.record import (
    RECORD_HEAD,
    check_record,
    unpack_head,
    unpack_record,
)
from aurora_actors.schema.values import (
    DECODE_FAULTS,
    Buffer,
    decode_document,
    decode_map,
)

__all__ = ["Document", "FieldValue", "converted", "document_of", "document_with_id"]

M = TypeVar("M")
T = TypeVar("T")

FieldValue: TypeAlias = Any
"""What a field holds; only the collection's definition can say more."""

_FAULTS: Final = (error, *DECODE_FAULTS)
_LOW: Final = 0xFFFFFFFF
_MANY: Final = 64


class Document:
    """One document: its id, its fields, and the change that wrote it.

    Two are equal when their ids and fields are. ``doc["name"]`` is a field,
    ``doc["id"]`` the id, ``"name" in doc`` asks for either; a dotted name is a plain
    name here.

    Attributes:
        id: The document's id.
        data: The fields, without the id.
        lsn: The number of the change that wrote this version.
    """

    __slots__ = ("data", "id", "lsn")

    def __init__(self, id: str, data: dict[str, FieldValue], lsn: int = 0) -> None:  # noqa: A002
        self.id = id
        self.data = data
        self.lsn = lsn

    def __getitem__(self, name: str) -> FieldValue:
        return self.id if name == "id" else self.data[name]

    def __contains__(self, name: object) -> bool:
        return name == "id" or name in self.data

    def __iter__(self) -> Iterator[str]:
        yield "id"
        yield from self.data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return self.id == other.id and self.data == other.data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Document(id={self.id!r}, data={self.data!r}, lsn={self.lsn})"

    def get(self, name: str, default: FieldValue = None) -> FieldValue:
        """The field ``name``, or ``default`` when the document has none."""
        return self.id if name == "id" else self.data.get(name, default)

    def to(self, model: type[M]) -> M:
        """This document as an instance of ``model``.

        Raises:
            ValidationError: a field is missing or of another type; has ``path``.
        """
        return from_document(model, self.id, self.data)

    def to_dict(self) -> dict[str, FieldValue]:
        """The fields with the id among them, as a new dict."""
        return {"id": self.id, **self.data}


def document_with_id(document_id: str, record: Buffer) -> Document:
    """Decode a record that was found by its id: the id need not be read again.

    Raises:
        CorruptionError: it is not what was written.
    """
    try:
        lsn, size, stated = unpack_head(record)
        rest = record[RECORD_HEAD:]
        if not stated or stated == (crc32(rest, (lsn ^ size << 24) & _LOW) or 1):
            return Document(document_id, decode_map(rest[size:]), lsn)
    except _FAULTS:
        pass
    raise _damage(record)


def document_of(record: Buffer) -> Document:
    """Decode a record as it is kept and carried.

    Raises:
        CorruptionError: it is not what was written.
    """
    # One function, for this is what most of a short query's time goes to.
    try:
        lsn, size, stated = unpack_head(record)
        rest = record[RECORD_HEAD:]
        if not stated or stated == (crc32(rest, (lsn ^ size << 24) & _LOW) or 1):
            return Document(str(rest[:size], "utf-8"), decode_map(rest[size:]), lsn)
    except _FAULTS:
        pass
    raise _damage(record)


def converted(convert: Callable[[T], M], records: Sequence[T]) -> list[M]:
    """What ``convert`` makes of records.

    Python's collector of cycles would walk new documents again and again, which are in
    none: for many it rests meanwhile.
    """
    if len(records) < _MANY or not gc.isenabled():
        return [*map(convert, records)]
    gc.disable()
    try:
        return [*map(convert, records)]
    finally:
        gc.enable()


def _damage(record: Buffer) -> CorruptionError:
    """What is wrong with a record."""
    try:
        _, _, body = unpack_record(record)
        decode_document(body)
        check_record(record)
    except CorruptionError as exc:
        return exc
    return CorruptionError("a document cannot be decoded")
