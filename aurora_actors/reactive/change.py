"""A change of a document as live queries look at it: decoded when it is needed.

Pure. A :class:`DocumentChange` is made of one change of the log, or of several of one
document taken together (``merged``), and is valid as long as the snapshot it was read
from.
"""

from __future__ import annotations

from collections.abc import Iterable

from aurora_actors.reactive.matching import Fields
from aurora_actors.schema.record import RECORD_HEAD
from aurora_actors.schema.values import Buffer, decode_document
from aurora_actors.storage.changes import Change, ChangeKind

__all__ = ["DocumentChange", "change_size", "first_of", "merged"]


class DocumentChange:
    """One document before and after.

    Attributes:
        lsn: The change's number.
        collection: The collection's id.
        row: The document's row id.
        old: The record before, if there was one.
        new: The record after, if there is one.
    """

    __slots__ = (
        "_new_bytes",
        "_new_fields",
        "_old_bytes",
        "_old_fields",
        "collection",
        "lsn",
        "new",
        "old",
        "row",
    )

    def __init__(
        self,
        lsn: int,
        collection: int,
        row: int,
        old: Buffer | None,
        new: Buffer | None,
    ) -> None:
        self.lsn = lsn
        self.collection = collection
        self.row = row
        self.old = old
        self.new = new
        self._old_fields: Fields | None = None
        self._new_fields: Fields | None = None
        self._old_bytes: bytes | None = None
        self._new_bytes: bytes | None = None

    @classmethod
    def of(cls, change: Change) -> DocumentChange:
        """The change as the log has it."""
        return cls(change.lsn, change.collection, change.row, change.old, change.new)

    @property
    def id(self) -> str:
        """The document's id."""
        record = self.old if self.new is None else self.new
        return (
            ""
            if record is None
            else str(record[RECORD_HEAD : RECORD_HEAD + record[8]], "utf-8")
        )

    @property
    def old_fields(self) -> Fields | None:
        """The fields before."""
        if self._old_fields is None and self.old is not None:
            self._old_fields = decode_document(self.old[RECORD_HEAD + self.old[8] :])
        return self._old_fields

    @property
    def new_fields(self) -> Fields | None:
        """The fields after."""
        if self._new_fields is None and self.new is not None:
            self._new_fields = decode_document(self.new[RECORD_HEAD + self.new[8] :])
        return self._new_fields

    @property
    def old_record(self) -> bytes | None:
        """The record before, to be kept."""
        if self._old_bytes is None and self.old is not None:
            self._old_bytes = bytes(self.old)
        return self._old_bytes

    @property
    def new_record(self) -> bytes | None:
        """The record after, to be kept."""
        if self._new_bytes is None and self.new is not None:
            self._new_bytes = bytes(self.new)
        return self._new_bytes


def change_size(change: Change) -> int:
    """The bytes of a change's records, before and after."""
    old, new = change.old, change.new
    return (0 if old is None else len(old)) + (0 if new is None else len(new))


def first_of(
    changes: Iterable[Change], last: int, most: int
) -> tuple[list[Change], int]:
    """The first of the changes up to ``last`` that together have ``most`` bytes.

    Returns:
        They, and up to where that is everything.
    """
    found: list[Change] = []
    size = 0
    for change in changes:
        found.append(change)
        size += change_size(change)
        if size >= most:
            return found, change.lsn
    return found, last


def merged(changes: Iterable[Change]) -> list[DocumentChange]:
    """Changes taken together, one for each document, in the order of their last.

    A document that was not there before and is not there after is left out, and so
    are changes of the catalog.
    """
    joined: dict[tuple[int, int], tuple[Buffer | None, Change]] = {}
    for change in changes:
        if change.kind >= ChangeKind.DEFINE:
            continue
        key = (change.collection, change.row)
        before = joined.pop(key, None)
        joined[key] = (change.old if before is None else before[0], change)
    return [
        DocumentChange(last.lsn, collection, row, old, last.new)
        for (collection, row), (old, last) in joined.items()
        if old is not None or last.new is not None
    ]
