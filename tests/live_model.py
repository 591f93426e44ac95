"""An engine, a hub, and consumers that fold what they are told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aurora_actors.config import AuroraConfig
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.query import QuerySpec
from aurora_actors.messages.reactive import (
    ChunkMode,
    Listen,
    LiveChunk,
    LiveEvent,
    LiveKind,
    Subscribed,
    Watch,
)
from aurora_actors.messages.storage import (
    DefineCollection,
    LogAdvanced,
    Operation,
    Written,
)
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.execute import run_query
from aurora_actors.query.predicate import decode_predicate
from aurora_actors.reactive.hub import Hub
from aurora_actors.reactive.query import is_windowed
from aurora_actors.reactive.subscription import Subscription
from aurora_actors.reactive.tokens import Token
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.types import CollectionDefinition, encode_definition
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.reader import DataReader


class World:
    """A database and a dispatcher's brain in this process."""

    def __init__(self, path: Path, retention: int) -> None:
        config = AuroraConfig(
            db_path=str(path), change_retention=retention, checkpoint_interval_ms=10**7
        )
        self.engine = Engine.open(
            config,
            compile_predicate=lambda data: compile_predicate(decode_predicate(data)),
            tree_id="t",
        )
        self.reader = DataReader.open(path)
        self.consumers: dict[int, Consumer] = {}
        self.last_number = 0
        self.requests = 0
        self.told = 0
        self.start_hub()

    def start_hub(self) -> None:
        self.hub = Hub(self.reader, self.deliver)

    def deliver(self, _client: str, number: int, message: Message) -> None:
        if number in self.consumers:
            # What travels is encoded.
            data = msgspec.msgpack.encode(message)
            self.consumers[number].inbox.append(
                msgspec.msgpack.decode(data, type=LiveChunk | Failure)
            )

    def do(self, *operations: Operation) -> list[Message]:
        calls = []
        for operation in operations:
            self.requests += 1
            calls.append(StorageCall("c", self.requests, 0, operation))
        return self.engine.execute(calls)

    def wake(self) -> None:
        """Tell the hub of the last commit as storage does, its changes included."""
        changes = self.engine.take_newest()
        lsn, timeline = self.engine.lsn, self.engine.timeline
        self.told += bool(changes) and self.hub.lsn == lsn - len(changes)
        self.hub.take(LogAdvanced(lsn=lsn, timeline=timeline, changes=changes))

    def must(self, operation: Operation) -> int:
        (reply,) = self.do(operation)
        assert isinstance(reply, Written), reply
        return reply.lsn

    def define(self, name: str) -> None:
        definition = CollectionDefinition(name, {}, open=True)
        self.do(DefineCollection(definition=encode_definition(definition)))

    def query(self, spec: QuerySpec) -> list[tuple[str, bytes]]:
        with self.reader.snapshot() as snapshot:
            parts = list(run_query(snapshot, spec).steps())
        return [content(record) for part in parts for record in part]

    def lsn(self) -> int:
        return self.engine.lsn

    def subscribe(self, consumer: Consumer) -> None:
        self.last_number += 1
        self.consumers.pop(consumer.number, None)
        consumer.number = self.last_number
        consumer.expected = 0
        self.consumers[consumer.number] = consumer
        reply = self.hub.subscribe("c", consumer.number, consumer.request)
        assert isinstance(reply, Subscribed), reply

    def settle(self, *, work: int = 10_000) -> None:
        """Let the hub and all consumers do all they can."""
        for _ in range(work):
            busy = self.hub.advance()
            busy |= self.tick()
            if self.hub.has_work:
                self.hub.work()
                busy = True
            for consumer in list(self.consumers.values()):
                busy |= consumer.read(self)
            if not busy:
                return
        raise AssertionError(f"does not come to rest: {self.hub.statistics()}")

    def behind(self) -> list[Subscription]:
        """The subscriptions that are not at the present."""
        client = self.hub._desk.clients["c"]
        return [each for each in client.subscriptions.values() if not each.is_live]

    def tick(self) -> bool:
        """The debounce intervals pass; false when there is none."""
        intervals = self.hub.intervals
        for interval in intervals:
            upto = self.hub.lsn
            while self.hub.tick(interval, upto):
                pass
        return bool(intervals)

    def close(self) -> None:
        self.reader.close()
        self.engine.close()


@contextmanager
def world(path: Path, *, retention: int = 100_000) -> Iterator[World]:
    made = World(path, retention)
    try:
        yield made
    finally:
        made.close()


