"""Carrying out the statements of a schema, or of one migration version, as one change.

A generator gives requests for storage and is sent their replies; whoever drives it
decides how they travel, and may do other things in between. Everything takes effect with
one ``Commit`` at the end, together with the record of the version: before it the
database is as it was, after it the version is applied and recorded.

How a collection gets its new state is chosen by what is done to it:

* further nullable fields, other indexes: only its definition changes;
* ``set`` on documents that fit into a transaction: they are replaced in the commit;
* everything else: a shadow is filled beside it, and takes its place in the commit.

What others write to the collections meanwhile is a conflict of the commit, after which
it is tried again; a shadow catches up and is not filled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

import msgspec

from aurora_actors.aql.data_changes import DataChange
from aurora_actors.aql.migration.shadow import Asking, Progress, Shadow, ask
from aurora_actors.aql.migration.transform import Step, Transform
from aurora_actors.aql.schema_ops import SchemaChange
from aurora_actors.errors import AuroraError, CollectionNotFoundError, ConflictError
from aurora_actors.messages.base import Message
from aurora_actors.messages.storage import (
    Commit,
    DefineCollection,
    DropCollection,
    InsertDocuments,
    Operation,
    Part,
    PointRead,
    RangeRead,
    RedefineCollection,
    ReplaceDocument,
)
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import CollectionDefinition, encode_definition
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.redefinition import can_redefine
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["Change", "Record", "Snapshots", "carry_out"]

Change: TypeAlias = SchemaChange | DataChange
Snapshots: TypeAlias = Callable[[], AbstractContextManager[Snapshot]]

_ATTEMPTS: Final = 200
_IN_PLACE_BYTES: Final = 4 << 20


class Record(msgspec.Struct, frozen=True):
    """The document by which an applied version is known.

    Attributes:
        collection: Where it goes.
        id: Its id.
        body: Its encoded fields.
    """

    collection: str
    id: str
    body: bytes


def carry_out(
    snapshots: Snapshots,
    changes: Sequence[Change],
    record: Record | None = None,
    progress: Progress | None = None,
) -> Generator[Operation, Message, None]:
    """Carry out ``changes`` as one.

    Args:
        snapshots: Takes a snapshot of the database.
        changes: In their order, each read after the ones before.
        record: A document to be inserted with them; its collection is there.
        progress: Is told how far the copying is.

    Raises:
        ConflictError: others change the same collections all the time; or the record
            is there already.
        ValidationError: documents cannot be brought to their new state; the context
            names the first ones.
        AuroraError: storage refuses it.
    """
    work = _Work(snapshots, changes, record, progress)
    try:
        yield from work.run()
    except AuroraError:
        yield from work.clean_up()
        raise


class _Target:
    """A collection that the changes are about.

    Attributes:
        name: What it is called.
        is_new: The changes define it.
        after: Its definition at the end.
        steps: What is done to its documents.
    """

    def __init__(
        self, name: str, after: CollectionDefinition | None, *, is_new: bool
    ) -> None:
        self.name = name
        self.is_new = is_new
        self.after = after
        self.steps: list[Step] = []

    @property
    def touches_documents(self) -> bool:
        """Whether documents that are there have to be looked at."""
        return any(
            isinstance(step, DataChange)
            or step.action != "add"
            or step.default is not None
            for step in self.steps
        )


class _Work:
    def __init__(
        self,
        snapshots: Snapshots,
        changes: Sequence[Change],
        record: Record | None,
        progress: Progress | None,
    ) -> None:
        self._snapshots = snapshots
        self._record = record
        self._progress = progress
        self._targets: dict[str, _Target] = {}
        self._drops: list[str] = []
        self._shadows: dict[str, Shadow] = {}
        for change in changes:
            self._take(change)

    # -------------------------------------------------------------- planning
    def _take(self, change: Change) -> None:
        name = change.collection
        if isinstance(change, DataChange):
            self._target(name).steps.append(change)
        elif change.action == "define":
            self._targets[name] = _Target(name, change.after, is_new=True)
        elif change.action == "alter":
            target = self._target(name)
            target.after = change.after
            target.steps += change.fields
        elif change.action == "drop":
            target = self._targets.pop(name, _Target(name, None, is_new=False))
            if not target.is_new:
                self._drops.append(name)

    def _target(self, name: str) -> _Target:
        return self._targets.setdefault(name, _Target(name, None, is_new=False))

    # -------------------------------------------------------------- running
    def run(self) -> Asking:
        """Fill what has to be filled, then commit until nothing comes in between."""
        for attempt in range(_ATTEMPTS):
            with self._snapshots() as snapshot:
                commit = yield from self._prepare(snapshot)
            try:
                yield from ask(commit)
            except ConflictError:
                if attempt == _ATTEMPTS - 1 or self._is_recorded():
                    raise
            else:
                return

    def _is_recorded(self) -> bool:
        record = self._record
        if record is None:
            return False
        with self._snapshots() as snapshot:
            info = snapshot.collection(record.collection)
            return snapshot.get(info, record.id) is not None

    def _prepare(self, snapshot: Snapshot) -> Generator[Operation, Message, Commit]:
        infos = {info.definition.name: info for info in snapshot.collections()}
        parts: list[Part] = [DropCollection(collection=name) for name in self._drops]
        ranges: list[RangeRead] = []
        for target in self._targets.values():
            if target.is_new:
                assert target.after is not None  # noqa: S101 - it was defined
                encoded = encode_definition(target.after)
                parts.append(DefineCollection(definition=encoded))
                continue
            info = infos.get(target.name)
            if info is None:
                raise CollectionNotFoundError(
                    f"there is no collection {target.name!r} any more",
                    collection=target.name,
                )
            ranges.append(RangeRead(target.name, b""))
            parts += yield from self._move(snapshot, info, target)
        points = []
        record = self._record
        if record is not None:
            points.append(PointRead(record.collection, record.id, 0))
            parts.append(
                InsertDocuments(
                    collection=record.collection,
                    ids=[record.id],
                    documents=[record.body],
                )
            )
        return Commit(
            snapshot_lsn=snapshot.lsn, points=points, ranges=ranges, operations=parts
        )

    def _move(
        self, snapshot: Snapshot, info: CollectionInfo, target: _Target
    ) -> Generator[Operation, Message, list[Part]]:
        """The parts that bring one collection to its new state."""
        after = target.after or info.definition
        shadow = self._shadows.get(target.name)
        if shadow is not None and shadow.source.id == info.id:
            yield from shadow.catch_up(snapshot)
            return shadow.swap
        if can_redefine(info.definition, after):
            parts: list[Part] | None = []
            if target.touches_documents:
                parts = _replacements(snapshot, info, target)
            if parts is not None:
                if after != info.definition:
                    encoded = encode_definition(after)
                    redefine = RedefineCollection(
                        collection=target.name, definition=encoded
                    )
                    parts.insert(0, redefine)
                return parts
        transform = Transform(target.name, target.steps)
        shadow = Shadow(info, after, transform, self._progress)
        self._shadows[target.name] = shadow
        yield from shadow.fill(snapshot)
        return shadow.swap

    def clean_up(self) -> Asking:
        """Remove the shadows, after a failure."""
        for shadow in self._shadows.values():
            with self._snapshots() as snapshot:
                yield from shadow.remove(snapshot)


def _replacements(
    snapshot: Snapshot, info: CollectionInfo, target: _Target
) -> list[Part] | None:
    """The documents that change, each replaced; ``None`` when they are too many."""
    transform = Transform(target.name, target.steps)
    parts: list[Part] = []
    size = 0
    for _, record in snapshot.scan(info):
        document_id, old = record_id(record), bytes(record_body(record))
        new = encode_document(transform.apply(document_id, decode_document(old)))
        if new != old:
            parts.append(
                ReplaceDocument(collection=target.name, id=document_id, document=new)
            )
            size += len(new) + len(document_id)
            if size > _IN_PLACE_BYTES:
                return None
    transform.finish()
    return parts
