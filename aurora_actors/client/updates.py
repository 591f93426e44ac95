"""What a watcher and a listener get: plain objects, shared by all who asked the same.

An update is a value; do not change the documents in it. Its ``token`` is the place right
behind it: a watch that begins with ``since=token`` goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from aurora_actors.client.document import Document
from aurora_actors.schema.values import values_equal

__all__ = [
    "Added",
    "ChangeEvent",
    "ChangeType",
    "Heartbeat",
    "HistoryLost",
    "InitialComplete",
    "Modified",
    "Removed",
    "Tokens",
    "Update",
]

T = TypeVar("T")


class Tokens(Protocol):
    """What knows the tokens of a run of updates."""

    def token(self, seen: int) -> str:
        """The place behind the first ``seen`` events."""
        ...


class Update:
    """The base of all that a watcher gives.

    Attributes:
        lsn: The change it comes from.
    """

    __slots__ = ("_seen", "_tokens", "lsn")

    def __init__(self, lsn: int, tokens: Tokens, seen: int) -> None:
        self.lsn = lsn
        self._tokens = tokens
        self._seen = seen

    @property
    def token(self) -> str:
        """Resumes right behind this update."""
        return self._tokens.token(self._seen)


class _OfDocument(Update, Generic[T]):
    """An update that tells of a document, which is decoded when it is looked at.

    Its record is kept in any case, by the chunk that the tokens are made from. Two
    threads that look first at the same time both decode it.
    """

    __slots__ = ("_convert", "_document", "_record", "row")

    def __init__(
        self,
        convert: Callable[[bytes], T],
        record: bytes,
        row: int,
        place: tuple[int, Tokens, int],
    ) -> None:
        self.lsn, self._tokens, self._seen = place
        self.row = row
        self._convert = convert
        self._record = record
        self._document: T | None = None

    def _newest(self) -> T:
        document = self._document
        if document is None:
            document = self._document = self._convert(self._record)
        return document

    def decode(self) -> None:
        """Decode what has not been looked at yet.

        Raises:
            AuroraError: it cannot be what the caller wants it to be.
        """
        self._newest()


class Added(_OfDocument[T]):
    """A document matches that did not before.

    Attributes:
        row: Its place in the order of insertion.
        position: With an order or a limit, its place in the result.
    """

    __slots__ = ("position",)

    def __init__(
        self,
        convert: Callable[[bytes], T],
        record: bytes,
        row: int,
        position: int | None,
        place: tuple[int, Tokens, int],
    ) -> None:
        # Written out: this is made more often than anything else.
        self.lsn, self._tokens, self._seen = place
        self.row = row
        self.position = position
        self._convert = convert
        self._record = record
        self._document = None

    @property
    def document(self) -> T:
        """The document."""
        return self._newest()

    def __repr__(self) -> str:
        return f"Added({self.document!r}, lsn={self.lsn})"


class Modified(_OfDocument[T]):
    """A document that matches has changed, or its place has.

    Attributes:
        row: Its place in the order of insertion.
        position: With an order or a limit, its place in the result now.
    """

    __slots__ = ("_old", "_old_record", "position")

    def __init__(
        self,
        convert: Callable[[bytes], T],
        records: tuple[bytes, bytes],
        row: int,
        position: int | None,
        place: tuple[int, Tokens, int],
    ) -> None:
        super().__init__(convert, records[1], row, place)
        self.position = position
        self._old_record = records[0]
        self._old: T | None = None

    @property
    def old(self) -> T:
        """The document before."""
        document = self._old
        if document is None:
            document = self._old = self._convert(self._old_record)
        return document

    @property
    def new(self) -> T:
        """The document now."""
        return self._newest()

    def decode(self) -> None:
        """Decode what has not been looked at yet, both versions."""
        self._newest()
        self._old = self.old

    def __repr__(self) -> str:
        return f"Modified({self.old!r}, {self.new!r}, lsn={self.lsn})"


class Removed(_OfDocument[T]):
    """A document does not match any more.

    Attributes:
        row: Its place in the order of insertion.
    """

    __slots__ = ()

    @property
    def document(self) -> T:
        """The document as it last matched."""
        return self._newest()

    def __repr__(self) -> str:
        return f"Removed({self.document!r}, lsn={self.lsn})"


class InitialComplete(Update):
    """The present result has been told; what follows are changes after ``lsn``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"InitialComplete(lsn={self.lsn})"


class HistoryLost(Update):
    """Changes in between are not known any more: forget what was told before.

    The present result follows, and ``InitialComplete``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"HistoryLost(lsn={self.lsn})"


class Heartbeat(Update):
    """Nothing has happened up to ``lsn``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Heartbeat(lsn={self.lsn})"


class ChangeType(Enum):
    """What a change did."""

    INSERT = 1
    UPDATE = 2
    DELETE = 3
    CREATE_COLLECTION = 4
    DROP_COLLECTION = 5


class ChangeEvent:
    """One change, as a listener gets it.

    Attributes:
        change_type: What it did.
        collection: The collection's name.
        id: The document's id; empty for a collection's creation or removal.
        document: The document after it; ``None`` for a delete.
        old_document: The document before it; ``None`` for an insert.
        lsn: Its number.
    """

    def __init__(
        self,
        change_type: ChangeType,
        collection: str,
        documents: tuple[Document | None, Document | None],
        place: tuple[int, Tokens, int],
    ) -> None:
        self.change_type = change_type
        self.collection = collection
        self.old_document, self.document = documents
        known = self.document if self.document is not None else self.old_document
        self.id = "" if known is None else known.id
        self.lsn, self._tokens, self._seen = place

    def __repr__(self) -> str:
        return (
            f"ChangeEvent({self.change_type.name}, {self.collection!r}, {self.id!r}, "
            f"lsn={self.lsn})"
        )

    @property
    def token(self) -> str:
        """Resumes right behind this change."""
        return self._tokens.token(self._seen)

    @cached_property
    def changed_fields(self) -> frozenset[str]:
        """The top-level fields whose values differ before and after."""
        old = {} if self.old_document is None else self.old_document.data
        new = {} if self.document is None else self.document.data
        return frozenset(
            name
            for name in old.keys() | new.keys()
            if not values_equal(old.get(name), new.get(name))
        )
