"""Jobs enqueued by mutations: they wait in the queue that the job system serves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from support import no_process_left

from aurora_actors import (
    Job,
    MutationResult,
    UniqueViolationError,
    ValidationError,
    blocking,
)

pytestmark = pytest.mark.processes

SEND = """mutation ($key: String) { enqueueJob(
  jobType: "send_email", payload: {to: "alice@example.com", subject: "Welcome"},
  priority: HIGH, maxRetries: 5, runAt: "2037-01-01T00:00:00Z", uniqueKey: $key, queue: "mail"
) { id jobType payload queue status priority maxRetries runAt uniqueKey } }"""


@pytest.fixture(scope="module")
def db(tmp_path_factory) -> Iterator[blocking.Aurora]:
    path = tmp_path_factory.mktemp("jobs") / "db"
    with blocking.open(path) as db:
        db.enqueue_job(Job("earlier"))
        yield db
    no_process_left(path)


def run(db, text, **variables):
    result = db.execute(text, variables)
    assert isinstance(result, MutationResult)
    return result


def waiting(db):
    return db.execute("{ _sys_jobs(orderBy: id) { * } }").to_dicts()


def test_a_job_waits_with_what_was_said_of_it(db):
    result = run(db, SEND, key=None)
    assert (result.operation, result.affected_count) == ("enqueueJob", 1)
    (job,) = result.to_dicts()
    assert job == {
        "id": result.documents[0].id,
        "jobType": "send_email",
        "payload": {"to": "alice@example.com", "subject": "Welcome"},
        "queue": "mail",
        "status": "pending",
        "priority": "HIGH",
        "maxRetries": 5,
        "runAt": datetime(2037, 1, 1, tzinfo=UTC),
        "uniqueKey": None,
    }
    (stored,) = (each for each in waiting(db) if each["id"] == job["id"])
    assert (stored["job_type"], stored["status"], stored["queue"]) == (
        "send_email", "pending", "mail",
    )  # fmt: skip
    assert (stored["payload"], stored["priority"]) == (job["payload"], 2)


def test_many_jobs_are_enqueued_in_their_order(db):
    before = len(waiting(db))
    result = run(
        db,
        'mutation { enqueueJobs(jobType: "resize", payloads: [{id: 1} {id: 2} {id: 3}]) { id payload } }',
    )
    assert [each["payload"] for each in result.to_dicts()] == [
        {"id": 1}, {"id": 2}, {"id": 3},
    ]  # fmt: skip
    ids = [document.id for document in result.documents]
    assert ids == sorted(ids)
    assert [each["id"] for each in waiting(db)[before:]] == ids
    assert waiting(db)[-1]["priority"] == 1


def test_one_unfinished_job_has_a_unique_key(db):
    first = run(db, SEND, key="welcome:alice")
    again = run(db, SEND, key="welcome:alice")
    assert (first.affected_count, again.affected_count) == (1, 0)
    assert again.documents[0].id == first.documents[0].id
    assert again.documents[0]["uniqueKey"] == "welcome:alice"
    text = 'enqueueJob(jobType: "t", uniqueKey: "twice") { id }'
    both = db.execute("mutation { a: %s b: %s }".replace("%s", text))
    assert both["a"].documents[0].id == both["b"].documents[0].id
    assert [both[name].affected_count for name in "ab"] == [1, 0]


def test_jobs_are_part_of_the_transaction_of_their_text(db):
    db.execute("schema { define collection users { name: String @unique } }")
    db.insert_into("users", {"name": "alice"})
    before = len(waiting(db))
    with pytest.raises(UniqueViolationError):
        db.execute(
            """mutation { enqueueJob(jobType: "greet") { id }
                          insertInto(collection: "users", data: {name: "alice"}) }"""
        )
    assert len(waiting(db)) == before
    db.execute(
        """mutation { enqueueJob(jobType: "greet") { id }
                      insertInto(collection: "users", data: {name: "bob"}) }"""
    )
    assert len(waiting(db)) == before + 1


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        ('jobType: ""', "job_type"),
        ('jobType: "a", runAt: "1960-01-01T00:00:00Z"', "run_at"),
        ('jobType: "a", queue: ""', "queue"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(db, ask, path):
    before = len(waiting(db))
    with pytest.raises(ValidationError) as refused:
        db.execute("mutation { enqueueJob(%s) }".replace("%s", ask))
    assert refused.value.path == path
    assert len(waiting(db)) == before
