"""Short plans, run in the caller's process on a snapshot of the data.

What surely reads few documents costs microseconds here and a hundred of them through an
executor. Which plans are short is the planner's decision
(``Execution.is_short``); they are run by the same engine the executors run. Equality with the id, a unique or an indexed field alone, the commonest
query of all, needs no engine: there is nothing left to be tested, sorted or cut.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from aurora_actors.client.asked import Asked
from aurora_actors.client.document import Document, document_of, document_with_id
from aurora_actors.errors import CollectionNotFoundError, ValidationError
from aurora_actors.indexing.keys import is_truncated, value_key
from aurora_actors.indexing.layout import COMPLETE, Shape
from aurora_actors.indexing.reader import IndexReader, IndexSnapshot
from aurora_actors.messages.query import QuerySpec
from aurora_actors.query.execute import run_query
from aurora_actors.query.first_few import first_rows
from aurora_actors.query.indexed import IndexedReader
from aurora_actors.query.plan import CALLER_ROWS
from aurora_actors.query.predicate import Compare, Predicate
from aurora_actors.schema.types import TOKENS
from aurora_actors.schema.values import Buffer
from aurora_actors.storage.reader import (
    CollectionInfo,
    DataReader,
    Snapshot,
)

__all__ = ["Lookup"]

T = TypeVar("T")

_MOST_LONG: Final = 512
_LONG_S: Final = 1.0
_encode: Final = msgspec.msgpack.Encoder().encode


class _LongQueries:
    """Queries whose plans were not short a moment ago: another look is not worth it.

    Whoever runs them gives the same answer; an executor only takes longer for what has
    become short. Any thread may use it.
    """

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def knows(self, spec: QuerySpec) -> bool:
        """Whether that is known of a query."""
        until = self._until.get(_encode(spec))
        return until is not None and monotonic() < until

    def add(self, spec: QuerySpec) -> None:
        """Its plan is not short."""
        if len(self._until) >= _MOST_LONG:
            self._until = {}
        self._until[_encode(spec)] = monotonic() + _LONG_S


class Lookup:
    """Reads that are too short for a message.

    Args:
        reader: The data.
        index: What is derived of it; plans by indexes can be short, too.
    """

    __slots__ = ("_index", "_indexed", "_long", "_record", "_snapshot", "_unique")

    def __init__(self, reader: DataReader, index: IndexReader) -> None:
        self._record = reader.record
        self._unique = reader.unique_record
        self._snapshot = reader.snapshot
        self._index = index.snapshot
        self._indexed = IndexedReader(reader, index, scans_columns=False)
        self._long = _LongQueries()

    def get(self, collection: str, document_id: str) -> Document | None:
        """The document with this id.

        Raises:
            CollectionNotFoundError: there is no such collection.
            ValidationError: ``document_id`` is no text.
        """
        if not isinstance(document_id, str):
            raise ValidationError(
                f"an id must be text, not {type(document_id).__name__}", path="id"
            )
        record = self._record(collection, document_id)
        return None if record is None else document_with_id(document_id, record)

    def token(self, name: str) -> Document | None:
        """What is kept of the token called ``name``, its hash too."""
        record = self.token_record(name)
        return None if record is None else document_with_id(name, record)

    def token_record(self, name: str) -> bytes | None:
        """As :meth:`token`, as it is kept."""
        try:
            return self._record(TOKENS, name, hidden=True)
        except CollectionNotFoundError:
            return None

    def tokens(self) -> list[Document]:
        """What is kept of each token, without the hashes."""
        with self._snapshot() as snapshot:
            try:
                info = snapshot.known(TOKENS)
            except CollectionNotFoundError:
                return []
            kept = [document_of(record) for _, record in snapshot.scan(info)]
        for document in kept:
            del document.data["hash"]
        return kept

    def record(self, collection: str, document_id: str) -> bytes | None:
        """A copy of the record of the document with this id."""
        with self._snapshot() as snapshot:
            found = snapshot.get(snapshot.collection(collection), document_id)
            return None if found is None else bytes(found)

    def index_states(
        self, collection: int
    ) -> dict[tuple[str, ...], tuple[bool, bool, int]]:
        """Of each index by its fields: is it ready, of bitmaps, and its entries."""
        index = self._index()
        if index is None:
            return {}
        with index:
            return {
                fields: (
                    found.cursor == COMPLETE,
                    found.shape is Shape.BITMAPS,
                    found.entries,
                )
                for fields, found in index.progress(collection).items()
            }

    def find(
        self,
        predicate: Predicate | None,
        spec: QuerySpec,
        convert: Callable[[Buffer], T],
    ) -> list[T] | None:
        """The results of a query if its plan is short, else ``None``.

        Args:
            predicate: The query's predicate, as in ``spec``.
            spec: The query.
            convert: Makes a result of a record, which is valid only until it returns.
        """
        if self._long.knows(spec):
            return None
        with self._indexed.snapshot() as (snapshot, aids):
            execution = run_query(snapshot, spec, aids=aids, predicate=predicate)
            if not execution.is_short:
                self._long.add(spec)
                return None
            return execution.at_once(convert)

    def count(self, predicate: Predicate | None, spec: QuerySpec) -> int | None:
        """The answer to a counting query if its plan is short, else ``None``."""
        if self._long.knows(spec):
            return None
        with self._indexed.snapshot() as (snapshot, aids):
            execution = run_query(snapshot, spec, aids=aids, predicate=predicate)
            if not execution.is_short:
                self._long.add(spec)
                return None
            for _ in execution.steps():
                pass
            return execution.count

    def find_by_key(
        self,
        collection: str,
        term: Compare,
        convert: Callable[[Buffer], T],
        *,
        version: int | None = None,
        most: int | None = None,
    ) -> list[T] | None:
        """The documents that ``term`` alone finds, if that takes no more than a look.

        Args:
            collection: The collection.
            term: What they are found by.
            convert: Makes a result of a record.
            version: Find nothing out when the schema has another version.
            most: Give at most so many, from 1 on.
        """
        value = term.value
        # Null is in no index: equality with it finds missing fields, too.
        if term.op != "eq" or value is None:
            return None
        record = self._unique(collection, term.field, value, version)
        if record is None:
            return []
        if type(record) is bytes:
            return [convert(record)]
        with self._snapshot(copies=True) as snapshot:
            if version is not None and snapshot.catalog_version != version:
                return None
            info = snapshot.find(collection)
            rows = self._rows(snapshot, info, term, most)
            if rows is None:
                return None
            return [convert(each) for each in snapshot.get_records(info, rows)]

    def _rows(
        self, snapshot: Snapshot, info: CollectionInfo, term: Compare, most: int | None
    ) -> list[int] | None:
        """The rows that equal a key, if they are few; else there is no telling."""
        if term.field == "id":
            row = _row_of(snapshot, info, term.value)
        elif term.field in info.unique:
            row = snapshot.lookup_unique(info, term.field, term.value)
        elif _is_indexed(info, term.field):
            return self._few_rows(snapshot, info, term, most)
        else:
            return None
        return [] if row is None else [row]

    def _few_rows(
        self, snapshot: Snapshot, info: CollectionInfo, term: Compare, most: int | None
    ) -> list[int] | None:
        index = self._index()
        if index is None:
            return None
        with index:
            found = index.index_on(info.id, term.field)
            if found is None or found.multi or not _is_current(index, snapshot, info):
                return None
            key = _key_of(term.value)
            rows = () if key is None else found.any_rows(key)
            # Nothing may also mean that the operand makes no sense.
            if not rows or min(len(rows), most or len(rows)) > CALLER_ROWS:
                return None
            return [*islice(rows, most)]

    def find_first(
        self,
        asked: Asked,
        most: int,
        convert: Callable[[Buffer], T],
    ) -> list[T] | None:
        """The first few in the order of an index, if that takes no more than a look.

        Args:
            asked: A simple query with one order key.
            most: Give at most so many, from 1 on, behind its offset.
            convert: Makes a result of a record.
        """
        index = self._index()
        if index is None or asked.offset + most > CALLER_ROWS:
            return None
        with index, self._snapshot(copies=True) as snapshot:
            info = snapshot.find(asked.collection)
            if not _is_current(index, snapshot, info):
                return None
            rows = first_rows(
                index, info, asked.predicate, asked.order[0], asked.offset + most
            )
            if rows is None:
                return None
            wanted = rows[asked.offset :]
            records = snapshot.get_records(info, wanted)
            if len(records) < len(wanted):
                return None  # damaged: the planner's way says what is wrong
            return [convert(record) for record in records]


def _is_indexed(info: CollectionInfo, field: str) -> bool:
    declared = info.definition.fields.get(field)
    is_declared = declared is not None and declared.indexed
    return is_declared or (field,) in info.definition.indexes


def _key_of(value: object) -> bytes | None:
    """The key that equal values alone have, if the value is one that has a key."""
    try:
        key = value_key(value)
    except (ValidationError, OverflowError, UnicodeEncodeError):
        return None
    return None if is_truncated(key) else key


def _is_current(index: IndexSnapshot, snapshot: Snapshot, info: CollectionInfo) -> bool:
    """Whether nothing of the collection has changed between the two."""
    lag = snapshot.lsn - index.lsn
    if index.timeline != snapshot.timeline or info.created_lsn > index.lsn:
        return False
    return not lag or (
        0 < lag <= CALLER_ROWS and not snapshot.changed_rows(info, index.lsn)
    )


def _row_of(snapshot: Snapshot, info: CollectionInfo, value: object) -> int | None:
    document_id = str(value) if isinstance(value, UUID) else value
    return snapshot.row_of(info, document_id) if isinstance(document_id, str) else None
