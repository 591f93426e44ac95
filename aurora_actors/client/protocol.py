"""The client's side of the wire as a pure state machine.

It owns the request numbers of one client, the table of what is pending, and the queues
of what is to be sent; it knows no loop, no socket and no clock (times are arguments,
on whatever clock the shell uses). Its shells send what :meth:`ClientProtocol.outgoing`
gives, feed what arrives to :meth:`ClientProtocol.on_mail`, and wake whoever
:meth:`ClientProtocol.take_news` names. Not thread-safe: a shell calls it from one
place at a time.

Invariants:

* Each request is completed exactly once, with a reply or an error, however often its
  answer arrives, whoever sends it, and in whatever order.
* A request keeps its number when it is sent again, so that storage, which remembers
  outcomes by (client, number), applies a mutation once. A query that is run again
  gets a new number instead: what still comes from its earlier run is recognised as
  stray, and two snapshots never mix in one result.
* A query of which a chunk has been handed out is not run again: its consumer gets one
  retriable error.
* What is queued for one destination leaves in one envelope, up to 8 MiB of it.
* The floor of an envelope is the lowest number that may still be sent again.

It is longer than other modules because these hold for all requests together: calls and
streams share the numbers, the deadlines and the repeats. What is only about live queries
is in :mod:`aurora_actors.client.live`, what is asked for in
:mod:`aurora_actors.client.requests`.
"""

from __future__ import annotations

import logging
from typing import Final, TypeAlias

import msgspec

from aurora_actors.client.feeds import DISPATCHER
from aurora_actors.client.live import LiveFeeds
from aurora_actors.client.outbox import Outbox
from aurora_actors.client.requests import (
    NO_DEADLINE,
    Call,
    Pending,
    Reply,
    ResultStream,
    Streamed,
    is_repeatable,
)
from aurora_actors.errors import (
    AuroraError,
    InternalError,
    ProtocolError,
    TimeoutError_,
    UnavailableError,
)
from aurora_actors.messages.aql import AqlReply, ExecuteAql
from aurora_actors.messages.base import (
    Failure,
    Message,
    decode_envelope,
)
from aurora_actors.messages.clocks import JobClockSet
from aurora_actors.messages.jobs import (
    Claimed,
    JobAwaited,
    JobsEnqueued,
    JobsFinished,
    JobStatistics,
)
from aurora_actors.messages.pools import PoolState
from aurora_actors.messages.query import (
    CancelQuery,
    ExplainReply,
    GrantCredit,
    ResultChunk,
    RunQuery,
)
from aurora_actors.messages.reactive import LiveChunk, LiveProgress, Subscribed
from aurora_actors.messages.remote import (
    BackupBegun,
    BackupRead,
    CatalogRead,
    RecordsRead,
    TransactionBegun,
    TransactionEnded,
    TransactionMarked,
)
from aurora_actors.messages.schedules import SchedulePut
from aurora_actors.messages.storage import (
    CollectionDefined,
    Committed,
    Compacted,
    LogSynced,
    Statistics,
    Written,
)
from aurora_actors.telemetry import RequestTrace

__all__ = ["STORAGE", "SUPERVISOR", "ClientProtocol"]

logger = logging.getLogger(__name__)

STORAGE: Final = "storage"
SUPERVISOR: Final = "supervisor"
"""Where requests go that travel by another way; see ``track``."""
_SMALL: Final = 512

_Answer: TypeAlias = (
    Written
    | Committed
    | CollectionDefined
    | LogSynced
    | Compacted
    | Statistics
    | AqlReply
    | ExplainReply
    | ResultChunk
    | LiveChunk
    | LiveProgress
    | Subscribed
    | RecordsRead
    | BackupBegun
    | BackupRead
    | CatalogRead
    | TransactionBegun
    | TransactionMarked
    | TransactionEnded
    | JobsEnqueued
    | JobAwaited
    | JobStatistics
    | PoolState
    | Claimed
    | JobsFinished
    | SchedulePut
    | JobClockSet
    | Failure
)
_answers = msgspec.msgpack.Decoder(_Answer)


