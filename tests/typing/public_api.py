"""The public API as a type checker sees it; checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, assert_type

import msgspec

from aurora_actors import (
    Aurora,
    AuroraConfig,
    Avg,
    CollectionDefinition,
    Count,
    Document,
    DocumentStream,
    DurabilityMode,
    FieldDefinition,
    FieldType,
    Group,
    GroupedQuery,
    Increment,
    Indexed,
    Job,
    JobContext,
    JobInfo,
    JobPriority,
    JobStatus,
    Plan,
    Push,
    Query,
    Savepoint,
    ScheduleInfo,
    Transaction,
    TreeStatus,
    Unique,
    blocking,
    field,
    job,
    testing,
)


class User(msgspec.Struct):
    name: str
    email: Annotated[str, Unique]
    age: Annotated[int, Indexed] = 0


@dataclass
class Order:
    amount: float


async def opening() -> None:
    async with Aurora.open("x", durability_mode=DurabilityMode.STRICT) as db:
        assert_type(db, Aurora)
        assert_type(db.config, AuroraConfig)
    Aurora.open("x", durability_mode="strict")  # type: ignore[arg-type]
    Aurora.open("x", no_such_setting=1)  # type: ignore[call-arg]
    with blocking.with_config(AuroraConfig(db_path="x")) as local:
        assert_type(local, blocking.Aurora)


async def collections(db: Aurora) -> None:
    fields = {"name": FieldDefinition(FieldType.STRING, unique=True)}
    assert_type(await db.new_collection("users", fields), bool)
    assert_type(await db.new_collection("tags", {"t": FieldType.INT}), bool)
    assert_type(await db.new_collection("events", open=True), bool)
    assert_type(await db.new_collection(User), bool)
    assert_type(await db.list_collections(), list[str])
    assert_type(await db.collection_definition("users"), CollectionDefinition)


async def documents(db: Aurora, source: AsyncIterator[User]) -> None:
    assert_type(await db.insert_into("users", {"name": "a"}), str)
    assert_type(await db.insert_into(User, User("a", "b")), str)
    assert_type(await db.insert_many("users", [{"name": "a"}]), list[str])
    assert_type(await db.insert_many(User, source), list[str])
    assert_type(await db.get_document("users", "a"), Document | None)
    assert_type(await db.get_document(User, "a"), User | None)
    await db.update_document("users", "a", {"n": Increment(1), "t": Push("x")})
    doc = await db.get_document("users", "a")
    if doc is not None:
        assert_type(doc.id, str)
        assert_type(doc.data, dict[str, Any])
        assert_type(doc["name"], Any)
        assert_type(doc.to(Order), Order)


async def queries(db: Aurora) -> None:
    query = db.query("users").filter(lambda f: f.gt("age", 25)).limit(3)
    assert_type(query, Query[Document])
    assert_type(await query.collect(), list[Document])
    assert_type(await query.first_one(), Document | None)
    typed = db.query(User).filter(field("age") > 25).order_by("age", ascending=False)
    assert_type(typed, Query[User])
    assert_type(await typed.collect(), list[User])
    assert_type(await typed.first_one(), User | None)
    assert_type(await typed.one(), User)
    assert_type(await typed.count(), int)
    assert_type(await typed.exists(), bool)
    assert_type(await typed.update({"age": 1}), int)
    assert_type(await typed.delete(), int)
    assert_type(await typed.explain(), Plan)
    assert_type(typed.select("name"), Query[Document])
    assert_type(await typed.aggregate(n=Count(), a=Avg("age")), dict[str, Any])
    assert_type(await typed.distinct("age"), list[Any])
    grouped = typed.group_by("age").having(field("n") > 1).limit(3).nodes(1)
    assert_type(grouped, GroupedQuery[User])
    groups = await grouped.aggregate(n=Count())
    assert_type(groups, list[Group[User]])
    assert_type(groups[0].nodes, list[User])
    assert_type(await grouped.explain(n=Count()), Plan)
    assert_type(typed.stream(), DocumentStream[User])
    async for user in typed.stream():
        assert_type(user, User)


async def transactions(db: Aurora, local: blocking.Aurora) -> None:
    async with db.transaction() as tx:
        assert_type(tx, Transaction)
        assert_type(await tx.insert_into("users", {"name": "a"}), str)
        assert_type(await tx.insert_many(User, [User("a", "b")]), list[str])
        assert_type(await tx.get_document("users", "a"), Document | None)
        assert_type(await tx.get_document(User, "a"), User | None)
        assert_type(await tx.delete_document("users", "a"), bool)
        assert_type(tx.query(User), Query[User])
        assert_type(tx.commit_lsn, int | None)
        async with tx.savepoint() as savepoint:
            assert_type(savepoint, Savepoint)

    async def count(tx: Transaction) -> int:
        return await tx.query("users").count()

    assert_type(await db.run_transaction(count, retries=3), int)
    with local.transaction() as blocking_tx:
        assert_type(blocking_tx, blocking.BlockingTransaction)
        assert_type(blocking_tx.get_document(User, "a"), User | None)
        assert_type(blocking_tx.query("users").collect(), list[Document])
    assert_type(local.run_transaction(lambda tx: tx.query(User).collect()), list[User])


async def housekeeping(db: Aurora) -> None:
    assert_type(await db.status(), TreeStatus)
    assert_type(await db.stats(), dict[str, dict[str, int | float]])
    assert_type(await db.checkpoint(), int)
    assert_type(await db.sync(), int)


def without_await(db: blocking.Aurora) -> None:
    assert_type(db.insert_into("users", {"name": "a"}), str)
    assert_type(db.get_document(User, "a"), User | None)
    assert_type(db.query("users").collect(), list[Document])
    typed = db.query(User).filter(field("age") > 25)
    assert_type(typed, blocking.BlockingQuery[User])
    assert_type(typed.select("name").collect(), list[Document])
    for user in typed.stream():
        assert_type(user, User)


@job("greet")
async def greet(ctx: JobContext, name: str) -> str:
    return name


@job("add")
def add(ctx: JobContext, a: int) -> int:
    return a


async def schedules(db: Aurora, local: blocking.Aurora) -> None:
    made = await db.schedule("nightly", cron="0 3 * * *", job=Job("clean"))
    assert_type(made, ScheduleInfo)
    assert_type(made.every, timedelta | None)
    assert_type(await db.get_schedule("nightly"), ScheduleInfo | None)
    assert_type(await db.list_schedules(), list[ScheduleInfo])
    assert_type(local.schedule("often", every=5, job=greet), ScheduleInfo)
    assert_type(local.pause_schedule("often"), bool)


async def job_testing(db: Aurora, local: blocking.Aurora) -> None:
    assert_type(testing.run_inline(add, {"a": 1}), testing.InlineRun)
    assert_type(await testing.run_inline(greet), testing.InlineRun)
    assert_type(await testing.drain(db, [greet, add]), list[JobInfo])
    assert_type(testing.drain(local, "myapp.jobs"), list[JobInfo])
    async with testing.fake_clock(db) as clock:
        assert_type(clock, testing.FakeClock)
        await clock.advance(days=1)
    with testing.fake_clock(local) as standing:
        assert_type(standing, testing.BlockingFakeClock)


async def background_jobs(db: Aurora, local: blocking.Aurora, tx: Transaction) -> None:
    job_id = await db.enqueue_job(Job("add", {"a": 1}).with_priority(JobPriority.HIGH))
    assert_type(job_id, str)
    assert_type(await add.enqueue(db, a=1), str)
    assert_type(await add.enqueue(tx, a=1), str)
    assert_type(add.enqueue(local, a=1), str)
    assert_type(await db.enqueue_jobs([add.job(a=1)]), list[str])
    assert_type(await db.enqueue_batch([], then=Job("x")), tuple[list[str], str | None])
    assert_type(await db.wait_job(job_id, timeout=1.0), object)
    assert_type(await db.get_job(job_id), JobInfo | None)
    assert_type(local.list_jobs(status=JobStatus.FAILED), list[JobInfo])
    assert_type((await db.job_stats()).pending, int)
    assert_type(await db.start_pool("p", handlers=[add, "m:f"]), list[str])
    assert_type(await db.cancel_job(job_id), bool)
