"""Watching and listening through real processes, with deaths among them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from typing import Annotated, Any

import anyio
import msgspec
import pytest
import trio
from property.test_live_queries import STATUSES, random_body, random_watch
from support import python, wait_until

from aurora_actors import (
    Added,
    Aurora,
    ChangeType,
    CollectionNotFoundError,
    Heartbeat,
    HistoryLost,
    Indexed,
    InitialComplete,
    InvalidFilterError,
    LaggedError,
    Modified,
    Removed,
    TimeoutError_,
    UnavailableError,
    UsageError,
    blocking,
    field,
)
from aurora_actors.query.predicate import decode_predicate

pytestmark = pytest.mark.processes


@pytest.fixture(params=["trio", "asyncio"])
def run(request):
    if request.param == "trio":
        return trio.run
    return lambda main: asyncio.run(main())


async def pid_of(db, name):
    actors = (await db.status()).actors
    return next(actor.pid for actor in actors if actor.name == name)


async def until_complete(updates):
    found: list[Any] = []
    async for update in updates:
        if isinstance(update, InitialComplete):
            return found
        found.append(update)
    raise AssertionError("ended too soon")


async def read_up_to(watcher, lsn):
    """Read until everything up to ``lsn`` has been given."""
    with anyio.fail_after(30):
        while watcher.lsn < lsn or watcher.token is None or place(watcher) < lsn:
            with anyio.move_on_after(0.05):
                await anext(watcher)


def place(watcher):
    token = watcher.token
    return -1 if token.endswith("s") else int(token.split(".")[1])


def query_of(db, spec):
    """The query that a random request stands for."""
    query = db.query(spec.collection)
    predicate = decode_predicate(spec.predicate) if spec.predicate else None
    fields = None if spec.fields is None else tuple(spec.fields)
    return query._with(
        predicate=predicate,
        order=tuple(spec.order),
        limit=spec.limit,
        offset=spec.offset,
        fields=fields,
    )


# ------------------------------------------------------------------ the interface
def test_a_watch_gives_the_present_result_and_then_its_changes(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("orders", open=True)
            await db.insert_into("orders", {"id": "a", "status": "open", "n": 1})
            await db.insert_into("orders", {"id": "b", "status": "closed"})
            opened = db.query("orders").filter(field("status") == "open")
            async with opened.watch() as updates:
                (first,) = await until_complete(updates)
                assert isinstance(first, Added)
                assert first.document.id == "a"
                await db.update_document("orders", "a", {"n": 2})
                await db.update_document("orders", "b", {"status": "open"})
                await db.delete_document("orders", "a")
                match await anext(updates):
                    case Modified(old=old, new=new):
                        assert (old["n"], new["n"]) == (1, 2)
                    case other:
                        raise AssertionError(other)
                match await anext(updates):
                    case Added(document=document):
                        assert document.id == "b"
                    case other:
                        raise AssertionError(other)
                match await anext(updates):
                    case Removed(document=document):
                        assert document["n"] == 2
                    case other:
                        raise AssertionError(other)
                assert [found.id for found in updates.snapshot()] == ["b"]
                assert updates.lsn == 6

    run(main)


class Item(msgspec.Struct):
    id: str
    name: str
    price: Annotated[int, Indexed]


def test_a_watch_of_a_model_gives_its_instances_in_order(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection(Item)
            for number in range(6):
                await db.insert_into(Item, Item(f"i{number}", "x", number * 10))
            dear = db.query(Item).order_by("price", ascending=False).limit(2)
            async with dear.watch() as updates:
                first = await until_complete(updates)
                assert [update.position for update in first] == [0, 1]
                assert updates.snapshot() == [Item("i5", "x", 50), Item("i4", "x", 40)]
                await db.insert_into(Item, Item("new", "y", 45))
                removed: Any = await anext(updates)
                added: Any = await anext(updates)
                assert isinstance(removed, Removed)
                assert removed.document == Item("i4", "x", 40)
                assert added.position == 1
                assert updates.snapshot()[1] == Item("new", "y", 45)
                for name in ("new", "i5", "i4", "i3"):
                    await db.delete_document(Item, name)
                await read_up_to(updates, 12)
                assert updates.snapshot() == await dear.collect()

    run(main)


def test_listeners_get_the_changes_they_ask_for(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            async with (
                db.listen("a", types={ChangeType.INSERT}) as inserts,
                db.listen("a", fields={"n", "o.p"}) as of_fields,
                db.listen_all() as everything,
            ):
                await db.insert_into("a", {"id": "1", "n": 1})
                await db.update_document("a", "1", {"m": 1})
                await db.update_document("a", "1", {"o": {"p": 3}})
                await db.new_collection("b", open=True)
                await db.insert_into("a", {"id": "2"})
                await db.delete_document("a", "2")
                assert [(await anext(inserts)).id for _ in range(2)] == ["1", "2"]
                changed = [(await anext(of_fields)).changed_fields for _ in range(2)]
                assert changed == [{"n"}, {"o"}]
                found = [await anext(everything) for _ in range(6)]
                assert [event.change_type.name for event in found] == [
                    "INSERT",
                    "UPDATE",
                    "UPDATE",
                    "CREATE_COLLECTION",
                    "INSERT",
                    "DELETE",
                ]
                assert [event.collection for event in found] == [*"aaabaa"]
                assert found[1].old_document.data == {"n": 1}
                assert found[1].document.data == {"n": 1, "m": 1}
                assert found[-1].document is None
                lsns = [event.lsn for event in found]
                assert lsns == list(range(lsns[0], lsns[0] + 6))
            async with db.listen_all(since=found[2].token) as again:
                assert [(await anext(again)).lsn for _ in range(3)] == lsns[3:]

    run(main)


def test_what_makes_no_sense_is_refused_on_entering(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection(Item)
            with pytest.raises(CollectionNotFoundError, match="itens"):
                async with db.query("itens").watch():
                    pass
            with pytest.raises(InvalidFilterError, match="prize"):
                async with db.query(Item).filter(field("prize") > 3).watch():
                    pass
            with pytest.raises(UsageError, match="resume token"):
                db.query(Item).watch(since="yesterday")
            with pytest.raises(UsageError, match="on_lag"):
                db.listen("items", on_lag="coalesce")
            watcher = db.query(Item).watch()
            async with watcher:
                pass
            with pytest.raises(UsageError, match="entered once"):
                await watcher.open()
            with pytest.raises(StopAsyncIteration):
                await anext(watcher)
            assert await subscriptions(db) == 0

    run(main)


async def subscriptions(db):
    counts = (await db.stats())["reactive_dispatcher"]
    assert counts["outstanding_bytes"] == 0 or counts["subscriptions"]
    return counts["subscriptions"] + counts["live_queries"] + counts["clients"]


def test_the_watch_of_a_removed_collection_ends_with_an_error(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            async with (
                db.query("a").watch() as updates,
                db.query("a").order_by("n").limit(3).watch() as ordered,
                db.query("a").debounce(0.01).watch() as debounced,
                db.listen("a") as events,
            ):
                await db.insert_into("a", {"id": "1"})
                await db.drop_collection("a")
                for watcher in (updates, ordered, debounced):
                    with pytest.raises(CollectionNotFoundError):
                        while True:
                            await anext(watcher)
                assert (await anext(events)).id == "1"
                assert (await anext(events)).change_type is ChangeType.DROP_COLLECTION
                with pytest.raises(CollectionNotFoundError):
                    await anext(events)
            assert await subscriptions(db) == 0

    run(main)


def test_an_idle_watch_gets_heartbeats_with_the_present_lsn(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            await db.new_collection("b", open=True)
            async with db.query("a").watch(heartbeats=True) as updates:
                await until_complete(updates)
                for _ in range(5):
                    await db.insert_into("b", {})
                with anyio.fail_after(10):
                    while True:
                        update = await anext(updates)
                        assert isinstance(update, Heartbeat)
                        if update.lsn == 7:
                            break
                assert updates.token == update.token

    run(main)


def test_debounced_updates_come_together(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            await db.insert_into("a", {"id": "1", "n": 0})
            async with db.query("a").debounce(0.2).watch() as updates:
                await until_complete(updates)
                for number in range(1, 51):
                    await db.update_document("a", "1", {"n": number})
                count = 0
                while updates.snapshot()[0]["n"] < 50:
                    await anext(updates)
                    count += 1
                assert count < 25

    run(main)


def test_throttled_updates_come_in_lists(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"n": n} for n in range(100)])
            async with db.query("a").watch() as updates:
                lists = updates.throttled(0.1)
                first = await anext(lists)
                assert isinstance(first[0], Added)
                await db.insert_many("a", [{"n": n} for n in range(100)])
                await anext(lists)
                while len(updates.snapshot()) < 200:
                    await anext(lists)
                await lists.aclose()

    run(main)


def test_closing_a_watch_ends_the_iteration_of_another_task(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            watcher = db.query("a").watch()
            ended = anyio.Event()

            async def follow():
                async for _ in watcher:
                    pass
                ended.set()

            async with anyio.create_task_group() as group:
                await watcher.open()
                group.start_soon(follow)
                await anyio.wait_all_tasks_blocked()
                await watcher.aclose()
                with anyio.fail_after(10):
                    await ended.wait()

    run(main)


def test_a_blocking_watch_waits_as_long_as_it_is_told(tmp_path):
    with blocking.open(tmp_path / "a.db") as db:
        db.new_collection("a", open=True)
        with db.query("a").watch() as updates, db.listen("a") as events:
            assert isinstance(updates.next(10), InitialComplete)
            with pytest.raises(TimeoutError_, match=r"within 0\.05 s"):
                updates.next(0.05)
            thread = threading.Thread(target=db.insert_into, args=("a", {"id": "1"}))
            thread.start()
            assert next(updates).document.id == "1"
            assert next(events).id == "1"
            thread.join()
            assert [found.id for found in updates.snapshot()] == ["1"]


# ------------------------------------------------------------------ places
def test_a_token_resumes_exactly_in_another_run_of_the_tree(run, tmp_path):
    async def main():
        path = tmp_path / "a.db"
        seen = []
        token = None
        for number in range(4):
            async with Aurora.open(path) as db:
                if not number:
                    await db.new_collection("a", open=True)
                watch = db.query("a").watch(since=token, include_initial=False)
                async with watch as updates:
                    for step in range(3):
                        await db.insert_into("a", {"n": number * 10 + step})
                    for _ in range(2 if number < 3 else 6):
                        update = await anext(updates)
                        seen.append(update.document["n"])
                    token = update.token
        assert seen == [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32][: len(seen)]
        assert len(seen) == 12

    run(main)


def test_a_token_from_before_the_kept_history_gives_a_new_first_result(run, tmp_path):
    async def main():
        path = tmp_path / "a.db"
        async with Aurora.open(path, change_retention=50) as db:
            await db.new_collection("a", open=True)
            async with db.query("a").watch() as updates:
                await db.insert_into("a", {"n": 0})
                await read_up_to(updates, 2)
                token = updates.token
            async with db.listen("a", on_lag="block") as events:
                for _ in range(4):
                    await db.insert_many("a", [{"n": 1} for _ in range(400)])
                    await db.checkpoint()
                async with db.query("a").watch(since=token) as updates:
                    assert isinstance(await anext(updates), HistoryLost)
                    assert len(await until_complete(updates)) == 1601
                    assert len(updates.snapshot()) == 1601
                with pytest.raises(LaggedError, match="no longer kept"):
                    async with db.listen("a", since=token) as late:
                        await anext(late)
                assert (await anext(events)).document["n"] == 1

    run(main)


def test_a_consumer_that_sleeps_gets_the_right_final_state(run, tmp_path):
    changes = 10_000

    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            ids = await db.insert_many("a", [{"n": 0} for _ in range(500)])
            query = db.query("a")
            async with (
                query.watch() as sleeper,
                query.order_by("n", ascending=False).limit(20).watch() as ordered,
                query.watch(on_lag="raise") as strict,
                db.listen("a") as raising,
                db.listen("a", on_lag="block") as patient,
                query.watch() as awake,
            ):
                for watcher in (sleeper, ordered, strict, awake):
                    await until_complete(watcher)
                lsn = 501

                async def write(part):
                    for number in range(part, changes, 50):
                        await db.update_document(
                            "a", ids[number % 500], {"n": number + 1}
                        )

                async def follow():
                    await read_up_to(awake, lsn + changes)

                async with anyio.create_task_group() as group:
                    group.start_soon(follow)
                    for part in range(50):
                        group.start_soon(write, part)
                right = {found.id: found["n"] for found in await query.collect()}
                for watcher in (sleeper, awake):
                    await read_up_to(watcher, lsn + changes)
                    found = {doc.id: doc["n"] for doc in watcher.snapshot()}
                    assert found == right
                await read_up_to(ordered, lsn + changes)
                best = sorted(right.values(), reverse=True)[:20]
                assert [doc["n"] for doc in ordered.snapshot()] == best
                with pytest.raises(LaggedError):
                    while True:
                        await anext(strict)
                with pytest.raises(LaggedError):
                    while True:
                        await anext(raising)
                for number in range(changes):
                    event = await anext(patient)
                    assert event.lsn == lsn + 1 + number
            with anyio.fail_after(10):
                while await subscriptions(db):
                    await anyio.sleep(0.01)

    run(main)


def test_opening_and_closing_leaves_nothing(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db") as db:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"n": n} for n in range(10)])
            for number in range(300):
                query = db.query("a").filter(field("n") > number % 12)
                if number % 3 == 0:
                    query = query.order_by("n").limit(3)
                if number % 5 == 0:
                    query = query.debounce(0.01)
                async with query.watch() as updates:
                    if number % 2:
                        await until_complete(updates)
            live = db._open().shell._link.core.live
            assert len(live) == 0
            assert not live._shared
            with anyio.fail_after(10):
                while await subscriptions(db):
                    await anyio.sleep(0.01)

    run(main)


WATCHER = """
import sys
from aurora_actors import blocking
with blocking.open(sys.argv[1]) as db, db.query("a").watch() as updates:
    print("ready", flush=True)
    for update in updates:
        pass
