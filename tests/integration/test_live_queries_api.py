"""Watching and listening through real processes, under trio and asyncio."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Annotated, Any

import anyio
import msgspec
import pytest
import trio
from support import python, wait_until
from watching import emptied, nothing_left, read_up_to, until_complete

from aurora_actors import (
    Added,
    ChangeType,
    CollectionNotFoundError,
    Heartbeat,
    Indexed,
    InitialComplete,
    InvalidFilterError,
    LaggedError,
    Modified,
    Removed,
    TimeoutError_,
    UsageError,
    blocking,
    field,
)

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A database that these tests share; each of them empties it first."""
    path = tmp_path_factory.mktemp("live") / "a.db"
    with blocking.open(path):
        yield path


@pytest.fixture(params=["trio", "asyncio"])
def run(request):
    if request.param == "trio":
        return trio.run
    return lambda main: asyncio.run(main())


# ------------------------------------------------------------------ the interface
def test_a_watch_gives_the_present_result_and_then_its_changes(run, tree):
    async def main():
        async with emptied(tree) as db:
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
                assert updates.lsn == await db.sync()

    run(main)


def test_a_schema_that_makes_the_documents_anew_ends_what_follows(tree):
    with blocking.open(tree) as db:
        for name in db.list_collections():
            db.drop_collection(name)
        db.execute("schema { define collection a { n: Int } }")
        db.insert_into("a", {"id": "1", "n": 1})
        with db.query("a").watch(include_initial=False) as updates:
            db.execute("schema { alter collection a { add m: Int = 4 } }")
            assert updates.next(60).new.data == {"n": 1, "m": 4}
            db.execute("schema { alter collection a { rename n to k } }")
            with pytest.raises(CollectionNotFoundError, match="anew, watch it again"):
                updates.next(60)
        with db.query("a").watch() as updates:
            assert updates.next(60).document.data == {"k": 1, "m": 4}


class Item(msgspec.Struct):
    id: str
    name: str
    price: Annotated[int, Indexed]


def test_a_watch_of_a_model_gives_its_instances_in_order(run, tree):
    async def main():
        async with emptied(tree) as db:
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
                await read_up_to(updates, await db.sync())
                assert updates.snapshot() == await dear.collect()

    run(main)


def test_an_ordered_watch_may_begin_without_its_first_result(tree):
    with blocking.open(tree) as db:
        for name in db.list_collections():
            db.drop_collection(name)
        db.new_collection("a", open=True)
        db.insert_many("a", [{"id": str(n), "n": n} for n in range(5)])
        least = db.query("a").order_by("n").limit(3)
        with least.watch(include_initial=False) as updates:
            db.update_document("a", "1", {"m": 1})
            assert updates.next(60).new.id == "1"
            token = updates.token
            db.delete_document("a", "0")
            assert updates.next(60).document.id == "0"
            assert updates.next(60).document.id == "3"
            assert {found.id for found in updates.snapshot()} == {"1", "3"}
        with least.watch(since=token) as updates:
            assert updates.next(60).document.id == "0"
            assert updates.next(60).position == 2
            assert [found.id for found in updates.snapshot()] == ["3"]


def test_listeners_get_the_changes_they_ask_for(run, tree):
    async def main():
        async with emptied(tree) as db:
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


def test_what_makes_no_sense_is_refused_on_entering(run, tree):
    async def main():
        async with emptied(tree) as db:
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
            await nothing_left(db)

    run(main)


NONSENSE = {
    "one type": lambda db: db.listen("items", types=ChangeType.INSERT),
    "types as texts": lambda db: db.listen("items", types={"INSERT"}),
    "no type": lambda db: db.listen_all(types=set()),
    "types that are none": lambda db: db.listen_all(types=5),
    "one field": lambda db: db.listen("items", fields="price"),
    "no field": lambda db: db.listen("items", fields=[]),
    "numbers as fields": lambda db: db.listen("items", fields=[5]),
    "an unknown field": lambda db: db.listen("items", fields=["prise"]),
    "a part of what has none": lambda db: db.listen("items", fields=["price.vat"]),
    "what is no name": lambda db: db.listen("items", fields=["price."]),
    "include_initial": lambda db: db.query("items").watch(include_initial="no"),
    "debounce": lambda db: db.query("items").debounce("1").watch(),
    "a limit beyond all": lambda db: db.query("items").limit(2**70).watch(),
    "a text that is none": lambda db: db.stream(None),
    "a text that writes": lambda db: db.stream(
        'mutation { deleteFrom(collection: "items", all: true) { id } }'
    ),
    "variables without names": lambda db: db.stream(
        "subscription { items { id } }", [1]
    ),
}


def test_arguments_that_make_no_sense_are_refused_and_change_nothing(tree):
    with blocking.open(tree) as db:
        for name in db.list_collections():
            db.drop_collection(name)
        db.new_collection(Item)
        db.insert_into(Item, Item("a", "x", 1))
        for what, begin in NONSENSE.items():
            with pytest.raises(UsageError) as refused, begin(db):
                pytest.fail(what)
            assert refused.value.message, what
        with db.query(Item).watch(include_initial=False) as updates:
            for seconds in ("1", float("nan")):
                with pytest.raises(UsageError, match="number of seconds"):
                    updates.next(seconds)
                with pytest.raises(UsageError, match="number of seconds"):
                    next(updates.throttled(seconds))
            db.update_document(Item, "a", {"price": 2})
            assert updates.next(60).new == Item("a", "x", 2)


