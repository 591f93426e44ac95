"""Jobs while workers and storage are killed: none lost, each success recorded once."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import job_handlers
import pytest
import trio
from support import Figures, first_seed, no_process_left

from aurora_actors import (
    Aurora,
    Backoff,
    Job,
    JobFailedError,
    JobPriority,
    JobStatus,
)

pytestmark = pytest.mark.processes

QUICK = Backoff(initial_s=0.05, jitter=0.5)
LEASE_S = 1.5


async def victims(db: Aurora, kind: str) -> list[int]:
    """The processes of a kind that may be killed now."""
    actors = (await db.status()).actors
    return [
        a.pid
        for a in actors
        if a.name.startswith(kind) and a.state == "ready" and a.pid
    ]


async def shoot(db: Aurora, chance: random.Random, kills: int) -> None:
    """Kill workers, and storage now and then, each time after some progress."""
    for number in range(kills):
        before = (await db.job_stats()).completed
        with trio.move_on_after(5):
            while (await db.job_stats()).completed <= before + 3:
                await trio.sleep(0.01)
        kind = "storage" if number % 5 == 4 else "worker_pool"
        for pid in chance.sample(found := await victims(db, kind), min(1, len(found))):
            # It may have been replaced since it was seen.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def under_fire(path: Path, amount: int, kills: int) -> Counter[int]:
    """Run jobs of all kinds under fire; returns how many took how many attempts."""
    chance = random.Random(first_seed())
    marks = path.with_suffix(".marks")
    marks.mkdir()
    async with Aurora.open(path, query_executors=1, max_restarts=1000) as db:
        await db.new_collection("counters", open=True)
        options = {"max_retries": 50, "backoff": QUICK}
        jobs = [Job("count", {"name": "n"}, **options) for _ in range(amount)]  # type: ignore[arg-type]
        jobs += [Job("mark", {"folder": str(marks)}, **options) for _ in range(amount)]  # type: ignore[arg-type]
        # Longer than the lease, and busy all the time.
        long = {"seconds": LEASE_S * 1.5}
        jobs += [Job("spin", long, **options) for _ in range(2)]  # type: ignore[arg-type]
        chance.shuffle(jobs)
        ids = await db.enqueue_jobs(jobs)
        await db.start_pool(
            "p", handlers=job_handlers, processes=3, concurrency=4, lease_s=LEASE_S
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shoot, db, chance, kills)
            for job_id in ids:
                await db.wait_job(job_id)
        found = [await db.get_job(job_id) for job_id in ids]
        assert all(job is not None and job.status == "completed" for job in found)
        counter = await db.get_document("counters", "n")
        assert counter is not None
        assert counter["value"] == amount, "the effect and the end are one change"
        attempts = {job.id: job.attempt for job in found if job is not None}
        left = Counter(file.name.split(".")[0] for file in marks.iterdir())
        assert len(left) == amount
        assert all(left[job_id] <= attempts[job_id] for job_id in left)
        for job in found:
            assert job is not None
            assert job.attempt == 1 or len(job.errors) <= job.attempt - 1
        stats = await db.job_stats()
        assert (stats.completed, stats.running) == (len(ids), 0)
    no_process_left(path)
    return Counter(attempts.values())


async def test_no_job_is_lost_and_none_succeeds_twice(tmp_path: Path, figures: Figures):
    with trio.fail_after(240):
        attempts = await under_fire(tmp_path / "j.db", 100, 6)
    figures.add(f"jobs under fire: attempts {dict(sorted(attempts.items()))}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_no_job_is_lost_at_length(tmp_path: Path, figures: Figures):
    attempts = await under_fire(tmp_path / "j.db", 50_000, 300)
    figures.add(f"100,000 jobs under fire: attempts {dict(sorted(attempts.items()))}")


async def test_what_kills_its_worker_is_buried_and_its_neighbours_live(tmp_path: Path):
    path = tmp_path / "j.db"
    async with Aurora.open(path, query_executors=1) as db:
        with trio.fail_after(240):
            neighbour = Job("sleep", {"seconds": 0.2}, max_retries=2)
            ids = await db.enqueue_jobs([neighbour] * 7)
            killer = await db.enqueue_job(
                Job("exit", max_retries=2).with_priority(JobPriority.LOW)
            )
            await db.start_pool("p", handlers=job_handlers, concurrency=8)
            for job_id in ids:
                assert await db.wait_job(job_id) == "slept"
            with pytest.raises(JobFailedError, match="status 3"):
                await db.wait_job(killer)
            dead = await db.get_job(killer)
            assert dead is not None
            assert (dead.status, dead.attempt) == (JobStatus.DEAD_LETTER, 3)
            assert [each.error_type for each in dead.errors] == ["WorkerLost"] * 3
    no_process_left(path)


async def test_priorities_hold_and_the_lowest_does_not_starve(tmp_path: Path):
    path = tmp_path / "j.db"
    async with Aurora.open(path, query_executors=1) as db:
        with trio.fail_after(240):
            ids: dict[str, JobPriority] = {}
            for priority in JobPriority:
                job = Job("sleep", {"seconds": 0.05}).with_priority(priority)
                ids.update(dict.fromkeys(await db.enqueue_jobs([job] * 4), priority))
            await db.start_pool("p", handlers=job_handlers, concurrency=1)
            for job_id in ids:
                await db.wait_job(job_id)
            found = [await db.get_job(job_id) for job_id in ids]
            begun = sorted(
                (job.started_at, job.priority)
                for job in found
                if job is not None and job.started_at is not None
            )
            order = [priority for _, priority in begun]
            assert order == sorted(order, reverse=True)
    no_process_left(path)


async def test_a_closed_database_keeps_its_jobs_for_the_next_time(tmp_path: Path):
    path = tmp_path / "j.db"
    with trio.fail_after(240):
        async with Aurora.open(path, query_executors=1, shutdown_grace_s=3.0) as db:
            job = Job("sleep", {"seconds": 30.0})
            long = await db.enqueue_job(job)
            await db.start_pool("p", handlers=job_handlers)
            while (await db.job_stats()).running < 1:
                await trio.sleep(0.01)
        no_process_left(path)
        async with Aurora.open(path, query_executors=1) as db:
            found = await db.get_job(long)
            assert found is not None
            assert (found.status, found.errors) == (JobStatus.PENDING, [])
            await db.cancel_job(long)
            with suppress(JobFailedError):
                await db.wait_job(long)
