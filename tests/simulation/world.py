"""A whole tree in one trio loop: real actors, real files, a virtual clock, one seed.

Storage and executors are the functions that run in the processes, on channels in memory.
The seed decides how long each message takes, which are repeated, what the clients ask,
and when an actor crashes: between two turns, in the middle of a file operation, after
the commit but before the replies. What a crashed actor had not read is lost; its
successor recovers from the files; clients and executors send again what was not
answered. The same seed gives the same history.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import trio
import trio.testing

from aurora_actors.actors import (
    index_builder,
    query_executor,
    reactive_dispatcher,
)
from aurora_actors.actors.runtime import SUPERVISOR, ActorContext
from aurora_actors.actors.storage import compile_encoded, serve_engine
from aurora_actors.client.protocol import ClientProtocol
from aurora_actors.client.requests import Pending
from aurora_actors.config import AuroraConfig, DurabilityMode
from aurora_actors.indexing import store as index_store
from aurora_actors.indexing.reader import IndexReader
from aurora_actors.messages.base import encode_envelope
from aurora_actors.messages.supervision import (
    ActorReady,
    ActorSpec,
    Heartbeat,
    Ready,
)
from aurora_actors.storage.engine import Engine
from aurora_actors.storage.files import Files
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.store import Settings
from aurora_actors.transport.memory import MemoryChannel, MemoryNetwork

_notice_decoder = msgspec.msgpack.Decoder(Ready | Heartbeat)

STORAGE = "storage"
INDEX_BUILDER = "index_builder"
DISPATCHER = "reactive_dispatcher"
EXECUTORS = ("query_executor-0", "query_executor-1")
# How many of the worlds have what follows the log, too; they take three times as long.
_FOLLOWERS_SHARE = 0.3


# So that a history sees an index half built, and many of its commits.
SMALL_STEPS = index_store.Limits(changes=3, documents=2)


class Crash(BaseException):
    """The process is gone, at this very point."""


class CrashingFiles(Files):
    """A file system on which the process may die at any operation."""

    def __init__(self, rng: random.Random, chance: float) -> None:
        self._rng = rng
        self.chance = chance

    def _dies(self) -> bool:
        # Background threads of the engine take no part: their timing is not ours.
        here = threading.current_thread() is threading.main_thread()
        return here and self.chance > 0 and self._rng.random() < self.chance

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if self._dies():
            super().write(fd, data[: self._rng.randrange(len(data) + 1)], offset)
            raise Crash
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        if self._dies():
            raise Crash
        super().sync(fd)


class CrashingChannel(MemoryChannel):
    """A channel whose owner may die before its replies have left."""

    def __init__(
        self, network: MemoryNetwork, name: str, rng: random.Random, chance: float
    ) -> None:
        super().__init__(network, name)
        self._rng = rng
        self.chance = chance

    def flush(self) -> None:
        if self.chance and self._rng.random() < self.chance:
            raise Crash
        super().flush()


@dataclass
class Faults:
    """How often things go wrong."""

    file_operation: float = 0.01
    before_replies: float = 0.03
    executor: float = 0.01
    repeated_message: float = 0.02
    crashes: dict[str, int] = field(default_factory=dict)


class World:
    """The network, the actors with their restarts, and the clients."""

    def __init__(self, seed: int, path: Path, faults: Faults | None = None) -> None:
        self.rng = random.Random(seed)
        self.faults = faults or Faults()
        mode = self.rng.choice([DurabilityMode.WAL, DurabilityMode.STRICT])
        self.config = AuroraConfig(
            db_path=str(path),
            durability_mode=mode,
            write_buffer_size=self.rng.choice([1, 3, 10_000]),
            change_retention=1_000_000,
            max_size_gb=1,
        )
        path.mkdir()
        self.has_followers = self.rng.random() < _FOLLOWERS_SHARE
        followers = (INDEX_BUILDER, DISPATCHER) if self.has_followers else ()
        self.network = MemoryNetwork(self._route)
        self.clients: list[Client] = []
        self.calm = False
        self._last_due: dict[tuple[str, str], float] = {}
        self._incarnations = dict.fromkeys((STORAGE, *followers, *EXECUTORS), 0)
        self._index = IndexReader.open(path, max_size_gb=1)
        self._supervisor = self.network.open(SUPERVISOR)
        self._ready = dict.fromkeys(self._incarnations, False)
        self._running: set[str] = set()
        self._ready_changed = trio.Condition()

    # -------------------------------------------------------------- the network
    def _route(self, sender: str, to: str) -> Sequence[float]:
        """Delays that keep the order of one sender's messages to one receiver."""
        now = trio.current_time()
        due = now + self.rng.expovariate(1000.0)
        due = max(due, self._last_due.get((sender, to), 0.0) + 1e-7)
        self._last_due[sender, to] = due
        delay = due - now
        if not self.calm and self.rng.random() < self.faults.repeated_message:
            self._last_due[sender, to] = due + 1e-7
            return (delay, delay + 1e-7)
        return (delay,)

    # -------------------------------------------------------------- the actors
    async def run_actors(self, nursery: trio.Nursery) -> None:
        """Start all actors, each of which starts again after a crash."""
        nursery.start_soon(self.network.run)
        nursery.start_soon(self._read_notices)
        for name in self._incarnations:
            nursery.start_soon(self._keep_running, name)
        for name in self._ready:
            await self._until_ready(name)

    async def _until_ready(self, name: str) -> None:
        async with self._ready_changed:
            while not self._ready[name]:
                await self._ready_changed.wait()

    async def _read_notices(self) -> None:
        while True:
            for mail in await self._supervisor.receive():
                for letter in mail.letters:
                    notice = _notice_decoder.decode(letter.body)
                    name = mail.sender
                    present = notice.incarnation == self._incarnations[name]
                    # What it said may come when it has crashed since.
                    present = present and name in self._running
                    if isinstance(notice, Ready) and present:
                        await self._announce(mail.sender, notice.incarnation)

    async def _announce(self, name: str, incarnation: int) -> None:
        async with self._ready_changed:
            self._ready[name] = True
            self._ready_changed.notify_all()
        notice = ActorReady(name=name, incarnation=incarnation)
        for client in self.clients:
            client.on_actor_ready(notice)
        for actor in self._incarnations:
            if actor not in {name, STORAGE}:
                self._supervisor.queue(actor, 0, notice)
        self._supervisor.flush()
        if name == INDEX_BUILDER and (held := self._index.snapshot()) is not None:
            held.close()  # its file stays open from now on, as its builder opened it

    async def _keep_running(self, name: str) -> None:
        while True:
            # In one process a file of LMDB's is opened by its writer first.
            if name != STORAGE:
                await self._until_ready(STORAGE)
            if name in EXECUTORS and self.has_followers:
                await self._until_ready(INDEX_BUILDER)
            self._incarnations[name] += 1
            try:
                await self._run_once(name)
            except Crash:
                pass
            except BaseExceptionGroup as group:
                _crashes, other = group.split(Crash)
                if other is not None:
                    raise other from None
            self._ready[name] = False
            self.faults.crashes[name] = self.faults.crashes.get(name, 0) + 1
            await trio.sleep(self.rng.expovariate(50.0))

    async def _run_once(self, name: str) -> None:
        chance = 0.0 if self.calm else self.faults.before_replies
        if name != STORAGE:
            chance = 0.0 if self.calm else self.faults.executor
        channel = CrashingChannel(self.network, name, self.rng, chance)
        self.network.bind(channel)
        context = ActorContext(self._spec(name), self.config, channel)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run)
                self._running.add(name)
                try:
                    await self._serve(name, context)
                finally:
                    self._running.discard(name)
        finally:
            channel.close()

    async def _serve(self, name: str, context: ActorContext) -> None:
        match name:
            case "storage":
                await self._run_storage(context)
            case "index_builder":
                await self._run_index_builder(context)
            case "reactive_dispatcher":
                await reactive_dispatcher.serve(context)
            case _:
                await query_executor.serve(context)

    async def _run_storage(self, context: ActorContext) -> None:
        files = CrashingFiles(
            self.rng, 0.0 if self.calm else self.faults.file_operation
        )
        engine = Engine.open(
            self.config,
            compile_predicate=compile_encoded,
            tree_id="simulation",
            settings=Settings(files=files),
            clock=trio.current_time,
        )
        try:
            await serve_engine(engine, context)
        finally:
            engine.abandon()

    async def _run_index_builder(self, context: ActorContext) -> None:
        settings = index_store.Settings(map_size=1 << 30, limits=SMALL_STEPS)
        with DataReader.open(self.config.path, max_size_gb=1) as reader:
            actor = index_builder.BuilderActor(reader, context, settings)
            try:
                context.ready()
                await actor.serve()
            finally:
                actor._builder.abandon()

    def close(self) -> None:
        """Let go of the files."""
        self._index.close()

    def _spec(self, name: str) -> ActorSpec:
        return ActorSpec(
            name=name,
            entry="",
            runtime_dir="",
            incarnation=self._incarnations[name],
            tree_id="simulation",
            config=msgspec.msgpack.encode(self.config),
        )


