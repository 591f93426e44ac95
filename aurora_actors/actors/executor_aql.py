"""AQL in a query executor: texts that read stream their result, texts that write commit.

A text that writes runs in one transaction here and is committed by storage in the name
of the client's request. What it answers is remembered with the commit, so a client that
asks again, because this process has died, gets the same answer and no second effect.

Invariants:

* A text is parsed, checked and bound before anything of it runs.
* After a conflict it is run again on a newer snapshot, with the same new ids.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar

import msgspec
import trio

from aurora_actors.actors.executor_timing import Timer
from aurora_actors.aql import tree
from aurora_actors.aql.execution.notes import decode_note, encode_note
from aurora_actors.aql.execution.parts import Parts
from aurora_actors.aql.execution.plans import Program, Root, StatementRoot
from aurora_actors.aql.execution.programs import Programs
from aurora_actors.aql.execution.reading import SnapshotReading
from aurora_actors.aql.execution.running import (
    explain_reads,
    run_reads,
    run_transaction,
    segments,
    watched,
)
from aurora_actors.aql.execution.seeds import Seed
from aurora_actors.aql.execution.statements import (
    migration_of,
    migration_part,
    progress_part,
    schema_parts,
)
from aurora_actors.aql.migration.versions import apply_schema, migrate
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import (
    ConflictError,
    InternalError,
    LimitExceededError,
    ProtocolError,
    UsageError,
    ValidationError,
)
from aurora_actors.messages.aql import AqlPart, AqlReply, ExecuteAql
from aurora_actors.messages.base import Failure, Message
from aurora_actors.messages.storage import (
    Commit,
    Committed,
    Operation,
    StorageReply,
    decode_storage_reply,
)
from aurora_actors.query.indexed import IndexedReader
from aurora_actors.query.transaction import TransactionView, compile_encoded
from aurora_actors.storage.catalog import Collection
from aurora_actors.storage.operations import Operations
from aurora_actors.storage.reader import DataReader

__all__ = ["AqlRunner", "Outlet"]

T = TypeVar("T")

_MAX_CONFLICTS: Final = 50
_LONGEST_PAUSE_S: Final = 0.05
_MOST_BYTES: Final = 128 << 20

_parts = msgspec.msgpack.Decoder(list[AqlPart])
_encode = msgspec.msgpack.Encoder().encode


class Outlet(Protocol):
    """Where the result of a text that reads goes."""

    async def send(self, part: AqlPart, lsn: int, *, final: bool) -> None:
        """Send one chunk when there is credit for it."""
        ...


class AqlRunner:
    """Runs texts for one executor.

    Args:
        reader: Documents and indexes.
        data: Documents.
        config: The limits in force.
        ask: Has storage carry something out.
    """

    def __init__(
        self,
        reader: IndexedReader,
        data: DataReader,
        config: AuroraConfig,
        ask: Callable[[Operation], Awaitable[StorageReply]],
    ) -> None:
        self._reader = reader
        self._data = data
        self._ask = ask
        self._max_bytes = config.max_transaction_bytes
        self._operations = Operations(config, compile_encoded)
        self._collections: dict[int, Collection] = {}
        self._programs = Programs()

    def statistics(self) -> dict[str, int]:
        """Counters of the texts kept."""
        return self._programs.statistics()

    # -------------------------------------------------------------- reading
    async def stream(self, request: ExecuteAql, outlet: Outlet, timer: Timer) -> None:
        """Run a text that reads.

        Raises:
            ProtocolError: it writes, which is to be asked another way.
            AuroraError: it is refused, or fails.
        """
        if request.migrates:
            await self._stream_migration(request, outlet)
            return
        with self._reader.snapshot() as (snapshot, aids):
            program = self._programs.get(request.text, request.variables, snapshot)
            if program.writes and not request.subscribes:
                raise ProtocolError("a text that writes was asked as one that reads")
            reading = SnapshotReading(snapshot, aids)
            timer.executions = reading.executions
            steps = _steps(request, program, reading)
            held: AqlPart | None = None
            template = program.template
            for part in steps:
                if part is None:
                    await trio.lowlevel.checkpoint()
                elif held is None:
                    held = _with_template(part, template) if template else part
                elif not held.records and not part.note:
                    held = AqlPart(held.note, part.records)
                else:
                    await outlet.send(held, snapshot.lsn, final=False)
                    held = part
            await outlet.send(held or AqlPart(b"", []), snapshot.lsn, final=True)

    # -------------------------------------------------------------- writing
    async def answer(
        self, client: str, number: int, request: ExecuteAql
    ) -> AqlReply | Failure:
        """Run a text and give its whole result.

        Raises:
            AuroraError: it is refused, or fails.
        """
        if request.explains:
            raise UsageError("explain is for texts that only read")
        for attempt in range(_MAX_CONFLICTS):
            if attempt:
                bound = min(_LONGEST_PAUSE_S, 0.001 * 2 ** min(attempt, 6))
                await trio.sleep(random.uniform(0.0, bound))  # noqa: S311 - no secret
            with self._data.snapshot() as snapshot:
                known = snapshot.outcome(client, number)
                if known is not None:
                    return _answered(decode_storage_reply(msgspec.Raw(known)))
                program = self._programs.get(request.text, request.variables, snapshot)
            run = _Run(client, number, Seed(request.seed))
            try:
                return await self._run(program, run)
            except ConflictError:
                if run.has_effects:
                    raise
        raise ConflictError(
            f"what the text reads or changes was changed {_MAX_CONFLICTS} times while "
            "it ran; try again"
        )

    async def _run(self, program: Program, run: _Run) -> AqlReply | Failure:
        parts = segments(program)
        reply: AqlReply | Failure | None = None
        for number, segment in enumerate(parts):
            is_last = number == len(parts) - 1
            if isinstance(segment, StatementRoot):
                reply = await self._statements(program, segment, run, is_last=is_last)
            else:
                reply = await self._transaction(segment, run)
            run.has_effects = not is_last
            if isinstance(reply, Failure):
                return reply
        return reply or AqlReply(parts=run.parts, lsn=0)

    async def _transaction(
        self, roots: Sequence[Root], run: _Run
    ) -> AqlReply | Failure:
        snapshot = self._data.snapshot()
        try:
            view = TransactionView(
                snapshot,
                self._operations,
                self._collections,
                max_bytes=self._max_bytes,
            )
        except BaseException:
            snapshot.close()
            raise
        try:
            run.parts += await _gathered(run_transaction(view, roots, run.seed))
            lsn = view.snapshot_lsn
            commit = view.commit() if view.has_written else None
        finally:
            view.close()
        if commit is None:
            return AqlReply(parts=run.parts, lsn=lsn)
        return _answered(await self._ask(run.named(commit)))

    async def _statements(
        self, program: Program, root: StatementRoot, run: _Run, *, is_last: bool
    ) -> AqlReply | Failure:
        block = root.block
        if isinstance(block, tree.Schema):
            run.parts += schema_parts(root)
            steps = apply_schema(self._data.snapshot, block, program.text)
            await self._drive(steps, run if is_last else None)
        else:
            now = datetime.now(UTC)
            versions = migrate(
                self._data.snapshot, block, now, program.text, run=run.seed.name
            )
            run.parts.append(migration_part(await self._drive(versions, None)))
        with self._data.snapshot() as snapshot:
            return AqlReply(parts=run.parts, lsn=snapshot.lsn)

    async def _stream_migration(self, request: ExecuteAql, outlet: Outlet) -> None:
        with self._data.snapshot() as snapshot:
            program = self._programs.get(request.text, request.variables, snapshot)
            lsn = snapshot.lsn
        block = migration_of(program)
        news: dict[str, AqlPart] = {}

        def note(what: str, done: int, total: int) -> None:
            news[what] = progress_part(what, done, total)

        async def tell() -> None:
            while news:
                part = news.pop(next(iter(news)))
                await outlet.send(part, lsn, final=False)

        name = Seed(request.seed).name
        now = datetime.now(UTC)
        steps = migrate(self._data.snapshot, block, now, program.text, note, name)
        part = migration_part(await self._drive(steps, None, tell))
        await tell()
        await outlet.send(part, lsn, final=True)

    async def _drive(
        self,
        steps: Generator[Operation, Message, T],
        run: _Run | None,
        between: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> T:
        """Have storage carry out what ``steps`` ask for."""
        reply: Message | None = None
        while True:
            await between()
            try:
                request = next(steps) if reply is None else steps.send(reply)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(request, Commit) and run is not None:
                request = run.named(request)
            reply = await self._ask(request)


class _Run:
    """One attempt to run a text that writes."""

    def __init__(self, client: str, number: int, seed: Seed) -> None:
        self._client = client
        self._number = number
        self.seed = seed
        self.parts: list[AqlPart] = []
        self.has_effects = False

    def named(self, commit: Commit) -> Commit:
        """The commit as the client's request, with the answer it is to get."""
        return msgspec.structs.replace(
            commit,
            client=self._client,
            client_request_id=self._number,
            note=_encode(self.parts),
        )


