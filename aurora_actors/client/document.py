"""Documents as the caller gets them.

A :class:`Document` is a value: it does not change when the database does. Its ``lsn``
says which change wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

from aurora_actors.errors import CorruptionError
from aurora_actors.schema.models import from_document
from aurora_actors.schema.record import (
    RECORD_HEAD,
    check_record,
    is_intact,
    unpack_record,
)
from aurora_actors.schema.values import Buffer, decode_document

__all__ = ["Document", "FieldValue", "document_of", "document_with_id"]

M = TypeVar("M")

FieldValue: TypeAlias = Any
"""What a field holds; only the collection's definition can say more."""


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
    if not is_intact(record):
        check_record(record)
    data = decode_document(record[RECORD_HEAD + record[8] :])
    return Document(document_id, data, int.from_bytes(record[:8], "big"))


def document_of(record: Buffer) -> Document:
    """Decode a record as it is kept and carried.

    Raises:
        CorruptionError: it is not what was written.
    """
    try:
        end = RECORD_HEAD + record[8]
        document_id = str(record[RECORD_HEAD:end], "utf-8")
        data = decode_document(record[end:])
    except (IndexError, UnicodeDecodeError, CorruptionError):
        unpack_record(record)  # knows better what is wrong with it
        raise
    if not is_intact(record):
        check_record(record)
    return Document(document_id, data, int.from_bytes(record[:8], "big"))
