"""What the clients of a simulation ask, what they were told, and whether it is true.

Every reply names an LSN, so all replies have one place in one serial history: the
change log. Checked at the end:

* each acknowledged write is in the log at its LSN, once, and nothing is there that no
  client asked for;
* a counter was incremented exactly as often as increments were acknowledged;
* no two documents ever had one unique value;
* a query's answer is the collection's content at the LSN that the answer names;
* what storage holds is what replaying the log gives.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.world import EXECUTORS, STORAGE, Client, World

from aurora_actors.client.requests import Call, ResultStream
from aurora_actors.errors import UniqueViolationError
from aurora_actors.messages.query import ChangeDocuments, QuerySpec, RunQuery
from aurora_actors.messages.storage import (
    DefineCollection,
    DeleteDocument,
    InsertDocuments,
    UpdateDocument,
    Written,
)
from aurora_actors.query.filters import field as field_
from aurora_actors.query.predicate import encode_predicate
from aurora_actors.schema.patch import Increment, encode_patch
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    encode_definition,
)
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.reader import DataReader, Snapshot

ROWS = CollectionDefinition(
    "rows",
    {
        "key": FieldDefinition(FieldType.INT, unique=True),
        "n": FieldDefinition(FieldType.INT),
    },
)
KEYS = 20

Rows = dict[str, dict[str, object]]


@dataclass
class History:
    """What was acknowledged."""

    inserted: dict[int, str] = field(default_factory=dict)
    deleted: dict[int, str] = field(default_factory=dict)
    increments: int = 0
    statements: list[tuple[int, int]] = field(default_factory=list)
    answers: list[tuple[int, Rows]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)


class ViolationError(AssertionError):
    """The database has broken a promise."""


async def prepare(client: Client) -> None:
    """Define the collection, with one document that is a counter."""
    definition = DefineCollection(definition=encode_definition(ROWS))
    await _done(client, client.core.submit(STORAGE, definition))
    body = encode_document({"key": -1, "n": 0})
    insert = InsertDocuments(collection="rows", ids=["counter"], documents=[body])
    await _done(client, client.core.submit(STORAGE, insert))


async def _done(client: Client, call: Call) -> object:
    await client.wait(call)
    if call.error is not None:
        raise call.error
    return call.reply


class Workload:
    """One client's random requests."""

    def __init__(self, world: World, client: Client, history: History) -> None:
        self._rng: random.Random = world.rng
        self._client = client
        self._history = history
        self._mine: list[str] = []

    async def run(self, requests: int) -> None:
        """Make ``requests`` requests, one after the other."""
        actions: list[Callable[[], object]] = [
            self._insert,
            self._insert,
            self._delete,
            self._increment,
            self._statement,
            self._query,
        ]
        for _ in range(requests):
            await self._rng.choice(actions)()  # type: ignore[misc]

    async def _insert(self) -> None:
        document_id = f"{self._client.name}-{len(self._history.asked)}"
        self._history.asked.add(document_id)
        body = encode_document({"key": self._rng.randrange(KEYS), "n": 0})
        request = InsertDocuments(
            collection="rows", ids=[document_id], documents=[body]
        )
        call = self._client.core.submit(STORAGE, request)
        await self._client.wait(call)
        if isinstance(call.error, UniqueViolationError):
            if call.error.field != "key":
                raise ViolationError(f"an insert was repeated: {call.error}")
            return
        self._history.inserted[_lsn(call)] = document_id
        self._mine.append(document_id)

    async def _delete(self) -> None:
        if not self._mine:
            return
        document_id = self._mine.pop(self._rng.randrange(len(self._mine)))
        call = self._client.core.submit(
            STORAGE, DeleteDocument(collection="rows", id=document_id)
        )
        await self._client.wait(call)
        lsn = _lsn(call)
        if not lsn:
            raise ViolationError(f"{document_id} was acknowledged and is not there")
        self._history.deleted[lsn] = document_id

    async def _increment(self) -> None:
        request = UpdateDocument(
            collection="rows", id="counter", patch=encode_patch({"n": Increment(1)})
        )
        call = self._client.core.submit(STORAGE, request)
        await self._client.wait(call)
        _lsn(call)
        self._history.increments += 1

    async def _statement(self) -> None:
        low = self._rng.randrange(KEYS)
        predicate = field_("key").between(low, low + 3).predicate
        spec = QuerySpec(collection="rows", predicate=encode_predicate(predicate))
        patch = encode_patch({"n": Increment(1)})
        call = self._client.core.submit(
            self._rng.choice(EXECUTORS),
            ChangeDocuments(query=spec, patch=patch, deadline_s=1e6),
        )
        await self._client.wait(call)
        _lsn(call)
        assert isinstance(call.reply, Written)
        self._history.statements.append((call.reply.lsn, call.reply.affected))

    async def _query(self) -> None:
        query = RunQuery(query=QuerySpec(collection="rows"), credit=2, deadline_s=1e6)
        stream = self._client.core.open_stream(
            self._rng.choice(EXECUTORS), query, gathers=True
        )
        await self._client.wait(stream)
        if stream.error is not None:
            raise stream.error
        self._history.answers.append((stream.lsn, _rows(stream)))


def _lsn(call: Call) -> int:
    if call.error is not None:
        raise call.error
    assert isinstance(call.reply, Written)
    return call.reply.lsn


def _rows(stream: ResultStream) -> Rows:
    return {
        record_id(record): decode_document(record_body(record))
        for chunk in stream.chunks
        for record in chunk.records
    }


def check(world: World, history: History) -> None:
    """Compare all that was said with the log and the data."""
    with (
        DataReader.open(world.config.path, max_size_gb=1) as reader,
        reader.snapshot() as snapshot,
    ):
        states = _replay(snapshot, history)
        info = snapshot.collection("rows")
        stored = {
            record_id(record): decode_document(record_body(record))
            for _row, record in snapshot.scan(info)
        }
        last = snapshot.lsn
    if stored != states[last]:
        raise ViolationError("the data is not what the log says")
    counted = stored["counter"]["n"]
    if counted != history.increments:
        raise ViolationError(f"{history.increments} increments made {counted}")
    for lsn, rows in history.answers:
        if rows != states[lsn]:
            raise ViolationError(f"a query's answer was never the state at {lsn}")


def _replay(snapshot: Snapshot, history: History) -> dict[int, Rows]:
    rows: Rows = {}
    states: dict[int, Rows] = {0: {}, 1: {}}
    seen: set[str] = set()
    for change in snapshot.changes(1, snapshot.lsn):
        document_id = change.id
        if change.new is None:
            del rows[document_id]
            if history.deleted.pop(change.lsn, document_id) != document_id:
                raise ViolationError(f"change {change.lsn} is another one than told")
        else:
            if change.old is None:
                _check_insert(document_id, seen, history, change.lsn)
            rows[document_id] = decode_document(record_body(change.new))
        keys = [row["key"] for row in rows.values()]
        if len(keys) != len(set(keys)):
            raise ViolationError(f"a unique value stands twice at {change.lsn}")
        states[change.lsn] = dict(rows)
    if history.inserted or history.deleted:
        raise ViolationError("something acknowledged is not in the log")
    return states


def _check_insert(document_id: str, seen: set[str], history: History, lsn: int) -> None:
    if document_id in seen:
        raise ViolationError(f"{document_id} was inserted twice")
    seen.add(document_id)
    if document_id != "counter" and document_id not in history.asked:
        raise ViolationError(f"nobody asked for {document_id}")
    if history.inserted.pop(lsn, document_id) != document_id:
        raise ViolationError(f"change {lsn} is another one than told")
