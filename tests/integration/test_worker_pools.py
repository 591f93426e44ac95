"""Worker pools: from the configuration, recycled, scaled by themselves, draining."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import job_handlers
import pytest
import trio
from support import no_process_left

from aurora_actors import (
    ActorStatus,
    Added,
    Aurora,
    ConfigError,
    Job,
    JobsConfig,
    JobStatus,
    UsageError,
    WorkerPoolConfig,
    blocking,
)
from aurora_actors.config import AuroraConfig

pytestmark = pytest.mark.processes

SETTINGS = {"query_executors": 1, "heartbeat_interval_ms": 50}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database whose configuration has a pool, for the tests of this module."""
    path = tmp_path_factory.mktemp("pools") / "j.db"
    pool = WorkerPoolConfig(handlers="job_handlers", queues=["configured"])
    jobs = JobsConfig(handler_modules=["job_handlers", "slow_handlers"])
    with blocking.open(path, worker_pools={"cfg": pool}, jobs=jobs, **SETTINGS):  # type: ignore[arg-type]
        yield path
    no_process_left(path)


@pytest.fixture
async def db(shared: Path) -> AsyncIterator[Aurora]:
    """The shared database, attached to."""
    async with Aurora.open(shared) as db:
        with trio.fail_after(240):
            yield db


async def members(db: Aurora, pool: str) -> list[ActorStatus]:
    """The processes of a pool."""
    prefix = f"worker_pool-{pool}-"
    return [a for a in (await db.status()).actors if a.name.startswith(prefix)]


async def test_a_configured_pool_runs_and_takes_only_its_queues(db: Aurora):
    job = Job("add", {"a": 1})
    other = await db.enqueue_job(job.with_queue("another"))
    assert await db.wait_job(await db.enqueue_job(job.with_queue("configured"))) == 2
    info = await db.get_job(other)
    assert info is not None
    assert info.status is JobStatus.PENDING
    assert [a.name for a in await members(db, "cfg")] == ["worker_pool-cfg-0"]
    await db.cancel_job(other)


async def test_a_pool_whose_handlers_are_not_allowed_is_refused(db: Aurora):
    with pytest.raises(ConfigError, match="handler_modules"):
        await db.start_pool("bad", handlers="support:wait_until")
    assert await members(db, "bad") == []


async def test_a_process_gives_way_after_its_number_of_jobs(db: Aurora):
    await db.start_pool(
        "short", handlers=job_handlers, queues=["short"], concurrency=2, max_jobs=5
    )
    first = (await members(db, "short"))[0].pid
    job = Job("sleep", {"seconds": 0.01}).with_queue("short")
    ids = await db.enqueue_jobs([job] * 20)
    for job_id in ids:
        assert await db.wait_job(job_id) == "slept"
    while not ((found := await members(db, "short")) and found[0].pid != first):
        await trio.sleep(0.01)
    jobs = await db.list_jobs(queue="short")
    assert all(not job.errors for job in jobs), "nobody was interrupted"
    await db.stop_pool("short")


async def test_a_process_gives_way_when_it_is_too_large(db: Aurora):
    await db.start_pool("big", handlers=job_handlers, queues=["big"], max_memory_mb=1)
    first = (await members(db, "big"))[0].pid
    while not ((found := await members(db, "big")) and found[0].pid not in {0, first}):
        await trio.sleep(0.01)
    await db.stop_pool("big")


