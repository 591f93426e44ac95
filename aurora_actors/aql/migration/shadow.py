"""A collection filled beside the one it is to replace.

Its documents are those of one snapshot, transformed, in the same order; what is written
to the old collection meanwhile is put right before the two change places. Nobody waits:
the old collection is read and written as always until then.

Invariants:

* Before the swap, nothing but the shadow is written. A migration that dies leaves at
  most shadows, which the next one for the same collection removes.
* After :meth:`Shadow.catch_up` at a snapshot, the shadow is what the old collection is at
  that snapshot, transformed; only its documents that have changed since the copy are
  in another place of the insertion order.
* Memory is bounded by a batch, and by the ids of what changes during the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Final, TypeAlias

from msgspec.structs import replace

from aurora_actors.aql.migration.transform import Transform
from aurora_actors.errors import UniqueViolationError
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    DropCollection,
    InsertDocuments,
    Operation,
    Part,
    RedefineCollection,
)
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import (
    SHADOW_PREFIX,
    CollectionDefinition,
    encode_definition,
)
from aurora_actors.schema.values import Buffer, decode_document, encode_document
from aurora_actors.storage.changes import ChangeKind
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["Asking", "Progress", "Shadow", "ask"]

Asking: TypeAlias = Generator[Operation, Message, None]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Told (collection, documents done, documents in all) as a shadow is filled."""

_BATCH_DOCUMENTS: Final = 1_000
_BATCH_BYTES: Final = 1 << 20


def ask(request: Operation) -> Generator[Operation, Message, Message]:
    """Have a request carried out.

    Raises:
        AuroraError: it is refused.
    """
    reply = yield request
    if isinstance(reply, Failure):
        raise reply.error()
    return reply


class Shadow:
    """The new state of one collection.

    Args:
        source: The collection as it is.
        after: Its definition as it is to be.
        transform: What is to be done to its documents.
        progress: Is told how far the copying is.
    """

    def __init__(
        self,
        source: CollectionInfo,
        after: CollectionDefinition,
        transform: Transform,
        progress: Progress | None = None,
    ) -> None:
        self.source = source
        self.name = f"{SHADOW_PREFIX}{source.id}"
        self._after = after
        self._transform = transform
        self._progress = progress
        self._lsn = self._copied = 0

    @property
    def swap(self) -> list[Part]:
        """What lets it take the place of the old one."""
        return [
            DropCollection(collection=self.source.definition.name),
            RedefineCollection(
                collection=self.name, definition=encode_definition(self._after)
            ),
        ]

    def remove(self, snapshot: Snapshot) -> Asking:
        """Remove it, if it is there."""
        if any(info.definition.name == self.name for info in snapshot.collections()):
            yield from ask(DropCollection(collection=self.name))

    # -------------------------------------------------------------- filling
    def fill(self, snapshot: Snapshot) -> Asking:
        """Copy all documents of a snapshot.

        Raises:
            ValidationError: documents do not get through, or do not fit.
            UniqueViolationError: two have the same value of a unique field.
        """
        yield from self.remove(snapshot)
        # Without defaults: a field that a document has not is left out in the copy, too.
        fields = {
            name: replace(field, default=b"")
            for name, field in self._after.fields.items()
        }
        definition = replace(self._after, name=self.name, fields=fields)
        yield from ask(DefineCollection(definition=encode_definition(definition)))
        self._lsn = snapshot.lsn
        yield from self._insert(record for _, record in snapshot.scan(self.source))
        self._transform.finish()

    def _insert(self, records: Iterable[Buffer]) -> Asking:
        ids: list[str] = []
        bodies: list[bytes] = []
        size = 0
        for record in records:
            document_id = record_id(record)
            fields = decode_document(record_body(record))
            body = encode_document(self._transform.apply(document_id, fields))
            ids.append(document_id)
            bodies.append(body)
            size += len(body)
            if len(ids) >= _BATCH_DOCUMENTS or size >= _BATCH_BYTES:
                yield from self._send(ids, bodies)
                ids, bodies, size = [], [], 0
        if ids:
            yield from self._send(ids, bodies)

    def _send(self, ids: list[str], bodies: list[bytes]) -> Asking:
        insert = InsertDocuments(collection=self.name, ids=ids, documents=bodies)
        try:
            yield from ask(insert)
        except UniqueViolationError as exc:
            name = self._after.name
            context = {**exc.context, "collection": name}
            message = exc.message.replace(self.name, name)
            raise UniqueViolationError(message, **context) from exc
        self._copied += len(ids)
        if self._progress is not None:
            self._progress(self._after.name, self._copied, self.source.count)

    # -------------------------------------------------------------- meanwhile
    def catch_up(self, snapshot: Snapshot) -> Asking:
        """Put right what has changed since the copy, or since the last time.

        Raises:
            LaggedError: the changes are no longer kept.
        """
        changed: dict[str, None] = {}
        for change in snapshot.changes(self._lsn, snapshot.lsn):
            if change.collection == self.source.id and change.kind < ChangeKind.DEFINE:
                changed[change.id] = None
        for document_id in changed:
            yield from ask(DeleteDocument(collection=self.name, id=document_id))
        found = (snapshot.get(self.source, document_id) for document_id in changed)
        yield from self._insert(record for record in found if record is not None)
        self._transform.finish()
        self._lsn = snapshot.lsn
