"""Whatever is written and however slowly it is read: folded events equal the query.

The dispatcher's brain over a real storage engine in this process; the hub is replaced
at random (a restart of the dispatcher), consumers sleep, leave in the middle of a chunk
and resume, and the log is sometimes too short for them.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from live_model import Consumer, World, world

from aurora_actors.errors import AuroraError
from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import (
    DeleteDocument,
    InsertDocuments,
    Operation,
    ReplaceDocument,
    UpdateDocument,
)
from aurora_actors.query.predicate import (
    And,
    Compare,
    Not,
    Or,
    Predicate,
    encode_predicate,
)
from aurora_actors.reactive import desk, feed, hub, initial, subscription, target
from aurora_actors.schema.patch import encode_patch
from aurora_actors.schema.values import encode_document

STATUSES = ["new", "open", "closed", "ope"]


def random_term(rng: random.Random) -> Predicate:
    number = rng.randrange(8)
    return rng.choice(
        [
            Compare("eq", "status", rng.choice(STATUSES)),
            Compare("ne", "status", rng.choice(STATUSES)),
            Compare("in", "status", rng.sample(STATUSES, 2)),
            Compare("nin", "status", rng.sample(STATUSES, 2)),
            Compare("starts_with", "status", "op"),
            Compare("ends_with", "status", "n"),
            Compare("matches", "status", "^o.*n$"),
            Compare("contains", "status", "os"),
            Compare("gt", "total", number),
            Compare("gte", "total", number),
            Compare("lt", "total", number),
            Compare("lte", "total", number),
            Compare("between", "total", [number // 2, number]),
            Compare("contains", "tags", rng.choice("abc")),
            Compare("contains_any", "tags", ["a", "b"]),
            Compare("contains_all", "tags", ["a", "b"]),
            Compare("is_null", "total"),
            Compare("is_not_null", "total"),
            Compare("eq", "address.city", rng.choice("xyz")),
            Compare("eq", "id", f"d{rng.randrange(40)}"),
        ]
    )


def random_predicate(rng: random.Random, depth: int = 2) -> Predicate:
    kind = rng.randrange(6) if depth else 5
    if kind == 0:
        return And([random_predicate(rng, depth - 1) for _ in range(2)])
    if kind == 1:
        return Or([random_predicate(rng, depth - 1) for _ in range(2)])
    if kind == 2:
        return Not(random_predicate(rng, depth - 1))
    return random_term(rng)


def random_watch(rng: random.Random) -> Watch:
    order = []
    limit = None
    offset = 0
    if rng.random() < 0.6:
        fields = rng.sample(["total", "status", "address.city", "id"], 2)
        order = [OrderKey(name, rng.random() < 0.5) for name in fields]
        order = order[: rng.randrange(3)]
        limit = rng.choice([None, 0, 1, 3, 8, 50])
        offset = rng.choice([0, 0, 1, 5])
    predicate = b""
    if rng.random() < 0.8:
        predicate = encode_predicate(random_predicate(rng))
    spec = QuerySpec(
        collection="orders",
        predicate=predicate,
        order=order,
        limit=limit,
        offset=offset,
    )
    if rng.random() < 0.2:
        spec = QuerySpec(
            collection="orders",
            predicate=predicate,
            order=order,
            limit=limit,
            offset=offset,
            fields=["status", "address.city"],
        )
    return Watch(
        query=spec,
        debounce_s=rng.choice([0, 0, 0, 0.5]),
        coalesces=rng.random() < 0.3,
        credit=rng.choice([1, 2, 8]),
    )


def random_body(rng: random.Random) -> dict[str, object]:
    body: dict[str, object] = {"status": rng.choice(STATUSES)}
    if rng.random() < 0.8:
        body["total"] = rng.choice([rng.randrange(8), rng.randrange(8) + 0.5, "x"])
    if rng.random() < 0.7:
        body["tags"] = rng.sample("abc", rng.randrange(4))
    if rng.random() < 0.7:
        body["address"] = {"city": rng.choice("xyz")}
    return body


def random_operation(rng: random.Random) -> Operation:
    document_id = f"d{rng.randrange(40)}"
    match rng.randrange(6):
        case 0 | 1:
            return InsertDocuments(
                collection="orders",
                ids=[document_id],
                documents=[encode_document(random_body(rng))],
            )
        case 2:
            return DeleteDocument(collection="orders", id=document_id)
        case 3:
            return ReplaceDocument(
                collection="orders",
                id=document_id,
                document=encode_document(random_body(rng)),
            )
        case _:
            patch = random_body(rng)
            patch = dict(rng.sample(sorted(patch.items(), key=str), 1))
            return UpdateDocument(
                collection="orders", id=document_id, patch=encode_patch(patch)
            )


def check(made: World, consumers: list[Consumer]) -> None:
    made.settle()
    for consumer in consumers:
        if consumer.asleep:
            continue
        assert consumer.error is None
        assert consumer.result() == made.query(consumer.spec), consumer.original


def some_history(seed: int, steps: int, retention: int) -> None:
    rng = random.Random(seed)
    with (
        tempfile.TemporaryDirectory() as directory,
        world(Path(directory) / "db", retention=retention) as made,
    ):
        made.define("orders")
        consumers: list[Consumer] = []
        for _ in range(steps):
            do_something(rng, made, consumers)
        for consumer in consumers:
            consumer.asleep = False
        check(made, consumers)
        for consumer in consumers:
            made.hub.unsubscribe("c", consumer.number)
        counts = made.hub.statistics()
        left = ("clients", "subscriptions", "live_queries", "outstanding_bytes")
        assert [counts[name] for name in left] == [0, 0, 0, 0]
        assert not made.hub._desk.debounced
        assert not made.hub._desk.live._indexes


def do_something(rng: random.Random, made: World, consumers: list[Consumer]) -> None:
    choice = rng.random()
    if choice < 0.45:
        made.do(*[random_operation(rng) for _ in range(rng.choice([1, 1, 5, 40]))])
        if choice < 0.3:
            made.wake()
    elif choice < 0.6:
        made.hub.advance()
    elif choice < 0.7:
        if choice < 0.65:
            made.tick()
            return
        for interval in made.hub.intervals:
            made.hub.tick(interval, made.hub.lsn)  # the first step of it
    elif choice < 0.8:
        for _ in range(rng.randrange(4)):
            made.hub.work()
    elif choice < 0.85 and len(consumers) < 12:
        consumer = Consumer(random_watch(rng))
        try:
            made.subscribe(consumer)
        except AuroraError:
            return
        consumers.append(consumer)
    elif choice < 0.9 and consumers:
        rng.choice(consumers).read(made, rng.randrange(3))
    elif choice < 0.93 and consumers:
        consumer = rng.choice(consumers)
        consumer.asleep = not consumer.asleep
    elif choice < 0.96 and consumers:
        rng.choice(consumers).drop_in_the_middle(made, rng.random())
    elif choice < 0.965:
        made.start_hub()
        for consumer in consumers:
            consumer.reconnect(made)
    elif choice < 0.98:
        check(made, consumers)


@pytest.mark.parametrize("seed", range(12))
def test_folded_events_equal_the_query(seed):
    some_history(seed, steps=250, retention=100_000)


@pytest.mark.parametrize("seed", range(100, 106))
def test_a_consumer_that_is_too_late_begins_anew(seed):
    some_history(seed, steps=250, retention=40)


@pytest.mark.parametrize("seed", [203, 205])
def test_windows_that_run_short_all_the_time_lose_nothing(seed, monkeypatch):
    monkeypatch.setattr("aurora_actors.reactive.window._RESERVE", 1)
    some_history(seed, steps=250, retention=100_000)


@pytest.fixture
def small_steps(monkeypatch):
    """A few changes at a time, and little under way, make many steps of everything."""
    for owner, name, value in (
        (hub, "_STEP_CHANGES", 5),
        (hub, "_STEP_BYTES", 400),
        (hub, "_STEP_EVENTS", 9),
        (feed.Feed, "_MOST_CHANGES", 7),
        (feed.Feed, "_LEAST_CHANGES", 2),
        (feed.Feed, "_MANY_EVENTS", 12),
        (desk, "_TICK_BYTES", 500),
        (desk, "_NEAR_CHANGES", 3),
        (initial, "CHUNK_BYTES", 400),
        (target, "CHUNK_BYTES", 400),
        (target, "_BATCH_BYTES", 900),
        (target, "_LEAST_BYTES", 200),
        (target, "_LEAST_EVENTS", 2),
        (subscription, "_CLIENT_BYTES", 8000),
        (subscription, "_LATE_BYTES", 700),
        (subscription, "_LITTLE_BYTES", 300),
    ):
        assert isinstance(getattr(owner, name), int)
        monkeypatch.setattr(owner, name, value)


@pytest.mark.parametrize("seed", range(200, 206))
def test_folded_events_equal_the_query_in_small_steps(seed, small_steps):
    some_history(seed, steps=250, retention=100_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2100))
def test_folded_events_equal_the_query_in_many_small_steps(seed, small_steps):
    some_history(seed, steps=800, retention=random.Random(seed).choice([40, 100_000]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_folded_events_equal_the_query_in_many_long_histories(seed):
    some_history(seed, steps=800, retention=random.Random(seed).choice([40, 100_000]))
