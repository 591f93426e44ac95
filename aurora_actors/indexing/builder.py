"""The index builder's engine: derived data that follows the change log.

Synchronous and without sockets; the actor calls :meth:`IndexBuilder.step` whenever there
may be work. One step is one bounded piece of work and one commit: some changes, some
documents of a part being built, some of a removed index, a column segment. Every commit
leaves all parts at the one LSN in ``state``, but for those still being built, which
speak of the rows up to their cursor alone.

Invariants: a step ends at an LSN at which the database was, so a reader can add the
changes since; what a step has done is in one transaction with the LSN it leads to; a
part is made for a collection, or removed, as the snapshot's definitions say, whatever
happened in between; history that is gone, or was cut, makes all parts be built anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from aurora_actors.errors import CorruptionError, LaggedError
from aurora_actors.indexing.collection_writer import CollectionWriter, Writer
from aurora_actors.indexing.column_writer import ColumnWriter
from aurora_actors.indexing.documents import collector_paused, read_records
from aurora_actors.indexing.environment import (
    Transaction,
    encode_part,
    read_parts,
    read_progress,
)
from aurora_actors.indexing.ids_writer import IdsWriter
from aurora_actors.indexing.index_writer import IndexWriter
from aurora_actors.indexing.layout import (
    COMPLETE,
    META_PART,
    META_PROGRESS,
    META_REMOVED,
    Part,
    PartKind,
    Progress,
    pack_progress,
    part_key,
)
from aurora_actors.indexing.net_changes import net_changes
from aurora_actors.indexing.parts import wanted_parts
from aurora_actors.indexing.removal import remove_some, removed_parts
from aurora_actors.indexing.store import IndexStore, Origin, Settings
from aurora_actors.schema.types import CollectionDefinition
from aurora_actors.schema.values import Buffer
from aurora_actors.storage.snapshot import CollectionInfo, Snapshot

__all__ = ["IndexBuilder"]

_log = logging.getLogger(__name__)


class IndexBuilder:
    """All derived data of one database; make it with :meth:`open`."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._limits = store.limits
        self._collections: dict[int, CollectionWriter] = {}
        self._definitions: dict[int, CollectionDefinition] = {}
        self._removed: list[Part] = []
        self._counts = dict.fromkeys(
            ("changes", "documents_read", "commits", "flushes", "merges", "rebuilds"), 0
        )

    @classmethod
    def open(
        cls, path: Path, snapshot: Snapshot, settings: Settings | None = None
    ) -> IndexBuilder:
        """Open the derived data of the database directory ``path``, or begin it.

        Args:
            path: The directory.
            snapshot: The database as it is; what is derived of another one, or of a
                history this one does not have, is thrown away.
            settings: Limits, file system and clock.

        Raises:
            UnavailableError: another builder is at work, or the system refuses a file.
        """
        origin = Origin(snapshot.uuid, snapshot.timeline, snapshot.lsn)
        store = IndexStore.open(path, origin, settings or Settings())
        builder = cls(store)
        try:
            builder._load()
            if store.is_new:
                builder._begin_all(snapshot)
        except BaseException:
            store.close(clean=False)
            raise
        return builder

    # -------------------------------------------------------------- state
    @property
    def lsn(self) -> int:
        """The last change that is in the derived data."""
        return self._store.state.lsn

    @property
    def store(self) -> IndexStore:
        """The files, for checkpoints."""
        return self._store

    @property
    def is_building(self) -> bool:
        """Whether a part does not speak of all documents yet."""
        return any(c.cursor != COMPLETE for c in self._collections.values())

    def statistics(self) -> dict[str, int | float]:
        """Counters since the builder was opened, and sizes as they are."""
        writers = list(self._writers())
        columns = [w for w in writers if isinstance(w, ColumnWriter)]
        return {
            **self._counts,
            "lsn": self.lsn,
            "timeline": self._store.state.timeline,
            "checkpoint_lsn": self._store.checkpoint_lsn,
            "index_bytes": self._store.size_bytes,
            "parts": len(writers),
            "parts_building": sum(w.progress.cursor != COMPLETE for w in writers),
            "entries": sum(w.progress.entries for w in writers),
            "segments": sum(len(w.segments) for w in columns),
            "pending_rows": sum(len(w.pending) for w in columns),
        }

    def _writers(self) -> Iterator[Writer]:
        for collection in self._collections.values():
            yield from collection.writers

    # -------------------------------------------------------------- steps
    def step(self, snapshot: Snapshot) -> bool:
        """Do one piece of work, up to the state of ``snapshot``.

        Returns:
            Whether there is more to do at once.

        Raises:
            CorruptionError: the derived data is damaged: discard it and open anew.
            StorageFullError: there is no room; nothing was changed.
        """
        with collector_paused():
            self._follow_definitions(snapshot)
            if self.lsn < snapshot.lsn:
                self._take_changes(snapshot)
                return True
            return (
                self._build(snapshot)
                or self._remove()
                or self._flush(snapshot, self._limits.waiting_rows)
            )

    def tidy(self, snapshot: Snapshot) -> bool:
        """Do one piece of work that can wait until there is nothing else to do.

        Returns:
            Whether anything was done.
        """
        if self.lsn != snapshot.lsn or self.is_building:
            return False
        with collector_paused():
            return self._flush(snapshot, self._limits.idle_rows) or self._merge()

    # -------------------------------------------------------------- parts
    def _load(self) -> None:
        """Read everything from the tables; also after an aborted transaction."""
        store = self._store
        grouped: dict[int, list[Writer]] = {}
        with store.env.begin() as txn:
            for part in read_parts(txn, store.tables.meta):
                progress = read_progress(txn, store.tables.meta, part.number)
                writer = self._writer(txn, part, progress)
                grouped.setdefault(part.collection, []).append(writer)
            self._removed = removed_parts(txn, store.tables.meta)
        self._collections = {
            number: CollectionWriter(number, writers)
            for number, writers in grouped.items()
        }
        self._definitions = {}

    def _writer(self, txn: Transaction, part: Part, progress: Progress) -> Writer:
        store, limits = self._store, self._limits
        tables = store.tables
        match part.kind:
            case PartKind.INDEX:
                return IndexWriter(part, progress, tables, txn, limits.bitmaps)
            case PartKind.IDS:
                return IdsWriter(part, progress, tables, txn)
            case PartKind.COLUMNS:
                return ColumnWriter(
                    part,
                    progress,
                    tables,
                    txn,
                    directory=store.columns,
                    fan_in=limits.fan_in,
                )

    def _begin_all(self, snapshot: Snapshot) -> None:
        """Begin to build everything from the documents at ``snapshot``."""
        store = self._store
        store.state = store.state._replace(
            lsn=snapshot.lsn,
            timeline=snapshot.timeline,
            version=store.state.version + 1,
        )
        store.clear()
        self._load()
        self._follow_definitions(snapshot)

    def _follow_definitions(self, snapshot: Snapshot) -> None:
        """Have the parts that the definitions at ``snapshot`` ask for."""
        present = {info.id: info for info in snapshot.collections()}
        definitions = {number: info.definition for number, info in present.items()}
        if self._definitions == definitions:
            return
        made: list[tuple[Part, int]] = []
        removed: list[Part] = []
        for number in sorted(present.keys() | self._collections.keys()):
            collection = self._collections.get(number)
            have = [] if collection is None else [w.part for w in collection.writers]
            info = present.get(number)
            want = [] if info is None else wanted_parts(number, info.definition)
            removed += [p for p in have if not any(p.same_as(w) for w in want)]
            cursor = COMPLETE if info is None or self._is_new(info, snapshot) else 0
            made += [
                (part, cursor)
                for part in want
                if not any(old.same_as(part) for old in have)
            ]
        if made or removed:
            self._change_parts(made, removed)
        self._definitions = definitions

    def _is_new(self, info: CollectionInfo, snapshot: Snapshot) -> bool:
        """Whether all documents of a collection are still to come as changes."""
        if info.created_lsn > self.lsn:
            return True
        return not info.count and self.lsn == snapshot.lsn

    def _change_parts(
        self, made: Iterable[tuple[Part, int]], removed: Iterable[Part]
    ) -> None:
        """Add parts, each with its cursor, and remove others, in one commit."""
        store = self._store
        meta = store.tables.meta
        state = store.state
        number = state.next_part
        with self._writing() as txn:
            for part, cursor in made:
                encoded = encode_part(msgspec.structs.replace(part, number=number))
                txn.put(part_key(META_PART, number), encoded, db=meta)
                progress = pack_progress(Progress(cursor=cursor))
                txn.put(part_key(META_PROGRESS, number), progress, db=meta)
                number += 1
            for part in removed:
                txn.delete(part_key(META_PART, part.number), db=meta)
                txn.delete(part_key(META_PROGRESS, part.number), db=meta)
                txn.put(part_key(META_REMOVED, part.number), encode_part(part), db=meta)
            state = state._replace(version=state.version + 1, next_part=number)
            store.put_state(txn, state)
        store.state = state
        self._load()

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """A transaction after whose failure memory is read from the tables again."""
        try:
            with self._store.writing() as txn:
                yield txn
        except BaseException:
            self._load()
            raise
        self._counts["commits"] += 1

    # -------------------------------------------------------------- changes
    def _take_changes(self, snapshot: Snapshot) -> None:
        try:
            infos = snapshot.collections()
            reached, net = net_changes(snapshot, infos, self.lsn, self._limits.changes)
        except LaggedError as exc:
            _log.warning("rebuilding: history is gone", extra={"reason": exc.message})
            self._counts["rebuilds"] += 1
            self._begin_all(snapshot)
            return
        store = self._store
        self._counts["changes"] += reached - self.lsn
        with self._writing() as txn:
            for number, changes in net.items():
                collection = self._collections.get(number)
                if collection is not None:
                    collection.apply(txn, changes)
                    collection.store(txn, store.tables.meta)
            state = store.state._replace(lsn=reached)
            store.put_state(txn, state)
        store.state = state

    # -------------------------------------------------------------- building
    def _build(self, snapshot: Snapshot) -> bool:
        """Take some existing documents into parts that lack them."""
        for info in snapshot.collections():
            collection = self._collections.get(info.id)
            if collection is None or collection.cursor == COMPLETE:
                continue

            def following(
                row: int, info: CollectionInfo = info
            ) -> Iterable[tuple[int, Buffer]]:
                return islice(snapshot.scan(info, row), self._limits.documents)

            with self._writing() as txn:
                count = collection.build(txn, following)
                collection.store(txn, self._store.tables.meta)
            self._counts["documents_read"] += count
            return True
        return False

    def _remove(self) -> bool:
        """Remove some of what parts that are gone have left behind."""
        if not self._removed:
            return False
        part = self._removed[-1]
        with self._writing() as txn:
            writer = self._writer(txn, part, Progress())
            done = remove_some(txn, self._store.tables, writer)
        if done:
            self._removed.pop()
            self._store.mark_garbage()
        return True

    # -------------------------------------------------------------- columns
    def _flush(self, snapshot: Snapshot, least: int) -> bool:
        """Write the segment of one collection that has enough rows waiting."""
        for info in snapshot.collections():
            collection = self._collections.get(info.id)
            columns = None if collection is None else collection.columns
            if columns is None or len(columns.pending) < least:
                continue
            rows = columns.pending[: self._limits.segment_rows].to_array().tolist()
            found = read_records(snapshot, info, rows)
            with self._writing() as txn:
                path = columns.flush(txn, found)
                self._store_part(txn, columns)
            self._counts["flushes"] += 1
            if path is not None:
                self._store.wrote(path)
            return True
        return False

    def _merge(self) -> bool:
        for collection in self._collections.values():
            columns = collection.columns
            if columns is None:
                continue
            try:
                with self._writing() as txn:
                    path = columns.merge(txn)
                    self._store_part(txn, columns)
            except CorruptionError as exc:
                _log.warning("columns are built anew", extra={"reason": exc.message})
                self._change_parts([(columns.part, 0)], [columns.part])
                return True
            if path is not None:
                self._counts["merges"] += 1
                self._store.wrote(path)
                self._store.mark_garbage()
                return True
        return False

    def _store_part(self, txn: Transaction, writer: Writer) -> None:
        CollectionWriter(writer.part.collection, [writer]).store(
            txn, self._store.tables.meta
        )

    # -------------------------------------------------------------- the end
    def close(self) -> None:
        """Take a last checkpoint and close the files."""
        self._store.close()

    def abandon(self) -> None:
        """Close the files as they are, as a crash would leave them (for tests)."""
        self._store.close(clean=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store.close(clean=kind is None)
