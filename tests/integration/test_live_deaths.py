"""Live queries and the deaths of processes: tokens, lost history, no gap, no trace."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress

import anyio
import psutil
import pytest
import trio
from processes import kill_actor, kill_async, pid_of
from property.test_live_queries import STATUSES, random_body, random_watch
from support import wait_until
from watching import nothing_left, place, read_up_to, until_complete

from aurora_actors import (
    Aurora,
    AuroraError,
    HistoryLost,
    InitialComplete,
    LaggedError,
    UnavailableError,
    UsageError,
    blocking,
    field,
)
from aurora_actors.query.predicate import decode_predicate

pytestmark = pytest.mark.processes


# ------------------------------------------------------------------ places
def test_tokens_outlive_every_process(tmp_path):
    """Each round kills another one, or none but the application's own connection."""
    path, seen, heard = tmp_path / "a.db", [], []
    tokens: list[str | None] = [None, None]
    victims = ["reactive_dispatcher", "storage", "supervisor", None]
    for number, victim in enumerate(victims):
        with suppress(AuroraError), blocking.open(path) as db:
            if not number:
                db.new_collection("a", open=True)
            query = db.query("a").filter(field("n") >= 0)
            with (
                query.watch(since=tokens[0], include_initial=False) as updates,
                db.listen("a", since=tokens[1]) as events,
            ):
                for step in range(3):
                    db.insert_into("a", {"n": number * 3 + step})
                _kill(db, victim)
                all_of_it = 3 * len(victims)
                for _ in range(2 if victim else all_of_it - len(seen)):
                    seen.append(updates.next(60).document["n"])
                    tokens[0] = updates.token
                for _ in range(2 if victim else all_of_it - len(heard)):
                    heard.append(events.next(60).document["n"])
                    tokens[1] = events.token
    assert seen == list(range(3 * len(victims)))
    assert heard == seen


def _kill(db, victim):
    if victim is None:
        return
    if victim != "supervisor":
        kill_actor(db, victim)
    else:
        os.kill(pid := db.status().supervisor_pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], 10)


def test_a_token_from_before_the_kept_history_gives_a_new_first_result(tmp_path):
    async def main():
        path = tmp_path / "a.db"
        async with Aurora.open(
            path, change_retention=50, heartbeat_interval_ms=50
        ) as db:
            await db.new_collection("a", open=True)
            async with db.query("a").watch() as updates:
                await db.insert_into("a", {"n": 0})
                await read_up_to(updates, 2)
                token = updates.token
            async with db.listen("a", on_lag="block") as events:
                for _ in range(4):
                    await db.insert_many("a", [{"n": 1} for _ in range(400)])
                    await db.checkpoint()
                    await dispatched(db)  # or the listener loses its history, too
                async with db.query("a").watch(since=token) as updates:
                    assert isinstance(await anext(updates), HistoryLost)
                    assert len(await until_complete(updates)) == 1601
                    assert len(updates.snapshot()) == 1601
                with pytest.raises(LaggedError, match="no longer kept"):
                    async with db.listen("a", since=token) as late:
                        await anext(late)
                assert (await anext(events)).document["n"] == 1

    trio.run(main)


async def dispatched(db):
    """Wait until the dispatcher has read all changes."""
    lsn = await db.sync()
    with anyio.fail_after(120):
        while lsn > max(
            actor.lsn
            for actor in (await db.status()).actors
            if actor.name == "reactive_dispatcher"
        ):
            await anyio.sleep(0.01)


def test_changes_that_have_become_too_old_are_lost(tmp_path):
    path = tmp_path / "a.db"
    with blocking.open(path, change_retention_s=0.5) as db:
        db.new_collection("a", open=True)
        with db.query("a").watch() as updates:
            assert isinstance(updates.next(60), InitialComplete)
            db.insert_into("a", {"n": 1})
            token = updates.next(60).token
        db.insert_into("a", {"n": 2})
        db.checkpoint()  # what came after the last one is kept in any case

        def oldest():
            return db.stats()["storage"]["first_change"]

        wait_until(lambda: oldest() > 3, "the change log has forgotten")
        with db.query("a").watch(since=token) as updates:
            assert isinstance(updates.next(60), HistoryLost)
            assert {updates.next(60).document["n"] for _ in range(2)} == {1, 2}
            assert isinstance(updates.next(60), InitialComplete)
            assert len(updates.snapshot()) == 2
        with (
            pytest.raises(LaggedError, match="no longer kept"),
            db.listen("a", since=token) as events,
        ):
            events.next(60)


