"""Transactions through the whole tree: several processes, real storage, real kills."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
import trio
from processes import kill_async
from support import no_process_left, python

from aurora_actors import (
    Aurora,
    ConflictError,
    FieldDefinition,
    FieldType,
    UniqueViolationError,
    blocking,
    field,
)

pytestmark = pytest.mark.processes


def with_trio(main):
    trio.run(main)


def with_asyncio(main):
    asyncio.run(main())


@pytest.fixture(params=[with_trio, with_asyncio])
def run(request):
    return request.param


ACCOUNTS = 8
START = 1000

TELLER = """
import random, sys, threading
from aurora_actors import blocking

path, seed, transfers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def work(db, number):
    choice = random.Random(seed * 100 + number)

    def transfer(tx):
        source, target = choice.sample(range(8), 2)
        amount = choice.randint(1, 50)
        one = tx.get_document("accounts", f"a{source}")["balance"]
        other = tx.get_document("accounts", f"a{target}")["balance"]
        if one >= amount:
            tx.update_document("accounts", f"a{source}", {"balance": one - amount})
            tx.update_document("accounts", f"a{target}", {"balance": other + amount})
            tx.insert_into("transfers", {"amount": amount})

    for _ in range(transfers):
        db.run_transaction(transfer, retries=200)

