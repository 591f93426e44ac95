"""The brain of a worker process, with a clock set by hand and hosts of straw."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from aurora_actors.config import WorkerPoolConfig
from aurora_actors.jobs.handlers import Handler
from aurora_actors.jobs.run import Run
from aurora_actors.jobs.worker import Worker
from aurora_actors.messages.jobs import (
    Claimed,
    ClaimedJob,
    ClaimJobs,
    FinishJobs,
    OutcomeKind,
)
from aurora_actors.storage.jobs.document import JobDocument, encode_job, from_micros


class Rig:
    """A worker and its clock."""

    def __init__(self, concurrency: int = 2, **settings: float) -> None:
        self.now = 100.0
        config = msgspec.convert(
            {"handlers": "m", "concurrency": concurrency, **settings}, WorkerPoolConfig
        )
        handlers = {"t": Handler("t", print, "trio")}
        self.worker = Worker(
            "w.1", config, handlers, lambda: self.now, lambda: self.now
        )

    def claim(self) -> ClaimJobs:
        claim = self.worker.next_claim()
        assert claim is not None
        return claim

    def give(self, *ids: str, timeout_s: float = 60.0) -> list[Run]:
        """Answer a claim; begin what is begun."""
        claim = self.claim()
        job = JobDocument(
            job_type="t",
            queue="q",
            payload=msgspec.Raw(b"\x80"),
            created_at=from_micros(0),
            status="running",
            priority=1,
            attempt=1,
            timeout_s=timeout_s,
        )
        jobs = [ClaimedJob(job_id, 1, encode_job(job)) for job_id in ids]
        assert self.worker.claimed(claim, Claimed(jobs=jobs)) == []
        return self.worker.startable()

    def run(self, runs: Sequence[Run], seconds: float) -> None:
        """Let runs take so long, and return."""
        for run in runs:
            assert run.begin(self.now)
        self.now += seconds
        for run in runs:
            run.returned(None)
            self.worker.done(run)

    def finish(self) -> FinishJobs:
        request = self.worker.next_finish()
        assert request is not None
        return request

    def kinds(self) -> dict[str, OutcomeKind]:
        return {each.id: each.kind for each in self.finish().outcomes}


def test_it_claims_what_it_has_room_for_and_once_at_a_time():
    rig = Rig(concurrency=3)
    assert rig.claim().max_jobs == 3
    assert rig.worker.next_claim() is None


def test_it_claims_ahead_when_jobs_are_short_and_not_when_they_are_long():
    rig = Rig(concurrency=2)
    rig.run(rig.give("a", "b"), 0.0001)
    assert rig.claim().max_jobs > 200
    slow = Rig(concurrency=2)
    slow.run(slow.give("a", "b"), 1.0)
    assert slow.claim().max_jobs == 2


def test_outcomes_that_come_while_one_request_is_under_way_wait_for_the_next():
    rig = Rig()
    first, second = rig.give("a", "b")
    rig.run([first], 1.0)
    assert rig.kinds() == {"a": OutcomeKind.COMPLETED}
    rig.run([second], 1.0)
    assert rig.worker.next_finish() is None
    rig.worker.confirmed([True])
    assert rig.kinds() == {"b": OutcomeKind.COMPLETED}
    assert rig.worker.confirmed([False]) == 1


def test_what_storage_could_not_take_is_sent_again():
    rig = Rig()
    rig.run(rig.give("a"), 1.0)
    request = rig.finish()
    rig.worker.not_confirmed(request)
    assert rig.finish().outcomes == request.outcomes


def test_jobs_that_wait_behind_a_slow_one_are_given_back():
    rig = Rig(concurrency=1)
    slow, *others = rig.give("slow", "b", "c")
    assert slow.begin(rig.now)
    rig.now += 1.0
    assert rig.worker.overdue() == []
    assert rig.kinds() == {"b": OutcomeKind.RELEASED, "c": OutcomeKind.RELEASED}
    assert not any(run.begin(rig.now) for run in others), "too late for their host"
    assert list(rig.worker.running) == ["slow"]


def test_a_run_whose_time_is_over_is_interrupted_and_then_given_up():
    rig = Rig()
    (run,) = rig.give("a", timeout_s=5.0)
    run.begin(rig.now)
    rig.now += 4.9
    assert rig.worker.overdue() == []
    assert rig.worker.next_look() <= rig.now + 0.2
    rig.now += 0.2
    assert rig.worker.overdue() == [run]
    assert rig.worker.overdue() == []
    rig.now += 10.0
    assert rig.worker.overdue() == []
    assert rig.worker.tainted
    (outcome,) = rig.finish().outcomes
    assert (outcome.kind, outcome.error_type) == (OutcomeKind.FAILED, "TimeoutError")
    run.returned("late")
    rig.worker.done(run)
    assert rig.worker.next_finish() is None, "its outcome has been told"


def test_a_sign_of_life_begins_the_time_anew_here_and_in_storage():
    rig = Rig()
    (run,) = rig.give("a", timeout_s=5.0)
    run.begin(rig.now)
    rig.now += 4.0
    rig.worker.alive(run)
    renewal = rig.worker.renewal()
    assert renewal is not None
    assert renewal.alive == ["a"]
    rig.now += 4.0
    assert rig.worker.overdue() == []


def test_leases_are_renewed_in_time_while_something_is_held():
    rig = Rig(lease_s=30.0)
    assert rig.worker.next_look() == math.inf
    rig.give("a")[0].begin(rig.now)
    assert rig.worker.renewal() is None
    rig.now += 10.0
    renewal = rig.worker.renewal()
    assert renewal is not None
    assert renewal.jobs == ["a"]
    assert rig.worker.renewal() is None


def test_cancelled_jobs_end_at_once_when_they_have_not_begun():
    rig = Rig(concurrency=1)
    first, _second = rig.give("a", "b")
    first.begin(rig.now)
    assert rig.worker.to_cancel(["a", "b", "x"]) == [first]
    assert rig.kinds() == {"b": OutcomeKind.CANCELLED}
    first.was_interrupted()
    rig.worker.done(first)
    rig.worker.confirmed([True])
    assert rig.kinds() == {"a": OutcomeKind.CANCELLED}


def test_of_jobs_that_it_has_lost_it_says_nothing():
    rig = Rig(concurrency=1)
    first, _second = rig.give("a", "b")
    first.begin(rig.now)
    assert rig.worker.lost(["a", "b"]) == [first]
    first.was_interrupted()
    rig.worker.done(first)
    assert rig.worker.next_finish() is None
    assert not rig.worker.running


def test_a_drain_gives_back_what_has_not_begun_and_waits_for_the_rest():
    rig = Rig(concurrency=1)
    first, _second = rig.give("a", "b")
    first.begin(rig.now)
    claim = rig.claim() if rig.worker.next_claim() else None
    assert claim is None
    rig.worker.drain()
    assert rig.kinds() == {"b": OutcomeKind.RELEASED}
    rig.worker.confirmed([True])
    assert list(rig.worker.running) == ["a"]
    assert rig.worker.end_all() == [first]
    rig.worker.give_up_all()
    assert rig.kinds() == {"a": OutcomeKind.RELEASED}
    rig.worker.confirmed([True])
    assert rig.worker.is_empty
    assert rig.worker.next_claim() is None


def test_reports_in_quick_succession_are_passed_on_once():
    rig = Rig()
    (run,) = rig.give("a")
    run.begin(rig.now)
    rig.worker.report(run, 0.1, "")
    first = rig.worker.next_report()
    assert first is not None
    rig.worker.report(run, 0.2, "")
    rig.worker.report(run, 0.3, "x")
    assert rig.worker.next_report() is None
    rig.now += 0.2
    second = rig.worker.next_report()
    assert second is not None
    assert [(each.fraction, each.note) for each in second.reports] == [(0.3, "x")]


def test_it_tells_how_long_jobs_waited_and_took():
    rig = Rig()
    assert "run_seconds_count" not in rig.worker.statistics()
    runs = rig.give("a")  # enqueued at 0, given at 100
    rig.now += 2.0
    rig.run(runs, 0.5)
    told = rig.worker.statistics()
    assert (told["wait_seconds_sum"], told["wait_seconds_count"]) == (102.0, 1)
    assert (told["run_seconds_sum"], told["run_seconds_count"]) == (0.5, 1)
