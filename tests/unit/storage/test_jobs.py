"""Jobs in the engine: what a model does not say, one thing at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from job_desk import JobDesk

from aurora_actors.errors import NotFoundError
from aurora_actors.messages.base import Failure
from aurora_actors.messages.jobs import (
    AwaitJob,
    Backoff,
    ClaimJobs,
    EnqueueJobs,
    FinishJobs,
    JobAwaited,
    JobOutcome,
    JobProgress,
    JobsEnqueued,
    LimitQueue,
    NewJob,
    OutcomeKind,
    PurgeJobs,
    ReportProgress,
    RetryJobs,
)
from aurora_actors.schema.values import encode_value
from aurora_actors.storage.engine import StorageCall
from aurora_actors.storage.jobs.document import decode_job


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[JobDesk]:
    """An engine, and its clocks."""
    desk = JobDesk(
        tmp_path / "db",
        ageing_s=100.0,
        retention_s=1000.0,
        dead_letter_retention_s=5000.0,
        cleanup_interval_seconds=10.0,
    )
    yield desk
    desk.check_index()
    desk.close()


# ------------------------------------------------------------------ order
def test_a_priority_is_a_head_start_of_so_many_seconds(desk: JobDesk):
    desk.put("low", priority=0)
    desk.pass_time(150)
    desk.put("normal", priority=1)
    desk.put("critical", priority=3)
    assert desk.take("w", 3) == ["critical", "low", "normal"]


def test_who_came_first_in_the_same_moment_is_first_in_whatever_queue(desk: JobDesk):
    for number, queue in enumerate("cabca"):
        desk.put(f"{number}", queue=queue)
    assert desk.take("w", 2) == ["0", "1"]
    assert desk.take("w", 3) == ["2", "3", "4"]


def test_what_is_due_later_comes_when_it_is_due(desk: JobDesk):
    desk.put("later", delay_s=60.0, priority=3)
    desk.put("now", priority=0)
    desk.claim("w")
    assert [job.id for job in desk.taken("w")] == ["now"]
    desk.claim("w", lease_s=100.0)
    desk.pass_time(59)
    assert desk.taken("w") == []
    assert 0 < desk.engine.jobs.due() <= 1
    desk.pass_time(1)
    assert [job.id for job in desk.taken("w")] == ["later"]


def test_a_clock_that_is_set_back_holds_nothing_up(desk: JobDesk):
    desk.put("later", delay_s=60.0)
    desk.pass_time(30)
    desk.wall -= 86_400
    desk.mono += 30
    desk.settle()
    assert desk.take("w") == ["later"]


def test_new_work_answers_the_claims_that_wait_in_the_commit_that_brings_it(desk):
    desk.claim("w-1")
    desk.claim("w-2", 5)
    desk.enqueue(*(NewJob(id=f"j{n}", job_type="t", payload=b"") for n in range(3)))
    assert [job.id for job in desk.taken("w-1")] == ["j0"]
    assert [job.id for job in desk.taken("w-2")] == ["j1", "j2"]


def test_a_claim_that_is_sent_again_brings_what_it_has_brought(desk: JobDesk):
    desk.put("one")
    desk.claim("w")
    assert [job.id for job in desk.taken("w")] == ["one"]
    desk.restart()
    again = ClaimJobs(worker="w.1", number=1, max_jobs=5)
    desk.engine.jobs.claim("w", 9, again)
    desk.settle()
    (job,) = desk.taken("w")
    assert (job.id, job.attempt) == ("one", 1)


# ------------------------------------------------------------------ limits
def test_a_rate_limits_how_many_start_in_a_period(desk: JobDesk):
    desk.done(LimitQueue(queue="default", rate=2, period_s=10.0))
    desk.enqueue(*(NewJob(id=f"j{n}", job_type="t", payload=b"") for n in range(6)))
    taken = []
    for _ in range(30):
        desk.pass_time(1)
        taken += desk.take("w", 6)
    assert 4 <= len(taken) <= 6
    refused = desk.ask(LimitQueue(queue="default", rate=0))
    assert isinstance(refused, Failure)


def test_an_attempt_that_takes_too_long_is_failed_by_storage(desk: JobDesk):
    desk.put("one", timeout_s=10.0, max_retries=0)
    desk.put("two", timeout_s=10.0, max_retries=0)
    desk.take("w", 2)
    for _ in range(3):
        desk.pass_time(5.5)
        assert desk.renew("w", "two", alive=["two"])[0] == []
    assert desk.statuses() == {"one": "dead_letter", "two": "running"}
    assert desk.finish("w", ["one"], attempt=1) == [False]


def test_a_worker_without_a_sign_of_life_loses_its_jobs(desk: JobDesk):
    desk.put("one", timeout_s=0.0)
    desk.take("w", lease_s=30.0)
    desk.pass_time(29)
    desk.renew("w", "one", lease_s=30.0)
    desk.pass_time(29)
    assert desk.job("one").status == "running"
    desk.pass_time(2)
    job = desk.job("one")
    assert (job.status, job.attempt) == ("pending", 1)
    assert job.errors is not None
    assert job.errors[0].error_type == "WorkerLost"
    assert desk.renew("w", "one") == ([], ["one"])
    assert desk.finish("w", ["one"]) == [False]


def test_a_retried_failure_waits_twice_as_long_each_time(desk: JobDesk):
    desk.put("one", max_retries=3, backoff=Backoff(initial_s=10.0, jitter=0.0))
    for wait in (10, 20, 40):
        assert desk.take("w") == ["one"]
        desk.finish("w", ["one"], OutcomeKind.FAILED, error="no")
        desk.pass_time(wait - 1)
        assert desk.take("w") == []
        desk.pass_time(1)
    assert desk.take("w") == ["one"]
    desk.finish("w", ["one"], OutcomeKind.FAILED, error="no")
    job = desk.job("one")
    assert (job.status, job.attempt) == ("dead_letter", 4)
    assert [each.attempt for each in job.errors or ()] == [1, 2, 3, 4]


def test_a_handler_can_say_itself_when_it_wants_to_be_tried_again(desk: JobDesk):
    desk.put("one")
    desk.take("w")
    desk.finish("w", ["one"], OutcomeKind.FAILED, retry_after_s=500.0)
    desk.pass_time(499)
    assert desk.take("w") == []
    desk.pass_time(1)
    assert desk.take("w") == ["one"]


# ------------------------------------------------------------------ suspects
def test_a_job_whose_workers_die_runs_alone_in_the_end(desk: JobDesk):
    desk.enqueue(
        *(NewJob(id=f"j{n}", job_type="t", payload=b"", max_retries=2) for n in "abc")
    )
    for worker in ("w-1", "w-2"):
        assert len(desk.take(worker, 5)) == 3
        desk.lose(worker)
    desk.put("fresh")
    assert desk.take("w-3", 5) == ["ja"]
    desk.claim("w-3", 5)
    assert desk.taken("w-3") == [], "nothing beside it"
    assert desk.take("w-4", 5) == ["jb"]
    desk.finish("w-3", ["ja"])
    assert [job.id for job in desk.taken("w-3")] == ["jc"]
    desk.finish("w-3", ["jc"])
    desk.finish("w-4", ["jb"])
    assert desk.take("w-5", 5) == ["fresh"]


def test_a_suspect_gets_a_worker_though_all_are_busy(desk: JobDesk):
    desk.put("suspect", max_retries=1)
    desk.take("w-0")
    desk.lose("w-0")
    jobs = [NewJob(id=f"j{n}", job_type="t", payload=b"") for n in range(20)]
    desk.pass_time(1)
    held: dict[str, list[str]] = {"w-1": [], "w-2": []}
    desk.enqueue(*jobs)
    order: list[str] = []
    for _ in range(30):
        for worker in ("w-1", "w-2"):
            if len(held[worker]) < 2:
                held[worker] += desk.take(worker, 2 - len(held[worker]))
            if held[worker]:
                order.append(held[worker].pop(0))
                desk.finish(worker, order[-1:])
    assert "suspect" in order[:6]
    assert len(order) == 21


# ------------------------------------------------------------------ chains
def test_a_job_waits_for_all_that_it_comes_after(desk: JobDesk):
    desk.put("a")
    desk.put("b")
    desk.put("c", after=["a", "b"])
    assert desk.take("w", 5) == ["a", "b"]
    assert desk.engine.job_statistics().queues["default"].blocked == 1
    desk.finish("w", ["a"])
    assert desk.take("w", 5) == []
    desk.finish("w", ["b"])
    assert desk.take("w", 5) == ["c"]
    desk.put("d", after=["a"])
    assert desk.take("w", 5) == ["d"], "what has ended is not waited for"


def test_a_cancelled_job_takes_those_along_that_wait_for_it(desk: JobDesk):
    desk.put("a")
    desk.put("b", after=["a"])
    desk.put("c", after=["b"])
    desk.put("any", after=["b"], after_any_end=True)
    desk.cancel("a")
    assert desk.statuses() == {
        "a": "cancelled",
        "b": "cancelled",
        "c": "cancelled",
        "any": "pending",
    }
    assert desk.take("w", 5) == ["any"]


def test_a_dead_letter_holds_up_those_that_need_it_until_it_is_redriven(desk):
    desk.put("a", max_retries=0)
    desk.put("b", after=["a"])
    desk.put("any", after=["a"], after_any_end=True)
    desk.take("w")
    desk.finish("w", ["a"], OutcomeKind.FAILED)
    assert desk.take("w", 5) == ["any"]
    desk.done(RetryJobs(queue="default"))
    assert desk.take("w", 5) == ["a"]
    desk.finish("w", ["a"])
    assert desk.take("w", 5) == ["b"]
    refused = desk.ask(
        EnqueueJobs(jobs=[NewJob(id="x", job_type="t", payload=b"", after=["nobody"])])
    )
    assert isinstance(refused, Failure)
    assert "nobody" in refused.message


# ------------------------------------------------------------------ unique keys
def test_a_unique_key_stands_for_the_job_that_has_it(desk: JobDesk):
    desk.put("one", unique_key="k")
    reply = desk.put("two", unique_key="k")
    assert isinstance(reply, JobsEnqueued)
    assert (reply.ids, reply.created) == (["one"], 0)
    desk.take("w")
    desk.finish("w", ["one"])
    reply = desk.put("three", unique_key="k", unique_for_s=100.0)
    assert isinstance(reply, JobsEnqueued)
    assert reply.ids == ["one"], "young enough to count although it has ended"
    desk.pass_time(100)
    desk.put("four", unique_key="k", unique_for_s=100.0)
    assert desk.statuses() == {"one": "completed", "four": "pending"}


# ------------------------------------------------------------------ the end
def test_jobs_are_removed_when_their_time_is_over(desk: JobDesk):
    desk.put("done")
    desk.put("kept", retention_s=4000.0)
    desk.put("dead", max_retries=0)
    desk.take("w", 3)
    desk.finish("w", ["done", "kept"])
    desk.finish("w", ["dead"], OutcomeKind.FAILED)
    desk.pass_time(1011)
    assert set(desk.statuses()) == {"kept", "dead"}
    desk.pass_time(3000)
    assert set(desk.statuses()) == {"dead"}
    desk.done(PurgeJobs(status="dead_letter"))
    assert desk.statuses() == {}


def test_who_awaits_a_job_is_told_of_its_end(desk: JobDesk):
    with pytest.raises(NotFoundError):
        desk.engine.await_job("c-1", 1, AwaitJob(id="one"))
    desk.put("one")
    assert desk.engine.await_job("c-1", 1, AwaitJob(id="one", wait_s=50)) is None
    assert desk.engine.await_job("c-2", 1, AwaitJob(id="one", wait_s=500)) is None
    desk.pass_time(51)
    assert desk.awaited == [JobAwaited(document=b"")]
    desk.take("w")
    desk.finish("w", ["one"], result=encode_value(42))
    told = desk.awaited[-1]
    assert isinstance(told, JobAwaited)
    assert bytes(decode_job(told.document).result) == encode_value(42)
    at_once = desk.engine.await_job("c-1", 2, AwaitJob(id="one"))
    assert at_once == told


def test_a_worker_reports_on_its_own_jobs_only(desk: JobDesk):
    desk.put("one")
    desk.take("w")
    report = JobProgress(id="one", attempt=1, fraction=0.5, note="half")
    desk.done(ReportProgress(worker="other.1", reports=[report]))
    assert desk.job("one").progress is None
    desk.done(ReportProgress(worker="w.1", reports=[report]))
    assert (desk.job("one").progress, desk.job("one").note) == (0.5, "half")


def test_an_outcome_that_must_count_is_a_conflict_when_it_cannot(desk: JobDesk):
    desk.put("one")
    outcome = JobOutcome(id="one", attempt=1, kind=OutcomeKind.COMPLETED)
    reply = desk.ask(FinishJobs(worker="w.1", outcomes=[outcome], exact=True))
    assert isinstance(reply, Failure)
    assert reply.code == "data.conflict"


def test_what_nobody_has_a_handler_for_fails_with_a_reason(tmp_path: Path):
    desk = JobDesk(tmp_path / "db", unknown_handler_s=5.0)
    desk.put("odd", job_type="odd", max_retries=0)
    desk.pass_time(60)
    assert desk.job("odd").status == "pending", "nobody is there to have one"
    desk.claim("w", job_types=["t"])
    desk.pass_time(1)
    desk.pass_time(4)
    assert desk.job("odd").status == "pending"
    desk.pass_time(2)
    job = desk.job("odd")
    assert job.errors is not None
    assert (job.status, job.errors[0].error_type) == ("dead_letter", "UnknownHandler")
    desk.put("known", job_type="t")
    desk.lose("w")
    desk.claim("v", job_types=["other"])
    desk.pass_time(20)
    assert desk.job("known").status != "dead_letter", "there was one, and may be again"
    desk.close()


def test_jobs_that_make_no_sense_are_refused_and_change_nothing(desk: JobDesk):
    for path, fields in (
        ("job_type", {"job_type": ""}),
        ("job_type", {"job_type": "x" * 200}),
        ("queue", {"queue": "a\nb"}),
        ("payload", {"payload": b"\x01"}),
        ("priority", {"priority": 4}),
        ("max_retries", {"max_retries": -1}),
        ("timeout_s", {"timeout_s": float("nan")}),
        ("delay_s", {"delay_s": -1.0}),
        ("run_at", {"run_at": 1 << 62}),
        ("backoff", {"backoff": Backoff(jitter=2.0)}),
    ):
        job = NewJob(id="x", **{"job_type": "t", "payload": b"", **fields})  # type: ignore[arg-type]
        good = NewJob(id="y", job_type="t", payload=b"")
        refused = desk.ask(EnqueueJobs(jobs=[good, job]))
        assert isinstance(refused, Failure), path
        assert refused.context["path"] == path
    assert desk.statuses() == {}


def test_enqueueings_that_come_together_have_each_their_own_outcome(desk: JobDesk):
    desk.put("first")
    new = [
        NewJob(id="a", job_type="t", payload=b""),
        NewJob(id="bad", job_type="", payload=b""),
        NewJob(id="b", job_type="t", payload=b"", unique_key="k"),
        NewJob(id="c", job_type="t", payload=b"", unique_key="k"),
        NewJob(id="first", job_type="t", payload=b""),
        NewJob(id="d", job_type="t", payload=b"", after=["a"]),
    ]
    calls = [
        StorageCall(f"d-{n}", 1, 0, EnqueueJobs(jobs=[job]))
        for n, job in enumerate(new)
    ]
    replies = desk.engine.execute(calls)
    assert [getattr(each, "ids", None) for each in replies] == [
        ["a"],
        None,
        ["b"],
        ["b"],
        None,
        ["d"],
    ]
    assert set(desk.statuses()) == {"first", "a", "b", "d"}
    assert desk.engine.execute(calls) == replies, "each once, however often it is sent"
    many = [
        StorageCall("c-9", n, 0, EnqueueJobs(jobs=jobs(n, n % 3 + 1)))
        for n in range(1, 30)
    ]
    lsns = [getattr(each, "lsn", 0) for each in desk.engine.execute(many)]
    assert lsns == sorted(set(lsns))
    desk.restart()
    assert len(desk.statuses()) == 4 + sum(n % 3 + 1 for n in range(1, 30))


def jobs(number: int, count: int) -> list[NewJob]:
    """Some plain jobs."""
    return [
        NewJob(id=f"m{number}-{n}", job_type="t", payload=b"") for n in range(count)
    ]


def test_what_no_document_can_hold_is_neither_payload_nor_result(tmp_path: Path):
    desk = JobDesk(tmp_path / "db", max_document_bytes=1000)
    large = encode_value({"text": "x" * 1000})
    refused = desk.ask(EnqueueJobs(jobs=[NewJob(id="x", job_type="t", payload=large)]))
    assert isinstance(refused, Failure)
    assert refused.context["limit"] == "max_document_bytes"
    desk.put("one")
    desk.take("w")
    assert desk.finish("w", ["one"], result=large) == [True]
    job = desk.job("one")
    assert (job.status, job.attempt) == ("dead_letter", 1)
    assert "max_document_bytes" in (job.error or "")
    desk.close()
