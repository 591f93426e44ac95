"""``aurora jobs`` and ``aurora schedules``."""

from __future__ import annotations

import json

import pytest
from support import no_process_left

from aurora_actors import Job, JobContext, blocking, job, testing
from aurora_actors.cli.main import main

pytestmark = pytest.mark.processes


@job("fails", max_retries=0, queue="mail")
def fails(ctx: JobContext) -> None:
    raise RuntimeError("no such address")


@job("works")
def works(ctx: JobContext, n: int) -> int:
    return n


@pytest.fixture
def aurora(capsys):
    """Runs the command in this process: what it prints, on the standard error if bad."""

    def run(*arguments: object, code: int = 0) -> str:
        found: object
        try:
            found = main(list(map(str, arguments)))
        except SystemExit as exc:
            found = exc.code
        printed = capsys.readouterr()
        assert found == code, (found, printed)
        return printed.err if code else printed.out

    return run


@pytest.fixture
def answer(aurora):
    return lambda *arguments: json.loads(aurora(*arguments, "--json"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A database that is open meanwhile."""
    path = tmp_path_factory.mktemp("cli") / "jobs.db"
    with blocking.open(path, query_executors=1) as db:
        db.schedule("nightly", cron="0 3 29 2 *", time_zone="Asia/Tokyo", job=Job("x"))
        yield path, db
    no_process_left(path)


@pytest.fixture
def known(shared):
    """The database with a job of each kind, and no other."""
    path, db = shared
    for old in db.list_jobs():
        db.cancel_job(old.id)
    db.purge_jobs()
    ids = {
        "dead_letter": fails.enqueue(db),
        "completed": works.enqueue(db, n=5),
    }
    testing.drain(db, [fails, works])
    ids["pending"] = db.enqueue_job(Job("later", {"k": "v"}).with_delay(3600))
    return path, ids, db


def test_list_shows_jobs_and_filters_them(known, aurora, answer):
    path, ids, _ = known
    text = aurora("jobs", "list", path)
    for name, job_id in ids.items():
        assert job_id in text
        assert name in text
    (found,) = answer("jobs", "list", path, "--status", "dead_letter")
    assert (found["id"], found["error"]) == (ids["dead_letter"], "no such address")
    assert answer("jobs", "list", path, "--queue", "mail", "--type", "works") == []
    assert "no such jobs" in aurora("jobs", "list", path, "--queue", "none")
    assert "--limit" in aurora("jobs", "list", path, "--limit", "0", code=2)
    aurora("jobs", "list", path, "--status", "lost", code=2)


def test_show_tells_all_of_one_job(known, aurora, answer):
    path, ids, _ = known
    text = aurora("jobs", "show", path, ids["dead_letter"])
    assert "RuntimeError: no such address" in text
    assert "normal" in text
    found = answer("jobs", "show", path, ids["completed"])
    assert (found["result"], found["payload"]) == (5, {"n": 5})
    assert "no job 'lost'" in aurora("jobs", "show", path, "lost", code=1)


def test_stats_counts_by_queue(known, aurora, answer):
    path, _, db = known
    db.limit_queue("mail", concurrency=2)
    found = answer("jobs", "stats", path)
    assert found["queues"]["mail"]["dead_letter"] == 1
    text = aurora("jobs", "stats", path)
    assert "2 at a time" in text
    assert "workers: 0" in text


def test_retry_cancel_and_purge(known, aurora, answer):
    path, ids, db = known
    assert answer("jobs", "cancel", path, ids["pending"]) == {"cancelled": 1}
    assert answer("jobs", "retry", path, ids["pending"]) == {"retried": 1}
    assert "jobs wait again" in aurora("jobs", "retry", path, "--dead-letters")
    assert db.get_job(ids["dead_letter"]).status == "pending"
    assert answer("jobs", "cancel", path, *ids.values()) == {"cancelled": 2}
    assert "name jobs" in aurora("jobs", "retry", path, code=2)
    assert "no job" in aurora("jobs", "cancel", path, "lost", code=1)
    assert answer("jobs", "purge", path, "--older-than", "1d") == {"removed": 0}
    assert "like 30m" in aurora("jobs", "purge", path, "--older-than", "x", code=2)
    assert "ended" in aurora("jobs", "purge", path, "--status", "pending", code=2)
    assert answer("jobs", "purge", path) == {"removed": 3}


def test_schedules_are_listed_paused_and_resumed(known, aurora, answer):
    path, _, db = known
    text = aurora("schedules", "list", path)
    assert "0 3 29 2 * (Asia/Tokyo)" in text
    assert answer("schedules", "pause", path, "nightly") == {"paused": ["nightly"]}
    assert db.get_schedule("nightly").is_paused
    assert "paused" in aurora("schedules", "list", path)
    aurora("schedules", "resume", path, "nightly")
    (found,) = answer("schedules", "list", path)
    assert (found["name"], found["is_paused"], found["runs"]) == ("nightly", False, 0)
    assert "no schedule 'x'" in aurora("schedules", "pause", path, "x", code=1)
