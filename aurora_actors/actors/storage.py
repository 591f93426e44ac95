"""The storage actor: the only writer of a database.

It drains its mailbox and hands the whole turn's mutations to the engine as one group
commit, then answers all of them. What it owns, promises and writes is described in
``aurora_actors.storage``; here are only the mailbox and the clock.

Replies leave after the commit they speak of, in the order of the requests. A mutation
that a query executor sends on behalf of a client is remembered under the client's own
request, but answered to the executor.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import trio

from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.errors import AuroraError, ProtocolError
from aurora_actors.messages.base import Failure, Mail, Message
from aurora_actors.messages.clocks import SetJobClock
from aurora_actors.messages.jobs import (
    AwaitJob,
    ClaimJobs,
    FinishJobs,
    ReadJobStatistics,
    RenewLeases,
    ReportProgress,
    WorkerGone,
)
from aurora_actors.messages.storage import (
    AwaitChanges,
    ChangeMatching,
    Checkpoint,
    Commit,
    Compact,
    ForgetClient,
    LogAdvanced,
    LogSynced,
    Operation,
    ReadStatistics,
    Statistics,
    StorageRequest,
    SyncLog,
    Written,
    decode_storage_request,
)
from aurora_actors.messages.supervision import (
    ActorGone,
    ActorReady,
    ActorSpec,
    ClientGone,
    ShutDown,
)
from aurora_actors.meters import Histogram
from aurora_actors.query.compile import compile_predicate
from aurora_actors.query.predicate import decode_predicate
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.operations import Predicate
from aurora_actors.storage.warming import warm_page_cache

__all__ = ["compile_encoded", "main", "serve", "serve_engine"]

logger = logging.getLogger(__name__)

_ON_BEHALF: Final = (ChangeMatching, Commit)
_OF_WORKERS: Final = (FinishJobs, ReportProgress, WorkerGone)


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run the storage process; the entry point the supervisor starts."""
    # Large batches are tens of thousands of small objects, none of them in a cycle:
    # walking them again and again cost a tenth of the time of a bulk insert.
    gc.set_threshold(100_000, 20, 50)
    run_actor(spec, lifeline_fd, serve, low_latency=True)


async def serve(context: ActorContext) -> None:
    """Recover the database, then serve the mailbox until told to stop."""
    engine = Engine.open(
        context.config,
        compile_predicate=compile_encoded,
        tree_id=context.spec.tree_id,
    )
    warm_page_cache(context.config)
    try:
        await serve_engine(engine, context)
    finally:
        engine.close()


async def serve_engine(engine: Engine, context: ActorContext) -> None:
    """Serve the mailbox with an engine that is open, until told to stop."""
    actor = StorageActor(engine, context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actor.keep_house)
        context.ready()
        await actor.serve()
        nursery.cancel_scope.cancel()


def compile_encoded(predicate: bytes) -> Predicate:
    """Compile a predicate as it travels; an empty one matches everything."""
    if not predicate:
        return _everything
    return compile_predicate(decode_predicate(predicate))


def _everything(_fields: dict[str, object], _document_id: str) -> bool:
    return True


class _Asker(NamedTuple):
    """To whom a reply goes."""

    name: str
    request_id: int


class _Follower:
    """Who waits for changes: the request, and how many times it is still answered."""

    __slots__ = ("after_lsn", "request_id", "times")

    def __init__(self, request_id: int, request: AwaitChanges) -> None:
        self.request_id = request_id
        self.after_lsn = request.after_lsn
        self.times = request.times