class ClientProtocol:
    """The requests of one client: numbered, batched, matched, repeated.

    Args:
        name: The client's mailbox name.
        incarnations: How often each actor had been started when the client attached.

    Attributes:
        trace: Is told when requests begin and end, if they are traced.
    """

    def __init__(self, name: str, incarnations: dict[str, int] | None = None) -> None:
        self.name = name
        self.next_expiry = NO_DEADLINE
        self.in_flight: dict[str, int] = {}
        self._incarnations = dict(incarnations or {})
        self._last_number = 0
        self._calls: dict[int, Call] = {}
        self._streams: dict[int, ResultStream] = {}
        self._outbox = Outbox(name)
        self._news: list[Pending] = []
        self._failure: AuroraError | None = None
        self.trace: RequestTrace | None = None
        self.live = LiveFeeds(
            self._next_number, self._outbox.put, self._note_news, self._hurry
        )

    # -------------------------------------------------------------- asking
    def submit(
        self,
        destination: str,
        message: Message,
        deadline: float = NO_DEADLINE,
        size: int = _SMALL,
    ) -> Call:
        """Queue a request that has one reply.

        Raises:
            TreeDownError: or whatever error has ended the whole conversation.
        """
        number = self._next_number()
        call = Call(number, destination, message, deadline, size)
        self._calls[number] = call
        self.in_flight[destination] = self.in_flight.get(destination, 0) + 1
        self.next_expiry = min(self.next_expiry, deadline)
        self._outbox.put(destination, number, message, size)
        return call

    def track(self, destination: str, message: Message, deadline: float) -> Call:
        """Number a request that travels by another way; see :meth:`complete`."""
        number = self._next_number()
        call = Call(number, destination, message, deadline, _SMALL)
        self._calls[number] = call
        self._count(call)
        return call

    def complete(self, call: Call, reply: Reply) -> None:
        """The answer to a tracked request has come."""
        if not call.done:
            call.reply = reply
            self._finish(call, None)

    def fail(self, call: Call, error: AuroraError) -> None:
        """A tracked request has failed."""
        if not call.done:
            self._finish(call, error)

    def open_stream(
        self,
        destination: str,
        query: Streamed,
        deadline: float = NO_DEADLINE,
        *,
        gathers: bool = False,
    ) -> ResultStream:
        """Queue a query; see :class:`ResultStream` for ``gathers``."""
        number = self._next_number()
        stream = ResultStream(number, destination, query, deadline, gathers=gathers)
        self._streams[number] = stream
        self._admit(stream)
        return stream

    def take_chunk(self, stream: ResultStream) -> ResultChunk | None:
        """Hand out the next chunk, or ``None`` when none is there yet."""
        if not stream.chunks:
            return None
        chunk = stream.chunks.popleft()
        stream.taken += 1
        self._used_up(stream)
        return chunk

    def set_deadline(self, pending: Pending, deadline: float) -> None:
        """Give ``pending`` until ``deadline``."""
        pending.deadline = deadline
        self.next_expiry = min(self.next_expiry, deadline)

    def abandon(self, pending: Pending) -> None:
        """Forget a request: its answer is not wanted any more.

        A mutation may still take effect; a query is cancelled at its executor.
        """
        if not pending.done and self._find(pending.number) is pending:
            self._remove(pending)
            pending.done = True
            if self.trace is not None:
                self._tell(pending, "abandoned")
            if isinstance(pending, ResultStream):
                self._cancel(pending.destination, pending.number)

    def _next_number(self) -> int:
        if self._failure is not None:
            raise type(self._failure)(self._failure.message, **self._failure.context)
        self._last_number += 1
        if self.trace is not None:
            self.trace.began(self.name, self._last_number)
        return self._last_number

    def _admit(self, pending: Pending) -> None:
        self._count(pending)
        self._outbox.put(
            pending.destination, pending.number, pending.message, pending.size
        )

    def _count(self, pending: Pending) -> None:
        destination = pending.destination
        self.in_flight[destination] = self.in_flight.get(destination, 0) + 1
        self.next_expiry = min(self.next_expiry, pending.deadline)

    def _cancel(self, destination: str, number: int) -> None:
        if self._failure is None:
            self._outbox.put(destination, 0, CancelQuery(query_id=number), _SMALL)

    # -------------------------------------------------------------- sending
    def outgoing(self) -> list[tuple[str, bytes]]:
        """Everything queued, as envelopes to be sent in this order."""
        envelopes, refused = self._outbox.take(self._floor)
        for number, reason in refused:
            pending = self._find(number)
            if pending is not None:
                error = ProtocolError(f"the request cannot be sent: {reason}")
                self._finish(pending, error)
        return envelopes

    def _floor(self, destination: str) -> int:
        floor = next(iter(self._calls), self._last_number + 1)
        if destination != STORAGE and self._streams:
            # Storage remembers no queries: a long one must not hold its floor down.
            floor = min(floor, next(iter(self._streams)))
        return floor

    # -------------------------------------------------------------- receiving
    def on_mail(self, data: bytes) -> None:
        """Take one received envelope; what is not understood is logged and dropped."""
        try:
            mail = decode_envelope(data)
        except ProtocolError as exc:
            logger.warning("dropped a message", extra={"reason": exc.message})
            return
        for letter in mail.letters:
            try:
                answer = _answers.decode(letter.body)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                self._on_nonsense(letter.request_id, mail.sender, exc)
            else:
                self._on_answer(mail.sender, letter.request_id, answer)

    def _on_answer(self, sender: str, number: int, answer: _Answer) -> None:
        if type(answer) is Written:  # by far the most frequent one
            self._on_reply(number, answer)
        elif isinstance(answer, LiveChunk):
            self.live.on_chunk(number, answer)
        elif isinstance(answer, ResultChunk):
            self._on_chunk(sender, number, answer)
        elif isinstance(answer, LiveProgress):
            self.live.on_progress(answer)
        elif isinstance(answer, Failure):
            pending = self._find(number)
            if pending is not None:
                self._finish(pending, answer.error())
            else:
                self.live.on_failure(number, answer.error())
        else:
            if isinstance(answer, Subscribed):
                self.live.confirm(number, answer)
            self._on_reply(number, answer)

    def _on_reply(self, number: int, reply: Reply) -> None:
        call = self._calls.pop(number, None)
        if call is not None:
            call.reply = reply
            call.done = True
            self.in_flight[call.destination] -= 1
            self._news.append(call)
            if self.trace is not None:
                self._tell(call, "")

    def _on_chunk(self, sender: str, number: int, chunk: ResultChunk) -> None:
        stream = self._streams.get(number)
        if stream is None:
            if not chunk.final:
                self._cancel(sender, number)
            return
        if chunk.number != stream.expected or stream.lsn not in (-1, chunk.lsn):
            return
        stream.lsn = chunk.lsn
        stream.expected += 1
        stream.chunks.append(chunk)
        if chunk.final:
            self._finish(stream, None)
        elif stream.gathers:
            self._used_up(stream)
        else:
            self._news.append(stream)

    def _used_up(self, stream: ResultStream) -> None:
        # Credit goes back in halves of the window: fewer messages, no stall.
        stream.unacknowledged += 1
        query = stream.message
        if stream.done or not isinstance(query, RunQuery | ExecuteAql):
            return
        if stream.unacknowledged * 2 >= query.credit:
            grant = GrantCredit(query_id=stream.number, chunks=stream.unacknowledged)
            stream.unacknowledged = 0
            self._outbox.put(stream.destination, 0, grant, _SMALL)

    def _on_nonsense(self, number: int, sender: str, reason: Exception) -> None:
        pending = self._find(number)
        if pending is not None:
            text = f"the answer of {sender} is not understood: {reason}"
            self._finish(pending, ProtocolError(text, actor=sender))

    # -------------------------------------------------------------- recovering
    def on_actor_ready(self, name: str, incarnation: int) -> bool:
        """Send again what ``name`` had not answered when it was restarted.

        Returns:
            Whether it was; the notice may also speak of what was known.
        """
        if incarnation <= self._incarnations.get(name, 0):
            return False
        self._incarnations[name] = incarnation
        # What is queued is pending too; credits and cancellations died with the actor.
        self._outbox.drop(name)
        waiting: list[Pending] = [
            call for call in self._calls.values() if call.destination == name
        ]
        for stream in list(self._streams.values()):
            if stream.destination != name:
                continue
            if stream.taken:
                self._finish(stream, _interrupted(name))
            else:
                self._renumber(stream)
                waiting.append(stream)
        for pending in waiting:
            self._outbox.put(name, pending.number, pending.message, pending.size)
        if name == DISPATCHER:
            self.live.reconnect()
        return True

    def resume(self) -> None:
        """A connection is back on which anything may have been lost: ask again.

        Whoever was asked lives on, so what is not wanted any more is cancelled there.
        """
        self._outbox.clear()
        self.live.resume()
        for stream in list(self._streams.values()):
            self._cancel(stream.destination, stream.number)
            if stream.taken:
                self._finish(stream, _cut_off())
            else:
                self._renumber(stream)
        for pending in [*self._calls.values(), *self._streams.values()]:
            if pending.destination != SUPERVISOR:
                self._outbox.put(
                    pending.destination, pending.number, pending.message, pending.size
                )

    def rename(self, name: str, incarnations: dict[str, int]) -> None:
        """Nothing is known of us any more: go on under another name.

        A write that is pending may have taken effect under the old one, and fails.
        """
        self.name = name
        self._incarnations = dict(incarnations)
        self._outbox.rename(name)
        for call in list(self._calls.values()):
            if not is_repeatable(call.message):
                self._finish(call, _uncertain())

    def _renumber(self, stream: ResultStream) -> None:
        del self._streams[stream.number]
        self._last_number += 1
        stream.number = self._last_number
        stream.begin_run()
        self._streams[stream.number] = stream
        if self.trace is not None:
            self.trace.began(self.name, stream.number)

    def fail_all(self, error: AuroraError) -> None:
        """End the conversation: ``error`` for all that is pending, and ever after."""
        if self._failure is None:
            self._failure = error
        self._outbox.clear()
        self.live.fail_all(error)
        for pending in [*self._calls.values(), *self._streams.values()]:
            self._finish(pending, type(error)(error.message, **error.context))

    def expire(self, now: float) -> None:
        """Fail what has reached its deadline, and find the next one."""
        nearest = self.live.expire(now)
        for pending in [*self._calls.values(), *self._streams.values()]:
            if pending.deadline > now:
                nearest = min(nearest, pending.deadline)
                continue
            if isinstance(pending, ResultStream):
                self._cancel(pending.destination, pending.number)
            self._finish(pending, _timed_out(pending))
        self.next_expiry = nearest

    # -------------------------------------------------------------- completing
    @property
    def pending_count(self) -> int:
        """How many requests are under way."""
        return len(self._calls) + len(self._streams)

    @property
    def last_number(self) -> int:
        """The number of the newest request."""
        return self._last_number

    def is_answered(self, destination: str, upto: int) -> bool:
        """Whether nothing up to this number waits for an answer of ``destination``."""
        for table in (self._calls, self._streams):
            for pending in table.values():
                if pending.number > upto:
                    break
                if pending.destination == destination:
                    return False
        return True

    @property
    def queued_count(self) -> int:
        """About how many requests are queued to be sent."""
        return self._outbox.count

    @property
    def has_mail(self) -> bool:
        """Whether something is queued to be sent."""
        return not self._outbox.is_empty

    @property
    def has_news(self) -> bool:
        """Whether :meth:`take_news` has something."""
        return bool(self._news)

    def take_news(self) -> list[Pending]:
        """The requests whose waiters can go on since the last call."""
        news = self._news
        if news:
            self._news = []
        return news

    def _note_news(self, pending: Pending) -> None:
        self._news.append(pending)

    def _hurry(self, deadline: float) -> None:
        self.next_expiry = min(self.next_expiry, deadline)

    def _find(self, number: int) -> Pending | None:
        return self._calls.get(number) or self._streams.get(number)

    def _remove(self, pending: Pending) -> None:
        if isinstance(pending, ResultStream):
            del self._streams[pending.number]
        else:
            del self._calls[pending.number]
        self.in_flight[pending.destination] -= 1

    def _finish(self, pending: Pending, error: AuroraError | None) -> None:
        if pending.done:
            raise InternalError(f"request {pending.number} was completed twice")
        self._remove(pending)
        pending.done = True
        pending.error = error
        self._news.append(pending)
        if self.trace is not None:
            self._tell(pending, "" if error is None else error.code)

    def _tell(self, pending: Pending, error: str) -> None:
        assert self.trace is not None  # noqa: S101 - asked before
        name = str(pending.message.__struct_config__.tag)
        self.trace.ended(self.name, pending.number, pending.destination, name, error)


def _interrupted(actor: str) -> AuroraError:
    return UnavailableError(
        f"{actor} was restarted in the middle of a result; run the query again",
        actor=actor,
    )


def _cut_off() -> AuroraError:
    return UnavailableError(
        "the connection was lost in the middle of a result; run the query again"
    )


def _uncertain() -> AuroraError:
    return UnavailableError(
        "the connection was lost for too long: whether the write has taken effect is "
        "not known; read before you repeat it",
        uncertain=True,
    )


def _timed_out(pending: Pending) -> AuroraError:
    advice = (
        "run the query again or give it more time"
        if isinstance(pending, ResultStream)
        else "what was asked may still take effect"
    )
    return TimeoutError_(
        f"no answer from {pending.destination} within the time allowed; {advice}",
        actor=pending.destination,
    )
