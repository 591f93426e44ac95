"""Checking what is in ``data.mdb``: every table against every other.

Reads one snapshot, whoever writes meanwhile; changes nothing; keeps nothing in memory
that grows with the database. What holds in a sound one:

* each collection's definition decodes, and its number is below ``next_collection``;
* each record's head, id and body decode, the body fits the definition, and its LSN is
  not beyond the state's;
* ``ids`` has exactly one entry for each document, with its row; ``unique`` has exactly
  one entry for each value that is not null of a unique field; the counters are right;
* ``changes`` ends with the state's LSN and has no gap; each change says what the tables
  and the other changes say.

LMDB has no checksums: a flipped bit inside a text or a number leaves a sound document
that says something else, which only a comparison with a backup or the log can show.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import lmdb
import msgspec

from aurora_actors.errors import AuroraError
from aurora_actors.messages.storage import decode_storage_reply
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.record import is_intact, unpack_record
from aurora_actors.schema.types import decode_definition
from aurora_actors.storage.catalog import (
    Collection,
    State,
    read_counters,
    read_definitions,
    read_dropped,
    read_state,
    read_uuid,
)
from aurora_actors.storage.environment import Table, Tables, Transaction
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.layout import (
    META_NEXT_COLLECTION,
    collection_prefix,
    unpack_request_key,
    value_key,
)
from aurora_actors.storage.marking import BitMap64, all_marked, read_marks
from aurora_actors.storage.verify_changes import ChangeChecks

__all__ = ["TableSummary", "check_tables"]

_PAIR: Final = struct.Struct(">IQ")
_U64: Final = struct.Struct(">Q")


class TableSummary(NamedTuple):
    """What :func:`check_tables` has seen."""

    uuid: str
    state: State
    collections: dict[str, int]
    changes: int


def check_tables(txn: Transaction, tables: Tables, found: Findings) -> TableSummary:
    """Check all tables as ``txn`` sees them; what is wrong goes to ``found``."""
    uuid, state = "", State(0, 0, 0)
    try:
        uuid = read_uuid(txn, tables.meta).hex()
        state = read_state(txn, tables.meta)
    except AuroraError as exc:
        found.add("meta", exc.message)
        return TableSummary(uuid, state, {}, 0)
    checks = _Checks(txn, tables, state, found)
    collections = checks.run()
    changes = 0
    with _readable(found, "changes"):
        log = ChangeChecks(txn, tables, state, found, checks.live, checks.marked)
        changes = log.run()
        if log.current != checks.recent:
            found.add(
                "changes",
                f"{checks.recent:,} documents were written by changes that are kept; "
                f"{log.current:,} changes say so",
            )
    with _readable(found, "requests"):
        _check_requests(txn, tables, found)
    return TableSummary(uuid, state, collections, changes)


def _check_requests(txn: Transaction, tables: Tables, found: Findings) -> None:
    for key, value in txn.cursor(tables.requests):
        try:
            unpack_request_key(bytes(key))
            decode_storage_reply(bytes(value))
        except (msgspec.DecodeError, ValueError, struct.error) as exc:
            found.add("requests", f"a remembered reply cannot be read: {exc}")


def first_change(txn: Transaction, tables: Tables, state: State) -> int:
    """The oldest change kept; one beyond the state's LSN when there is none."""
    cursor = txn.cursor(tables.changes)
    if not cursor.first() or len(cursor.key()) != _U64.size:
        return state.lsn + 1
    lsn: int = _U64.unpack(cursor.key())[0]
    return lsn


class _readable:  # noqa: N801 - used like a function
    """Makes a finding of a table that LMDB cannot read, and goes on behind it."""

    def __init__(self, found: Findings, area: str) -> None:
        self._found, self._area = found, area

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> bool:
        if isinstance(error, lmdb.Error | struct.error | AuroraError):
            self._found.add("pages", f"table {self._area} cannot be read on: {error}")
            return True
        return False


