"""A query executor: one of N processes that run queries over snapshots.

It owns no data. Each query runs on one snapshot, in steps of a few milliseconds between
which the others have their turn, and sends its result in chunks as the asker grants
credit; what its first turn leaves over is done in a task. ``update`` and ``delete`` by query find their rows
here and are carried out by storage, whose outcome is passed on to the asker.

Invariants:

* A query is known by (asker, request id); a repeat of one that runs is ignored.
* Whatever ends a query (result, error, deadline, cancellation, the asker's end) closes
  its snapshot, so that no old version of the data is kept alive for it.
* A statement sent to storage is sent again when storage has been restarted; storage
  knows it by the asker's request, so it takes effect once.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing

import msgspec
import trio

from aurora_actors.actors.executor_aql import AqlRunner
from aurora_actors.actors.executor_queries import TURN_S, Query, Requests
from aurora_actors.actors.executor_sharing import Sharing
from aurora_actors.actors.executor_timing import Timer, Timings
from aurora_actors.actors.executor_warming import warm_columns
from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.errors import (
    AuroraError,
    ConflictError,
    ProtocolError,
    TimeoutError_,
)
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.messages.aql import AqlPart, ExecuteAql
from aurora_actors.messages.base import Failure, Mail, Message
from aurora_actors.messages.query import (
    CancelQuery,
    ChangeDocuments,
    Explain,
    ExplainReply,
    GrantCredit,
    ResultChunk,
    RunQuery,
)
from aurora_actors.messages.storage import (
    ChangeMatching,
    Operation,
    ReadStatistics,
    Statistics,
    StorageReply,
    decode_storage_reply,
)
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorSpec,
    ClientGone,
    ShutDown,
)
from aurora_actors.query.aggregate import Aggregation
from aurora_actors.query.cache import DocumentCache
from aurora_actors.query.execute import matching_rows
from aurora_actors.query.indexed import IndexedReader
from aurora_actors.query.plan import encode_plan
from aurora_actors.query.prepared import Prepared
from aurora_actors.storage.reader import DataReader

__all__ = ["main"]

logger = logging.getLogger(__name__)

STORAGE = "storage"
_MAX_CONFLICTS = 20

_Key = tuple[str, int]
_Request = RunQuery | ExecuteAql | ChangeDocuments | Explain


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run one query executor; the entry point the supervisor starts."""
    run_actor(spec, lifeline_fd, serve, low_latency=True)


async def serve(context: ActorContext) -> None:
    """Open the database for reading and serve the mailbox until told to stop."""
    config = context.config
    size_gb, readers = config.max_size_gb, config.max_readers
    with (
        DataReader.open(config.path, max_size_gb=size_gb, max_readers=readers) as data,
        IndexReader.open(
            config.path, max_size_gb=size_gb, max_readers=readers
        ) as index,
    ):
        actor = ExecutorActor(data, index, context)
        async with trio.open_nursery() as nursery:
            context.ready()
            nursery.start_soon(warm_columns, config.path)
            await actor.serve()
            nursery.cancel_scope.cancel()


class _Running:
    """A request under way in a task: its credit and the scope that ends it."""

    def __init__(self, credit: int, timer: Timer, deadline: float) -> None:
        self.scope = trio.CancelScope(deadline=deadline)
        self.timer = timer
        self._credit = credit
        self._granted = trio.Event()

    def grant(self, chunks: int) -> None:
        """Let ``chunks`` more be sent."""
        self._credit += max(0, chunks)
        self._granted.set()

    async def take(self) -> None:
        """Wait until one chunk may be sent."""
        while self._credit <= 0:
            self._granted = trio.Event()
            since = time.monotonic()
            await self._granted.wait()
            self.timer.waited(time.monotonic() - since)
        self._credit -= 1


class _Statement:
    """A change that storage is asked to carry out."""

    def __init__(self, request: Operation) -> None:
        self.request = request
        self.reply: StorageReply | None = None
        self.answered = trio.Event()


