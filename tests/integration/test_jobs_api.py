"""Jobs through the whole tree: enqueued, run by worker processes, waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import job_handlers
import pytest
import trio
from support import no_process_left

from aurora_actors import (
    Aurora,
    AuroraError,
    Backoff,
    ConfigError,
    ConflictError,
    Job,
    JobFailedError,
    JobInfo,
    JobPriority,
    JobsConfig,
    JobStatus,
    NotFoundError,
    TimeoutError_,
    UsageError,
    ValidationError,
    WorkerConfig,
    WorkerSystem,
    blocking,
)

pytestmark = pytest.mark.processes

BRIEFLY = JobsConfig(unknown_handler_s=0.3)
QUICK = Backoff(initial_s=0.02, jitter=0.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database with a pool of all handlers, for the tests of this module."""
    path = tmp_path_factory.mktemp("jobs") / "j.db"
    with blocking.open(path, query_executors=1, jobs=BRIEFLY) as db:
        db.new_collection("counters", open=True)
        db.start_pool("all", handlers=job_handlers)
        yield path
    no_process_left(path)


@pytest.fixture
async def db(shared: Path) -> AsyncIterator[Aurora]:
    """The shared database, attached to."""
    async with Aurora.open(shared) as db:
        with trio.fail_after(240):
            yield db


async def outcome(db: Aurora, job: Job) -> JobInfo:
    """What has become of a job."""
    job_id = await db.enqueue_job(job)
    with suppress(JobFailedError):
        await db.wait_job(job_id, timeout=60)
    found = await db.get_job(job_id)
    assert found is not None
    return found


async def test_handlers_of_every_kind_run_and_their_results_are_kept(db: Aurora):
    assert await db.wait_job(await db.enqueue_job(Job("add", {"a": 2}))) == 3
    assert await db.wait_job(await job_handlers.add.enqueue(db, a=2, b=3)) == 5
    plain = await job_handlers.plain.enqueue(db, text="hello")
    assert await db.wait_job(plain) == {
        "thread": True,
        "database": "aurora_actors.blocking",
        "attempt": 1,
    }
    assert await db.wait_job(await db.enqueue_job(Job("read", {"text": "x"}))) == "x"
    one = await db.enqueue_job(Job("under_asyncio"))
    assert str(await db.wait_job(one)).startswith("asyncio")
    two = await db.enqueue_job(Job("under_trio"))
    assert await db.wait_job(two) == ["counters"]
    found = await db.get_job(two)
    assert found is not None
    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)


async def test_each_way_to_fail_has_its_outcome(db: Aurora):
    found: dict[str, JobInfo] = {}

    async def run(name: str) -> None:
        # The others end by themselves, however long that takes.
        limit_s = 0.3 if name in {"spin", "block"} else 60.0
        found[name] = await outcome(db, Job(name, max_retries=0, timeout_s=limit_s))

    names = ["fail", "unserialisable", "sys_exit", "spin", "add", "unknown"]
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(run, name)
    for name in ["block", "exit", "kill_self"]:
        await run(name)
    said = {name: each.errors[-1] for name, each in found.items()}
    assert {each.status for each in found.values()} == {JobStatus.DEAD_LETTER}
    assert {name: each.error_type for name, each in said.items()} == {
        "fail": "ValueError",
        "unserialisable": "UnserialisableResult",
        "sys_exit": "SystemExit",
        "spin": "TimeoutError",
        "block": "TimeoutError",
        "exit": "WorkerLost",
        "kill_self": "WorkerLost",
        "add": "TypeError",
        "unknown": "UnknownHandler",
    }
    assert "raise ValueError(message)" in said["fail"].traceback
    assert "status 3" in said["exit"].message
    assert "SIGKILL" in said["kill_self"].message
    assert "unknown" in said["unknown"].message


async def test_what_fails_is_tried_again_with_its_history_kept(db: Aurora):
    job = Job("fail_until", {"attempt": 3}, backoff=QUICK)
    found = await outcome(db, job)
    assert (found.status, found.result, found.attempt) == ("completed", 3, 3)
    assert [each.message for each in found.errors] == ["attempt 1", "attempt 2"]
    dead = await outcome(db, Job("fail", max_retries=1, backoff=QUICK))
    assert (dead.status, dead.attempt) == (JobStatus.DEAD_LETTER, 2)
    assert await db.retry_job(dead.id)
    with pytest.raises(JobFailedError, match="no good") as failed:
        await db.wait_job(dead.id, timeout=60)
    assert failed.value.context["attempts"] == 4