with blocking.open(path) as db:
    threads = [threading.Thread(target=work, args=(db, n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


def balances(documents) -> int:
    assert len(documents) == ACCOUNTS
    assert all(each["balance"] >= 0 for each in documents)
    return sum(each["balance"] for each in documents)


def make_bank(path: Path, db: blocking.Aurora) -> None:
    db.new_collection(
        "accounts", {"balance": FieldDefinition(FieldType.INT, nullable=False)}
    )
    db.new_collection("transfers", {"amount": FieldType.INT})
    db.insert_many(
        "accounts", [{"id": f"a{n}", "balance": START} for n in range(ACCOUNTS)]
    )


def run_bank(path: Path, transfers: int) -> str:
    """16 clients in four processes transfer money; the total stays what it was."""
    with blocking.open(path, query_executors=1) as db, ExitStack() as stack:
        make_bank(path, db)
        tellers = [
            stack.enter_context(python(TELLER, str(path), str(seed), str(transfers)))
            for seed in range(4)
        ]
        looks = 0
        while looks <= 3 or any(teller.poll() is None for teller in tellers):
            everything = db.query("accounts").filter(field("balance") >= 0)
            assert balances(everything.collect()) == START * ACCOUNTS
            with db.transaction() as tx:
                found = [tx.get_document("accounts", f"a{n}") for n in range(ACCOUNTS)]
                assert balances(found) == START * ACCOUNTS
                ordered = tx.query("accounts").order_by("balance")
                assert balances(ordered.collect()) == START * ACCOUNTS
            looks += 1
        for teller in tellers:
            out, err = teller.communicate()
            assert out == "done\n", err
        assert balances(db.query("accounts").collect()) == START * ACCOUNTS
        moved = db.query("transfers").count()
        assert 0 < moved <= 16 * transfers
    no_process_left(path)
    return (
        f"bank, 16 clients: {moved:,} transfers, {3 * looks:,} totals read, all right"
    )


def test_the_sum_of_all_accounts_never_changes(tmp_path: Path) -> None:
    run_bank(tmp_path / "bank.db", 25)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sum_of_all_accounts_never_changes_in_10_000_transfers(tmp_path, figures):
    figures.add(run_bank(tmp_path / "bank.db", 625))


def test_write_skew_is_prevented(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("shifts", {"on_call": FieldType.BOOL})
            await db.insert_many(
                "shifts", [{"id": name, "on_call": True} for name in ("ann", "bob")]
            )
            both = anyio.Event()
            counted = []

            async def leave(name, outcomes):
                try:
                    async with db.transaction() as tx:
                        query = tx.query("shifts").filter(field("on_call") == True)  # noqa: E712
                        assert await query.count() == 2
                        counted.append(name)
                        if len(counted) == 2:
                            both.set()
                        await both.wait()
                        await tx.update_document("shifts", name, {"on_call": False})
                    outcomes.append("left")
                except ConflictError:
                    outcomes.append("conflict")

            outcomes: list[str] = []
            async with anyio.create_task_group() as group:
                group.start_soon(leave, "ann", outcomes)
                group.start_soon(leave, "bob", outcomes)
            assert sorted(outcomes) == ["conflict", "left"]
            on_call = db.query("shifts").filter(field("on_call") == True)  # noqa: E712
            assert await on_call.count() == 1

    run(main)


def test_a_phantom_is_prevented(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("bookings", {"room": FieldType.INT})

            async def book(tx):
                query = tx.query("bookings").filter(field("room") == 7)
                if await query.exists():
                    return False
                await tx.insert_into("bookings", {"room": 7})
                return True

            outcomes = []

            async def client():
                outcomes.append(await db.run_transaction(book, retries=50))

            async with anyio.create_task_group() as group:
                for _ in range(16):
                    group.start_soon(client)
            assert sorted(outcomes) == [False] * 15 + [True]
            assert await db.query("bookings").count() == 1

    run(main)


def test_64_transactions_race_for_one_unique_value_and_one_wins(tmp_path):
    path = tmp_path / "race.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection(
            "users", {"name": FieldDefinition(FieldType.STRING, unique=True)}
        )

        losers: list[object] = []

        def claim(_number: int) -> bool:
            try:
                with db.transaction() as tx:
                    tx.insert_into("users", {"name": "the one"})
            except UniqueViolationError as error:
                losers.append((error.field, error.value))
                return False
            return True

        with ThreadPoolExecutor(64) as pool:
            assert sum(pool.map(claim, range(64))) == 1
        assert losers == [("name", "the one")] * 63
        assert db.query("users").count() == 1
    no_process_left(path)


def test_a_commit_takes_effect_once_though_storage_is_killed(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("counters", {"n": FieldType.INT})
            await db.new_collection("log", {"n": FieldType.INT})
            await db.insert_many("counters", [{"id": n, "n": 0} for n in "abcd"])

            async def add(tx):
                total = 0
                for name in "abcd":
                    document = await tx.get_document("counters", name)
                    await tx.update_document("counters", name, {"n": document["n"] + 1})
                    total = document["n"] + 1
                await tx.insert_into("log", {"n": total})
                return total

            returned = []

            async def client():
                for _ in range(25):
                    returned.append(await db.run_transaction(add, retries=500))

            async def kill():
                for _ in range(4):
                    await kill_async(db, "storage")
                    await db.sync()

            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(client)
                group.start_soon(kill)
            assert sorted(returned) == list(range(1, 101))
            counters = await db.query("counters").collect()
            assert [each["n"] for each in counters] == [100] * 4
            logged = await db.query("log").order_by("n").collect()
            assert [each["n"] for each in logged] == list(range(1, 101))

    run(main)


def test_a_transaction_goes_on_while_storage_is_restarted(run, tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", {"n": FieldType.INT})
            async with db.transaction() as tx:
                await tx.insert_many("a", [{"n": n} for n in range(1000)])
                await kill_async(db, "storage")
                assert await tx.query("a").count() == 1000
            assert await db.query("a").count() == 1000

    run(main)


def test_a_cancelled_transaction_leaves_no_trace(tmp_path):
    async def main():
        async with Aurora.open(tmp_path / "a.db", query_executors=1) as db:
            await db.new_collection("a", {"n": FieldType.INT})
            with trio.move_on_after(0.05) as scope:
                async with db.transaction() as tx:
                    await tx.insert_into("a", {"n": 1})
                    await trio.sleep_forever()
            assert scope.cancelled_caught
            assert await db.query("a").count() == 0

    trio.run(main)


def test_the_blocking_transaction_has_it_all(tmp_path):
    path = tmp_path / "a.db"
    with blocking.open(path, query_executors=1) as db:
        db.new_collection("a", {"n": FieldType.INT})
        with db.transaction() as tx:
            ids = tx.insert_many("a", [{"n": n} for n in range(10)])
            with tx.savepoint() as savepoint:
                assert tx.query("a").filter(field("n") < 5).delete() == 5
                savepoint.rollback()
            tx.replace_document("a", ids[0], {"n": 100})
            tx.upsert("a", ids[1], {"n": 101})
            assert tx.delete_document("a", ids[2])
            found = tx.get_document("a", ids[0])
            assert found is not None
            assert found["n"] == 100
            assert sum(1 for _ in tx.query("a").stream()) == 9
        assert tx.commit_lsn is not None
        assert db.run_transaction(lambda tx: tx.query("a").count()) == 9
    no_process_left(path)