class StorageActor:
    """The mailbox loop around an :class:`Engine`."""

    def __init__(self, engine: Engine, context: ActorContext) -> None:
        self._engine = engine
        self._channel = context.channel
        self._name = context.spec.name
        config = context.config
        self._usual_look_s = config.usual_look_s
        self._live_look_s = config.live_look_s
        self._batch_size = config.write_buffer_size
        if not config.enable_write_buffering:
            self._batch_size = 1
        self._stopping = False
        self._followers: dict[str, _Follower] = {}
        self._prompt_followers: dict[str, _Follower] = {}
        self._compacting: list[_Asker] = []
        self._wake = trio.Event()
        self._next_round = 0.0
        context.lsn = lambda: engine.lsn
        self._commit_times = Histogram("commit_seconds")
        self._tracer = context.tracer
        context.statistics = self.statistics

    def statistics(self) -> dict[str, int | float]:
        """The engine's counters, and how long commits take."""
        return {**self._engine.statistics(), **self._commit_times.statistics()}

    async def serve(self) -> None:
        """Serve the mailbox until the supervisor says to shut down."""
        while not self._stopping:
            before = self._engine.lsn
            mails = await self._channel.receive()
            self._turn_without_collector(mails)
            self._channel.look_for(self._patience_s(mails))
            # Meanwhile the mailbox fills up, and its senders wait.
            if pause := self._engine.pause_s(self._engine.lsn - before):
                await trio.sleep(pause)

    def _patience_s(self, mails: Sequence[Mail]) -> float:
        """How long to look for the next request before sleeping.

        Longer while somebody waits for events and writes come one by one. When several
        come at a time, others need the processor.
        """
        if not self._prompt_followers or len(mails) > 1 or len(mails[0].letters) > 1:
            return self._usual_look_s
        return self._live_look_s

    async def keep_house(self) -> None:
        """Sync the log, take checkpoints and trim when the engine says it is time."""
        while True:
            due = self._engine.due()
            self._next_round = trio.current_time() + due
            with trio.move_on_after(due):
                await self._wake.wait()
            self._wake = trio.Event()
            self._engine.background()
            self._answer_compaction()
            if self._answer_claims():
                self._wake_followers()
                self._channel.flush()

    # -------------------------------------------------------------- one turn
    def _turn_without_collector(self, mails: Sequence[Mail]) -> None:
        """A turn; whether there are cycles is looked at only after it.

        A large batch is hundreds of thousands of tuples that all die with it, and to
        walk them took a tenth of the time of a bulk insert.
        """
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            self._turn(mails)
        finally:
            if was_enabled:
                gc.enable()

    def _turn(self, mails: Sequence[Mail]) -> None:
        calls: list[StorageCall] = []
        askers: list[_Asker] = []
        for mail in mails:
            if mail.sender == SUPERVISOR:
                self._obey(mail)
                continue
            sender = mail.sender
            for letter in mail.letters:
                asker = _Asker(sender, letter.request_id)
                request = self._decode(asker, letter.body)
                if request is None:
                    continue
                if isinstance(request, Operation):
                    calls.append(_call(mail, letter.request_id, request))
                    askers.append(asker)
                    continue
                if isinstance(request, AwaitChanges):
                    self._follow(asker, request)
                    continue
                if isinstance(request, Compact):
                    self._compact(asker)
                    continue
                if isinstance(request, ClaimJobs):
                    self._engine.jobs.claim(*asker, request)
                    continue
                # What is asked after a write speaks of the state after it.
                self._commit(calls, askers)
                calls, askers = [], []
                reply = self._answer(asker, request)
                if reply is not None:
                    self._reply(asker, reply)
        self._commit(calls, askers)
        self._channel.flush()  # the replies do not wait for the rest
        self._give_jobs()
        self._wake_followers()
        self._channel.flush()

    def _give_jobs(self) -> None:
        """What is due about jobs after this turn, now or at the right time."""
        self._engine.run_jobs()
        self._answer_claims()
        due = trio.current_time() + self._engine.jobs.due()
        if due < self._next_round:
            self._next_round = due
            self._wake.set()

    def _answer_claims(self) -> bool:
        answers = self._engine.jobs.take_answers()
        for answer in answers:
            self._channel.queue(*answer)
        return bool(answers)

    def _follow(self, asker: _Asker, request: AwaitChanges) -> None:
        """Remember who waits for changes; one request for each follower."""
        waiting = self._prompt_followers if request.times > 1 else self._followers
        waiting[asker.name] = _Follower(asker.request_id, request)
        if request.keep:
            self._engine.hold_changes(asker.name, request.after_lsn)

    def _compact(self, asker: _Asker) -> None:
        """Start a compaction; who asks while one is under way waits for that one."""
        try:
            self._engine.start_compaction()
        except AuroraError as exc:
            self._reply(asker, Failure.of(exc, self._name))
        else:
            self._compacting.append(asker)
            self._wake.set()

    def _answer_compaction(self) -> None:
        outcome = self._engine.take_compaction()
        if outcome is None:
            return
        reply: Message = (
            Failure.of(outcome, self._name)
            if isinstance(outcome, AuroraError)
            else outcome
        )
        askers, self._compacting = self._compacting, []
        for asker in askers:
            self._reply(asker, reply)
        self._channel.flush()

    def _wake_followers(self) -> None:
        self._tell(self._prompt_followers)
        self._tell(self._followers)

    def _tell(
        self, followers: dict[str, _Follower], changes: Sequence[bytes] = ()
    ) -> None:
        lsn, at_s = self._engine.lsn, time.monotonic()
        for name, follower in list(followers.items()):
            if follower.after_lsn < lsn:
                follower.after_lsn = lsn
                follower.times -= 1
                if follower.times <= 0:
                    del followers[name]
                advanced = LogAdvanced(
                    lsn=lsn,
                    at_s=at_s,
                    timeline=self._engine.timeline,
                    changes=list(changes),
                )
                self._channel.queue(name, follower.request_id, advanced)

    def _decode(self, asker: _Asker, body: msgspec.Raw) -> StorageRequest | None:
        try:
            return decode_storage_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            error = ProtocolError(f"storage does not understand the request: {exc}")
            self._reply(asker, Failure.of(error, self._name))
            return None

    def _commit(self, calls: Sequence[StorageCall], askers: Sequence[_Asker]) -> None:
        size = self._batch_size
        for start in range(0, len(calls), size):
            begun = time.perf_counter()
            replies = self._engine.execute(calls[start : start + size])
            if self._prompt_followers:
                # The dispatcher is woken while the replies are still being made.
                self._tell(self._prompt_followers, self._engine.take_newest())
                self._channel.flush()
            seconds = time.perf_counter() - begun
            self._commit_times.record(seconds)
            if self._tracer is not None:
                for call, reply in zip(calls[start:], replies, strict=False):
                    self._trace(call, reply, seconds)
            self._reply_all(askers[start : start + size], replies)

    def _trace(self, call: StorageCall, reply: Message, seconds: float) -> None:
        """Tell the commit of one request as a part of it."""
        assert self._tracer is not None  # noqa: S101 - asked before
        request = call.request
        if not call.request_id:
            return
        on_behalf = isinstance(request, _ON_BEHALF) and request.client
        self._tracer.span(
            (call.client, call.request_id),
            "storage",
            "query_executor" if on_behalf else "client",
            f"commit {request.__struct_config__.tag}",
            seconds,
            {"aurora.lsn": self._engine.lsn},
            error=reply.code if isinstance(reply, Failure) else "",
        )

    def _reply_all(self, askers: Sequence[_Asker], replies: Sequence[Message]) -> None:
        """Reply to all; those of one asker that stand next to each other at once."""
        start = 0
        for end in range(1, len(askers) + 1):
            name = askers[start].name
            if end < len(askers) and askers[end].name == name:
                continue
            numbers = [asker.request_id for asker in askers[start:end]]
            letters = list(zip(numbers, replies[start:end], strict=True))
            self._channel.queue_all(name, letters)
            start = end

    def _answer(self, asker: _Asker, request: StorageRequest) -> Message | None:
        try:
            match request:
                case SyncLog():
                    return LogSynced(lsn=self._engine.sync())
                case Checkpoint():
                    self._engine.checkpoint()
                    return LogSynced(lsn=self._engine.lsn)
                case ReadStatistics():
                    return Statistics(values=self.statistics())
                case RenewLeases() | ReadJobStatistics() | AwaitJob() | SetJobClock():
                    return self._answer_about_jobs(asker, request)
                case ForgetClient(client=client):
                    self._engine.forget_client(client)
                    return Written(lsn=0, synced=False, affected=0)
                case _:
                    raise ProtocolError(f"unexpected request {type(request).__name__}")
        except AuroraError as exc:
            return Failure.of(exc, self._name)

    def _answer_about_jobs(
        self,
        asker: _Asker,
        request: RenewLeases | ReadJobStatistics | AwaitJob | SetJobClock,
    ) -> Message | None:
        if isinstance(request, AwaitJob):
            return self._engine.await_job(*asker, request)
        if isinstance(request, RenewLeases):
            return self._engine.jobs.renew(request)
        if isinstance(request, SetJobClock):
            return self._engine.set_job_clock(request)
        return self._engine.job_statistics()

    def _reply(self, asker: _Asker, reply: Message) -> None:
        self._channel.queue(asker.name, asker.request_id, reply)

    def _obey(self, mail: Mail) -> None:
        for order in orders(mail):
            match order:
                case ShutDown():
                    self._stopping = True
                case ClientGone(client=client):
                    self._channel.forget(client)
                    self._followers.pop(client, None)
                    self._prompt_followers.pop(client, None)
                    self._engine.hold_changes(client, None)
                    self._engine.forget_client(client)
                    self._engine.jobs.lose_mailbox(client)
                    self._engine.jobs.forget_client(client)
                case ActorGone(name=name, cause=cause):
                    self._channel.forget(name)
                    self._engine.jobs.lose_mailbox(name, cause)
                case ActorReady():
                    pass  # storage waits for nobody's answer


def _call(mail: Mail, request_id: int, request: Operation) -> StorageCall:
    if isinstance(request, _ON_BEHALF) and request.client:
        return StorageCall(request.client, request.client_request_id, 0, request)
    if isinstance(request, _OF_WORKERS):
        # They say themselves which attempt they speak of; a repeat is recognised.
        return StorageCall(mail.sender, 0, mail.floor, request)
    return StorageCall(mail.sender, request_id, mail.floor, request)
