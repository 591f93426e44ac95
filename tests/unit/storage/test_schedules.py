"""Schedules in the engine, on a virtual clock that tests set."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from aurora_actors.config import AuroraConfig
from aurora_actors.errors import NotFoundError, UsageError, ValidationError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.jobs import JOBS, NewJob
from aurora_actors.messages.schedules import (
    SCHEDULES,
    Misfire,
    NewSchedule,
    PauseSchedule,
    PutSchedule,
    RemoveSchedule,
    ResumeSchedule,
)
from aurora_actors.messages.storage import DeleteDocument
from aurora_actors.schema.record import record_body, record_id
from aurora_actors.schema.values import decode_document, encode_document
from aurora_actors.storage.engine import Engine, StorageCall
from aurora_actors.storage.reader import DataReader
from aurora_actors.storage.store import Settings

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clocked:
    """An engine whose clocks are the test's."""

    def __init__(self, path) -> None:
        self.path = path
        self.now = START
        self.numbers = 0
        self.engine: Engine = None  # type: ignore[assignment]
        self.open()

    def open(self) -> None:
        self.engine = Engine.open(
            AuroraConfig(db_path=str(self.path)),
            compile_predicate=lambda _: lambda _fields, _id: True,
            tree_id="tree",
            settings=Settings(boot="boot", map_size=256 << 20),
            clock=self.seconds,
            wall=self.seconds,
        )

    def seconds(self) -> float:
        return self.now.timestamp()

    def crash(self, *, away: timedelta = timedelta()) -> None:
        self.engine.abandon()
        self.now += away
        self.open()
        self.settle()

    def ask(self, request):
        self.numbers += 1
        (reply,) = self.engine.execute(
            [StorageCall("client", self.numbers, 0, request)]
        )
        if isinstance(reply, Failure):
            raise reply.error()
        return reply

    def put(self, name: str = "s", **about):
        about.setdefault("job", NewJob(id="", job_type="work", payload=b""))
        reply = self.ask(PutSchedule(name=name, schedule=NewSchedule(**about)))
        assert decode_document(reply.document)["created_at"] <= self.now
        return reply

    def settle(self) -> None:
        """All that is due now."""
        self.engine.run_jobs()
        while self.engine.jobs.due() <= 0:
            self.engine.run_jobs()

    def advance(self, by: timedelta, step: timedelta | None = None) -> None:
        until = self.now + by
        while self.now < until:
            self.now = min(until, self.now + (step or by))
            self.settle()

    def documents(self, collection: str) -> dict[str, dict]:
        reader = DataReader.open(self.path, boot="boot")
        with reader, reader.snapshot() as snap:
            if collection not in {each.definition.name for each in snap.collections()}:
                return {}
            info = snap.collection(collection)
            return {
                record_id(record): decode_document(record_body(record))
                for _, record in snap.scan(info)
            }

    def schedule(self, name: str = "s") -> dict:
        return self.documents(SCHEDULES)[name]

    def ticks(self, name: str = "s") -> list[datetime]:
        jobs = self.documents(JOBS).values()
        return sorted(job["tick"] for job in jobs if job.get("schedule") == name)


@pytest.fixture
def base(tmp_path):
    clocked = Clocked(tmp_path / "test.db")
    yield clocked
    clocked.engine.abandon()


def moments(first: datetime, count: int, step: timedelta) -> list[datetime]:
    return [first + number * step for number in range(count)]


def test_an_interval_runs_at_each_multiple_and_survives_crashes(base):
    base.put(every_s=3600.0)
    for _ in range(5):
        base.advance(2 * HOUR + 10 * MINUTE, step=5 * MINUTE)
        base.crash()
    assert base.ticks() == moments(START + HOUR, 10, HOUR)
    found = base.schedule()
    assert (found["runs"], found["missed"]) == (10, 0)
    assert found["last_run_at"] == START + 10 * HOUR
    assert found["last_job_id"] == "s@2026-03-01T22:00:00Z"
    assert found["next_run_at"] == START + 11 * HOUR


def test_an_interval_with_a_start_and_an_end(base):
    first = START + 90 * MINUTE
    base.put(
        every_s=1800.0,
        start=int(first.timestamp() * 1e6),
        end=int((first + HOUR).timestamp() * 1e6),
    )
    base.advance(DAY, step=10 * MINUTE)
    assert base.ticks() == moments(first, 3, 30 * MINUTE)
    assert base.schedule().get("next_run_at") is None