# ------------------------------------------------------------------ no trace
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_ten_thousand_watches_opened_and_closed_leave_nothing(tmp_path, loop):
    async def cycles(db, count):
        for number in range(count):
            query = db.query("a").filter(field("n") > number % 50)
            query = query.order_by("n").limit(5) if number % 3 == 0 else query
            query = query.debounce(0.01) if number % 5 == 0 else query
            async with query.watch() as updates, db.listen("a"):
                if number % 7 == 0:
                    await until_complete(updates)

    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", open=True)
            await db.insert_many("a", [{"n": n} for n in range(60)])
            processes = [
                psutil.Process(),
                psutil.Process(await pid_of(db, "reactive_dispatcher")),
            ]
            await cycles(db, 1_000)
            await nothing_left(db)
            before = [process.memory_info().rss for process in processes]
            files = [process.num_fds() for process in processes]
            await cycles(db, 10_000)
            await nothing_left(db)
            after = [process.memory_info().rss for process in processes]
            for old, new in zip(before, after, strict=True):
                assert new - old < 16 << 20
            assert [process.num_fds() for process in processes] == files

    trio.run(main) if loop == "trio" else asyncio.run(main())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sleeping_watcher_costs_no_memory_on_either_side(tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", open=True)
            ids = await db.insert_many("a", [{"n": 0} for _ in range(50)])
            query = db.query("a")
            async with (
                query.watch() as sleeper,
                db.listen("a", on_lag="block") as patient,
            ):
                await until_complete(sleeper)
                processes = [
                    psutil.Process(),
                    psutil.Process(await pid_of(db, "reactive_dispatcher")),
                ]
                before = [_own_bytes(process) for process in processes]
                first = await db.sync()
                for start in range(0, 10_000, 100):  # 200 MB of changes
                    async with db.transaction() as tx:
                        for number in range(start, start + 100):
                            patch = {"n": number, "text": f"{number:010000}"}
                            await tx.update_document("a", ids[number % 50], patch)
                after = [_own_bytes(process) for process in processes]
                for old, new in zip(before, after, strict=True):
                    assert new - old < 100 << 20
                updates = await read_up_to(sleeper, first + 10_000)
                assert len(updates) < 10_000
                assert sleeper.snapshot() == await query.collect()
                for number in range(10_000):
                    assert (await anext(patient)).lsn == first + 1 + number

    trio.run(main)


def _own_bytes(process):
    memory = process.memory_info()
    return memory.rss - memory.shared


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


# ------------------------------------------------------------------ G7
@pytest.mark.faults
def test_folded_updates_equal_the_query_whoever_dies(tmp_path):
    everything_at_once(trio.run, tmp_path, seed=1, commits=200, kills=2, watches=12)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2, 12))
def test_folded_updates_equal_the_query_whoever_dies_again(tmp_path, seed):
    def run(main):
        trio.run(main) if seed % 2 else asyncio.run(main())

    everything_at_once(run, tmp_path, seed=seed, commits=800, kills=4)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.faults
def test_folded_updates_equal_the_query_over_many_commits(tmp_path):
    everything_at_once(trio.run, tmp_path, seed=7, commits=100_000, kills=60)


def everything_at_once(run, tmp_path, *, seed, commits, kills, watches=25):
    rng = random.Random(seed)
    writing: set[int] = set()

    async def main():
        # Each kill counts towards the limit on restarts.
        async with Aurora.open(
            tmp_path / "a.db", max_restarts=1000, query_executors=1
        ) as db:
            await db.new_collection("orders", open=True)
            watchers = []
            async with Exits() as stack, anyio.create_task_group() as group:
                for _ in range(watches):
                    request = random_watch(rng)
                    query = query_of(db, request.query).debounce(
                        min(request.debounce_s, 0.05)
                    )
                    watchers.append((query, await stack.enter(query.watch())))
                quiet = commits // kills
                for number, (_, watcher) in enumerate(watchers):
                    # One in five hardly reads while there are writes.
                    group.start_soon(follow, watcher, 0.3 if number % 5 == 0 else 0)
                done = 0
                while done < commits:
                    writing.add(done)
                    await write_some(db, rng, quiet)
                    done += quiet
                    name = rng.choice(["reactive_dispatcher", "storage"])
                    await kill_async(db, name)
                    lsn = await db.sync()
                    writing.clear()
                    await check(watchers, lsn)
                group.cancel_scope.cancel()

    async def follow(watcher, pause):
        while True:
            await anext(watcher)
            if pause and writing:
                await anyio.sleep(pause * rng.random() / 10)

    async def check(watchers, lsn):
        with anyio.fail_after(120):
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
