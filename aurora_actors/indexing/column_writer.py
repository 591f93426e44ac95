"""The columns of one collection as the builder writes them.

Changes only mark: a changed or removed row is dead in its segment, a new or changed one
is pending. :meth:`ColumnWriter.flush` reads the documents of pending rows and writes them
as one new segment; :meth:`ColumnWriter.merge` puts small and worn segments together,
from their Arrow files, without reading a document. Files are written before the
transaction that names them commits, and never changed; one that no segment names any
more is garbage, removed when no reader can be about to open it.

What is kept in memory mirrors the tables as of the last commit; after an aborted
transaction a writer has to be made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

from pyroaring import BitMap64

from aurora_actors.indexing.environment import IndexTables, Transaction
from aurora_actors.indexing.extract import Extractor
from aurora_actors.indexing.layout import (
    META_GARBAGE,
    META_SEGMENT,
    ROWS_DEAD,
    ROWS_OPAQUE,
    ROWS_PENDING,
    Part,
    Progress,
    part_key,
    segment_key,
)
from aurora_actors.indexing.rowsets import RowSet, change_rows, delete_rows, read_rows
from aurora_actors.indexing.segments import (
    ROWS_MEMBERS,
    Segment,
    decode_segment,
    encode_segment,
    rows_key,
    segment_file,
    segment_rows_key,
)
from aurora_actors.schema.record import record_bodies
from aurora_actors.schema.values import Buffer

Array: TypeAlias = Any
ArrowTable: TypeAlias = Any

__all__ = ["FAN_IN", "LARGEST_SEGMENT", "ColumnWriter"]

LARGEST_SEGMENT: Final = 1 << 18
"""Rows; a scan of one takes a millisecond or two."""

FAN_IN: Final = 8
_WORN: Final = 4
# A column is left out of a segment when more than one value in 50 is opaque.
_OPAQUE_SHARE: Final = 50


def _arrow() -> ModuleType:
    # A tenth of a second and 13 MiB that the tree's start need not wait for: pyarrow is
    # imported for the first segment.
    from aurora_actors.indexing import arrow  # noqa: PLC0415

    return arrow


class _Live:
    """A segment with its rows and those of them that are dead."""

    __slots__ = ("dead", "members", "segment")

    def __init__(self, segment: Segment, members: RowSet, dead: RowSet) -> None:
        self.segment = segment
        self.members = members
        self.dead = dead

    @property
    def rows(self) -> int:
        """How many rows it speaks for."""
        return self.segment.rows - len(self.dead)

    @property
    def is_worn(self) -> bool:
        """Whether it is time to rewrite it without its dead rows."""
        return len(self.dead) * _WORN > self.segment.rows


class ColumnWriter:
    """Writes the columns part of one collection.

    Attributes:
        part: The fields.
        progress: Its numbers, to be stored with the next commit.
        pending: The rows that wait for a segment.
    """

    def __init__(
        self,
        part: Part,
        progress: Progress,
        tables: IndexTables,
        txn: Transaction,
        *,
        directory: Path,
        fan_in: int = FAN_IN,
    ) -> None:
        self.part = part
        self.progress = progress
        self._tables = tables
        self._directory = directory
        self._fan_in = fan_in
        self._extractor = Extractor(part.fields)
        self._pending_key = rows_key(part.number, ROWS_PENDING)
        self._opaque_key = rows_key(part.number, ROWS_OPAQUE)
        self.pending = read_rows(txn, tables.bitmaps, self._pending_key)
        self._opaque = read_rows(txn, tables.bitmaps, self._opaque_key)
        self._segments = {
            segment.number: _Live(
                segment,
                read_rows(txn, tables.bitmaps, self._key(ROWS_MEMBERS, segment.number)),
                read_rows(txn, tables.bitmaps, self._key(ROWS_DEAD, segment.number)),
            )
            for segment in self._stored(txn)
        }

    def _key(self, name: bytes, segment: int) -> bytes:
        return segment_rows_key(self.part.number, name, segment)

    def _stored(self, txn: Transaction) -> Iterator[Segment]:
        prefix = part_key(META_SEGMENT, self.part.number)
        cursor = txn.cursor(self._tables.meta)
        found = cursor.set_range(prefix)
        while found and cursor.key()[: len(prefix)] == prefix:
            yield decode_segment(cursor.value())
            found = cursor.next()

    @property
    def segments(self) -> list[Segment]:
        """The segments, oldest first."""
        return [live.segment for live in self._segments.values()]

    # -------------------------------------------------------------- changes
    def apply(
        self,
        txn: Transaction,
        *,
        inserted: Sequence[int] = (),
        updated: Sequence[int] = (),
        deleted: Sequence[int] = (),
    ) -> None:
        """Mark what has changed."""
        table = self._tables.bitmaps
        stale = BitMap64(updated) | BitMap64(deleted)
        if stale:
            for live in self._segments.values():
                self._bury(txn, live, live.members & stale - live.dead)
            opaque = self._opaque & stale
            if opaque:
                change_rows(txn, table, self._opaque_key, remove=opaque)
                self._opaque -= opaque
        change_rows(
            txn, table, self._pending_key, add=[*inserted, *updated], remove=deleted
        )
        self.pending |= BitMap64(inserted) | BitMap64(updated)
        self.pending -= BitMap64(deleted)

    def _bury(self, txn: Transaction, live: _Live, rows: RowSet) -> None:
        if rows:
            key = self._key(ROWS_DEAD, live.segment.number)
            change_rows(txn, self._tables.bitmaps, key, add=rows)
            live.dead |= rows

    # -------------------------------------------------------------- flushing
    def flush(
        self, txn: Transaction, documents: Sequence[tuple[int, Buffer]]
    ) -> Path | None:
        """Write a segment of ``documents``: pending rows with their records, ascending.

        Returns:
            The file to be synced, if one was written.
        """
        if not documents:
            return None
        rows = [row for row, _ in documents]
        columns, opaque = self._columns(record_bodies(r for _, r in documents))
        table = _arrow().segment_table(rows, columns)
        bitmaps = self._tables.bitmaps
        if opaque:
            hidden = [rows[at] for at in sorted(opaque)]
            table = _arrow().drop_rows(table, hidden)
            change_rows(txn, bitmaps, self._opaque_key, add=hidden)
            self._opaque |= BitMap64(hidden)
        change_rows(txn, bitmaps, self._pending_key, remove=rows)
        self.pending -= BitMap64(rows)
        return self._add(txn, table) if table.num_rows else None

    def _columns(self, bodies: Sequence[Buffer]) -> tuple[dict[str, Array], set[int]]:
        """The columns, and the positions of documents that do not fit in them."""
        values = self._extractor.read(bodies)
        columns: dict[str, Array] = {}
        opaque: set[int] = set()
        for name, kind in zip(self.part.fields, self.part.types, strict=True):
            array, unfit = _arrow().column_array(kind, values.column(name))
            if len(unfit) * _OPAQUE_SHARE > len(bodies):
                continue
            columns[name] = array
            opaque.update(unfit)
        return columns, opaque

    def _add(self, txn: Transaction, table: ArrowTable) -> Path:
        number = self.progress.next_segment
        path = self._directory / segment_file(self.part.number, number)
        size, crc = _arrow().write_segment_table(table, path)
        members = BitMap64(_arrow().row_ids(table))
        segment = Segment(
            part=self.part.number,
            number=number,
            rows=len(members),
            first=members.min(),
            last=members.max(),
            size=size,
            crc=crc,
            columns=_arrow().column_facts(table),
        )
        bitmaps, meta = self._tables.bitmaps, self._tables.meta
        change_rows(txn, bitmaps, self._key(ROWS_MEMBERS, number), add=members)
        txn.put(segment_key(self.part.number, number), encode_segment(segment), db=meta)
        self._segments[number] = _Live(segment, members, BitMap64())
        self.progress = self.progress._replace(next_segment=number + 1)
        _arrow().release_memory()
        return path

    # -------------------------------------------------------------- merging
    def merge(self, txn: Transaction) -> Path | None:
        """Put some segments together, or rewrite a worn one; nothing if none needs it.

        Returns:
            The file to be synced, if something was done. Of nothing but dead rows no
            file is written, and the returned path does not exist.
        """
        chosen = self._choose()
        if not chosen:
            return None
        tables = [
            _arrow().drop_rows(self._open(live.segment), live.dead.to_array())
            for live in sorted(chosen, key=lambda live: live.segment.first)
        ]
        table = _arrow().merge_tables(tables)
        for live in chosen:
            self._discard(txn, live.segment)
        if table.num_rows:
            return self._add(txn, table)
        return self._directory / chosen[0].segment.file

    def _open(self, segment: Segment) -> ArrowTable:
        path = self._directory / segment.file
        return _arrow().open_segment_table(path, segment.size, segment.crc)

    def _choose(self) -> list[_Live]:
        """Which segments to merge: enough of a like size, else a worn one."""
        tiers: dict[tuple[int, tuple[str, ...]], list[_Live]] = {}
        for live in self._segments.values():
            tier = max(0, live.rows.bit_length() - 10) // 3
            names = tuple(facts.name for facts in live.segment.columns)
            tiers.setdefault((tier, names), []).append(live)
        for tier_key in sorted(tiers):
            members, total, chosen = tiers[tier_key], 0, []
            for live in sorted(members, key=lambda live: live.segment.first):
                if total + live.rows <= LARGEST_SEGMENT:
                    total += live.rows
                    chosen.append(live)
            is_full = len(chosen) > 1 and total * 8 >= LARGEST_SEGMENT * 7
            if is_full or len(chosen) >= self._fan_in:
                return chosen
        return next(([live] for live in self._segments.values() if live.is_worn), [])

    def _discard(self, txn: Transaction, segment: Segment) -> None:
        number = segment.number
        bitmaps, meta = self._tables.bitmaps, self._tables.meta
        txn.delete(segment_key(self.part.number, number), db=meta)
        delete_rows(txn, bitmaps, self._key(ROWS_MEMBERS, number))
        delete_rows(txn, bitmaps, self._key(ROWS_DEAD, number))
        txn.put(META_GARBAGE + segment.file.encode(), b"", db=meta)
        del self._segments[number]

    def remove(self, txn: Transaction) -> None:
        """Remove all of the columns; the files become garbage."""
        for segment in self.segments:
            self._discard(txn, segment)
        delete_rows(txn, self._tables.bitmaps, self._pending_key)
        delete_rows(txn, self._tables.bitmaps, self._opaque_key)
