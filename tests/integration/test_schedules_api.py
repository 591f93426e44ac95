"""Schedules through the public API, over real trees whose processes are killed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from processes import kill_actor
from schedule_handlers import tell_tick
from support import no_process_left, python, wait_until

from aurora_actors import (
    Aurora,
    Job,
    Misfire,
    Modified,
    NotFoundError,
    UsageError,
    ValidationError,
    blocking,
)

pytestmark = pytest.mark.processes

JOB = Job("work", {"a": 1}, max_retries=5)
FAR = timedelta(days=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    path = tmp_path_factory.mktemp("schedules") / "a.db"
    with blocking.open(path, query_executors=1) as db:
        yield db
    no_process_left(path)


def ticks_of(db, name: str) -> list[datetime]:
    found = db.query("_sys_jobs").filter(lambda f: f.eq("schedule", name)).collect()
    for each in found:
        assert each.id.startswith(f"{name}@")
    return sorted(each["tick"] for each in found)


# ------------------------------------------------------------------ life of a schedule
def test_what_is_declared_can_be_read_again(shared):
    zone = ZoneInfo("Europe/Berlin")
    made = shared.schedule(
        "nightly", cron="0 3 * * *", job=JOB, time_zone=zone, misfire="skip"
    )
    assert made == shared.get_schedule("nightly")
    assert made in shared.list_schedules()
    assert (made.cron, made.time_zone, made.misfire) == (
        "0 3 * * *",
        "Europe/Berlin",
        Misfire.SKIP,
    )
    assert made.job.payload == {"a": 1}
    assert made.job.max_retries == 5
    assert made.next_run_at.astimezone(zone).hour == 3
    assert shared.get_document("_sys_schedules", "nightly")["paused"] is False
    again = shared.schedule(
        "nightly", cron="0 3 * * *", job=JOB, time_zone="Europe/Berlin", misfire="skip"
    )
    assert again == made
    assert shared.unschedule("nightly")
    assert not shared.unschedule("nightly")
    assert shared.get_schedule("nightly") is None


def test_an_interval_is_given_in_seconds_or_as_a_timedelta(shared):
    for every in (90, 90.0, timedelta(seconds=90)):
        made = shared.schedule("every", every=every, job=JOB)
        assert made.every == timedelta(seconds=90)
    assert made.next_run_at - made.created_at == made.every
    start = datetime.now(UTC) + FAR
    moved = shared.schedule("every", every=90, job=JOB, start=start)
    assert moved.next_run_at == moved.start == start
    shared.unschedule("every")


def test_a_paused_schedule_is_not_due_until_it_is_resumed(shared):
    shared.schedule("paused", every=60, job=JOB)
    assert shared.pause_schedule("paused")
    assert not shared.pause_schedule("paused")
    found = shared.get_schedule("paused")
    assert (found.is_paused, found.next_run_at) == (True, None)
    assert shared.resume_schedule("paused")
    assert shared.get_schedule("paused").next_run_at is not None
    shared.unschedule("paused")


def test_one_moment_without_a_zone_is_read_on_the_clocks_of_the_time_zone(shared):
    wall = datetime(2090, 7, 1, 12)  # noqa: DTZ001
    made = shared.schedule("once", at=wall, job=JOB, time_zone="Asia/Tokyo")
    assert made.at == datetime(2090, 7, 1, 3, tzinfo=UTC) == made.next_run_at
    shared.unschedule("once")


@pytest.mark.parametrize(
    ("path", "about"),
    [
        ("cron", {}),
        ("cron", {"cron": "* * * * *", "every": 1}),
        ("cron", {"cron": ""}),
        ("cron", {"cron": "* * *"}),
        ("cron", {"cron": "0 0 31 2 *"}),
        ("cron", {"cron": 5}),
        ("time_zone", {"cron": "* * * * *", "time_zone": "Mars/Olympus"}),
        ("time_zone", {"cron": "* * * * *", "time_zone": 3}),
        ("time_zone", {"at": datetime(2090, 1, 1), "time_zone": "x/y"}),  # noqa: DTZ001
        ("every", {"every": 0}),
        ("every", {"every": -1}),
        ("every", {"every": float("inf")}),
        ("every_s", {"every": "often"}),
        ("at", {"at": "tomorrow"}),
        ("end", {"every": 60, "end": datetime(1970, 1, 1, tzinfo=UTC)}),
        ("misfire", {"every": 1, "misfire": "sometimes"}),
        ("misfire_grace", {"every": 1, "misfire_grace_s": -1}),
        ("job", {"every": 1, "job": "work"}),
        ("job.run_at", {"every": 1, "job": JOB.with_run_at(datetime.now(UTC))}),
        ("job_type", {"every": 1, "job": Job("")}),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(shared, path, about):
    before = [each.name for each in shared.list_schedules()]
    with pytest.raises(ValidationError) as caught:
        shared.schedule("bad", **{"job": JOB, **about})
    assert caught.value.context["path"] == path
    assert [each.name for each in shared.list_schedules()] == before


def test_schedules_change_by_their_own_methods_alone(shared):
    shared.schedule("mine", every=60, job=JOB)
    with pytest.raises(UsageError, match="schedules"):
        shared.delete_document("_sys_schedules", "mine")
    with pytest.raises(UsageError, match="schedules"):
        shared.update_document("_sys_schedules", "mine", {"paused": True})
    shared.unschedule("mine")
    for method in (shared.pause_schedule, shared.resume_schedule):
        with pytest.raises(NotFoundError, match="no schedule 'none'"):
            method("none")


async def test_schedules_can_be_watched_under_trio(tmp_path):
    async with Aurora.open(tmp_path / "b.db", query_executors=1) as db:
        await db.schedule("quick", every=0.05, job=JOB)
        async with db.query("_sys_schedules").watch() as updates:
            async for update in updates:
                if isinstance(update, Modified) and update.new["runs"] >= 3:
                    break
        await db.pause_schedule("quick")
        found = await db.get_schedule("quick")
        assert found.runs == await db.query("_sys_jobs").count()
        assert found.last_job_id is not None
    no_process_left(tmp_path / "b.db")


def test_a_pool_runs_what_a_schedule_enqueues(shared):
    shared.start_pool("ticks", handlers="schedule_handlers")
    shared.schedule("told", every=0.1, job=tell_tick)
    found = wait_until(
        lambda: [
            each
            for each in shared.list_jobs(job_type="tell_tick", status="completed")
            if each.schedule == "told"
        ],
        "a scheduled job has run",
    )
    shared.unschedule("told")
    assert all(each.result == each.tick for each in found)
    assert found[0].id.startswith("told@")
    shared.stop_pool("ticks")


# ------------------------------------------------------------------ once, whatever dies
def test_each_tick_comes_to_one_job_though_storage_is_killed_around_ticks(tmp_path):
    path = tmp_path / "c.db"
    with blocking.open(path, query_executors=1) as db:
        made = db.schedule("fast", every=0.02, job=JOB, misfire="run_all")
        db.schedule("second", cron="* * * * * *", job=JOB, misfire="run_all")
        for number in range(1, 7):
            wait_until(
                lambda n=number: db.get_schedule("fast").runs > 15 * n, "ticks go on"
            )
            kill_actor(db, "storage")
            db.sync()
        wait_until(lambda: db.get_schedule("second").runs >= 3, "seconds go by")
        db.pause_schedule("fast")
        db.pause_schedule("second")
        fast, second = ticks_of(db, "fast"), ticks_of(db, "second")
        assert len(fast) == db.get_schedule("fast").runs
        assert fast == [
            made.created_at + (number + 1) * made.every for number in range(len(fast))
        ]
        assert {later - sooner for sooner, later in pairwise(second)} == {
            timedelta(seconds=1)
        }
        assert db.get_schedule("fast").missed == db.get_schedule("second").missed == 0
    no_process_left(path)


_DECLARE = """
import sys
from aurora_actors import Job, blocking
with blocking.open(sys.argv[1]) as db:
    db.schedule("shared", every=0.1, job=Job("work"), misfire="run_all")
    print("declared", flush=True)
    sys.stdin.read()