class Consumer:
    """Folds the events of one subscription; can stop anywhere and resume."""

    def __init__(self, request: Watch | Listen) -> None:
        self.original = self.request = request
        self.number = 0
        self.expected = 0
        self.inbox: deque[LiveChunk | Failure] = deque()
        self.rows: list[int] = []
        self.records: dict[int, bytes] = {}
        self.events: list[LiveEvent] = []
        self.token: Token | None = None
        self.lsn = 0
        self.complete = False
        self.lost = 0
        self.modes: set[ChunkMode] = set()
        self.error: Failure | None = None
        self.asleep = False

    def read(self, world: World, most: int = 10**9) -> bool:
        """Take what has come, and grant credit; true if there was something."""
        if self.asleep or not self.inbox:
            return False
        while self.inbox and most > 0:
            message = self.inbox.popleft()
            if isinstance(message, Failure):
                self.error = message
                world.consumers.pop(self.number, None)
                return True
            self.take(message)
            most -= 1
            world.hub.grant("c", self.number, 1)
        return True

    def take(self, chunk: LiveChunk, only: int | None = None) -> None:
        """Fold a chunk, or only its first events."""
        assert chunk.number == self.expected
        self.expected += 1
        assert chunk.base <= chunk.lsn
        self.modes.add(chunk.mode)
        if chunk.lost:
            self.lost += 1
            self.rows.clear()
            self.records.clear()
            self.complete = False
            self.token = Token(chunk.timeline, 0, partial=True)
        else:
            assert chunk.lsn >= self.lsn
        for number, event in enumerate(chunk.events[:only], 1):
            self.fold(event)
            self.token = token_after(chunk, number)
        if only is None:
            self.lsn = chunk.lsn
            self.token = token_after(chunk, len(chunk.events))
            if chunk.mode is ChunkMode.INITIAL_END:
                self.complete = True

    def fold(self, event: LiveEvent) -> None:
        self.events.append(event)
        if isinstance(self.request, Listen):
            return
        if event.kind == LiveKind.ADDED:
            assert event.row not in self.records, "added twice"
            assert event.new is not None
        else:
            assert event.old is not None
            self.rows.remove(event.row)
            old = self.records.pop(event.row)
            assert content(old) == content(event.old), "not what it was"
        if event.kind != LiveKind.REMOVED:
            assert event.new is not None
            at = len(self.rows) if event.position is None else event.position
            assert at <= len(self.rows)
            self.rows.insert(at, event.row)
            self.records[event.row] = event.new

    @property
    def spec(self) -> QuerySpec:
        assert isinstance(self.request, Watch)
        return self.request.query

    def result(self) -> list[tuple[str, bytes]]:
        rows = self.rows if is_windowed(self.spec) else sorted(self.rows)
        return [content(self.records[row]) for row in rows]

    def drop_in_the_middle(self, world: World, share: float) -> None:
        """Read a part of the next chunk, lose the rest, and resume from the token."""
        if self.inbox:
            chunk = self.inbox.popleft()
            if isinstance(chunk, LiveChunk):
                self.take(chunk, only=int(share * len(chunk.events)))
        self.reconnect(world)

    def reconnect(self, world: World) -> None:
        world.hub.unsubscribe("c", self.number)
        self.inbox.clear()
        since = None if self.token is None else str(self.token)
        if since is None:
            self.rows.clear()
            self.records.clear()
            self.lsn = 0
        self.request = msgspec.structs.replace(self.original, since=since)
        world.subscribe(self)


def token_after(chunk: LiveChunk, seen: int) -> Token:
    """The resume token when ``seen`` events of a chunk have been taken."""
    if chunk.mode is ChunkMode.INITIAL or (
        chunk.mode is ChunkMode.INITIAL_END and seen < len(chunk.events)
    ):
        return Token(chunk.timeline, 0, partial=True)
    if seen >= len(chunk.events):
        return Token(chunk.timeline, chunk.lsn)
    if chunk.mode is ChunkMode.COALESCED:
        return Token(chunk.timeline, chunk.base, chunk.lsn, seen + chunk.skipped)
    lsn = chunk.events[seen - 1].lsn if seen else chunk.base
    if seen and chunk.events[seen].lsn != lsn:
        return Token(chunk.timeline, lsn)
    first = next(
        n for n, event in enumerate(chunk.events) if event.lsn == lsn or not seen
    )
    before = chunk.events[first - 1].lsn if first else chunk.base
    skipped = 0 if first else chunk.skipped
    return Token(chunk.timeline, before, 0, seen - first + skipped)


def content(record: bytes) -> tuple[str, bytes]:
    """A document without the number of its version."""
    return record_id(record), bytes(record_body(record))
