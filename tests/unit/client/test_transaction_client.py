"""Transactions as callers use them, over a storage engine in the same thread."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from transacting import LocalDatabase, insertion

from aurora_actors import (
    ConflictError,
    Increment,
    LimitExceededError,
    NotFoundError,
    TimeoutError_,
    UniqueViolationError,
    UsageError,
    field,
)
from aurora_actors.client.retrying import run_transaction
from aurora_actors.client.transaction import Transaction
from aurora_actors.client.transaction_state import TransactionSpace
from aurora_actors.messages.base import Failure
from aurora_actors.messages.storage import DeleteDocument


class LocalShell:
    """Asks an engine, and counts."""

    cancel_point = None

    def __init__(self, base: LocalDatabase) -> None:
        self.base = base
        self.sent: list[object] = []
        self.pauses: list[float] = []

    async def call(self, destination, message, timeout=None, size=512):
        assert destination == "storage"
        self.sent.append(message)
        (reply,) = self.base.ask(message)
        if isinstance(reply, Failure):
            raise reply.error()
        return reply

    async def breathe(self):
        await trio.lowlevel.checkpoint()

    async def pause(self, seconds):
        self.pauses.append(seconds)


class Client:
    """What stands behind a database object."""

    def __init__(self, path, **settings) -> None:
        self.base = LocalDatabase(path, **settings)
        self.shell = LocalShell(self.base)
        config, reader = self.base.config, self.base.reader
        self.session: Any = SimpleNamespace(
            cancel_point=None,
            config=config,
            reader=reader,
            shell=self.shell,
            transactions=TransactionSpace(reader, config),
        )

    def transaction(self, timeout=None):
        return Transaction(lambda: self.session, timeout)

    async def run(self, function, retries=5):
        pause = self.shell.pause
        return await run_transaction(self.transaction, pause, function, retries)


@pytest.fixture
def db(tmp_path):
    client = Client(tmp_path / "a.db")
    client.base.define("a")
    client.base.one(insertion("a", {"x": {"v": 1, "u": "ux"}, "y": {"v": 2}}))
    yield client
    client.session.transactions.close()
    client.base.close()


def values(db):
    return {name: doc["v"] for name, doc in db.base.documents("a").items()}


# ------------------------------------------------------------------ the block
async def test_a_block_commits_at_its_end(db):
    async with db.transaction() as tx:
        await tx.update_document("a", "x", {"v": 10})
        assert values(db)["x"] == 1
        assert tx.commit_lsn is None
    assert values(db)["x"] == 10
    assert tx.commit_lsn == db.base.engine.lsn == tx.snapshot_lsn + 1


async def test_a_block_that_fails_leaves_no_trace(db):
    with pytest.raises(KeyError):
        async with db.transaction() as tx:
            await tx.update_document("a", "x", {"v": 10})
            raise KeyError
    assert values(db)["x"] == 1
    assert db.shell.sent == []


async def test_a_transaction_that_only_reads_sends_nothing_and_never_conflicts(db):
    async with db.transaction() as tx:
        assert (await tx.get_document("a", "x"))["v"] == 1
        db.base.one(DeleteDocument(collection="a", id="x"))
        assert await tx.query("a").count() == 2
    assert db.shell.sent == []


async def test_a_transaction_is_used_inside_its_block_and_once(db):
    tx = db.transaction()
    with pytest.raises(UsageError, match="has not begun"):
        await tx.get_document("a", "x")
    async with tx:
        pass
    with pytest.raises(UsageError, match="has ended"):
        await tx.get_document("a", "x")
    with pytest.raises(UsageError, match="has ended"):
        await tx.query("a").collect()
    with pytest.raises(UsageError, match="begun once"):
        async with tx:
            pass


async def test_rollback_goes_back_to_the_beginning_and_goes_on(db):
    async with db.transaction() as tx:
        await tx.delete_document("a", "x")
        await tx.rollback()
        await tx.update_document("a", "y", {"v": 3})
    assert values(db) == {"x": 1, "y": 3}


# ------------------------------------------------------------------ methods
async def test_every_kind_of_write(db):
    async with db.transaction() as tx:
        name = await tx.insert_into("a", {"v": 5})
        many = await tx.insert_many("a", ({"v": n} for n in range(1000)))
        assert len(set(many)) == 1000
        await tx.replace_document("a", "x", {"id": "x", "v": 7})
        await tx.upsert("a", "n", {"v": Increment(3)})
        assert await tx.delete_document("a", "y")
        assert not await tx.delete_document("a", "y")
        for document_id in many:
            await tx.delete_document("a", document_id)
        assert (await tx.get_document("a", "n"))["v"] == 3
        assert await tx.get_document("a", "y") is None
    assert values(db) == {"x": 7, name: 5, "n": 3}


async def test_insert_many_is_all_or_none(db):
    async with db.transaction() as tx:
        with pytest.raises(UniqueViolationError):
            await tx.insert_many("a", [{"v": n, "u": str(n % 200)} for n in range(300)])
        assert await tx.query("a").count() == 2


async def test_insert_many_takes_what_the_transaction_itself_reads(db):
    async def doubled(tx):
        async for document in tx.query("a").stream():
            yield {"v": document["v"] * 2}

    async with db.transaction() as tx:
        await tx.insert_many("a", doubled(tx))
    assert sorted(values(db).values()) == [1, 2, 2, 4]


async def test_queries_of_every_kind_see_own_writes(db):
    async with db.transaction() as tx:
        await tx.insert_many("a", [{"v": 100 + n} for n in range(500)])
        query = tx.query("a").filter(field("v") >= 100)
        assert await query.count() == 500
        assert await query.exists()
        assert (await query.order_by("v", ascending=False).first_one())["v"] == 599
        assert len(await query.collect()) == 500
        assert [d["v"] async for d in query.limit(3).stream()] == [100, 101, 102]
        assert (await tx.query("a").filter(field("u") == "ux").one()).id == "x"
        assert (await query.select("v").first_one()).data == {"v": 100}
        assert (await query.explain()).actual_rows == 500
        assert await query.update({"v": Increment(1000)}) == 500
        assert await tx.query("a").filter(field("v") > 1550).delete() == 49
    assert len(values(db)) == 2 + 500 - 49


async def test_documents_can_be_changed_while_they_are_streamed(db):
    async with db.transaction() as tx:
        async for document in tx.query("a").order_by("v").stream():
            await tx.delete_document("a", document.id)
            await tx.insert_into("a", {"v": document["v"] + 10})
    assert sorted(values(db).values()) == [11, 12]


async def test_what_needs_other_processes_is_refused(db):
    async with db.transaction() as tx:
        with pytest.raises(UsageError, match="cannot be done inside a transaction"):
            await tx.session().shell.ask_tree(None, None)


# ------------------------------------------------------------------ savepoints
async def test_a_savepoint_is_undone_by_an_exception_and_kept_without(db):
    async with db.transaction() as tx:
        with pytest.raises(UniqueViolationError):
            async with tx.savepoint():
                await tx.update_document("a", "x", {"v": 50})
                await tx.insert_into("a", {"id": "y"})
        async with tx.savepoint() as outer:
            await outer.update_document("a", "y", {"v": 60})
            async with outer.savepoint() as inner:
                await inner.insert_into("a", {"id": "n", "v": 1})
                await inner.rollback()
                await inner.insert_into("a", {"id": "m", "v": 2})
    assert values(db) == {"x": 1, "y": 60, "m": 2}


async def test_a_savepoint_is_used_once(db):
    async with db.transaction() as tx:
        savepoint = tx.savepoint()
        async with savepoint:
            pass
        with pytest.raises(UsageError, match="used once"):
            async with savepoint:
                pass


# ------------------------------------------------------------------ conflicts
async def test_a_lost_update_is_prevented(db):
    with pytest.raises(ConflictError) as caught:
        async with db.transaction() as tx:
            value = (await tx.get_document("a", "x"))["v"]
            async with db.transaction() as other:
                await other.update_document("a", "x", {"v": Increment(10)})
            await tx.update_document("a", "x", {"v": value + 1})
    assert caught.value.context == {"collection": "a", "id": "x"}
    assert values(db)["x"] == 11


async def test_a_conflict_names_the_filter(db):
    with pytest.raises(ConflictError, match="its filter is v > 1") as caught:
        async with db.transaction() as tx:
            count = await tx.query("a").filter(field("v") > 1).count()
            async with db.transaction() as other:
                await other.insert_into("a", {"id": "n", "v": 5})
            await tx.update_document("a", "x", {"v": count})
    assert caught.value.context == {"collection": "a", "id": "n", "filter": "v > 1"}


async def test_a_document_that_vanishes_under_a_blind_change_is_a_conflict(db):
    with pytest.raises(ConflictError, match="no document with the id 'x'"):
        async with db.transaction() as tx:
            await tx.update_document("a", "x", {"v": Increment(1)})
            db.base.one(DeleteDocument(collection="a", id="x"))


async def test_a_long_history_is_looked_through_before_the_commit(db):
    async with db.transaction() as tx:
        assert await tx.query("a").filter(field("v") == 77).count() == 0
        documents = {f"n{number}": {"v": 5} for number in range(3000)}
        db.base.one(insertion("a", documents))
        await tx.update_document("a", "x", {"v": 0})
    (commit,) = db.shell.sent
    assert commit.snapshot_lsn == tx.snapshot_lsn + 3000
    with pytest.raises(ConflictError, match="its filter is v == 78"):
        async with db.transaction() as tx:
            assert await tx.query("a").filter(field("v") == 78).count() == 0
            documents = {f"m{number}": {"v": number} for number in range(300)}
            db.base.one(insertion("a", documents))
            await tx.update_document("a", "x", {"v": 0})
    assert len(db.shell.sent) == 1


# ------------------------------------------------------------------ running again
async def test_run_transaction_runs_again_after_a_conflict(db):
    runs: list[int] = []

    async def add(tx):
        value = (await tx.get_document("a", "x"))["v"]
        if len(runs) < 3:
            async with db.transaction() as other:
                await other.update_document("a", "x", {"v": Increment(1)})
        runs.append(value)
        await tx.update_document("a", "x", {"v": value + 100})
        return "done"

    assert await db.run(add) == "done"
    assert runs == [1, 2, 3, 4]
    assert values(db)["x"] == 104
    assert len(db.shell.pauses) == 3
    assert all(0 <= pause <= 0.001 * 2**n for n, pause in enumerate(db.shell.pauses))


async def test_run_transaction_gives_up_after_its_retries(db):
    runs: list[int] = []

    async def never(tx):
        runs.append((await tx.get_document("a", "x"))["v"])
        async with db.transaction() as other:
            await other.update_document("a", "x", {"v": Increment(1)})
        await tx.update_document("a", "x", {"v": 0})

    with pytest.raises(ConflictError):
        await db.run(never, retries=2)
    assert runs == [1, 2, 3]


async def test_run_transaction_lets_the_function_meet_a_value_that_was_taken(db):
    async def claim(tx):
        try:
            await tx.insert_into("a", {"id": "mine", "u": "name"})
        except UniqueViolationError:
            return "taken"
        if "other" not in db.base.documents("a"):
            db.base.one(insertion("a", {"other": {"v": 0, "u": "name"}}))
        return "mine"

    assert await db.run(claim) == "taken"


async def test_run_transaction_does_not_repeat_other_errors(db):
    runs: list[int] = []

    async def fail(tx):
        runs.append(1)
        await tx.update_document("a", "nobody", {"v": 1})

    with pytest.raises(NotFoundError):
        await db.run(fail)
    assert runs == [1]


# ------------------------------------------------------------------ limits
async def test_a_transaction_ends_at_its_time_limit(db):
    with pytest.raises(TimeoutError_, match="transaction_timeout_s"):
        async with db.transaction(timeout=1e-9) as tx:
            await tx.update_document("a", "x", {"v": 10})
    assert values(db)["x"] == 1


async def test_a_forgotten_transaction_is_ended_when_the_next_begins(db):
    forgotten = db.transaction()
    await forgotten.__aenter__()
    opened = forgotten._opened()
    opened.deadline = 0.0
    async with db.transaction():
        assert opened._view is None
    with pytest.raises(TimeoutError_):
        await forgotten.get_document("a", "x")


async def test_the_limit_of_size_is_met_at_the_write(tmp_path):
    client = Client(tmp_path / "small.db", max_transaction_bytes=1000)
    client.base.define("a")
    async with client.transaction() as tx:
        await tx.insert_into("a", {"v": 1})
        with pytest.raises(LimitExceededError, match="max_transaction_bytes is 1,000"):
            await tx.insert_many("a", ({"u": f"{n}" * 100} for n in range(100)))
        await tx.insert_into("a", {"v": 2})
    assert len(client.base.documents("a")) == 2
    client.base.close()


async def test_closing_the_database_ends_its_transactions(db):
    tx = db.transaction()
    await tx.__aenter__()
    db.session.transactions.close()
    with pytest.raises(UsageError, match="has ended"):
        await tx.get_document("a", "x")


async def test_two_tasks_cannot_change_one_transaction_at_once(db):
    async with db.transaction() as tx:
        await tx.insert_many("a", [{"v": n} for n in range(5000)])
        with pytest.raises(ExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(tx.query("a").update, {"v": 0})
        assert caught.group_contains(UsageError, match="one task at a time")
        await tx.rollback()