class _Checks:
    """The tables that hold documents."""

    def __init__(
        self, txn: Transaction, tables: Tables, state: State, found: Findings
    ) -> None:
        self._txn = txn
        self._tables = tables
        self._state = state
        self._found = found
        self.live: dict[int, Collection] = {}
        self.marked: dict[int, BitMap64] = {}
        self._dropped: set[int] = set()
        self._documents: dict[int, int] = {}
        self._values: dict[int, int] = {}
        self._first = first_change(txn, tables, state)
        self.recent = 0

    def run(self) -> dict[str, int]:
        """Check; returns the number of documents of each collection."""
        with _readable(self._found, "meta"):
            self._catalog()
        with _readable(self._found, "meta"):
            self._marks()
        with _readable(self._found, "docs"):
            self._docs()
        for area, table, due in (
            ("ids", self._tables.ids, self._documents),
            ("unique", self._tables.unique, self._values),
        ):
            with _readable(self._found, area):
                self._entries(area, table, due)
        return {
            collection.name: self._documents.get(number, 0)
            for number, collection in self.live.items()
        }

    def _catalog(self) -> None:
        txn, meta = self._txn, self._tables.meta
        names: set[str] = set()
        for number, created, encoded in read_definitions(txn, meta):
            try:
                collection = Collection(number, decode_definition(encoded), created)
            except AuroraError as exc:
                self._found.add("meta", f"collection {number}: {exc.message}")
                continue
            if collection.name in names or created > self._state.lsn:
                self._found.add(
                    "meta",
                    f"collection {number} is a second {collection.name!r}, or was made "
                    f"by change {created} of {self._state.lsn}",
                )
            names.add(collection.name)
            self.live[number] = collection
        self._dropped = set(read_dropped(txn, meta))
        following = txn.get(META_NEXT_COLLECTION, db=meta)
        limit = int.from_bytes(following or b"\0\0\0\1", "big")
        for number in {*self.live, *self._dropped}:
            if number >= limit:
                self._found.add(
                    "meta", f"collection {number} is not below next_collection {limit}"
                )

    def _marks(self) -> None:
        """Deleted rows that may still be there: see ``storage.marking``."""
        marks = list(read_marks(self._txn, self._tables.meta))
        for name, rows in marks:
            last = name.first_lsn + len(rows) - 1
            if name.collection not in self.live or last > self._state.lsn or not rows:
                self._found.add(
                    "meta",
                    f"{len(rows):,} rows of collection {name.collection} are marked as "
                    f"deleted by changes up to {last}: there is no such collection, or "
                    "no such change",
                )
        self.marked = all_marked(marks)

    # -------------------------------------------------------------- documents
    def _docs(self) -> None:
        for number, rows in _groups(self._txn, self._tables.docs):
            if number in self._dropped:
                continue
            collection = self.live.get(number)
            if collection is None:
                row, _ = next(rows)
                self._found.add(
                    "docs",
                    f"documents from row {row} on belong to collection {number}, "
                    "which does not exist",
                    collection=number,
                )
                continue
            self._collection(collection, rows)
        for number, collection in self.live.items():
            self._count(collection, self._documents.get(number, 0))

    def _collection(
        self, collection: Collection, rows: Iterator[tuple[int, memoryview]]
    ) -> None:
        count = values = last = recent = 0
        first, marked = self._first, self.marked.get(collection.id, ())
        get, prefix = self._txn.get, collection.prefix
        ids, newest = self._tables.ids, self._state.lsn
        inspect = collection.validator.inspect
        for last, record in rows:
            is_deleted = last in marked
            count += not is_deleted
            try:
                lsn, document_id, body = unpack_record(record)
                recent += lsn >= first
                if is_deleted:
                    continue
                unique = inspect(body)
                row = get(prefix + document_id.encode(), None, ids)
                if not is_intact(record):
                    self._damaged(collection, last, document_id)
                if row is None or _U64.unpack(row)[0] != last or lsn > newest:
                    self._explain(collection, last, lsn, document_id, row)
            except (AuroraError, ValueError, struct.error) as exc:
                self._found.add(
                    "docs",
                    f"{collection.name}, row {last}: {exc}",
                    collection=collection.name,
                    row=last,
                )
                continue
            if unique:
                values += len(unique)
                self._unique(collection, last, unique)
        self.recent += recent
        self._documents[collection.id] = count
        self._values[collection.id] = values
        following = read_counters(self._txn, self._tables.meta, collection.id).next_row
        if last >= following:
            self._found.add(
                "counts",
                f"{collection.name} has row {last}; its next row is {following}",
                collection=collection.name,
            )

    def _damaged(self, collection: Collection, row: int, name: str) -> None:
        self._found.add(
            "docs",
            f"{collection.name}, row {row}: {name!r} is not what was written, its "
            "checksum is another",
            collection=collection.name,
            row=row,
        )

    def _explain(
        self, collection: Collection, row: int, lsn: int, name: str, entry: bytes | None
    ) -> None:
        here: dict[str, Any] = {"collection": collection.name, "row": row}
        check_id(name)
        if lsn > self._state.lsn:
            self._found.add(
                "docs",
                f"{collection.name}, row {row}: written by change {lsn}, but the "
                f"database ends at {self._state.lsn}",
                **here,
            )
        if entry is None:
            self._found.add(
                "ids", f"{collection.name}: {name!r} in row {row} has no entry", **here
            )
        elif bytes(entry) != _U64.pack(row):
            self._found.add(
                "ids",
                f"{collection.name}: {name!r} is in row {row}, its entry says "
                f"{int.from_bytes(entry, 'big')}",
                **here,
            )

    def _unique(
        self, collection: Collection, row: int, values: list[tuple[str, object]]
    ) -> None:
        for name, value in values:
            key = collection.unique[name] + value_key(value)
            entry = self._txn.get(key, None, self._tables.unique)
            if entry is None or bytes(entry) != _U64.pack(row):
                holder = "none" if entry is None else int.from_bytes(entry, "big")
                self._found.add(
                    "unique",
                    f"{collection.name}.{name}: the entry of row {row}'s value is "
                    f"for row {holder}",
                    collection=collection.name,
                    row=row,
                )

    def _count(self, collection: Collection, documents: int) -> None:
        stored = read_counters(self._txn, self._tables.meta, collection.id).documents
        if stored != documents:
            self._found.add(
                "counts",
                f"{collection.name} has {documents:,} documents; its counter says "
                f"{stored:,}",
                collection=collection.name,
            )

    # -------------------------------------------------------------- entries
    def _entries(self, area: str, table: Table, due: dict[int, int]) -> None:
        """As many entries as documents or values: with a match for each, no stray."""
        counts: dict[int, int] = {}
        marked = self.marked
        for key, row in self._txn.cursor(table):
            number = int.from_bytes(key[:4], "big")
            if number in marked and int.from_bytes(row, "big") in marked[number]:
                continue  # it goes when the row does
            counts[number] = counts.get(number, 0) + 1
        for number in counts.keys() | {n for n, count in due.items() if count}:
            has, needs = counts.get(number, 0), due.get(number, 0)
            if number in self._dropped or has == needs:
                continue
            collection = self.live.get(number)
            name = collection.name if collection else f"collection {number}"
            self._found.add(area, f"{name} has {has:,} entries where {needs:,} are due")


def _groups(
    txn: Transaction, table: Table
) -> Iterator[tuple[int, Iterator[tuple[int, memoryview]]]]:
    """The collections that ``docs`` has rows of, each with its rows."""
    cursor = txn.cursor(table)
    found = cursor.first()
    while found:
        number = int.from_bytes(bytes(cursor.key()[:4]), "big")
        yield number, _rows(txn, table, number)
        found = cursor.set_range(collection_prefix(number + 1))


def _rows(
    txn: Transaction, table: Table, number: int
) -> Iterator[tuple[int, memoryview]]:
    cursor = txn.cursor(table)
    if not cursor.set_range(collection_prefix(number)):
        return
    for key, record in cursor.iternext():
        collection, row = _PAIR.unpack(key)
        if collection != number:
            return
        yield row, record