async def test_running_and_waiting_jobs_can_be_cancelled(db: Aurora):
    later = await db.enqueue_job(Job("add").with_delay(3600))
    assert await db.cancel_job(later)
    assert not await db.cancel_job(later)
    ids = await db.enqueue_jobs(
        [Job("sleep", {"seconds": 3600}), Job("spin"), Job("work")]
    )
    while (await db.job_stats()).running < 3:
        await trio.sleep(0.01)
    while (info := await db.get_job(ids[2])) and info.note is None:
        await trio.sleep(0.01)
    assert info is not None
    assert (info.progress, info.note) == (0.25, "a quarter")
    for job_id in ids:
        assert await db.cancel_job(job_id)
    for job_id in ids[:2]:
        with pytest.raises(JobFailedError, match="cancelled"):
            await db.wait_job(job_id, timeout=60)
    # One that ends by itself when it is told has still been cancelled or completed.
    with pytest.raises(JobFailedError, match="cancelled"):
        await db.wait_job(ids[2], timeout=60)
    with pytest.raises(NotFoundError, match="no job"):
        await db.cancel_job("nobody")


async def test_jobs_belong_to_transactions(db: Aurora):
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await tx.enqueue_job(Job("count", {"name": "never"}))
            raise ZeroDivisionError
    async with db.transaction() as tx:
        await tx.insert_into("counters", {"id": "one", "value": 10})
        job_id = await tx.enqueue_job(Job("count", {"name": "one"}))
        keyed = Job("add", {"a": 1}).with_unique_key("k").with_delay(3600)
        first = await tx.enqueue_job(keyed)
        assert await tx.enqueue_job(keyed) == first
        with pytest.raises(ValidationError, match="priority"):
            await tx.enqueue_job(Job("add", priority=9))  # type: ignore[arg-type]
        with pytest.raises(NotFoundError, match="wait for"):
            await tx.enqueue_job(Job("add").after_jobs("nobody"))
    assert await db.wait_job(job_id) == "counted"
    one = await db.get_document("counters", "one")
    assert one is not None
    assert one["value"] == 11
    assert await db.enqueue_job(keyed) == first

    async with db.transaction() as tx:
        assert await tx.enqueue_job(keyed) == first
        await tx.insert_into("counters", {"id": "two"})
        await db.cancel_job(first)
        await tx.rollback()
    with pytest.raises(ConflictError):
        async with db.transaction() as tx:
            await tx.enqueue_job(keyed)
            await db.enqueue_job(keyed)


async def test_a_batch_has_a_job_for_its_end(db: Aurora):
    jobs = [Job("add", {"a": n}) for n in range(20)]
    jobs.append(Job("fail", max_retries=0))
    ids, last = await db.enqueue_batch(jobs, then=Job("add", {"a": 40}))
    assert last is not None
    assert await db.wait_job(last, timeout=60) == 41
    ended = [await db.get_job(each) for each in ids]
    assert all(each is not None and each.status.has_ended for each in ended)
    names = {each.batch for each in ended if each is not None}
    assert len(await db.list_jobs(batch=names.pop())) == 22
    assert not names


async def test_jobs_can_be_listed_queried_and_purged(tmp_path: Path):
    async with Aurora.open(tmp_path / "j.db", query_executors=1) as db:
        assert await db.list_jobs() == []
        assert await db.get_job("nobody") is None
        with pytest.raises(NotFoundError):
            await db.wait_job("nobody")
        high = Job("a", {"x": 1}).with_priority(JobPriority.HIGH).with_queue("mail")
        ids = await db.enqueue_jobs([Job("a"), high, Job("b")])
        with pytest.raises(TimeoutError_, match="not ended"):
            await db.wait_job(ids[0], timeout=0.05)
        found = await db.list_jobs(queue="mail")
        assert [(each.id, each.payload) for each in found] == [(ids[1], {"x": 1})]
        assert found[0].priority is JobPriority.HIGH
        await db.cancel_job(ids[2])
        listed = await db.list_jobs(status=JobStatus.CANCELLED)
        assert [each.id for each in listed] == [ids[2]]
        query = db.query("_sys_jobs").filter(lambda f: f.eq("status", "pending"))
        assert await query.count() == 2
        with pytest.raises(AuroraError, match="changed by requests"):
            await db.update_document("_sys_jobs", ids[0], {"status": "completed"})
        assert await db.purge_jobs() == 1
        assert await db.get_job(ids[2]) is None
        with pytest.raises(UsageError, match="have ended"):
            await db.purge_jobs(status="pending")
        with pytest.raises(ValidationError, match="time zone"):
            await db.enqueue_job(Job("a", run_at="tomorrow"))  # type: ignore[arg-type]