def files_in(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def test_a_pool_grows_with_what_waits(db: Aurora, tmp_path: Path):
    await db.start_pool(
        "grow",
        handlers=job_handlers,
        queues=["grow"],
        concurrency=1,
        processes=1,
        max_processes=2,
    )
    job = Job("hold", {"folder": str(tmp_path)}).with_queue("grow")
    ids = await db.enqueue_jobs([job] * 12)
    # Each process has one of them, and does not let go before the other has one, too.
    while files_in(tmp_path) < 2:
        await trio.sleep(0.02)
    assert len(await members(db, "grow")) == 2
    (tmp_path / "go").touch()
    for job_id in ids:
        assert await db.wait_job(job_id) == 1
    assert len({j.worker for j in await db.list_jobs(queue="grow")}) > 1
    with pytest.raises(UsageError, match="number"):
        await db.scale_pool("grow", -1)
    await db.stop_pool("grow")


async def test_handlers_may_take_their_time_to_import(db: Aurora, tmp_path: Path):
    (tmp_path / "slow_handlers.py").write_text(
        "import time\n"
        "from aurora_actors import job\n"
        "time.sleep(0.7)\n"
        "@job('slow')\n"
        "def slow(context):\n"
        "    return 'at last'\n"
    )
    job_id = await db.enqueue_job(Job("slow").with_queue("slow"))
    types = await db.start_pool(
        "slow", handlers="slow_handlers", queues=["slow"], import_path=[str(tmp_path)]
    )
    assert types == ["slow"]
    assert await db.wait_job(job_id) == "at last"
    (actor,) = await members(db, "slow")
    assert actor.restarts == 0
    await db.stop_pool("slow")


async def test_jobs_return_at_once_when_their_process_is_killed(
    db: Aurora, tmp_path: Path
):
    await db.start_pool(
        "kill", handlers=job_handlers, queues=["kill"], processes=2, lease_s=3600
    )
    job = Job("hold", {"folder": str(tmp_path)}, max_retries=5).with_queue("kill")
    ids = await db.enqueue_jobs([job] * 6)
    first = [tmp_path / f"{job_id}.1" for job_id in ids]
    # Each is written in two steps: made, then filled.
    while not all(file.exists() and file.read_text() for file in first):
        await trio.sleep(0.01)
    holders = {id_: int(file.read_text()) for id_, file in zip(ids, first, strict=True)}
    victim = holders[ids[0]]
    os.kill(victim, signal.SIGKILL)
    lost = {id_ for id_, holder in holders.items() if holder == victim}
    while not all((tmp_path / f"{id_}.2").exists() for id_ in lost):
        await trio.sleep(0.01)
    (tmp_path / "go").touch()
    for job_id in ids:
        assert await db.wait_job(job_id) == (2 if job_id in lost else 1)
    jobs = await db.list_jobs(queue="kill")
    again = {job.id: job for job in jobs if job.attempt > 1}
    assert again.keys() == lost
    assert all("SIGKILL" in job.errors[0].message for job in again.values())
    await db.stop_pool("kill")


async def test_queues_are_paused_and_limited(db: Aurora):
    job = Job("sleep", {"seconds": 0.05}).with_queue("configured")
    await db.pause_queue("configured")
    ids = await db.enqueue_jobs([job] * 6)
    await db.limit_queue("configured", concurrency=1)
    assert (await db.job_stats()).queues["configured"].paused
    await db.resume_queue("configured")
    for job_id in ids:
        await db.wait_job(job_id)
    found = [await db.get_job(job_id) for job_id in ids]
    spans = sorted(
        (job.started_at, job.finished_at)
        for job in found
        if job is not None and job.started_at and job.finished_at
    )
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    await db.limit_queue("configured")


async def test_jobs_can_be_watched_as_documents(db: Aurora):
    query = db.query("_sys_jobs").filter(
        lambda f: f.and_(f.eq("status", "completed"), f.eq("queue", "configured"))
    )
    async with query.watch(include_initial=False) as updates:
        job_id = await db.enqueue_job(Job("add", {"a": 1}).with_queue("configured"))
        async for update in updates:
            if isinstance(update, Added) and update.document.id == job_id:
                assert update.document["result"] == 2
                break


def test_settings_of_pools_are_checked_whole():
    for wrong in (
        {"handlers": "m", "processes": -1},
        {"handlers": "m", "concurrency": 0},
        {"handlers": ""},
        {"handlers": []},
        {"handlers": "m", "processes": 4, "max_processes": 2},
    ):
        with pytest.raises(ConfigError, match="worker_pools"):
            WorkerPoolConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name of a pool"):
        AuroraConfig(db_path="x", worker_pools={"A B": WorkerPoolConfig(handlers="m")})
