"""A snapshot with a transaction's own writes on top.

An :class:`Overlay` is read like any snapshot, by the same query engine, and changed by
the same operations that storage applies at the commit: what a transaction sees of its
own writes is what its commit will do, refusals included. Nothing reaches the database
from here. In the process that runs the transaction; for one thread at a time.

Invariants:

* Rows of the snapshot keep their places, new ones come behind them in the order of
  their insertion, as they will after the commit.
* A document that the transaction has written has LSN 0: its change has no number yet.
* The change log seen through an overlay is the snapshot's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from typing import Final, NamedTuple

from aurora_actors.errors import DataError, UsageError
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import JobPart
from aurora_actors.messages.storage import DefineCollection, Part
from aurora_actors.schema.record import RECORD_HEAD, UNCHECKED
from aurora_actors.schema.types import HIDDEN, decode_definition
from aurora_actors.storage.catalog import (
    Catalog,
    Collection,
    Counters,
    collection_missing,
    hidden_from_all,
    read_counters,
)
from aurora_actors.storage.environment import Cursor, Table
from aurora_actors.storage.layout import row_key, value_key
from aurora_actors.storage.operations import Operations
from aurora_actors.storage.snapshot import (
    CollectionInfo,
    Snapshot,
    unique_prefixes,
)
from aurora_actors.storage.writeset import Savepoint, WriteSet

__all__ = ["Overlay"]

_U64: Final = struct.Struct(">Q")
_PAIR: Final = struct.Struct(">IQ")
_NO_LSN: Final = bytes(8)
# Collections made in a transaction have ids from here on until it commits.
_FIRST_OWN: Final = 1 << 31
_MISSING: Final = object()


class _Own(NamedTuple):
    """What has been written: keys as in the tables, ``None`` for what was removed."""

    docs: dict[bytes, bytes | None]
    ids: dict[bytes, bytes | None]
    unique: dict[bytes, bytes | None]
    by_name: dict[str, Collection]
    counters: dict[int, Counters]
    dropped: dict[int, int]

    def copy(self) -> _Own:
        """The same, as it is now."""
        return _Own(
            self.docs.copy(),
            self.ids.copy(),
            self.unique.copy(),
            self.by_name.copy(),
            self.counters.copy(),
            self.dropped.copy(),
        )


class _OwnWrites(WriteSet):
    """A write set over a read-only snapshot; it is never flushed."""

    def parts(self) -> _Own:
        """Its contents, as they change."""
        catalog = self.catalog
        return _Own(
            self._docs,
            self._ids,
            self._unique,
            catalog.by_name,
            catalog.counters,
            catalog.dropped,
        )

    def record(self, collection: Collection, row: int) -> bytes | None:
        """The record of a row, copied off the map."""
        found = super().record(collection, row)
        return None if found is None else bytes(found)

    def records(self, collection: Collection, rows: Sequence[int]) -> list[bytes]:
        """The records of those of ``rows`` that exist."""
        found = (self.record(collection, row) for row in rows)
        return [record for record in found if record is not None]

    def _any(
        self, overlay: dict[bytes, bytes | None], table: Table, keys: Iterable[bytes]
    ) -> bytes | None:
        # Keys on the map are memoryviews, which have no order.
        for key in keys:
            if self._number(overlay, table, key) is not None:
                return key
        return None

    def _supersede(self, old: bytes) -> None:
        """The change log here is nobody's."""

    def _supersede_all(self, records: Sequence[bytes], first_lsn: int) -> None:
        """The change log here is nobody's."""


