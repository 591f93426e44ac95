"""What the dispatcher does at a time is bounded, and what it does again seldom needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_model import Consumer, World, world

from aurora_actors.client import live
from aurora_actors.messages.query import OrderKey, QuerySpec
from aurora_actors.messages.reactive import Watch
from aurora_actors.messages.storage import (
    DeleteDocument,
    InsertDocuments,
)
from aurora_actors.reactive import hub, subscription
from aurora_actors.reactive.feed import Feed
from aurora_actors.reactive.window import Entry, difference
from aurora_actors.schema.values import encode_document

FIRST_TWO = QuerySpec(collection="c", order=[OrderKey("n")], limit=2)


def insert(made: World, count: int, size: int = 1) -> list[str]:
    names = [f"d{number:05}" for number in range(count)]
    text = "x" * size
    bodies = [encode_document({"n": n, "text": text}) for n in range(count)]
    made.must(InsertDocuments(collection="c", ids=names, documents=bodies))
    return names


def events(made: World) -> int:
    return made.hub.events


def test_a_step_ends_with_the_events_of_the_change_that_makes_them_many(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        consumers = [Consumer(Watch(query=QuerySpec(collection="c"))) for _ in range(9)]
        for consumer in consumers:
            made.subscribe(consumer)
        made.settle()
        insert(made, hub._STEP_CHANGES)
        steps = 0
        while made.hub.advance():
            steps += 1
            assert events(made) <= steps * (hub._STEP_EVENTS + len(consumers))
        assert steps == 1
        made.settle()
        for consumer in consumers:
            assert consumer.result() == made.query(consumer.spec)


def test_no_chunk_is_much_larger_than_a_step(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        consumer = Consumer(Watch(query=QuerySpec(collection="c")))
        made.subscribe(consumer)
        made.settle()
        size = hub._STEP_BYTES // 4
        insert(made, 10, size)
        while made.hub.advance():
            pass
        assert [len(chunk.events) for chunk in consumer.inbox] == [4, 4, 2]


@pytest.mark.parametrize("together", [False, True])
def test_removing_the_first_again_and_again_needs_few_new_windows(
    tmp_path: Path, together: bool
):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        names = insert(made, 1500)
        consumer = Consumer(Watch(query=FIRST_TWO))
        made.subscribe(consumer)
        made.settle()
        for name in names[:1400]:
            made.must(DeleteDocument(collection="c", id=name))
            if not together:
                made.settle()
        made.settle()
        assert consumer.result() == made.query(FIRST_TWO)
        assert made.hub.statistics()["refills"] <= 6


def test_what_is_kept_in_reserve_of_large_documents_is_little(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        names = insert(made, 100, 100_000)
        consumer = Consumer(Watch(query=FIRST_TWO))
        made.subscribe(consumer)
        made.settle()
        for name in names[:90]:
            made.must(DeleteDocument(collection="c", id=name))
            made.settle()
        (query,) = made.hub._desk.live.windows
        assert query.window is not None
        assert query.window.capacity == 2 + 32
        assert consumer.result() == made.query(FIRST_TWO)


def under_way(made: World) -> int:
    return int(made.hub.statistics()["outstanding_bytes"])


@pytest.mark.parametrize("coalesces", [False, True])
def test_many_that_catch_up_together_are_not_all_sent_much_at_once(
    tmp_path: Path, coalesces: bool
):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        request = Watch(query=QuerySpec(collection="c"), coalesces=coalesces)
        consumers = [Consumer(request) for _ in range(100)]
        for consumer in consumers:
            made.subscribe(consumer)
        made.settle()
        for subscription in list(made.hub._desk.live.subscriptions):
            subscription.coalesces = coalesces
            made.hub._desk.leave(subscription)
            made.hub._desk.late[subscription] = None
        insert(made, 1000, 2000)
        most = before = 0
        while made.hub.has_work and not any(found.waiting for found in made.behind()):
            made.hub.work()
            most, before = max(most, under_way(made) - before), under_way(made)
        assert 0 < most < 8 << 20
        made.settle()
        for consumer in consumers:
            assert consumer.result() == made.query(consumer.spec)


def test_a_client_keeps_less_to_itself_than_is_sent_in_any_case():
    """Or both would wait for each other, with all read that has come."""
    assert live._GRANT_BYTES <= subscription._LITTLE_BYTES // 2


def test_who_waits_for_room_gets_that_of_those_who_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(subscription, "_CLIENT_BYTES", 2000)
    with world(tmp_path / "w.db") as made:
        made.define("c")
        insert(made, 1, 3000)
        *sleepers, awake = [
            Consumer(Watch(query=QuerySpec(collection="c"))) for _ in range(5)
        ]
        for consumer in (*sleepers, awake):
            consumer.asleep = consumer is not awake
            made.subscribe(consumer)
        made.settle()
        assert [awake.complete] == [False]
        for consumer in sleepers:
            made.hub.unsubscribe("c", consumer.number)
        made.settle()
        assert awake.complete
        assert awake.result() == made.query(awake.spec)


def test_a_tick_that_concerns_many_looks_at_few_changes(tmp_path: Path):
    with world(tmp_path / "w.db") as made:
        made.define("c")
        consumers = [
            Consumer(Watch(query=QuerySpec(collection="c", limit=n), debounce_s=1.0))
            for n in range(1000, 1100)
        ]
        for consumer in consumers:
            made.subscribe(consumer)
        made.settle()
        insert(made, 200)
        while made.hub.advance():
            pass
        upto, most, before = made.hub.lsn, 0, made.hub.events
        while made.hub.tick(1.0, upto):
            most, before = max(most, made.hub.events - before), made.hub.events
        assert 0 < most <= Feed._MANY_EVENTS
        made.settle()
        for consumer in consumers[::20]:
            assert consumer.result() == made.query(consumer.spec)


def test_the_difference_of_a_large_result_that_has_all_changed():
    """Forty thousand changes in place took a quarter of a minute to list."""
    before = [Entry((row,), row, 1, b"") for row in range(40_000)]
    after = [Entry((row,), row, 2, b"") for row in range(40_000)]
    events = difference(before, after, 2)
    assert [event.position for event in events] == list(range(40_000))