def test_the_watch_of_a_removed_collection_ends_with_an_error(run, tree):
    async def main():
        async with emptied(tree) as db:
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
            await nothing_left(db)

    run(main)


def test_an_idle_watch_gets_heartbeats_with_the_present_lsn(run, tree):
    async def main():
        async with emptied(tree) as db:
            await db.new_collection("a", open=True)
            await db.new_collection("b", open=True)
            async with db.query("a").watch(heartbeats=True) as updates:
                await until_complete(updates)
                for _ in range(5):
                    await db.insert_into("b", {})
                lsn = await db.sync()
                with anyio.fail_after(60):
                    while True:
                        update = await anext(updates)
                        assert isinstance(update, Heartbeat)
                        if update.lsn == lsn:
                            break
                assert updates.token == update.token

    run(main)


def test_debounced_updates_come_together_from_the_beginning(run, tree):
    async def main():
        async with emptied(tree) as db, anyio.create_task_group() as group:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"id": str(n), "n": 0} for n in range(3000)])
            await group.start(write, db)
            start = anyio.current_time()
            async with db.query("a").debounce(0.2).watch() as updates:
                with anyio.fail_after(60):
                    found = [await anext(updates) for _ in range(3000)]
                    while not isinstance(found[-1], InitialComplete):
                        found.append(await anext(updates))
                # The result itself is not waited for; corrections are told once.
                told = [update for update in found if isinstance(update, Modified)]
                assert len(told) <= 1
                count = 0
                with anyio.fail_after(60):
                    while count < 4:
                        assert isinstance(await anext(updates), Modified)
                        count += 1
                # One each 0.2 s at most, however late they are seen.
                assert count <= (anyio.current_time() - start) / 0.2 + 1
            group.cancel_scope.cancel()

    run(main)


async def write(db, *, task_status=anyio.TASK_STATUS_IGNORED):
    """Change one document as often as that goes."""
    number = 0
    while True:
        number += 1
        await db.update_document("a", "1", {"n": number})
        if number == 1:
            task_status.started()


def test_who_begins_to_watch_hurries_no_debounced_watch(run, tree):
    async def main():
        async with emptied(tree) as db, anyio.create_task_group() as group:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"id": str(n), "n": 0} for n in range(10)])
            await group.start(write, db)
            start = anyio.current_time()
            async with AsyncExitStack() as stack:
                updates = await stack.enter_async_context(
                    db.query("a").debounce(0.5).watch()
                )
                await until_complete(updates)
                with anyio.fail_after(60):
                    for number in range(20):
                        query = db.query("a").filter(lambda f, n=number: f.gt("n", n))
                        other = await stack.enter_async_context(
                            query.debounce(0.5).watch()
                        )
                        await until_complete(other)
                    count = 0
                    with anyio.move_on_after(0.05):
                        while True:
                            await anext(updates)
                            count += 1
                assert count <= (anyio.current_time() - start) / 0.5 + 1
            group.cancel_scope.cancel()

    run(main)


def test_throttled_updates_come_in_lists(run, tree):
    async def main():
        async with emptied(tree) as db:
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


def test_closing_a_watch_ends_the_iteration_of_another_task(run, tree):
    async def main():
        async with emptied(tree) as db:
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
                with anyio.fail_after(60):
                    await ended.wait()

    run(main)


def test_a_blocking_watch_waits_as_long_as_it_is_told(tree):
    with blocking.open(tree) as db:
        db.new_collection("blocked", open=True)
        with db.query("blocked").watch() as updates, db.listen("blocked") as events:
            assert isinstance(updates.next(60), InitialComplete)
            with pytest.raises(TimeoutError_, match=r"within 0\.05 s"):
                updates.next(0.05)
            thread = threading.Thread(
                target=db.insert_into, args=("blocked", {"id": "1"})
            )
            thread.start()
            assert next(updates).document.id == "1"
            assert next(events).id == "1"
            thread.join()
            assert [found.id for found in updates.snapshot()] == ["1"]


def test_a_consumer_that_sleeps_gets_the_right_final_state(tree):
    changes = 10_000

    async def main():
        async with emptied(tree) as db:
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
                lsn = await db.sync()

                async def write():
                    for start in range(0, changes, 250):
                        async with db.transaction() as tx:
                            for number in range(start, start + 250):
                                patch = {"n": number + 1}
                                await tx.update_document("a", ids[number % 500], patch)

                async def follow():
                    await read_up_to(awake, lsn + changes)

                async with anyio.create_task_group() as group:
                    group.start_soon(follow)
                    group.start_soon(write)
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
            await nothing_left(db)

    trio.run(main)


def test_opening_and_closing_leaves_nothing(run, tree):
    async def main():
        async with emptied(tree) as db:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"n": n} for n in range(10)])
            for number in range(150):
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
            await nothing_left(db)

    run(main)


WATCHER = """
import sys
from aurora_actors import blocking
with blocking.open(sys.argv[1]) as db, db.query("a").watch() as updates:
    print("ready", flush=True)
    for update in updates:
        pass
"""


def test_a_killed_application_leaves_nothing_at_the_dispatcher(tree):
    with blocking.open(tree) as db:
        db.new_collection("a", open=True)
        with python(WATCHER, str(tree)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # Those of other tests may be on their way out.
            wait_until(
                lambda: db.stats()["reactive_dispatcher"]["subscriptions"] == 1,
                "the dispatcher has its watch alone",
            )
            process.kill()
        wait_until(
            lambda: db.stats()["reactive_dispatcher"]["clients"] == 0,
            "the dispatcher has forgotten the client",
        )
