"""Opening the derived data for reading, in any process.

An :class:`IndexReader` gives snapshots of the index file at the LSN it has reached. Take
the index snapshot *before* the data snapshot, so that the data is not older; the changes
between the two are read from the log. When there is no usable index (not made yet, being
recovered, damaged), there is no snapshot, and queries do without.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import lmdb

from aurora_actors.errors import AuroraError, UsageError
from aurora_actors.indexing.environment import (
    Environment,
    IndexTables,
    Transaction,
    open_index_environment,
    open_index_tables,
    read_index_state,
    read_parts,
    read_progress,
)
from aurora_actors.indexing.index import Index
from aurora_actors.indexing.layout import (
    CHECKPOINT_FILE,
    COLUMNS_DIRECTORY,
    COMPLETE,
    INDEX_FILE,
    META_SEGMENT,
    ROWS_DEAD,
    ROWS_DISORDERED,
    ROWS_OPAQUE,
    ROWS_PENDING,
    Part,
    PartKind,
    Progress,
    part_key,
)
from aurora_actors.indexing.rowsets import RowSet, read_rows
from aurora_actors.indexing.segments import (
    ROWS_MEMBERS,
    Segment,
    decode_segment,
    rows_key,
    segment_file,
    segment_rows_key,
)
from aurora_actors.indexing.sharing import (
    Read,
    SharedIndex,
    acquire_index,
    file_identity,
    release_index,
)
from aurora_actors.storage.checkpoint import boot_id, load_checkpoint
from aurora_actors.storage.environment import translate_lmdb
from aurora_actors.storage.files import Files
from aurora_actors.storage.forks import process
from aurora_actors.storage.recovery import check_length

__all__ = ["Columns", "IndexReader", "IndexSnapshot"]

# Asking the system which file has the name costs more than a short query. A file that
# has been replaced goes on to be what it was, only older.
_TRUSTED_S: Final = 0.02
_MOST_PATHS: Final = 4096


class IndexReader:
    """Read access to the derived data of one database; any thread may use it."""

    def __init__(
        self, path: Path, map_size: int, max_readers: int, *, boot: str
    ) -> None:
        self._path = path
        self._file = path / INDEX_FILE
        self._map_size = map_size
        self._max_readers = max_readers
        self._boot = boot
        self._shared: SharedIndex | None = None
        self._is_open = True

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        max_size_gb: int = 64,
        max_readers: int = 1024,
        boot: str | None = None,
    ) -> IndexReader:
        """Read the derived data of the database directory ``path``, as it comes.

        Nothing needs to be there yet.
        """
        resolved = Path(path).expanduser().resolve()
        this_boot = boot_id() if boot is None else boot
        return cls(resolved, max_size_gb << 30, max_readers, boot=this_boot)

    def snapshot(self) -> IndexSnapshot | None:
        """The derived data as it is now, or ``None`` when it cannot be used.

        Raises:
            UsageError: the reader is closed.
        """
        if not self._is_open:
            raise UsageError("this reader is closed")
        try:
            shared = self._current()
            if shared is None:
                return None
            txn = _begin(shared)
            try:
                return IndexSnapshot(txn, shared, self._path)
            except BaseException:
                txn.abort()
                raise
        except AuroraError:
            return None

    def _current(self) -> SharedIndex | None:
        """The environment of the file that has the name now."""
        shared, now = self._shared, time.monotonic()
        is_ours = shared is not None and shared.pid == process.pid
        if shared is not None and is_ours and now - shared.looked < _TRUSTED_S:
            return shared
        identity = file_identity(self._file)
        if shared is not None:
            if shared.identity == identity and is_ours:
                shared.looked = now
                return shared
            self._shared = None
            release_index(shared)
        if identity == (0, 0) or not self._is_recovered():
            return None
        self._shared = acquire_index(self._file, self._open_files, writer=False)
        return self._shared

    def _is_recovered(self) -> bool:
        """Whether the file is no mixture of pages that power loss has left."""
        checkpoint = load_checkpoint(self._path / CHECKPOINT_FILE, Files())
        if checkpoint is None:
            return False
        check_length(self._file, checkpoint)
        return checkpoint.clean or checkpoint.boot_id == self._boot

    def _open_files(self) -> tuple[Environment, IndexTables]:
        env = open_index_environment(
            self._file,
            map_size=self._map_size,
            max_readers=self._max_readers,
            readonly=True,
        )
        try:
            return env, open_index_tables(env)
        except BaseException:
            env.close()
            raise

    def close(self) -> None:
        """Let go of the environment; snapshots of this reader must have ended."""
        self._is_open = False
        shared, self._shared = self._shared, None
        if shared is not None:
            release_index(shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _begin(shared: SharedIndex) -> Transaction:
    try:
        return shared.env.begin()
    except lmdb.MapResizedError:
        shared.env.set_mapsize(0)
    except lmdb.ReadersFullError:
        shared.env.reader_check()
    except lmdb.Error as exc:
        raise translate_lmdb(exc, str(shared.path)) from exc
    try:
        return shared.env.begin()
    except lmdb.Error as exc:
        raise translate_lmdb(exc, str(shared.path)) from exc


class IndexSnapshot:
    """The derived data at one LSN; for one thread at a time.

    Attributes:
        uuid: Of the database it is derived from.
        lsn: The last change it has.
        timeline: The history that ``lsn`` belongs to.
    """

    def __init__(self, txn: Transaction, shared: SharedIndex, path: Path) -> None:
        self._txn = txn
        self._tables = shared.tables
        self._directory = path
        number = txn.id()
        read = shared.read
        if read.transaction != number:
            read = Read(number)
            if number > shared.read.transaction:
                shared.read = read
        self._read = read
        if read.head is None:
            read.head = read_index_state(txn, shared.tables.meta)
        self.uuid, state = read.head
        self.lsn = state.lsn
        self.timeline = state.timeline
        if shared.version != state.version:
            parts: dict[int, list[Part]] = {}
            for part in read_parts(txn, shared.tables.meta):
                parts.setdefault(part.collection, []).append(part)
            shared.parts, shared.version = parts, state.version
        self._parts = shared.parts

    def indexes(self, collection: int) -> list[Index]:
        """The indexes of a collection that are ready to be used."""
        return [
            Index(self._txn, self._tables, part, progress)
            for part, progress in self._ready(collection)
            if part.kind is PartKind.INDEX
        ]

    def index_on(self, collection: int, field: str) -> Index | None:
        """The index on one field alone, if it is ready to be used."""
        for part, progress in self._ready(collection):
            if part.fields == (field,) and part.kind is PartKind.INDEX:
                return Index(self._txn, self._tables, part, progress)
        return None

    def columns(self, collection: int) -> Columns | None:
        """The columns of a collection, if they are ready to be used."""
        part = self._only(collection, PartKind.COLUMNS)
        if part is None:
            return None
        known = self._read.segments
        segments = known.get(part.number)
        if segments is None:
            segments = known[part.number] = _segments(self._txn, self._tables, part)
        return Columns(
            self._txn, self._tables, part, self._directory, segments, self._read.rows
        )

    def disordered(self, collection: int) -> RowSet | None:
        """The rows whose ids are not above those of all rows before them.

        Without these rows, ascending rows have ascending ids. ``None``: not known.
        """
        known = self._read.disordered
        if collection not in known:
            part = self._only(collection, PartKind.IDS)
            found = None
            if part is not None:
                key = rows_key(part.number, ROWS_DISORDERED)
                found = read_rows(self._txn, self._tables.bitmaps, key)
            known[collection] = found
        return known[collection]

    def progress(self, collection: int) -> dict[tuple[str, ...], Progress]:
        """How far each index of a collection is, complete or not, by its fields."""
        return {
            part.fields: read_progress(self._txn, self._tables.meta, part.number)
            for part in self._parts.get(collection, ())
            if part.kind is PartKind.INDEX
        }

    def _ready(self, collection: int) -> list[tuple[Part, Progress]]:
        """The complete parts of a collection."""
        found = self._read.ready.get(collection)
        if found is None:
            meta = self._tables.meta
            progress = (
                (part, read_progress(self._txn, meta, part.number))
                for part in self._parts.get(collection, ())
            )
            found = [pair for pair in progress if pair[1].cursor == COMPLETE]
            self._read.ready[collection] = found
        return found

    def _only(self, collection: int, kind: PartKind) -> Part | None:
        """The complete part of a kind of which a collection has one at most."""
        for part, _ in self._ready(collection):
            if part.kind is kind:
                return part
        return None

    def close(self) -> None:
        """End the snapshot; what was got from it cannot be used any more."""
        self._txn.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _segments(txn: Transaction, tables: IndexTables, part: Part) -> list[Segment]:
    prefix = part_key(META_SEGMENT, part.number)
    cursor = txn.cursor(tables.meta)
    found, segments = cursor.set_range(prefix), []
    while found and cursor.key()[: len(prefix)] == prefix:
        segments.append(decode_segment(cursor.value()))
        found = cursor.next()
    return segments


class Columns:
    """The column segments of one collection at one state.

    Each row of the collection is spoken for by one segment, or is among
    :attr:`document_rows`.

    Attributes:
        fields: The columns.
        segments: The segments, oldest first.
    """

    def __init__(
        self,
        txn: Transaction,
        tables: IndexTables,
        part: Part,
        directory: Path,
        segments: list[Segment],
        known: dict[bytes, RowSet],
    ) -> None:
        self._txn = txn
        self._bitmaps = tables.bitmaps
        self._known = known
        self._part = part.number
        self._directory = directory
        self.fields = dict(zip(part.fields, part.types, strict=True))
        self.segments = segments

    @property
    def document_rows(self) -> RowSet:
        """The rows that no segment speaks for: read their documents."""
        pending = self._rows(rows_key(self._part, ROWS_PENDING))
        return pending | self._rows(rows_key(self._part, ROWS_OPAQUE))

    @property
    def document_count(self) -> int:
        """How many rows no segment speaks for."""
        pending = self._rows(rows_key(self._part, ROWS_PENDING))
        return len(pending) + len(self._rows(rows_key(self._part, ROWS_OPAQUE)))

    def path(self, segment: Segment) -> Path:
        """Where the segment's file is."""
        return _path_of(self._directory, segment.part, segment.number)

    def members(self, segment: Segment) -> RowSet:
        """The rows that the segment's file has."""
        key = segment_rows_key(self._part, ROWS_MEMBERS, segment.number)
        return read_rows(self._txn, self._bitmaps, key)

    def dead(self, segment: Segment) -> RowSet:
        """The rows of the file for which the segment does not speak any more.

        Not to be changed: others are given it, too.
        """
        return self._rows(segment_rows_key(self._part, ROWS_DEAD, segment.number))

    def _rows(self, key: bytes) -> RowSet:
        found = self._known.get(key)
        if found is None:
            found = read_rows(self._txn, self._bitmaps, key)
            self._known[key] = found
        return found


@lru_cache(_MOST_PATHS)
def _path_of(directory: Path, part: int, number: int) -> Path:
    return directory / COLUMNS_DIRECTORY / segment_file(part, number)
