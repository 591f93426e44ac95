"""What a transaction has read, as its commit will be compared.

Noted is, and no more:

* a document read by id, or whose presence or absence an answer has told: its version;
* a query: its predicate, which stands for everything it could have found;
* a refusal that the caller has seen: what caused it;
* a document changed without having been read ("blind"): nothing, until an answer
  depends on how it looks; then the version that was changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aurora_actors.errors import CollectionNotFoundError, UniqueViolationError
from aurora_actors.messages.storage import PointRead, RangeRead
from aurora_actors.query.plan import choose_access
from aurora_actors.query.predicate import Compare, decode_predicate, encode_predicate
from aurora_actors.schema.types import Kind
from aurora_actors.storage.overlay import Overlay
from aurora_actors.storage.reader import CollectionInfo
from aurora_actors.storage.transactions import point_size

__all__ = ["ReadSet"]

_PLAIN: Final = frozenset({Kind.STRING, Kind.INT, Kind.FLOAT, Kind.BOOL, Kind.UUID})


class ReadSet:
    """The notes of one transaction.

    Args:
        overlay: What it sees.
        grow: Told of the bytes that a note takes; may refuse them.
    """

    def __init__(self, overlay: Overlay, grow: Callable[[int], None]) -> None:
        self._overlay = overlay
        self._grow = grow
        self._points: dict[tuple[str, str], int] = {}
        self._ranges: dict[tuple[str, bytes], None] = {}
        # Documents changed blindly, with the versions changed.
        self._unread: dict[tuple[str, str], int] = {}

    def points(self) -> list[PointRead]:
        """The documents read."""
        return [PointRead(*key, lsn) for key, lsn in self._points.items()]

    def ranges(self) -> list[RangeRead]:
        """The predicates read."""
        return [RangeRead(*key) for key in self._ranges]

    def blind(self, info: CollectionInfo, document_id: str) -> None:
        """A document that the transaction had not written is changed unseen."""
        key = (info.name, document_id)
        if key not in self._points:
            self._unread[key] = self._overlay.base_version(info, document_id)

    def find(self, name: str) -> CollectionInfo:
        """A collection; that there is none is a reading, too.

        Raises:
            CollectionNotFoundError: there is none.
        """
        try:
            return self._overlay.collection(name)
        except CollectionNotFoundError:
            self._ranges[name, b""] = None
            raise

    def point(self, info: CollectionInfo, document_id: str) -> None:
        """A document is read, or its presence or absence told."""
        key = (info.name, document_id)
        if key in self._points or self._overlay.is_own(info):
            return
        if not _is_text(document_id):
            return  # no document can have this id
        version = self._unread.pop(key, None)
        if version is None:
            if self._overlay.has_written(info, document_id):
                return
            version = self._overlay.base_version(info, document_id)
        self._points[key] = version
        self._grow(point_size(document_id))

    def query(self, info: CollectionInfo, predicate: bytes) -> None:
        """A query is run."""
        if predicate:
            access = choose_access(info.definition, decode_predicate(predicate))
            if access.kind == "primary_key":
                for document_id in access.values:
                    self.point(info, str(document_id))
                return
        self.range(info, predicate)

    def range(self, info: CollectionInfo, predicate: bytes) -> None:
        """Everything that matches is read."""
        name = info.name
        # How documents look that were changed unread decides what is found.
        for key in [key for key in self._unread if key[0] == name]:
            self.point(info, key[1])
        if (name, predicate) not in self._ranges and not self._overlay.is_own(info):
            self._ranges[name, predicate] = None
            self._grow(len(predicate) + point_size(name))

    def violation(self, info: CollectionInfo, error: UniqueViolationError) -> None:
        """A write is refused, which tells who holds the value."""
        if error.field == "id":
            self.point(info, str(error.value))
            return
        declared = info.definition.fields.get(error.field or "")
        predicate = b""
        if declared is not None and declared.field_type.kind in _PLAIN:
            term = Compare("eq", error.field or "", error.value)
            predicate = encode_predicate(term)
        self.range(info, predicate)


def _is_text(document_id: str) -> bool:
    try:
        document_id.encode()
    except UnicodeEncodeError:
        return False
    return True