class Overlay(Snapshot):
    """A snapshot that can be changed; closing it ends the snapshot below.

    Args:
        base: The snapshot.
        collections: Collections by id, with their validators, for as long as anybody
            likes to keep them.
    """

    __slots__ = ("_base", "_collections", "_own", "_writes")

    def __init__(self, base: Snapshot, collections: dict[int, Collection]) -> None:
        super().__init__(base.txn, base._tables, base._cache)  # noqa: SLF001 - one of its kind
        catalog = Catalog()
        catalog.numbers["next_collection"] = _FIRST_OWN
        state = self._read_state()
        self._collections = collections
        self._writes = _OwnWrites(self.txn, self._tables, catalog, state, state.lsn + 1)
        self._own = self._writes.parts()
        self._base = base

    def frozen(self) -> Snapshot:
        """The same as it is now, whatever is written later; ends with this one."""
        if not any(self._own):
            return self._base
        copy = Overlay(self._base, self._collections)
        copy._own = self._own.copy()
        return copy

    # -------------------------------------------------------------- writing
    def apply(self, operations: Operations, request: Part) -> Message:
        """Apply one operation here; when it raises, nothing has changed.

        Raises:
            AuroraError: whatever storage would refuse it with at this state.
        """
        if isinstance(request, JobPart):
            raise UsageError("jobs change when the transaction commits")
        if isinstance(request, DefineCollection):
            self._load(decode_definition(request.definition).name)
        elif not self._load(request.collection):
            raise collection_missing(request.collection, self._names())
        return operations.apply(self._writes, request)

    def savepoint(self) -> Savepoint:
        """The present point."""
        return self._writes.savepoint()

    def rollback(self, point: Savepoint) -> None:
        """Undo everything written since ``point``."""
        self._writes.rollback(point)

    def _load(self, name: str) -> bool:
        """Make a collection known to the write set; whether there is one."""
        catalog = self._writes.catalog
        if name in catalog.by_name:
            return True
        info = self._catalog().get(name)
        if info is None or info.id in catalog.dropped:
            return False
        found = self._collections.get(info.id)
        if found is None or found.definition != info.definition:
            found = Collection(info.id, info.definition, info.created_lsn)
            self._collections[info.id] = found
        counters = read_counters(self.txn, self._tables.meta, info.id)
        if info.marked is not None:
            catalog.marked[info.prefix] = info.marked
        catalog.by_name[name] = catalog.by_id[info.id] = found
        catalog.counters[info.id] = counters
        return True

    # -------------------------------------------------------------- what is whose
    def is_own(self, info: CollectionInfo) -> bool:
        """Whether the transaction itself has created the collection."""
        return info.id >= _FIRST_OWN

    def has_written(self, info: CollectionInfo, document_id: str) -> bool:
        """Whether the transaction has written or removed the document."""
        own = self._own
        if not own.docs:
            return False
        name = info.prefix + document_id.encode(errors="surrogatepass")
        if name in own.ids:
            return True
        row = super().row_of(info, document_id)
        return row is not None and row_key(info.id, row) in own.docs

    def base_version(self, info: CollectionInfo, document_id: str) -> int:
        """The LSN of the document in the snapshot below; 0 when it is not there."""
        record = super().get(info, document_id)
        return 0 if record is None else _U64.unpack_from(record)[0]

    # -------------------------------------------------------------- collections
    def find(self, name: str) -> CollectionInfo:
        """As :meth:`collection`."""
        return self.collection(name)

    def collection(self, name: str) -> CollectionInfo:
        """The collection called ``name``, with its present count.

        Raises:
            CollectionNotFoundError: there is none.
            PermissionDeniedError: its documents are shown to nobody.
        """
        if name in HIDDEN:
            raise hidden_from_all(name)
        return self.known(name)

    def known(self, name: str) -> CollectionInfo:
        """As :meth:`collection`, for the database itself, which may read everything."""
        own = self._own.by_name.get(name)
        if own is not None:
            return self._info(own)
        info = self._catalog().get(name)
        if info is None or info.id in self._own.dropped:
            raise collection_missing(name, self._names())
        return self._counted(info)

    def collections(self) -> list[CollectionInfo]:
        """All collections, by name."""
        return [self.known(name) for name in sorted(self._names())]

    def _names(self) -> dict[str, None]:
        dropped = self._own.dropped
        names = {
            name: None
            for name, info in self._catalog().items()
            if info.id not in dropped
        }
        names.update(dict.fromkeys(self._own.by_name))
        return names

    def _info(self, own: Collection) -> CollectionInfo:
        count = self._own.counters[own.id].documents
        unique = unique_prefixes(own.id, own.definition)
        return CollectionInfo(
            own.id, own.definition, count, own.created_lsn, own.prefix, unique
        )

    # -------------------------------------------------------------- documents
    def get(self, info: CollectionInfo, document_id: str) -> memoryview | None:
        """The record of the document with this id."""
        if not self._own.docs:
            return super().get(info, document_id)
        row = self.row_of(info, document_id)
        return None if row is None else self.get_row(info, row)

    def get_row(self, info: CollectionInfo, row: int) -> memoryview | None:
        """The record in this row."""
        own = self._own.docs.get(row_key(info.id, row), _MISSING)
        if own is _MISSING:
            return super().get_row(info, row)
        return _unnumbered(own) if isinstance(own, bytes) else None

    def get_rows(
        self, info: CollectionInfo, rows: list[int]
    ) -> list[tuple[int, memoryview]]:
        """The records of many rows."""
        if not self._own.docs:
            return super().get_rows(info, rows)
        found = ((row, self.get_row(info, row)) for row in rows)
        return [(row, record) for row, record in found if record is not None]

    def get_records(self, info: CollectionInfo, rows: list[int]) -> list[memoryview]:
        """As :meth:`get_rows`, but only the records."""
        if not self._own.docs:
            return super().get_records(info, rows)
        return [record for _, record in self.get_rows(info, rows)]

    def row_of(self, info: CollectionInfo, document_id: str) -> int | None:
        """The row of the document with this id."""
        key = info.prefix + document_id.encode(errors="surrogatepass")
        own = self._own.ids.get(key, _MISSING)
        if own is _MISSING:
            return super().row_of(info, document_id)
        return int.from_bytes(own, "big") if isinstance(own, bytes) else None

    def rows_by_id(
        self,
        info: CollectionInfo,
        low: bytes = b"",
        high: bytes | None = None,
        *,
        descending: bool = False,
    ) -> Iterator[tuple[bytes, int]]:
        """Ids (UTF-8) from ``low`` to before ``high`` in order, with their rows."""
        found = super().rows_by_id(info, low, high, descending=descending)
        prefix, own = info.prefix, self._own.ids
        added = sorted(
            (
                (key[4:], int.from_bytes(row, "big"))
                for key, row in own.items()
                if isinstance(row, bytes)
                and key[:4] == prefix
                and key[4:] >= low
                and (high is None or key[4:] < high)
            ),
            reverse=descending,
        )
        if not own:
            return found
        kept = (pair for pair in found if prefix + pair[0] not in own)
        return merge(kept, added, reverse=descending)

    def lookup_unique(
        self, info: CollectionInfo, field: str, value: object
    ) -> int | None:
        """The row of the document that has ``value`` in the unique ``field``.

        Raises:
            UsageError: the field is not unique.
        """
        prefix = info.unique.get(field)
        if prefix is None:
            raise UsageError(f"{info.name}.{field} is not a unique field")
        with suppress(ValueError, DataError):
            key = prefix + value_key(value)
            own = self._own.unique.get(key, _MISSING)
            if own is not _MISSING:
                return int.from_bytes(own, "big") if isinstance(own, bytes) else None
        return super().lookup_unique(info, field, value)

    def scan(
        self, info: CollectionInfo, after_row: int = 0
    ) -> Iterator[tuple[int, memoryview]]:
        """All documents behind ``after_row``, as (row, record) in row order."""
        own = self._own_rows(info)
        for row, record in super().scan(info, after_row):
            if own and row in own:
                changed = own.pop(row)
                if changed is not None:
                    yield row, _unnumbered(changed)
            else:
                yield row, record
        for row in sorted(own):
            added = own[row]
            if row > after_row and added is not None:
                yield row, _unnumbered(added)

    def open_cursor(self, info: CollectionInfo, after_row: int = 0) -> Cursor | None:
        """A cursor, or ``None`` when only :meth:`scan` gives all documents."""
        if self._own_rows(info):
            return None
        return super().open_cursor(info, after_row)

    def _own_rows(self, info: CollectionInfo) -> dict[int, bytes | None]:
        prefix = info.prefix
        return {
            _PAIR.unpack(key)[1]: record
            for key, record in self._own.docs.items()
            if key[:4] == prefix
        }


def _unnumbered(record: bytes) -> memoryview:
    """An own record: the number in it is not the one that its change will have."""
    return memoryview(_NO_LSN + record[8:9] + UNCHECKED + record[RECORD_HEAD:])
