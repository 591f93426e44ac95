"""The helpers for tests of applications: inline, drained, on a fake clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import trio
from processes import kill_actor
from support import no_process_left

from aurora_actors import (
    Aurora,
    Backoff,
    Job,
    JobContext,
    JobsConfig,
    JobStatus,
    UsageError,
    ValidationError,
    blocking,
    job,
    testing,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@job("add", max_retries=2, backoff=Backoff(initial_s=60.0, jitter=0.0))
def add(ctx: JobContext, a: int, b: int = 0) -> dict[str, object]:
    _ = ctx.progress(0.5, "half")
    _ = ctx.heartbeat()
    if ctx.attempt <= a:
        raise RuntimeError(f"attempt {ctx.attempt}")
    return {"sum": a + b, "pair": (a, b)}


@job("count")
async def count(ctx: JobContext) -> int:
    await trio.lowlevel.checkpoint()
    return await ctx.db.query("things").count()


def plain_count(ctx: JobContext) -> int:
    return ctx.db.query("things").count()


@job("slow", timeout_s=0.05)
async def slow(ctx: JobContext) -> None:
    await trio.sleep_forever()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("testing") / "a.db"
    settings = JobsConfig(allow_fake_clock=True)
    with blocking.open(path, query_executors=1, jobs=settings) as db:
        db.new_collection("things", open=True)
        db.insert_into("things", {})
        yield path
    no_process_left(path)


@pytest.fixture
def db(path):
    with blocking.open(path) as db:
        yield db
        db.purge_jobs()


# ------------------------------------------------------------------ inline
def test_a_plain_handler_is_called_as_by_a_worker():
    run = testing.run_inline(add, {"a": 0, "b": 2})
    assert run.result == {"sum": 2, "pair": [0, 2]}
    assert (run.progress, run.heartbeats) == ([(0.5, "half")], 1)
    with pytest.raises(RuntimeError, match="attempt 1"):
        testing.run_inline(add, {"a": 1})
    assert testing.run_inline(add, {"a": 1}, attempt=2).result["sum"] == 1


async def test_an_async_handler_is_awaited_under_trio():
    class Things:
        def query(self, _):
            return self

        async def count(self):
            return 7

    assert (await testing.run_inline(count, db=Things())).result == 7
    with pytest.raises(UsageError, match="needs a database"):
        await testing.run_inline(count)


def test_what_cannot_be_stored_fails_inline_as_well():
    with pytest.raises(ValidationError):
        testing.run_inline(add, {"a": object()})
    with pytest.raises(ValidationError):
        testing.run_inline(lambda ctx: {1, 2})


# ------------------------------------------------------------------ drained
@pytest.mark.processes
def test_drain_runs_what_is_due_in_this_process(db):
    ids = db.enqueue_jobs([add.job(a=0, b=n) for n in range(3)])
    later = db.enqueue_job(add.job(a=0).with_delay(3600))
    other = db.enqueue_job(Job("unknown"))
    ran = testing.drain(db, add)
    assert [each.id for each in ran] == ids
    assert {each.status for each in ran} == {JobStatus.COMPLETED}
    assert ran[2].result == {"sum": 2, "pair": [0, 2]}
    assert testing.drain(db, add) == []
    for waiting in (later, other):
        assert db.get_job(waiting).status is JobStatus.PENDING
        db.cancel_job(waiting)
    assert db.job_stats().workers == 0


@pytest.mark.processes
def test_drain_takes_a_queue_a_limit_and_any_functions(db):
    db.enqueue_jobs([Job("counted", queue=queue) for queue in "aab"])
    handlers = {"counted": plain_count}
    assert [each.result for each in testing.drain(db, handlers, queue="b")] == [1]
    assert len(testing.drain(db, handlers, limit=1)) == 1
    assert len(testing.drain(db, [plain_count, handlers["counted"]])) == 0
    assert len(testing.drain(db, handlers)) == 1
    count.enqueue(db)
    assert [each.result for each in testing.drain(db, [count])] == [1]


@pytest.mark.processes
async def test_drain_is_awaited_under_trio_and_gives_each_handler_its_database(path):
    async with Aurora.open(path) as db:
        await count.enqueue(db)
        await db.enqueue_job(Job("plain_count"))
        await slow.enqueue(db)
        ran = await testing.drain(db, [count, plain_count, slow])
        assert [each.result for each in ran] == [1, 1, None]
        assert ran[2].status is JobStatus.FAILED
        assert ran[2].errors[0].error_type == "TimeoutError"
        await db.cancel_job(ran[2].id)
        await db.purge_jobs()


# ------------------------------------------------------------------ on a fake clock
@pytest.mark.processes
def test_times_between_attempts_pass_when_they_are_told_to(db):
    with testing.fake_clock(db, START) as clock:
        failing = add.enqueue(db, a=2)
        assert [each.status for each in testing.drain(db, add)] == [JobStatus.FAILED]
        assert db.get_job(failing).run_at == START + timedelta(seconds=60)
        clock.advance(seconds=59)
        assert testing.drain(db, add) == []
        clock.advance(seconds=1)
        assert len(testing.drain(db, add)) == 1
        clock.advance(timedelta(minutes=2))
        (ran,) = testing.drain(db, add)
        assert (ran.status, ran.attempt) == (JobStatus.COMPLETED, 3)


@pytest.mark.processes
def test_a_thousand_days_of_schedules_pass_in_a_moment(db):
    zone = ZoneInfo("America/New_York")
    with testing.fake_clock(db, START) as clock:
        db.schedule("nightly", cron="30 2 * * *", time_zone=zone, job=add.job(a=0))
        for number in range(10):
            clock.advance(days=100)
            if number % 4 == 1:
                kill_actor(db, "storage")
        assert clock.now == START + timedelta(days=1000)
        found = db.get_schedule("nightly")
        assert (found.runs, found.missed) == (1000, 0)
        ticks = db.query("_sys_jobs").filter(lambda f: f.eq("schedule", "nightly"))
        hours = [each["tick"].astimezone(zone).hour for each in ticks.collect()]
        assert (hours.count(2), hours.count(3)) == (997, 3)
        clock.set(clock.now + timedelta(days=10))
        assert db.get_schedule("nightly").missed == 9
        ran = testing.drain(db, add, limit=2)
        assert [each.schedule for each in ran] == ["nightly", "nightly"]
        assert ran[0].tick == datetime(2026, 3, 2, 2, 30, tzinfo=zone)
        db.unschedule("nightly")
        for waiting in db.list_jobs(status=JobStatus.PENDING, limit=1000):
            db.cancel_job(waiting.id)


@pytest.mark.processes
async def test_the_clock_is_set_under_trio_and_does_not_go_back(path):
    async with Aurora.open(path) as db, testing.fake_clock(db) as clock:
        assert abs(clock.now - datetime.now(UTC)) < timedelta(minutes=5)
        with pytest.raises(UsageError, match="does not go back"):
            await clock.advance(days=-1)
        with pytest.raises(UsageError, match="does not go back"):
            await clock.set(clock.now - timedelta(seconds=1))
        with pytest.raises(UsageError, match="time zone"):
            await clock.set(datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.processes
def test_only_a_database_that_allows_it_has_its_clock_set(tmp_path):
    path = tmp_path / "b.db"
    with blocking.open(path, query_executors=1) as db:
        clock = testing.fake_clock(db)
        with pytest.raises(UsageError, match="allow_fake_clock"):
            clock.__enter__()
    no_process_left(path)