async def _gathered(parts: Parts) -> list[AqlPart]:
    found: list[AqlPart] = []
    size = 0
    for part in parts:
        if part is None:
            await trio.lowlevel.checkpoint()
            continue
        found.append(part)
        size += sum(map(len, part.records))
        if size > _MOST_BYTES:
            raise LimitExceededError(
                f"the result of a text that writes has more than {_MOST_BYTES >> 20} "
                "MiB: select less, or query in a text of its own",
                limit="result_bytes",
                maximum=_MOST_BYTES,
            )
    return found


def _steps(request: ExecuteAql, program: Program, reading: SnapshotReading) -> Parts:
    if request.subscribes:
        return watched(program.roots)
    run = explain_reads if request.explains else run_reads
    return run(reading, program.roots)


def _with_template(part: AqlPart, template: bytes) -> AqlPart:
    """The first part of a result, telling the client how to do without us."""
    note = msgspec.structs.replace(decode_note(part.note), template=template)
    return AqlPart(encode_note(note), part.records)


def _answered(reply: StorageReply) -> AqlReply | Failure:
    """What the client gets for the outcome of its commit."""
    if isinstance(reply, Committed):
        return AqlReply(parts=_parts.decode(reply.note), lsn=reply.lsn)
    if not isinstance(reply, Failure):
        raise InternalError(f"a commit was answered by {type(reply).__name__}")
    error = reply.error()
    if isinstance(error, ConflictError):
        raise error
    if isinstance(error, UsageError | ValidationError) and "operation" in error.context:
        # It was possible at the snapshot: something else must have changed it.
        raise ConflictError(
            f"{error.message}; this has changed since the text was begun: run it again",
            **error.context,
        )
    return reply