async def test_a_pool_says_what_is_wrong_with_its_handlers(db: Aurora):
    for handlers, reason in (
        ("no_such_module_here", "No module named"),
        ("support", "no function marked"),
        ("job_handlers:nobody", "no function"),
        ("__main__", "script"),
    ):
        with pytest.raises(ConfigError, match=reason):
            await db.start_pool("p", handlers=handlers)
    with pytest.raises(ConfigError, match="pool"):
        await db.start_pool("Not a name", handlers="job_handlers")
    with pytest.raises(UsageError, match="start it first"):
        await db.scale_pool("q", 2)
    names = [actor.name for actor in (await db.status()).actors]
    assert not [name for name in names if name.startswith("worker_pool-p-")]
    types = await db.start_pool("p", handlers={"neg": "job_handlers:unmarked"})
    assert types == ["neg"]
    assert await db.wait_job(await db.enqueue_job(Job("neg", {"n": 3}))) == -3
    with pytest.raises(UsageError, match="other settings"):
        await db.start_pool("p", handlers="job_handlers")
    await db.stop_pool("p")


async def test_pools_are_scaled_and_stopped_without_losing_jobs(db: Aurora):
    async def names() -> list[str]:
        actors = (await db.status()).actors
        return [a.name for a in actors if a.name.startswith("worker_pool")]

    job = Job("sleep", {"seconds": 0.02}, queue="scaled")
    await db.enqueue_jobs([job] * 300)
    await db.scale_pool("all", 3)
    assert await names() == [f"worker_pool-all-{n}" for n in range(3)]
    await db.scale_pool("all", 1)
    assert await names() == ["worker_pool-all-0"]
    await db.stop_pool("all")
    assert await names() == []
    stats = (await db.job_stats()).queues["scaled"]
    assert (stats.running, stats.failed, stats.dead_letter) == (0, 0, 0)
    await db.scale_pool("all", 2)
    while (await db.job_stats()).queues["scaled"].completed < 300:
        await trio.sleep(0.01)
    jobs = await db.list_jobs(queue="scaled", limit=300)
    assert {job.attempt for job in jobs} <= {1, 2, 3}


async def test_a_worker_system_has_a_queue_of_its_own(tmp_path: Path):
    config = WorkerConfig(storage_path=str(tmp_path / "w.db"), concurrency=4)
    async with WorkerSystem.open(config) as system:
        with pytest.raises(UsageError, match="handler"):
            await system.start()
        system.register_handler("add", "job_handlers:add")
        system.register_handler("fail", job_handlers.fail)
        early = await system.enqueue(Job("add", {"a": 1}))
        await system.start()
        assert await system.wait(early) == 2
        with pytest.raises(JobFailedError):
            await system.wait(await system.enqueue(Job("fail", max_retries=0)), 60)
        await system.stop()
        await system.enqueue(Job("add", {"a": 5}))
        assert (await system.stats()).pending == 1
    no_process_left(tmp_path / "w.db")


def test_threads_have_the_same_methods(shared: Path):
    with blocking.open(shared) as db:
        job_id = job_handlers.add.enqueue(db, a=20, b=22)
        assert db.wait_job(job_id, timeout=60) == 42
        with db.transaction() as tx:
            job_id = tx.enqueue_job(Job("add", {"a": 1}).with_queue("threads"))
        assert db.wait_job(job_id, timeout=60) == 2
        assert [job.job_type for job in db.list_jobs(queue="threads")] == ["add"]
