"""What a client has asked for and not yet been told: one object for each request.

A :class:`Call` has one reply; a :class:`ResultStream` has numbered chunks, taken one by
one by its consumer or, when it *gathers*, all at once at the end. Only
:mod:`aurora_actors.client.protocol` changes their state; shells keep in ``waiter``
whatever they need to wake the one that waits.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

from aurora_actors.errors import AuroraError, InternalError
from aurora_actors.messages.aql import AqlReply, ExecuteAql
from aurora_actors.messages.base import Message
from aurora_actors.messages.clocks import JobClockSet
from aurora_actors.messages.indexing import AwaitIndexed
from aurora_actors.messages.jobs import (
    AwaitJob,
    Claimed,
    JobAwaited,
    JobsEnqueued,
    JobsFinished,
    JobStatistics,
    ReadJobStatistics,
)
from aurora_actors.messages.pools import PoolState, ReadPool
from aurora_actors.messages.query import Explain, ExplainReply, ResultChunk, RunQuery
from aurora_actors.messages.reactive import Listen, Subscribed, Watch
from aurora_actors.messages.remote import (
    BackupBegun,
    BackupRead,
    BeginBackup,
    CatalogRead,
    ReadCatalog,
    ReadDocument,
    RecordsRead,
    TransactionBegun,
    TransactionEnded,
    TransactionMarked,
)
from aurora_actors.messages.schedules import SchedulePut
from aurora_actors.messages.storage import (
    Checkpoint,
    CollectionDefined,
    Committed,
    Compact,
    Compacted,
    DefineCollection,
    LogSynced,
    ReadStatistics,
    Statistics,
    SyncLog,
    Written,
)
from aurora_actors.messages.supervision import Done, ReadStatus, TreeStatus

__all__ = [
    "NO_DEADLINE",
    "NO_TIME",
    "Call",
    "Pending",
    "Reply",
    "ResultStream",
    "Streamed",
    "deadline",
    "is_repeatable",
]

Reply: TypeAlias = (
    Written
    | Committed
    | CollectionDefined
    | LogSynced
    | Compacted
    | Statistics
    | JobsEnqueued
    | JobAwaited
    | JobStatistics
    | SchedulePut
    | JobClockSet
    | Claimed
    | JobsFinished
    | PoolState
    | Subscribed
    | AqlReply
    | ExplainReply
    | TreeStatus
    | Done
    | RecordsRead
    | CatalogRead
    | TransactionBegun
    | TransactionMarked
    | TransactionEnded
    | BackupBegun
    | BackupRead
)

Streamed: TypeAlias = RunQuery | ExecuteAql
"""What is answered by chunks."""

NO_DEADLINE: Final = float("inf")

NO_TIME: Final = -NO_DEADLINE
"""The deadline of what has failed before it is asked, however soon its answer comes."""


def deadline(now: float, usual_s: float, timeout_s: float | None) -> float:
    """When a call that begins now has to be answered; ``None`` takes the usual time."""
    if timeout_s is None:
        return now + usual_s
    return now + timeout_s if timeout_s > 0 else NO_TIME


_REPEATABLE: Final = (
    AwaitIndexed
    | AwaitJob
    | BeginBackup
    | Checkpoint
    | Compact
    | DefineCollection
    | Explain
    | Listen
    | ReadCatalog
    | ReadDocument
    | ReadJobStatistics
    | ReadPool
    | ReadStatistics
    | ReadStatus
    | SyncLog
    | Watch
)


def is_repeatable(message: Message) -> bool:
    """Whether asking twice, under two names, is as good as asking once."""
    return isinstance(message, _REPEATABLE)


class Pending:
    """A request on its way.

    Attributes:
        number: The request id under which its answer will come.
        destination: The mailbox it goes to.
        message: What is asked.
        size: About how many bytes it has on the wire.
        deadline: When it is given up, on the shell's clock.
        done: Nothing more will come for it.
        error: Why it failed, once it is done.
        waiter: The shell's handle of whoever waits; ``None`` when nobody does.
    """

    __slots__ = (
        "deadline",
        "destination",
        "done",
        "error",
        "message",
        "number",
        "size",
        "waiter",
    )

    def __init__(
        self,
        number: int,
        destination: str,
        message: Message,
        deadline: float,
        size: int,
    ) -> None:
        self.number = number
        self.destination = destination
        self.message = message
        self.deadline = deadline
        self.size = size
        self.done = False
        self.error: AuroraError | None = None
        self.waiter: object = None

    @property
    def has_news(self) -> bool:
        """Whether the one that waits can go on."""
        return self.done


class Call(Pending):
    """A request with one reply."""

    __slots__ = ("reply",)

    def __init__(
        self,
        number: int,
        destination: str,
        message: Message,
        deadline: float,
        size: int,
    ) -> None:
        super().__init__(number, destination, message, deadline, size)
        self.reply: Reply | None = None

    def outcome(self) -> Reply:
        """The reply; raises the error if there is one instead."""
        if self.error is not None:
            raise self.error
        if self.reply is None:
            raise InternalError(f"request {self.number} has no reply yet")
        return self.reply


class ResultStream(Pending):
    """A query under way.

    Attributes:
        gathers: Chunks are kept until the last has come; only then there is news, and
            a query whose executor was lost is simply run again.
        chunks: What has come and was not taken yet, in order.
        expected: The number of the next chunk.
        taken: How many chunks the consumer has had.
        lsn: The snapshot of this run, once the first chunk has come.
        unacknowledged: Chunks used up for which no credit was granted yet.
    """

    __slots__ = ("chunks", "expected", "gathers", "lsn", "taken", "unacknowledged")

    def __init__(
        self,
        number: int,
        destination: str,
        message: Streamed,
        deadline: float,
        *,
        gathers: bool,
    ) -> None:
        super().__init__(number, destination, message, deadline, 512)
        self.gathers = gathers
        self.chunks: deque[ResultChunk] = deque()
        self.taken = 0
        self.begin_run()

    def begin_run(self) -> None:
        """Forget what an earlier run has brought."""
        self.chunks.clear()
        self.expected = 0
        self.lsn = -1
        self.unacknowledged = 0

    def outcome(self) -> list[ResultChunk]:
        """All chunks of a gathered result; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return list(self.chunks)

    @property
    def has_news(self) -> bool:
        """Whether the one that waits can go on."""
        return self.done or (bool(self.chunks) and not self.gathers)
