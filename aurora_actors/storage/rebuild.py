"""Making a data file of documents alone, as a part of ``storage.repair``.

Three passes: the records as they come (``take``), what intact log frames say
(``apply``; effects are whole records, so they need nothing of what they replace), and
then everything that follows from the documents (``derive``). In a maintenance process.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from aurora_actors.errors import AuroraError
from aurora_actors.schema.ids import check_id
from aurora_actors.schema.record import check_record, pack_record, unpack_record
from aurora_actors.schema.types import (
    CollectionDefinition,
    decode_definition,
    encode_definition,
)
from aurora_actors.storage.catalog import (
    Collection,
    Counters,
    State,
    counters_key,
    definition_key,
    pack_counters,
    pack_definition,
    pack_state,
)
from aurora_actors.storage.changes import ChangeKind
from aurora_actors.storage.environment import (
    Transaction,
    lmdb_errors,
    open_environment,
    open_tables,
)
from aurora_actors.storage.findings import Findings
from aurora_actors.storage.frames import Frame
from aurora_actors.storage.layout import (
    DATA_FILE,
    FORMAT_VERSION,
    META_FORMAT,
    META_NEXT_COLLECTION,
    META_STATE,
    META_UUID,
    row_key,
    unpack_row_key,
    value_key,
)
from aurora_actors.storage.replay import decode_payload
from aurora_actors.storage.reports import Progress
from aurora_actors.storage.salvage import Catalog, Document, Numbers

__all__ = ["REJECTED", "Rebuilding"]

REJECTED: Final = "rejected.jsonl"
_MAP_SIZE: Final = 1 << 40
_STEP: Final = 20_000
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")


class Rebuilding:
    """A data file in the making; use it with ``with``.

    Attributes:
        frames: How many log frames were applied.
        rejected: How many documents could not be taken over.
    """

    def __init__(
        self,
        directory: Path,
        uuid: bytes,
        catalog: Catalog,
        numbers: Numbers,
        found: Findings,
    ) -> None:
        self._path = directory / DATA_FILE
        self._catalog = catalog
        self._found = found
        self._env = open_environment(
            self._path, map_size=_MAP_SIZE, max_readers=16, create=True
        )
        self._tables = open_tables(self._env, create=True)
        self._rejects: BinaryIO = (directory / REJECTED).open("wb")
        self._state = State(0, 1, 1)
        self._rows = dict(numbers.rows)
        self._numbers = numbers
        self._newest = 0
        self._uuid = uuid
        self.frames = 0
        self.rejected = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rejects.close()
        self._env.close()

    def _writing(self) -> Transaction:
        return self._env.begin(write=True)

    # -------------------------------------------------------------- documents
    def take(
        self, documents: Iterator[Document], progress: Progress, total: int
    ) -> None:
        """Take records as they are."""
        done = 0
        docs, rows, dropped = self._tables.docs, self._rows, self._numbers.dropped
        marked = self._numbers.marked
        while part := list(islice(documents, _STEP)):
            items = []
            for number, row, record in part:
                if number in dropped:
                    continue
                rows[number] = max(row, rows.get(number, 0))
                if row in marked.get(number, ()):
                    continue
                self._newest = max(self._newest, int.from_bytes(record[:8], "big"))
                items.append((row_key(number, row), record))
            with lmdb_errors(self._path), self._writing() as txn:
                txn.cursor(docs).putmulti(items, append=True)
            done += len(part)
            progress("reading", min(done, total), total)

    # -------------------------------------------------------------- log
    def apply(self, frames: Sequence[Frame], state: State) -> None:
        """Apply the frames that come after ``state``, as far as they go."""
        lsn, timeline = state.lsn or self._newest, state.timeline
        for frame in frames:
            if frame.last_lsn <= lsn:
                continue
            if frame.first_lsn != lsn + 1:
                self._found.add(
                    "log",
                    f"changes {lsn + 1} to {frame.first_lsn - 1} are missing: what "
                    "comes after them is not applied",
                )
                break
            try:
                self._apply(frame)
            except (AuroraError, LookupError, TypeError, ValueError) as exc:
                text = f"changes {frame.first_lsn} to {frame.last_lsn}: {exc}"
                self._found.add("log", text)
                break
            lsn, timeline = frame.last_lsn, max(timeline, frame.timeline)
            self.frames += 1
        self._state = State(lsn, max(timeline, 1), state.catalog_version + 1)

    def _apply(self, frame: Frame) -> None:
        entries = decode_payload(frame.payload)
        with lmdb_errors(self._path), self._writing() as txn:
            lsn = frame.first_lsn
            for entry in entries:
                for effect in entry.effects:
                    lsn += self._effect(txn, effect, lsn)

    def _effect(self, txn: Transaction, effect: Sequence[object], lsn: int) -> int:
        docs = self._tables.docs
        match effect:
            case [ChangeKind.INSERT, int(number), int(first), list(records)]:
                for row, record in enumerate(records, first):
                    txn.put(row_key(number, row), record, db=docs)
                self._rows[number] = max(
                    self._rows.get(number, 0), first + len(records) - 1
                )
                return len(records)
            case [ChangeKind.UPDATE, int(number), int(row), bytes(record)]:
                txn.put(row_key(number, row), record, db=docs)
            case [ChangeKind.DELETE, int(number), list(rows)]:
                for row in rows:
                    txn.delete(row_key(number, int(row)), db=docs)
                return len(rows)
            case [ChangeKind.DEFINE, int(number), bytes(encoded)]:
                definition = decode_definition(encoded)
                created, old = self._catalog.get(number, (lsn, definition))
                if old.name != definition.name:
                    created = lsn
                self._catalog[number] = (created, definition)
            case [ChangeKind.DROP, int(number)]:
                self._catalog.pop(number, None)
                self._drop(txn, number)
            case _:
                raise ValueError(f"unknown effect {effect[:1]}")
        return 1

    def _drop(self, txn: Transaction, number: int) -> None:
        cursor = txn.cursor(self._tables.docs)
        found = cursor.set_range(row_key(number, 0))
        while found and cursor.key()[:4] == _U32.pack(number):
            found = cursor.delete()

    # -------------------------------------------------------------- derived
    def derive(self, progress: Progress) -> None:
        """Make ids, unique and the catalog of the documents that are there."""
        collections = {
            number: Collection(number, definition, created)
            for number, (created, definition) in self._catalog.items()
        }
        counts: dict[int, int] = {}
        total = int(self._env.stat()["entries"])
        done, after = 0, b""
        while keys := self._keys_after(after):
            with lmdb_errors(self._path), self._writing() as txn:
                for key in keys:
                    number, row = unpack_row_key(key)
                    collection = collections.get(number)
                    if collection is None:
                        collection = collections[number] = self._recovered(number)
                    kept = self._index(txn, collection, key, row)
                    counts[number] = counts.get(number, 0) + kept
            after, done = keys[-1], done + len(keys)
            progress("rebuilding", done, max(done, total))
        with lmdb_errors(self._path), self._writing() as txn:
            self._write_catalog(txn, collections, counts)

    def _keys_after(self, key: bytes) -> list[bytes]:
        with lmdb_errors(self._path), self._env.begin() as txn:
            cursor = txn.cursor(self._tables.docs)
            if not cursor.set_range(key + b"\0" if key else key):
                return []
            return list(islice(cursor.iternext(values=False), _STEP))

    def _recovered(self, number: int) -> Collection:
        name = f"recovered_{number}"
        self._found.add(
            "meta",
            f"the definition of collection {number} is lost: its documents are in the "
            f"open collection {name}",
        )
        definition = CollectionDefinition(name, {}, open=True)
        return Collection(number, definition, self._state.lsn)

    def _index(
        self, txn: Transaction, collection: Collection, key: bytes, row: int
    ) -> int:
        """Index one document; 0 if it had to be left out."""
        record: bytes = txn.get(key, db=self._tables.docs)
        try:
            lsn, document_id, body = unpack_record(record)
            if lsn and lsn <= self._state.lsn:
                check_record(record)
            id_key = collection.prefix + check_id(document_id).encode()
            unique = [
                collection.unique[name] + value_key(value)
                for name, value in collection.validator.inspect(bytes(body))
            ]
        except (AuroraError, ValueError, struct.error) as exc:
            return self._reject(txn, collection, key, record, str(exc))
        reason = self._conflict(txn, id_key, unique)
        if reason:
            return self._reject(txn, collection, key, record, reason)
        txn.put(id_key, _U64.pack(row), db=self._tables.ids)
        for each in unique:
            txn.put(each, _U64.pack(row), db=self._tables.unique)
        if lsn > self._state.lsn or not lsn:
            fixed = pack_record(self._state.lsn, document_id, body)
            txn.put(key, fixed, db=self._tables.docs)
            self._found.add(
                "docs", f"{collection.name}, row {row}: its LSN {lsn} was wrong"
            )
        return 1

    def _conflict(
        self, txn: Transaction, id_key: bytes, unique: Iterable[bytes]
    ) -> str:
        if txn.get(id_key, db=self._tables.ids) is not None:
            return "an earlier row has the same id"
        for key in unique:
            if txn.get(key, db=self._tables.unique) is not None:
                return "an earlier row has the same unique value"
        return ""

    def _reject(
        self,
        txn: Transaction,
        collection: Collection,
        key: bytes,
        record: bytes,
        reason: str,
    ) -> int:
        self.rejected += 1
        row = unpack_row_key(key)[1]
        txn.delete(key, db=self._tables.docs)
        self._found.add(
            "docs",
            f"{collection.name}, row {row}: left out: {reason}",
            collection=collection.name,
            row=row,
        )
        entry = {
            "collection": collection.name,
            "row": row,
            "reason": reason,
            "record": b64encode(record).decode(),
        }
        self._rejects.write(msgspec.json.encode(entry) + b"\n")
        return 0

    def _write_catalog(
        self,
        txn: Transaction,
        collections: dict[int, Collection],
        counts: dict[int, int],
    ) -> None:
        meta = self._tables.meta
        for number, collection in collections.items():
            entry = pack_definition(
                collection.created_lsn, encode_definition(collection.definition)
            )
            txn.put(definition_key(number), entry, db=meta)
            counters = Counters(self._rows.get(number, 0) + 1, counts.get(number, 0))
            txn.put(counters_key(number), pack_counters(counters), db=meta)
        following = max([*collections, *self._rows, self._numbers.collection]) + 1
        txn.put(META_NEXT_COLLECTION, _U32.pack(following), db=meta)
        txn.put(META_FORMAT, _U32.pack(FORMAT_VERSION), db=meta)
        txn.put(META_UUID, self._uuid, db=meta)
        txn.put(META_STATE, pack_state(self._state), db=meta)