def test_a_thousand_days_with_crashes_give_exactly_the_expected_runs(base):
    zone = ZoneInfo("America/New_York")
    base.put("nightly", cron="30 2 * * *", time_zone=zone.key)
    base.put(
        "half-days", cron="*/30 1 * * *", time_zone=zone.key, misfire=Misfire.RUN_ALL
    )
    base.put("weekly", every_s=7 * 86_400.0)
    chance = random.Random(7)
    crashes = {chance.randrange(12_000) for _ in range(20)}
    for number in range(12_000):
        base.advance(2 * HOUR)
        if number in crashes:
            base.crash()
    first = datetime(2026, 3, 2, tzinfo=zone)
    days = [first + number * DAY for number in range(1_000)]
    nightly = [day.replace(hour=2, minute=30) for day in days]
    assert base.ticks("nightly") == [
        each.replace(hour=3, minute=0) if each != each.astimezone(UTC) else each
        for each in nightly
    ]
    halves = {
        day.replace(hour=1, minute=minute, fold=fold).astimezone(UTC)
        for day in days
        for minute in (0, 30)
        for fold in (0, 1)
    }
    assert base.ticks("half-days") == sorted(halves)
    assert base.ticks("weekly") == moments(START + 7 * DAY, 142, 7 * DAY)
    assert base.schedule("nightly")["missed"] == 0


def test_one_that_is_to_run_once_is_over_then(base):
    at = START + HOUR
    base.put(at=int(at.timestamp() * 1e6))
    base.advance(3 * HOUR, step=30 * MINUTE)
    base.crash()
    assert base.ticks() == [at]
    assert base.schedule().get("next_run_at") is None
    base.put(at=int(at.timestamp() * 1e6))
    base.ask(PauseSchedule(name="s"))
    base.ask(ResumeSchedule(name="s"))
    base.settle()
    assert base.schedule()["runs"] == 1


def test_one_whose_moment_has_passed_runs_at_once(base):
    base.put(at=int((START - HOUR).timestamp() * 1e6))
    base.settle()
    assert base.ticks() == [START - HOUR]


@pytest.mark.parametrize(
    ("misfire", "grace_s", "runs"),
    [
        (Misfire.RUN_ALL, 60.0, [1, 2, 3]),
        (Misfire.RUN_ONCE, 60.0, [3]),
        (Misfire.SKIP, 60.0, []),
        (Misfire.SKIP, 1800.0, [3]),
    ],
)
def test_ticks_that_were_missed(base, misfire, grace_s, runs):
    base.put(every_s=3600.0, misfire=misfire, grace_s=grace_s)
    base.put("c", cron="0 * * * *", misfire=misfire, grace_s=grace_s)
    base.crash(away=3 * HOUR + 20 * MINUTE)
    for name in ("s", "c"):
        assert base.ticks(name) == [START + number * HOUR for number in runs]
        found = base.schedule(name)
        assert (found["runs"], found["missed"]) == (len(runs), 3 - len(runs))
        assert found["next_run_at"] == START + 4 * HOUR
    base.advance(HOUR)
    assert base.schedule()["runs"] + base.schedule()["missed"] == 4
    assert base.schedule()["next_run_at"] == START + 5 * HOUR


@pytest.mark.parametrize("misfire", list(Misfire))
def test_very_many_missed_ticks_are_dealt_with_in_several_commits(base, misfire):
    base.put(cron="* * * * *", misfire=misfire)
    base.crash(away=2_000 * MINUTE)
    found = base.schedule()
    assert found["runs"] + found["missed"] == 2_000
    assert found["runs"] == (2_000 if misfire is Misfire.RUN_ALL else 1)
    assert base.ticks()[-1] == START + 2_000 * MINUTE


def test_while_it_is_paused_its_ticks_are_left_out(base):
    base.put(every_s=3600.0, misfire=Misfire.RUN_ALL)
    base.advance(90 * MINUTE)
    base.ask(PauseSchedule(name="s"))
    assert base.schedule().get("next_run_at") is None
    base.advance(3 * HOUR)
    base.crash()
    base.put(every_s=3600.0, misfire=Misfire.RUN_ALL)
    base.ask(ResumeSchedule(name="s"))
    base.advance(HOUR)
    assert base.ticks() == [START + HOUR, START + 5 * HOUR]
    assert base.schedule()["missed"] == 0


