"""How long storage and the dispatcher look for mail: longer while somebody waits."""

from __future__ import annotations

import msgspec
import trio
import trio.testing

from aurora_actors.actors import reactive_dispatcher
from aurora_actors.actors.runtime import ActorContext
from aurora_actors.actors.storage import compile_encoded, serve_engine
from aurora_actors.config import AuroraConfig
from aurora_actors.messages.reactive import Listen, Unsubscribe
from aurora_actors.messages.storage import DefineCollection, InsertDocuments
from aurora_actors.messages.supervision import ActorSpec
from aurora_actors.schema.types import CollectionDefinition, encode_definition
from aurora_actors.schema.values import encode_document
from aurora_actors.storage.engine import Engine
from aurora_actors.transport.memory import MemoryChannel, MemoryNetwork

STORAGE, DISPATCHER = "storage", "reactive_dispatcher"
USUAL_S, LIVE_S = 0.0003, 0.004


class LookingChannel(MemoryChannel):
    """Remembers how long it was told to look."""

    looks_s = USUAL_S

    def look_for(self, seconds):
        self.looks_s = seconds


class Actors:
    """Storage, dispatcher and a client on one network."""

    def __init__(self, path, **config):
        self.config = AuroraConfig(db_path=str(path), max_size_gb=1, **config)
        self.network = MemoryNetwork()
        self.client = self.network.open("client")
        self.channels = {name: self._channel(name) for name in (STORAGE, DISPATCHER)}
        self._number = 0

    def _channel(self, name):
        channel = LookingChannel(self.network, name)
        self.network.bind(channel)
        return channel

    def context(self, name):
        spec = ActorSpec(
            name=name,
            entry="",
            runtime_dir="",
            incarnation=1,
            tree_id="tree",
            config=msgspec.msgpack.encode(self.config),
        )
        return ActorContext(spec, self.config, self.channels[name])

    async def ask(self, to, *requests):
        """Send requests together, wait for the replies, then until nobody is busy."""
        open_requests = set()
        for request in requests:
            self._number += 1
            open_requests.add(self._number)
            self.client.queue(to, self._number, request)
        self.client.flush()
        while open_requests:
            for mail in await self.client.receive():
                open_requests -= {letter.request_id for letter in mail.letters}
        await trio.testing.wait_all_tasks_blocked()
        return self._number

    async def insert(self, *names):
        body = encode_document({"n": 1})
        await self.ask(
            STORAGE,
            *(
                InsertDocuments(collection="a", ids=[name], documents=[body])
                for name in names
            ),
        )

    @property
    def looks_s(self):
        return tuple(channel.looks_s for channel in self.channels.values())


def with_actors(path, test, **config):
    async def main():
        actors = Actors(path, **config)
        path.mkdir()
        engine = Engine.open(
            actors.config, compile_predicate=compile_encoded, tree_id="tree"
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_engine, engine, actors.context(STORAGE))
                nursery.start_soon(
                    reactive_dispatcher.serve, actors.context(DISPATCHER)
                )
                definition = CollectionDefinition(name="a", open=True)
                define = DefineCollection(definition=encode_definition(definition))
                await actors.ask(STORAGE, define)
                await test(actors)
                nursery.cancel_scope.cancel()
        finally:
            engine.close()

    trio.run(main)


SETTINGS = {"busy_poll_us": int(USUAL_S * 1e6), "live_busy_poll_us": int(LIVE_S * 1e6)}


def test_both_look_longer_while_somebody_listens(tmp_path):
    async def test(actors):
        await actors.insert("1")
        assert actors.looks_s == (USUAL_S, USUAL_S)
        number = await actors.ask(DISPATCHER, Listen(collection="a"))
        await actors.insert("2")
        assert actors.looks_s == (LIVE_S, LIVE_S)
        actors.client.post(DISPATCHER, 0, Unsubscribe(subscription=number))
        await actors.insert("3")
        assert actors.looks_s[1] == USUAL_S

    with_actors(tmp_path / "a.db", test, **SETTINGS)


def test_storage_looks_no_longer_when_writes_come_together(tmp_path):
    async def test(actors):
        await actors.ask(DISPATCHER, Listen(collection="a"))
        await actors.insert("1", "2")
        assert actors.looks_s == (USUAL_S, LIVE_S)
        await actors.insert("3")
        assert actors.looks_s == (LIVE_S, LIVE_S)

    with_actors(tmp_path / "a.db", test, **SETTINGS)


def test_nobody_looks_for_less_than_usual(tmp_path):
    async def test(actors):
        await actors.ask(DISPATCHER, Listen(collection="a"))
        await actors.insert("1")
        assert actors.looks_s == (LIVE_S, LIVE_S)

    settings = {"busy_poll_us": int(LIVE_S * 1e6), "live_busy_poll_us": 0}
    with_actors(tmp_path / "a.db", test, **settings)
