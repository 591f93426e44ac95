"""Jobs over HTTP: enqueued once, looked at, cancelled, retried, by those who may."""

from __future__ import annotations

from collections.abc import Iterator

import job_handlers
import pytest
from served import Served, problem, serving

from aurora_actors import JobFailedError

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("http") / "data.db") as served:
        yield served


def enqueue(
    served: Served, headers: dict[str, str] | None = None, **job: object
) -> str:
    made = served.http.post("/jobs", json=job, headers=headers)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/jobs/{made.json()['id']}"
    return str(made.json()["id"])


def test_a_job_is_enqueued_once_and_shown(served: Served):
    job = {
        "job_type": "later",
        "payload": {"at": {"$date": "2026-01-31"}},
        "queue": "q",
    }
    key = {"Idempotency-Key": "one"}
    first = enqueue(served, key, **job, priority="high", delay_s=3600)
    again = enqueue(served, key, **job, priority="high", delay_s=3600)
    assert first == again
    other = served.http.post("/jobs", json={"job_type": "other"}, headers=key)
    problem(other, 422, "http.422")

    shown = served.http.get(f"/jobs/{first}").json()
    assert (shown["status"], shown["priority"], shown["queue"]) == (
        "pending",
        "high",
        "q",
    )
    assert shown["payload"] == job["payload"]
    listed = served.http.get("/jobs", params={"queue": "q", "status": "pending"})
    assert [each["id"] for each in listed.json()["jobs"]] == [first]
    assert served.http.get("/queues").json()["queues"]["q"]["pending"] == 1

    cancelled = served.http.post(f"/jobs/{first}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert served.http.post(f"/jobs/{first}/retry").json()["status"] == "pending"


def test_a_dead_letter_is_retried_and_completes(served: Served):
    served.db.start_pool("all", handlers=job_handlers)
    # It counts in a collection that is not there yet.
    asked = {"job_type": "count", "payload": {"name": "x"}, "max_retries": 0}
    asked["queue"] = "counting"
    ids = [enqueue(served, **asked) for _ in range(2)]
    for job_id in ids:
        with pytest.raises(JobFailedError):
            served.db.wait_job(job_id, timeout=60)
    dead = served.http.get(f"/jobs/{ids[0]}").json()
    assert dead["status"] == "dead_letter"
    assert "counters" in dead["error"]
    assert dead["errors"][0]["attempt"] == 1
    served.db.new_collection("counters", open=True)
    assert served.http.post(f"/jobs/{ids[0]}/retry").status_code == 200
    assert served.db.wait_job(ids[0], timeout=60) == "counted"
    assert served.http.post("/queues/counting/retry").json() == {"changed": 1}
    assert served.db.wait_job(ids[1], timeout=60) == "counted"
    assert served.http.get(f"/jobs/{ids[1]}").json()["result"] == "counted"


def test_a_paused_queue_says_so(served: Served):
    assert served.http.post("/queues/slow/pause").json() == {"paused": True}
    assert served.http.get("/queues").json()["queues"]["slow"]["paused"]
    assert served.http.post("/queues/slow/resume").json() == {"paused": False}


@pytest.mark.parametrize(
    ("job", "status", "code"),
    [
        ({}, 422, "http.422"),
        ({"job_type": "x", "priority": "urgent"}, 422, "http.422"),
        ({"job_type": "x", "run_at": "soon"}, 422, "http.422"),
        ({"job_type": "x", "run_at": "2026-01-01T00:00:00"}, 422, "data.validation"),
        ({"job_type": "x", "max_retries": -1}, 422, "data.validation"),
        ({"job_type": "x", "retries": 1}, 422, "http.422"),
    ],
)
def test_jobs_that_make_no_sense_are_refused(
    served: Served, job: dict[str, object], status: int, code: str
):
    problem(served.http.post("/jobs", json=job), status, code)


def test_who_may_do_what_with_jobs(served: Served):
    job_id = enqueue(served, job_type="later", delay_s=3600)
    problem(served.http.get("/jobs/nobody"), 404, "usage.not_found")
    problem(served.http.post("/jobs/nobody/retry"), 404, "usage.not_found")
    problem(served.http.get("/jobs", params={"status": "x"}), 400, "http.400")
    with served.client(served.db.create_token("jobs_reader", "read")) as reader:
        assert reader.get("/queues").status_code == 200
        problem(reader.get("/jobs"), 403, "permission_denied")
        problem(reader.post("/jobs", json={"job_type": "x"}), 403, "permission_denied")
    with served.client(served.db.create_token("jobs_writer", "write")) as writer:
        assert writer.get(f"/jobs/{job_id}").status_code == 200
        assert writer.post("/jobs", json={"job_type": "later"}).status_code == 201
        problem(writer.post(f"/jobs/{job_id}/cancel"), 403, "permission_denied")
        problem(writer.post("/queues/default/pause"), 403, "permission_denied")
    with served.client(
        served.db.create_token("jobs_narrow", "none", collections={"c": "admin"})
    ) as narrow:
        problem(narrow.get("/jobs"), 403, "permission_denied")
        problem(narrow.get("/queues"), 403, "permission_denied")