def test_the_same_schedule_again_changes_nothing(base):
    assert base.put(every_s=3600.0).created
    base.advance(30 * MINUTE)
    again = base.put(every_s=3600.0)
    assert (again.created, again.lsn) == (False, 0)
    assert base.schedule()["next_run_at"] == START + HOUR


def test_another_schedule_takes_its_place_and_keeps_the_counts(base):
    base.put(every_s=3600.0)
    base.advance(HOUR)
    job = NewJob(id="", job_type="other", payload=encode_document({"a": 1}))
    base.put(every_s=3600.0, job=job)
    assert base.schedule()["next_run_at"] == START + 2 * HOUR
    base.put(every_s=60.0, job=job)
    found = base.schedule()
    assert found["next_run_at"] == START + HOUR + MINUTE
    assert found["runs"] == 1
    assert found["job"]["job_type"] == "other"
    assert found["job"]["payload"] == {"a": 1}


def test_a_removed_schedule_leaves_its_jobs(base):
    base.put(every_s=3600.0)
    base.advance(HOUR)
    assert base.ask(RemoveSchedule(name="s")).affected == 1
    assert base.ask(RemoveSchedule(name="s")).affected == 0
    base.advance(DAY)
    base.crash()
    assert len(base.ticks()) == 1
    assert base.documents(SCHEDULES) == {}


def test_a_tick_runs_once_even_if_its_schedule_is_made_again(base):
    at = int((START + HOUR).timestamp() * 1e6)
    for _ in range(2):
        base.put(at=at)
        base.advance(2 * HOUR)
        base.ask(RemoveSchedule(name="s"))
    assert base.ticks() == [START + HOUR]


def test_a_unique_key_keeps_runs_from_overlapping(base):
    job = NewJob(id="", job_type="work", payload=b"", unique_key="alone")
    base.put(every_s=3600.0, job=job)
    base.advance(3 * HOUR, step=HOUR)
    assert len(base.ticks()) == 1
    assert (base.schedule()["runs"], base.schedule()["missed"]) == (1, 2)


def test_a_clock_that_is_set_back_repeats_no_tick(base):
    base.put(every_s=3600.0)
    base.advance(2 * HOUR, step=HOUR)
    base.engine.abandon()
    base.now -= 90 * MINUTE
    base.open()
    base.advance(4 * HOUR, step=HOUR / 2)
    assert base.ticks() == moments(START + HOUR, 4, HOUR)


def test_a_clock_that_is_set_forward_is_noticed_within_a_second(base):
    base.put(cron="0 3 * * *")
    assert base.engine.jobs.due() <= 1.0


@pytest.mark.parametrize(
    ("path", "about"),
    [
        ("cron", {}),
        ("cron", {"cron": "* * * * *", "every_s": 1.0}),
        ("cron", {"cron": "nonsense"}),
        ("time_zone", {"cron": "* * * * *", "time_zone": "Mars/Olympus"}),
        ("every", {"every_s": 1e-6}),
        ("every", {"every_s": -5.0}),
        ("every", {"every_s": float("nan")}),
        ("misfire_grace", {"every_s": 1.0, "grace_s": -1.0}),
        ("at", {"at": 1 << 62}),
        ("end", {"every_s": 60.0, "start": 100, "end": 50}),
        ("job_type", {"every_s": 1.0, "job": NewJob(id="", job_type="", payload=b"")}),
        (
            "priority",
            {"at": 1, "job": NewJob(id="", job_type="a", payload=b"", priority=9)},
        ),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(base, path, about):
    base.put("first", every_s=1.0)
    before = base.engine.lsn
    with pytest.raises(ValidationError) as caught:
        base.put(**about)
    assert caught.value.context["path"] == path
    assert base.engine.lsn == before


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
def test_a_name_that_will_not_do_is_refused(base, name):
    with pytest.raises(ValidationError, match="name"):
        base.put(name, every_s=1.0)


def test_only_requests_about_schedules_change_them(base):
    base.put(every_s=3600.0)
    with pytest.raises(UsageError, match="schedules"):
        base.ask(DeleteDocument(collection=SCHEDULES, id="s"))
    for request in (PauseSchedule(name="none"), ResumeSchedule(name="none")):
        with pytest.raises(NotFoundError, match="no schedule 'none'"):
            base.ask(request)