"""


def test_many_processes_that_declare_a_schedule_have_one_run_for_each_tick(tmp_path):
    path = tmp_path / "d.db"
    with (
        blocking.open(path) as db,
        python(_DECLARE, str(path), stdin=True) as one,
        python(_DECLARE, str(path), stdin=True) as two,
    ):
        for process in (one, two):
            assert process.stdout.readline() == "declared\n"
        db.schedule("shared", every=0.1, job=Job("work"), misfire="run_all")
        wait_until(lambda: db.get_schedule("shared").runs >= 5, "five ticks")
        db.pause_schedule("shared")
        found = ticks_of(db, "shared")
        assert len(found) == len(set(found)) == db.get_schedule("shared").runs
        first = db.get_schedule("shared").created_at
        assert found[-1] - first == len(found) * timedelta(seconds=0.1)
        for process in (one, two):
            _, errors = process.communicate("", 60)
            assert (process.returncode, errors) == (0, "")
    no_process_left(path)


@pytest.mark.slow
def test_what_was_missed_while_the_database_was_closed_is_made_up_by_policy(tmp_path):
    path = tmp_path / "e.db"
    with blocking.open(path, query_executors=1) as db:
        for misfire in Misfire:
            db.schedule(misfire, every=0.1, job=JOB, misfire=misfire, misfire_grace_s=0)
    no_process_left(path)
    end = datetime.now(UTC) + timedelta(seconds=0.5)
    wait_until(lambda: datetime.now(UTC) > end, "some ticks are missed")
    with blocking.open(path, query_executors=1) as db:
        wait_until(lambda: db.get_schedule("run_all").runs >= 8, "ticks are made up")
        for misfire in Misfire:
            db.pause_schedule(misfire)
        assert db.get_schedule("run_all").missed == 0
        assert db.get_schedule("run_once").missed >= 4
        assert db.get_schedule("skip").missed >= 5
    no_process_left(path)
