"""Jobs over REST: enqueue, inspect, cancel, retry; queues and their numbers.

Who may write may enqueue and look at jobs; cancelling, retrying and pausing are for
administrators.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aurora_actors.client.jobs_model import Job, JobInfo, JobStatus
from aurora_actors.client.tokens import Role
from aurora_actors.client.transaction import Transaction
from aurora_actors.errors import NotFoundError
from aurora_actors.http.conditions import MAX_LIMIT
from aurora_actors.http.repeats import once
from aurora_actors.http.routing import Asked
from aurora_actors.http.wire import answer, number_of, object_of
from aurora_actors.messages.jobs import JobPriority
from aurora_actors.schema.text import from_json, to_json

__all__ = [
    "cancel_job",
    "enqueue_job",
    "list_jobs",
    "pause_queue",
    "read_job",
    "read_queues",
    "resume_queue",
    "retry_dead_letters",
    "retry_job",
]

_DEFAULT_LIMIT: Final = 100
_PRIORITIES: Final = {priority.name.lower(): priority for priority in JobPriority}


class _NewJob(msgspec.Struct, forbid_unknown_fields=True):
    job_type: str
    payload: dict[str, Any] = {}
    queue: str = "default"
    priority: str = "normal"
    max_retries: int = 3
    timeout_s: float = 300.0
    run_at: datetime | None = None
    delay_s: float = 0.0
    unique_key: str = ""


async def enqueue_job(asked: Asked) -> Response:
    """Enqueue a job; with a unique key that is taken, the answer is that job's id."""
    asked.grant.need(Role.WRITE)
    body = await object_of(asked.request)
    job = _job(body)

    async def enqueue(tx: Transaction) -> dict[str, Any]:
        return {"id": await tx.enqueue_job(job)}

    made = await once(asked, body, enqueue)
    return answer(made, 201, {"Location": f"/jobs/{made['id']}"})


def _job(body: dict[str, Any]) -> Job:
    try:
        given = msgspec.convert(body, _NewJob)
    except msgspec.ValidationError as exc:
        raise HTTPException(422, f"the body is not understood: {exc}") from exc
    priority = _PRIORITIES.get(given.priority)
    if priority is None:
        raise HTTPException(422, f"priority is one of {', '.join(_PRIORITIES)}")
    return Job(
        given.job_type,
        from_json(given.payload, {}),
        priority,
        given.max_retries,
        given.timeout_s,
        given.run_at,
        given.unique_key,
        given.queue,
        delay_s=given.delay_s,
    )


# ------------------------------------------------------------------ looking
async def list_jobs(asked: Asked) -> Response:
    """Jobs, those enqueued last first."""
    asked.grant.need(Role.WRITE)
    given = asked.request.query_params
    status = given.get("status") or None
    if status is not None and status not in set(JobStatus):
        raise HTTPException(400, f"status is one of {', '.join(JobStatus)}")
    found = await asked.db.list_jobs(
        status=status,
        queue=given.get("queue") or None,
        job_type=given.get("type") or None,
        limit=number_of(asked.request, "limit", _DEFAULT_LIMIT, MAX_LIMIT) or 0,
        offset=number_of(asked.request, "offset", 0, 10**9) or 0,
    )
    return answer({"jobs": [_job_out(job) for job in found]})


async def read_job(asked: Asked) -> Response:
    """One job: its status, arguments, result, and how attempts have failed."""
    asked.grant.need(Role.WRITE)
    return await _shown(asked)


async def read_queues(asked: Asked) -> Response:
    """How many jobs each queue has in which status."""
    asked.grant.need(Role.READ)
    stats = await asked.db.job_stats()
    queues = {name: msgspec.structs.asdict(q) for name, q in stats.queues.items()}
    return answer({"queues": queues, "workers": stats.workers})


async def _shown(asked: Asked) -> Response:
    job_id = str(asked.request.path_params["job"])
    found = await asked.db.get_job(job_id)
    if found is None:
        raise NotFoundError(f"there is no job {job_id!r:.80}", id=job_id[:80])
    return answer(_job_out(found))


def _job_out(job: JobInfo) -> dict[str, Any]:
    shown = msgspec.structs.asdict(job)
    shown["status"] = job.status.value
    shown["priority"] = job.priority.name.lower()
    shown["payload"] = to_json(job.payload, {})
    shown["result"] = to_json({"result": job.result}, {})["result"]
    shown["errors"] = [msgspec.structs.asdict(error) for error in job.errors]
    return shown


# ------------------------------------------------------------------ managing
async def cancel_job(asked: Asked) -> Response:
    """Cancel a job: at once while it waits, by telling its handler when it runs."""
    asked.grant.need(Role.ADMIN)
    await asked.db.cancel_job(str(asked.request.path_params["job"]))
    return await _shown(asked)


async def retry_job(asked: Asked) -> Response:
    """Let a dead letter or a cancelled job wait again, with all its attempts."""
    asked.grant.need(Role.ADMIN)
    await asked.db.retry_job(str(asked.request.path_params["job"]))
    return await _shown(asked)


async def retry_dead_letters(asked: Asked) -> Response:
    """Let all dead letters of a queue wait again."""
    asked.grant.need(Role.ADMIN)
    return answer({"changed": await asked.db.retry_dead_letters(_queue(asked))})


async def pause_queue(asked: Asked) -> Response:
    """Start no more jobs of a queue; those that run go on."""
    asked.grant.need(Role.ADMIN)
    await asked.db.pause_queue(_queue(asked))
    return answer({"paused": True})


async def resume_queue(asked: Asked) -> Response:
    """Start the jobs of a queue again."""
    asked.grant.need(Role.ADMIN)
    await asked.db.resume_queue(_queue(asked))
    return answer({"paused": False})


def _queue(asked: Asked) -> str:
    return str(asked.request.path_params["queue"])
