"""All derived parts of one collection, as the builder writes them.

Documents are decoded once for all indexes, and only as far as these need it. A part that
is being built for existing documents has a cursor and takes changes of rows up to it
only: the rows behind it are read, as they are then, when the cursor comes to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from aurora_actors.indexing.column_writer import ColumnWriter
from aurora_actors.indexing.environment import Table, Transaction
from aurora_actors.indexing.extract import Extractor
from aurora_actors.indexing.ids_writer import IdsWriter
from aurora_actors.indexing.index_writer import IndexWriter
from aurora_actors.indexing.layout import (
    COMPLETE,
    META_PROGRESS,
    pack_progress,
    part_key,
)
from aurora_actors.indexing.net_changes import NetChange
from aurora_actors.schema.record import record_bodies, record_ids
from aurora_actors.schema.values import Buffer

__all__ = ["CollectionWriter", "Writer"]

Writer: TypeAlias = IndexWriter | ColumnWriter | IdsWriter


class _Batch:
    """Net changes by what they did, their documents decoded."""

    def __init__(self, changes: Sequence[NetChange], extractor: Extractor) -> None:
        # Most batches insert and nothing else; these comprehensions cost 0.1 us each.
        inserted = [(row, new) for row, old, new in changes if old is None and new]
        self.inserted = [row for row, _ in inserted]
        self.updated: list[int] = []
        self.deleted: list[int] = []
        before: list[Buffer] = []
        after = [record for _, record in inserted]
        if len(inserted) < len(changes):
            updated = [(r, old, new) for r, old, new in changes if old and new]
            deleted = [(row, old) for row, old, new in changes if old and new is None]
            self.updated = [row for row, _, _ in updated]
            self.deleted = [row for row, _ in deleted]
            after += [new for _, _, new in updated]
            before = [old for _, old in deleted] + [old for _, old, _ in updated]
        self._inserted = inserted
        self.after = extractor.read(record_bodies(after))
        self.before = extractor.read(record_bodies(before))

    def new_ids(self) -> list[tuple[int, str]]:
        """The ids of what was inserted, by row."""
        rows, records = self.inserted, [record for _, record in self._inserted]
        return list(zip(rows, record_ids(records), strict=True))


class CollectionWriter:
    """Applies changes of one collection to its parts.

    Attributes:
        collection: Its id.
        writers: One for each part.
    """

    def __init__(self, collection: int, writers: Sequence[Writer]) -> None:
        self.collection = collection
        self.writers = list(writers)
        fields = [
            name
            for writer in self.writers
            if isinstance(writer, IndexWriter)
            for name in writer.part.fields
        ]
        self._extractor = Extractor(fields)

    @property
    def columns(self) -> ColumnWriter | None:
        """The writer of its columns, if it has any."""
        for writer in self.writers:
            if isinstance(writer, ColumnWriter):
                return writer
        return None

    @property
    def cursor(self) -> int:
        """The lowest row up to which all parts have come; ``COMPLETE`` if all have."""
        cursors = [writer.progress.cursor for writer in self.writers]
        return min(cursors, default=COMPLETE)

    # -------------------------------------------------------------- changes
    def apply(self, txn: Transaction, changes: Sequence[NetChange]) -> None:
        """Bring all parts up to date with ``changes``, ascending by row."""
        by_cursor: dict[int, _Batch] = {}
        for writer in self.writers:
            cursor = writer.progress.cursor
            if cursor not in by_cursor:
                some = changes
                if cursor != COMPLETE:
                    some = [change for change in changes if change.row <= cursor]
                by_cursor[cursor] = _Batch(some, self._extractor)
            _apply(writer, txn, by_cursor[cursor])

    def build(
        self,
        txn: Transaction,
        documents: Callable[[int], Iterable[tuple[int, Buffer]]],
    ) -> int:
        """Take some existing documents into the parts that have come least far.

        Args:
            txn: The transaction.
            documents: Gives the (row, record) pairs of the next documents behind a
                row, ascending; none when there are no more.

        Returns:
            How many documents were read.
        """
        cursor = self.cursor
        changes = [NetChange(row, None, record) for row, record in documents(cursor)]
        batch = _Batch(changes, self._extractor)
        reached = changes[-1].row if changes else COMPLETE
        for writer in self.writers:
            if writer.progress.cursor == cursor:
                _apply(writer, txn, batch)
                writer.progress = writer.progress._replace(cursor=reached)
        return len(changes)

    def store(self, txn: Transaction, meta: Table) -> None:
        """Write the numbers of all parts."""
        for writer in self.writers:
            key = part_key(META_PROGRESS, writer.part.number)
            txn.put(key, pack_progress(writer.progress), db=meta)


def _apply(writer: Writer, txn: Transaction, batch: _Batch) -> None:
    match writer:
        case IndexWriter():
            gone = writer.pairs([*batch.deleted, *batch.updated], batch.before)
            new = writer.pairs([*batch.inserted, *batch.updated], batch.after)
            if batch.updated:
                gone, new = _differing(gone, new)
            writer.apply(txn, gone, new)
        case IdsWriter():
            writer.apply(txn, batch.new_ids())
        case ColumnWriter():
            writer.apply(
                txn,
                inserted=batch.inserted,
                updated=batch.updated,
                deleted=batch.deleted,
            )


def _differing(
    gone: list[tuple[bytes, int]], new: list[tuple[bytes, int]]
) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, int]]]:
    """Leave out what an update has not changed."""
    before, after = set(gone), set(new)
    return list(before - after), sorted(after - before)
