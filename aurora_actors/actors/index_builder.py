"""The index builder: keeps indexes and columns in step with the change log.

The mailbox and the clock around :class:`~aurora_actors.indexing.builder.IndexBuilder`,
which does the work in steps of one commit each. Storage wakes it when the log has
advanced; it then works until it has caught up, pauses for :data:`PAUSE_S` or longer so
that the single commits of a busy writer are taken together, and asks to be woken again. What can
wait (small column segments, merging) is done when nothing has come for a while.

Storage keeps the changes that the builder has not seen, up to ten times
``change_retention``: that is the room for bursts. When half of it is used up, storage
lets writers wait a little after each turn. A builder that falls behind further all the
same builds everything anew from the documents, while queries do without it.

Invariants:

* A wake-up that is lost costs a second at most: the log is looked at again anyway.
* Derived data that turns out to be damaged is thrown away and built anew.
* A full disk stops the building, not the process; it goes on when there is room.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Final, NamedTuple

import msgspec
import trio

from aurora_actors.actors.follower import STORAGE, Follower
from aurora_actors.actors.runtime import SUPERVISOR, ActorContext, orders, run_actor
from aurora_actors.errors import CorruptionError, ProtocolError, StorageFullError
from aurora_actors.indexing.builder import IndexBuilder
from aurora_actors.indexing.store import Settings, discard_index
from aurora_actors.messages.base import Failure, Mail
from aurora_actors.messages.indexing import AwaitIndexed, decode_indexing_request
from aurora_actors.messages.storage import Statistics
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorSpec,
    ClientGone,
    ShutDown,
)
from aurora_actors.meters import Histogram
from aurora_actors.storage.reader import DataReader

__all__ = ["main", "serve"]

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.01
# It rests for three times as long as it has worked, within limits: small steps cost as
# much as large ones, and take the core that a busy writer needs.
_REST: Final = 3.0
_LONGEST_PAUSE_S: Final = 0.05
# Where processors are short, those that somebody waits for come first: a third of the
# share of the others let 64 inserters on two cores do a tenth more.
_NICENESS: Final = 5
_IDLE_S: Final = 0.1
_BEAT_S: Final = 1.0
_SLICE_S: Final = 0.25


def main(spec: ActorSpec, lifeline_fd: int) -> None:
    """Run the index builder; the entry point the supervisor starts."""
    os.nice(_NICENESS)
    run_actor(spec, lifeline_fd, serve, low_latency=True)


async def serve(context: ActorContext) -> None:
    """Open the derived data, then follow the log until told to stop."""
    config = context.config
    context.channel.look_for(0.0)  # nobody waits for it
    settings = Settings(
        map_size=config.max_size_gb << 30, max_readers=config.max_readers
    )
    with DataReader.open(
        config.path, max_size_gb=config.max_size_gb, max_readers=config.max_readers
    ) as reader:
        actor = BuilderActor(reader, context, settings)
        try:
            context.ready()
            await actor.serve()
        finally:
            actor.close()


class _Waiter(NamedTuple):
    """Somebody who wants to know when an LSN has been reached."""

    name: str
    request_id: int
    lsn: int


class BuilderActor:
    """The mailbox loop around an :class:`IndexBuilder`."""

    def __init__(
        self, reader: DataReader, context: ActorContext, settings: Settings
    ) -> None:
        self._reader = reader
        self._channel = context.channel
        self._name = context.spec.name
        self._config = context.config
        self._settings = settings
        self._follower = Follower(context.channel, keep=True)
        self._builder = self._open_builder()
        self._waiters: list[_Waiter] = []
        self._woken = trio.Event()
        self._stopping = False
        context.lsn = lambda: self._builder.lsn
        self._catch_up_times = Histogram("catch_up_seconds")
        context.statistics = self.statistics

    def statistics(self) -> dict[str, int | float]:
        """Counters of the builder that is open now."""
        return {**self._builder.statistics(), **self._catch_up_times.statistics()}

    def _open_builder(self) -> IndexBuilder:
        with self._reader.snapshot() as snapshot:
            return IndexBuilder.open(self._config.path, snapshot, self._settings)

    def close(self) -> None:
        """Take a last checkpoint and close the files."""
        self._builder.close()

    async def serve(self) -> None:
        """Serve the mailbox until the supervisor says to shut down."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            nursery.start_soon(self._keep_checkpoints)
            while not self._stopping:
                for mail in await self._channel.receive():
                    self._take(mail)
                self._channel.flush()
            nursery.cancel_scope.cancel()

    # -------------------------------------------------------------- mail
    def _take(self, mail: Mail) -> None:
        if mail.sender == SUPERVISOR:
            self._obey(mail)
        elif mail.sender == STORAGE:
            if self._follower.on_mail(mail):
                self._woken.set()
        else:
            for letter in mail.letters:
                self._take_request(mail.sender, letter.request_id, letter.body)

    def _obey(self, mail: Mail) -> None:
        for order in orders(mail):
            match order:
                case ShutDown():
                    self._stopping = True
                case ClientGone(client=client):
                    self._waiters = [w for w in self._waiters if w.name != client]
                    self._channel.forget(client)
                case ActorReady(name=name):
                    if name == STORAGE:
                        self._follower.ask_again()

    def _take_request(self, sender: str, request_id: int, body: msgspec.Raw) -> None:
        try:
            request = decode_indexing_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            error = ProtocolError(
                f"the index builder does not understand the request: {exc}"
            )
            self._channel.queue(sender, request_id, Failure.of(error, self._name))
            return
        if isinstance(request, AwaitIndexed):
            with self._reader.snapshot() as snapshot:
                self._waiters.append(_Waiter(sender, request_id, snapshot.lsn))
            self._woken.set()
        else:
            self._channel.queue(
                sender, request_id, Statistics(values=self.statistics())
            )

    # -------------------------------------------------------------- work
    async def _work(self) -> None:
        """Catch up, rest a little, wait for more; for ever."""
        while True:
            self._woken = trio.Event()
            began = trio.current_time()
            try:
                await self._catch_up()
                took = trio.current_time() - began
                self._follower.ask(self._builder.lsn)
                self._channel.flush()
                await trio.sleep(min(max(PAUSE_S, _REST * took), _LONGEST_PAUSE_S))
                await self._rest()
            except CorruptionError as exc:
                logger.warning(
                    "the derived data is damaged", extra={"reason": exc.message}
                )
                self._start_anew()
            except StorageFullError as exc:
                logger.warning("cannot build indexes", extra={"reason": exc.message})
                await trio.sleep(_BEAT_S)

    async def _catch_up(self) -> None:
        """Take steps until there is nothing more to be done at once."""
        more = True
        begun, before = time.perf_counter(), self._builder.lsn
        while more:
            # No snapshot is held for long: storage could not reuse its pages.
            end = trio.current_time() + _SLICE_S
            with self._reader.snapshot() as snapshot:
                while more and trio.current_time() < end:
                    more = self._builder.step(snapshot)
                    await trio.lowlevel.checkpoint()
            if more:
                # Storage is to know how far behind we are.
                self._follower.ask(self._builder.lsn)
                self._channel.flush()
        if self._builder.lsn != before:
            self._catch_up_times.record(time.perf_counter() - begun)

    async def _rest(self) -> None:
        """Wait to be woken; do what has been waiting when nobody does."""
        with trio.move_on_after(0 if self._waiters else _IDLE_S):
            await self._woken.wait()
            if not self._waiters:
                return
        await self._tidy()
        with trio.move_on_after(_BEAT_S):
            await self._woken.wait()

    async def _tidy(self) -> None:
        with self._reader.snapshot() as snapshot:
            done = True
            while done and (self._waiters or not self._woken.is_set()):
                done = self._builder.tidy(snapshot)
                await trio.lowlevel.checkpoint()
        if not self._builder.is_building:
            self._answer_waiters()

    def _answer_waiters(self) -> None:
        reached = self._builder.lsn
        values = self._builder.statistics()
        for name, request_id, lsn in self._waiters:
            if lsn <= reached:
                self._channel.queue(name, request_id, Statistics(values=values))
        self._waiters = [waiter for waiter in self._waiters if waiter.lsn > reached]
        if self._waiters:
            self._woken.set()
        self._channel.flush()

    def _start_anew(self) -> None:
        self._builder.abandon()
        discard_index(self._config.path)
        self._builder = self._open_builder()

    # -------------------------------------------------------------- checkpoints
    async def _keep_checkpoints(self) -> None:
        """Make what has been derived survive power loss, from time to time."""
        while True:
            await trio.sleep(self._config.checkpoint_interval_ms / 1000)
            store = self._builder.store
            if store.checkpoint_lsn == self._builder.lsn:
                continue
            pending = store.begin_checkpoint()
            try:
                # The sync takes a while; commits go on meanwhile.
                await trio.to_thread.run_sync(store.sync_checkpoint, pending)
            except StorageFullError as exc:
                store.abandon_checkpoint(pending)
                logger.warning("no checkpoint", extra={"reason": exc.message})
            except BaseException:
                store.abandon_checkpoint(pending)
                raise
            else:
                if store is self._builder.store:
                    store.finish_checkpoint(pending)
