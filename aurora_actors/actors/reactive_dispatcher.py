"""The reactive dispatcher: tells subscribers what changes, from the change log.

The mailbox and the clock around :class:`~aurora_actors.reactive.hub.Hub`, which does
the thinking. It is woken by storage when the log has advanced, hands the changes out at
once, and brings those who are behind to the present in the time in between. While there
are no subscribers it does not ask to be woken.

Invariants:

* A wake-up that is lost costs a second at most: the log is looked at again with every
  heartbeat, and storage is asked again when it has been restarted.
* It keeps nothing that a restart would lose: subscribers come again with their tokens.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import msgspec
import trio

from aurora_actors.actors.follower import STORAGE, Follower
from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.errors import ProtocolError
from aurora_actors.messages.base import Failure, Mail
from aurora_actors.messages.reactive import (
    GrantEvents,
    Listen,
    ReactiveRequest,
    Unsubscribe,
    Watch,
    decode_reactive_request,
)
from aurora_actors.messages.storage import ReadStatistics, Statistics
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorSpec,
    ClientGone,
    ShutDown,
)
from aurora_actors.meters import Histogram
from aurora_actors.reactive.hub import Hub
from aurora_actors.storage.reader import DataReader

__all__ = ["main", "serve"]

logger = logging.getLogger(__name__)

_BEAT_S: Final = 1.0
_WAKE_UPS: Final = 64


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run the reactive dispatcher; the entry point the supervisor starts."""
    run_actor(spec, lifeline_fd, serve, low_latency=True)


async def serve(context: ActorContext) -> None:
    """Open the database for reading and serve the mailbox until told to stop."""
    config = context.config
    with DataReader.open(
        config.path, max_size_gb=config.max_size_gb, max_readers=config.max_readers
    ) as reader:
        actor = DispatcherActor(reader, context)
        context.ready()
        await actor.serve()


class DispatcherActor:
    """The mailbox loop around a :class:`Hub`."""

    def __init__(self, reader: DataReader, context: ActorContext) -> None:
        self._channel = context.channel
        self._name = context.spec.name
        self._hub = Hub(reader, context.channel.queue)
        config = context.config
        self._usual_look_s = config.usual_look_s
        self._live_look_s = config.live_look_s
        self._follower = Follower(context.channel, times=_WAKE_UPS)
        self._follows = False
        self._has_work = trio.Event()
        self._has_more = False
        self._is_alone = False
        self._ticking: set[float] = set()
        self._event_times = Histogram("event_seconds")
        self._committed_at = 0.0
        self._stopping = False
        self._nursery: trio.Nursery
        context.lsn = lambda: self._hub.lsn
        context.statistics = self._statistics

    async def serve(self) -> None:
        """Serve the mailbox until the supervisor says to shut down."""
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._work)
            self._nursery.start_soon(self._beat)
            while not self._stopping:
                mails = await self._channel.receive()
                self._is_alone = len(mails) == 1 and len(mails[0].letters) == 1
                for mail in mails:
                    self._take(mail)
                self._look_around()
            self._nursery.cancel_scope.cancel()

    def _statistics(self) -> dict[str, int | float]:
        return {**self._hub.statistics(), **self._event_times.statistics()}

    # -------------------------------------------------------------- mail
    def _take(self, mail: Mail) -> None:
        if mail.sender == SUPERVISOR:
            self._obey(mail)
        elif mail.sender == STORAGE:
            if self._follower.on_mail(mail):
                # Events leave first; what is committed meanwhile storage says at once.
                told = self._hub.events
                hub = self._hub
                # What several commits have done is read, and told, together.
                self._has_more |= (
                    hub.take(self._follower.news) if self._is_alone else hub.advance()
                )
                if hub.events > told:
                    self._committed_at = self._follower.at_s
                self._follows = self._hub.has_subscribers
                if not self._follows:
                    self._channel.look_for(self._usual_look_s)
                if self._follows and self._follower.is_due:
                    self._follower.ask(max(self._follower.lsn, self._hub.lsn))
        else:
            for letter in mail.letters:
                self._take_request(mail.sender, letter.request_id, letter.body)

    def _obey(self, mail: Mail) -> None:
        for order in orders(mail):
            match order:
                case ShutDown():
                    self._stopping = True
                case ClientGone(client=client):
                    self._hub.forget_client(client)
                    self._channel.forget(client)
                case ActorReady(name=name):
                    if name == STORAGE and self._follows:
                        self._follower.ask_again()

    def _take_request(self, client: str, number: int, body: msgspec.Raw) -> None:
        try:
            request = decode_reactive_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            text = f"the dispatcher does not understand the request: {exc}"
            failure = Failure.of(ProtocolError(text), self._name)
            self._channel.queue(client, number, failure)
            return
        self._carry_out(client, number, request)

    def _carry_out(self, client: str, number: int, request: ReactiveRequest) -> None:
        match request:
            case Watch() | Listen():
                reply = self._hub.subscribe(client, number, request)
                self._channel.queue(client, number, reply)
                self._hub.begin_results()
            case GrantEvents(subscription=subscription, chunks=chunks):
                self._hub.grant(client, subscription, chunks)
            case Unsubscribe(subscription=subscription):
                self._hub.unsubscribe(client, subscription)
            case ReadStatistics():
                statistics = Statistics(values=self._statistics())
                self._channel.queue(client, number, statistics)

    # -------------------------------------------------------------- turns
    def _look_around(self) -> None:
        """After anything has happened: send, and see to it that the rest is done."""
        if self._hub.has_subscribers and not self._follows:
            self._follows = True
            self._follower.ask(self._hub.lsn)
            self._channel.look_for(self._live_look_s)
        self._channel.flush()
        if self._committed_at:
            self._event_times.record(time.monotonic() - self._committed_at)
            self._committed_at = 0.0
        if self._has_more or self._hub.has_work:
            self._has_work.set()
        for interval in self._hub.intervals:
            if interval not in self._ticking:
                self._ticking.add(interval)
                self._nursery.start_soon(self._tick, interval)

    async def _work(self) -> None:
        """What takes longer, in steps between which the mailbox has its turn."""
        while True:
            await self._has_work.wait()
            while self._has_more or self._hub.has_work:
                self._has_more = self._hub.advance()
                self._hub.work()
                self._look_around()
                await trio.lowlevel.checkpoint()
            self._has_work = trio.Event()

    async def _tick(self, interval: float) -> None:
        await trio.sleep(interval)
        upto = self._hub.lsn
        while self._hub.tick(interval, upto):
            self._look_around()
            await trio.lowlevel.checkpoint()
        self._ticking.discard(interval)
        self._look_around()

    async def _beat(self) -> None:
        while True:
            await trio.sleep(_BEAT_S)
            self._has_more |= self._hub.advance()
            self._hub.beat()
            self._look_around()