class Client:
    """The client's protocol core on the simulated network."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.core = ClientProtocol(name)
        self._world = world
        self._inbox = world.network.open(name)
        self._unsent: list[tuple[str, bytes]] = []
        self._news = trio.Event()
        world.clients.append(self)

    async def run(self) -> None:
        """Receive replies, for as long as it runs."""
        while True:
            for mail in await self._inbox.receive():
                # The core decodes for itself, as it does in an application.
                letters = [(each.request_id, each.body) for each in mail.letters]
                self.core.on_mail(encode_envelope(mail.sender, mail.floor, letters))  # type: ignore[arg-type]
            self.settle()

    async def run_sender(self) -> None:
        """Try again what a full or absent mailbox did not take."""
        while True:
            await trio.sleep(0.002)
            self.send()

    def on_actor_ready(self, notice: ActorReady) -> None:
        """An actor was started again."""
        # What the old connection had not delivered has gone with it.
        self._unsent = [item for item in self._unsent if item[0] != notice.name]
        self.core.on_actor_ready(notice.name, notice.incarnation)
        self.send()

    def send(self) -> None:
        """Send what the core has queued."""
        waiting = [*self._unsent, *self.core.outgoing()]
        self._unsent = []
        blocked: set[str] = set()
        for to, data in waiting:
            if to in blocked or not self._world.network.send(self.name, to, data):
                blocked.add(to)
                self._unsent.append((to, data))

    def settle(self) -> None:
        """Wake whoever waits for something that has come."""
        self.core.take_news()
        self.send()
        self._news.set()
        self._news = trio.Event()

    async def wait(self, pending: Pending) -> None:
        """Wait until a request is done."""
        self.send()
        while not pending.done:
            await self._news.wait()