"""


def test_a_killed_application_leaves_nothing_at_the_dispatcher(tmp_path):
    path = tmp_path / "a.db"
    with blocking.open(path) as db:
        db.new_collection("a", open=True)
        with python(WATCHER, str(path)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert db.stats()["reactive_dispatcher"]["subscriptions"] == 1
            process.kill()
        wait_until(
            lambda: db.stats()["reactive_dispatcher"]["clients"] == 0,
            "the dispatcher has forgotten the client",
        )


# ------------------------------------------------------------------ G7
@pytest.mark.slow  # nng can crash in a sender whose peer is killed (see transport)
def test_folded_updates_equal_the_query_whoever_dies(run, tmp_path):
    everything_at_once(run, tmp_path, seed=1, commits=800, kills=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.faults
def test_folded_updates_equal_the_query_over_many_commits(tmp_path):
    everything_at_once(trio.run, tmp_path, seed=7, commits=100_000, kills=60)


def everything_at_once(run, tmp_path, *, seed, commits, kills):
    rng = random.Random(seed)

    async def main():
        # Each kill counts towards the limit on restarts.
        async with Aurora.open(
            tmp_path / "a.db", max_restarts=1000, query_executors=1
        ) as db:
            await db.new_collection("orders", open=True)
            watchers = []
            async with Exits() as stack, anyio.create_task_group() as group:
                for _ in range(25):
                    request = random_watch(rng)
                    query = query_of(db, request.query).debounce(
                        min(request.debounce_s, 0.05)
                    )
                    watchers.append((query, await stack.enter(query.watch())))
                quiet = commits // kills
                stop = anyio.Event()
                for number, (_, watcher) in enumerate(watchers):
                    # One in five hardly reads.
                    group.start_soon(follow, watcher, 0.3 if number % 5 == 0 else 0)
                done = 0
                while done < commits:
                    await write_some(db, rng, quiet)
                    done += quiet
                    name = rng.choice(["reactive_dispatcher", "storage"])
                    os.kill(await pid_of(db, name), signal.SIGKILL)
                    lsn = await db.sync()
                    await check(watchers, lsn)
                stop.set()
                group.cancel_scope.cancel()

    async def follow(watcher, pause):
        while True:
            await anext(watcher)
            if pause:
                await anyio.sleep(pause * rng.random() / 10)

    async def check(watchers, lsn):
        with anyio.fail_after(60):
            for query, watcher in watchers:
                while watcher.token is None or place(watcher) < lsn:
                    await anyio.sleep(0.02)
                expected = await query.collect()
                assert watcher.snapshot() == expected, query

    run(main)


async def write_some(db, rng, count):
    async def write(operations):
        for kind, document_id, body in operations:
            try:
                if kind == 0:
                    await db.upsert("orders", document_id, body)
                elif kind == 1:
                    await db.delete_document("orders", document_id)
                else:
                    await db.update_document(
                        "orders", document_id, {"status": rng.choice(STATUSES)}
                    )
            except UnavailableError:
                pass
            except UsageError:
                pass  # there is no such document

    operations = [
        (rng.choice([0, 0, 0, 1, 2]), f"d{rng.randrange(200)}", random_body(rng))
        for _ in range(count)
    ]
    async with anyio.create_task_group() as group:
        for part in range(8):
            group.start_soon(write, operations[part::8])


class Exits:
    """Several asynchronous context managers, left in the reverse order."""

    def __init__(self):
        self._entered = []

    async def enter(self, manager):
        entered = await manager.__aenter__()
        self._entered.append(manager)
        return entered

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        with anyio.CancelScope(shield=True):
            for manager in reversed(self._entered):
                await manager.__aexit__(None, None, None)