class ExecutorActor:
    """The mailbox loop around the query engine."""

    def __init__(
        self, data: DataReader, index: IndexReader, context: ActorContext
    ) -> None:
        self._channel = context.channel
        self._name = context.spec.name
        config = context.config
        self._cache = DocumentCache(
            config.hot_cache_size_mb << 20, config.eviction_policy
        )
        self._reader = IndexedReader(
            data,
            index,
            scans_columns=True,
            cache=self._cache,
            memory_limit=config.query_memory_mb << 20,
        )
        self._aql = AqlRunner(self._reader, data, config, self._ask_storage)
        executors = (f"query_executor-{n}" for n in range(config.executors))
        helpers = [name for name in executors if name != self._name]
        self._running: dict[_Key, _Running] = {}
        self._sharing = Sharing(
            self._channel, helpers, self._reader, self._running.__len__
        )
        self._timings = Timings(config.slow_query_ms, context.tracer)
        self._requests = Requests()
        self._statements: dict[int, _Statement] = {}
        # Storage remembers by number what an earlier run of this actor has asked.
        self._last_statement = time.time_ns() // 1000
        self._stopping = False
        self._turn_ends = 0.0
        self._counts = dict.fromkeys(("queries", "statements", "chunks", "failures"), 0)
        self._nursery: trio.Nursery
        context.statistics = self.statistics

    def statistics(self) -> dict[str, int | float]:
        """Counters of this executor and its cache."""
        return {
            **self._counts,
            "running": len(self._running),
            **self._cache.statistics(),
            **self._sharing.statistics(),
            **self._aql.statistics(),
            **self._timings.statistics(),
        }

    async def serve(self) -> None:
        """Serve the mailbox until the supervisor says to shut down."""
        async with trio.open_nursery() as self._nursery:
            while not self._stopping:
                mails = await self._channel.receive()
                self._turn_ends = trio.current_time() + TURN_S
                for mail in mails:
                    self._take(mail)
                self._channel.flush()
            self._nursery.cancel_scope.cancel()

    # -------------------------------------------------------------- mail
    def _take(self, mail: Mail) -> None:
        if mail.sender == SUPERVISOR:
            self._obey(mail)
        elif mail.sender == STORAGE:
            self._take_replies(mail)
        elif self._sharing.is_helper(mail.sender):
            self._sharing.take(mail, self._nursery)
        else:
            for letter in mail.letters:
                self._take_request((mail.sender, letter.request_id), letter.body)

    def _obey(self, mail: Mail) -> None:
        for order in orders(mail):
            match order:
                case ShutDown():
                    self._stopping = True
                case ClientGone(client=client):
                    for key in [key for key in self._running if key[0] == client]:
                        self._running[key].scope.cancel()
                    self._channel.forget(client)
                case ActorReady(name=name):
                    if name == STORAGE:
                        self._channel.forget(STORAGE)  # nng may still trust the old one
                        for number, statement in self._statements.items():
                            self._channel.queue(STORAGE, number, statement.request)
                    self._sharing.lost(name)

    def _take_replies(self, mail: Mail) -> None:
        for letter in mail.letters:
            statement = self._statements.pop(letter.request_id, None)
            if statement is not None:
                statement.reply = decode_storage_reply(letter.body)
                statement.answered.set()

    def _take_request(self, key: _Key, body: msgspec.Raw) -> None:
        try:
            request, prepared = self._requests.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            error = ProtocolError(
                f"the executor does not understand the request: {exc}"
            )
            self._reply(key, Failure.of(error, self._name))
            return
        match request:
            case GrantCredit(query_id=number, chunks=chunks):
                if (running := self._running.get((key[0], number))) is not None:
                    running.grant(chunks)
            case CancelQuery(query_id=number):
                if (running := self._running.get((key[0], number))) is not None:
                    running.scope.cancel()
            case ReadStatistics():
                self._reply(key, Statistics(values=self.statistics()))
            case _:
                self._start(key, request, prepared)

    def _reply(self, key: _Key, reply: Message) -> None:
        self._channel.queue(key[0], key[1], reply)

    # -------------------------------------------------------------- queries
    def _start(self, key: _Key, request: _Request, prepared: Prepared | None) -> None:
        if key in self._running:
            return
        timer, query, now = Timer(), None, trio.current_time()
        if isinstance(request, RunQuery) and prepared is not None:
            query = Query(prepared)
            is_in_time = request.deadline_s > 0 and now < self._turn_ends
            if is_in_time and self._is_answered(key, request, query, timer):
                query.close()
                self._timings.ended(key, request, timer)
                return
        credit = request.credit if isinstance(request, RunQuery | ExecuteAql) else 0
        running = _Running(credit, timer, now + request.deadline_s)
        self._running[key] = running
        self._nursery.start_soon(self._run, key, request, running, query)

    def _is_answered(
        self, key: _Key, request: RunQuery, query: Query, timer: Timer
    ) -> bool:
        """Whether the first turn of a query was all it needs."""
        try:
            self._begin(query, timer)
            if not query.shares:
                query.advance(self._turn_ends)
            if not query.is_answered or request.credit <= 0:
                return False
            self._chunk(key, query.take())
        except AuroraError as exc:
            self._fail(key, exc)
        except Exception as exc:
            logger.exception("a query failed", extra={"asker": key[0]})
            self._fail(key, exc)
        return True

    def _begin(self, query: Query, timer: Timer) -> None:
        self._counts["queries"] += 1
        query.begin(self._reader, self._sharing.parted)
        timer.executions.append(query.execution)

    async def _run(
        self, key: _Key, request: _Request, running: _Running, query: Query | None
    ) -> None:
        deadline = running.scope.deadline
        try:
            with running.scope:
                await self._carry_out(key, request, running, query)
            if running.scope.cancelled_caught and trio.current_time() >= deadline:
                text = f"the query did not finish within {request.deadline_s:g} s"
                self._fail(key, TimeoutError_(text))
        except AuroraError as exc:
            self._fail(key, exc)
        except Exception as exc:
            logger.exception("a query failed", extra={"asker": key[0]})
            self._fail(key, exc)
        finally:
            del self._running[key]
            self._timings.ended(key, request, running.timer)
        self._channel.flush()

    def _fail(self, key: _Key, error: Exception) -> None:
        self._counts["failures"] += 1
        self._reply(key, Failure.of(error, self._name))

    async def _carry_out(
        self,
        key: _Key,
        request: _Request,
        running: _Running,
        query: Query | None,
    ) -> None:
        match request:
            case RunQuery():
                assert query is not None  # noqa: S101 - see _start
                with closing(query):
                    await self._send_result(key, query, running)
            case ExecuteAql(writes=False):
                self._counts["queries"] += 1
                outlet = _Outlet(self, key, running)
                await self._aql.stream(request, outlet, running.timer)
            case ExecuteAql():
                self._counts["statements"] += 1
                self._reply(key, await self._aql.answer(*key, request))
            case Explain():
                with self._reader.snapshot() as (snapshot, aids):
                    prepared = Prepared(request.query, request.group)
                    execution = prepared.begin(snapshot, aids)
                    for _ in execution.steps():
                        await trio.lowlevel.checkpoint()
                    plan = encode_plan(execution.plan)
                self._reply(key, ExplainReply(plan=plan))
            case ChangeDocuments():
                self._counts["statements"] += 1
                self._reply(key, await self._change(key, request))

    async def _send_result(self, key: _Key, query: Query, running: _Running) -> None:
        if not query.has_begun:
            self._begin(query, running.timer)
        if query.shares and isinstance(query.execution, Aggregation):
            await self._sharing.share(query.execution, query.shares)
        while True:
            query.advance(trio.current_time() + TURN_S)
            if query.ready is not None:
                await running.take()
                chunk = query.take()
                self._chunk(key, chunk)
                if chunk.final:
                    return
                self._channel.flush()
            await trio.lowlevel.checkpoint()

    def _chunk(self, key: _Key, chunk: ResultChunk) -> None:
        self._counts["chunks"] += 1
        self._reply(key, chunk)

    async def send_part(
        self,
        key: _Key,
        running: _Running,
        number: int,
        part: AqlPart,
        lsn: int,
        *,
        final: bool,
    ) -> None:
        """Send a part of a text's result as a chunk, when there is credit for it."""
        await running.take()
        chunk = ResultChunk(
            records=part.records,
            number=number,
            final=final,
            lsn=lsn,
            count=0,
            note=part.note,
        )
        self._chunk(key, chunk)
        if not final:
            self._channel.flush()
            await trio.lowlevel.checkpoint()

    # -------------------------------------------------------------- statements
    async def _change(self, key: _Key, request: ChangeDocuments) -> Message:
        for _attempt in range(_MAX_CONFLICTS):
            reply = await self._ask_storage(await self._prepare(key, request))
            if not isinstance(reply, Failure) or reply.code != ConflictError.code:
                return reply
        return Failure.of(
            ConflictError(
                f"the collection changed {_MAX_CONFLICTS} times while the statement "
                "chose its documents by order or limit; try again"
            ),
            self._name,
        )

    async def _prepare(self, key: _Key, request: ChangeDocuments) -> ChangeMatching:
        query = request.query
        rows: list[int] = []
        with self._reader.snapshot() as (snapshot, aids):
            for found in matching_rows(snapshot, query, aids=aids):
                rows.extend(found)
                await trio.lowlevel.checkpoint()
            return ChangeMatching(
                client=key[0],
                client_request_id=key[1],
                collection=query.collection,
                rows=rows,
                snapshot_lsn=snapshot.lsn,
                predicate=query.predicate,
                patch=request.patch,
                exact=query.limit is not None or query.offset > 0,
            )

    async def _ask_storage(self, request: Operation) -> StorageReply:
        self._last_statement += 1
        number = self._last_statement
        statement = self._statements[number] = _Statement(request)
        try:
            self._channel.post(STORAGE, number, request)
            await statement.answered.wait()
        finally:
            self._statements.pop(number, None)
        assert statement.reply is not None  # noqa: S101 - set before the event
        return statement.reply


class _Outlet:
    """Sends the parts of one text's result, numbered."""

    def __init__(self, actor: ExecutorActor, key: _Key, running: _Running) -> None:
        self._actor = actor
        self._key = key
        self._running = running
        self._number = 0

    async def send(self, part: AqlPart, lsn: int, *, final: bool) -> None:
        """Send one chunk when there is credit for it."""
        number, self._number = self._number, self._number + 1
        await self._actor.send_part(
            self._key, self._running, number, part, lsn, final=final
        )
