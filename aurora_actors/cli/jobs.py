"""The commands for background jobs and schedules."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from aurora_actors.cli.opening import opened
from aurora_actors.cli.output import Output, pairs, table
from aurora_actors.client.jobs_model import JobInfo, JobStatus
from aurora_actors.client.schedules import ScheduleInfo
from aurora_actors.errors import NotFoundError, UsageError

__all__ = [
    "cancel",
    "list_",
    "pause_schedule",
    "purge",
    "resume_schedule",
    "retry",
    "schedules",
    "show",
    "stats",
]

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_COUNTED: Final = (
    "pending",
    "blocked",
    "running",
    "failed",
    "completed",
    "dead_letter",
    "cancelled",
)
_MAX_ERROR: Final = 60


# ------------------------------------------------------------------ looking
def list_(given: argparse.Namespace, output: Output) -> int:
    """List jobs, those enqueued last first."""
    if given.limit < 1:
        raise UsageError(f"--limit is a number of jobs, not {given.limit}")
    with opened(given.path) as db:
        found = db.list_jobs(
            status=_status(given.status),
            queue=given.queue,
            job_type=given.type,
            limit=given.limit,
        )
    rows = [("id", "type", "queue", "status", "attempt", "enqueued", "error")]
    for job in found:
        error = (job.error or "").partition("\n")[0]
        rows.append(
            (
                job.id,
                job.job_type,
                job.queue,
                job.status,
                f"{job.attempt}/{job.max_retries + 1}",
                _time(job.created_at),
                error if len(error) <= _MAX_ERROR else f"{error[:_MAX_ERROR]}…",
            )
        )
    output.result(found, table(rows) if found else ["there are no such jobs"])
    return 0


def show(given: argparse.Namespace, output: Output) -> int:
    """Show one job with its errors."""
    with opened(given.path) as db:
        job = db.get_job(given.id)
    if job is None:
        raise NotFoundError(f"there is no job {given.id!r:.300}", id=given.id[:255])
    output.result(job, _job_lines(job))
    return 0


def _job_lines(job: JobInfo) -> list[str]:
    values = {
        name: value
        for name in JobInfo.__struct_fields__
        if name != "errors" and (value := getattr(job, name)) is not None
    }
    shown = {name: _text(value) for name, value in values.items()}
    shown["priority"] = job.priority.name.lower()
    lines = pairs(shown)
    for error in job.errors:
        lines += ["", f"attempt {error.attempt}, {_time(error.at)}: {error.error_type}"]
        text = error.traceback or error.message
        lines += [f"  {line}" for line in text.splitlines()]
    return lines


def stats(given: argparse.Namespace, output: Output) -> int:
    """Show how many jobs there are, by queue and status."""
    with opened(given.path) as db:
        found = db.job_stats()
    rows = [("queue", *(name.replace("_", " ") for name in _COUNTED), "limits")]
    for name, queue in [*sorted(found.queues.items()), ("all", found)]:
        counts = [f"{getattr(queue, each):,}" for each in _COUNTED]
        limits = []
        if getattr(queue, "paused", False):
            limits.append("paused")
        if (concurrency := getattr(queue, "concurrency", None)) is not None:
            limits.append(f"{concurrency} at a time")
        if (rate := getattr(queue, "rate", None)) is not None:
            limits.append(f"{rate} in {getattr(queue, 'period_s', 1.0):g} s")
        rows.append((name, *counts, ", ".join(limits)))
    output.result(found, [*table(rows), "", f"workers: {found.workers}"])
    return 0


# ------------------------------------------------------------------ changing
def retry(given: argparse.Namespace, output: Output) -> int:
    """Let dead letters and cancelled jobs wait again."""
    if bool(given.id) == given.dead_letters:
        raise UsageError("name jobs to retry, or give --dead-letters for all of those")
    if given.queue is not None and not given.dead_letters:
        raise UsageError("--queue goes with --dead-letters")
    with opened(given.path) as db:
        if given.dead_letters:
            count = db.retry_dead_letters(given.queue)
        else:
            count = sum(db.retry_job(job_id) for job_id in given.id)
    output.result({"retried": count}, [f"{count:,} jobs wait again"])
    return 0


def cancel(given: argparse.Namespace, output: Output) -> int:
    """Cancel jobs: those that wait at once, those that run by telling them."""
    with opened(given.path) as db:
        count = sum(db.cancel_job(job_id) for job_id in given.id)
    output.result({"cancelled": count}, [f"{count:,} jobs are cancelled"])
    return 0


def purge(given: argparse.Namespace, output: Output) -> int:
    """Remove jobs that have ended."""
    until = None
    if given.older_than is not None:
        until = datetime.now(UTC) - timedelta(seconds=_seconds(given.older_than))
    with opened(given.path) as db:
        count = db.purge_jobs(status=_status(given.status), ended_before=until)
    output.result({"removed": count}, [f"{count:,} jobs are removed"])
    return 0


# ------------------------------------------------------------------ schedules
def schedules(given: argparse.Namespace, output: Output) -> int:
    """List the schedules."""
    with opened(given.path) as db:
        found = db.list_schedules()
    rows = [("name", "job", "when", "next", "last", "runs", "missed")]
    rows += [
        (
            each.name,
            each.job.job_type,
            _when(each),
            "paused" if each.is_paused else _time(each.next_run_at),
            _time(each.last_run_at),
            f"{each.runs:,}",
            f"{each.missed:,}",
        )
        for each in found
    ]
    output.result(found, table(rows) if found else ["there are no schedules"])
    return 0


def _when(schedule: ScheduleInfo) -> str:
    if schedule.cron is not None:
        return f"{schedule.cron} ({schedule.time_zone})"
    if schedule.every is not None:
        return f"every {schedule.every}"
    return "once"


def pause_schedule(given: argparse.Namespace, output: Output) -> int:
    """Leave out the ticks of schedules."""
    with opened(given.path) as db:
        changed = [name for name in given.name if db.pause_schedule(name)]
    output.result({"paused": changed}, _changed(given.name, "is paused"))
    return 0


def resume_schedule(given: argparse.Namespace, output: Output) -> int:
    """Go on with schedules."""
    with opened(given.path) as db:
        changed = [name for name in given.name if db.resume_schedule(name)]
    output.result({"resumed": changed}, _changed(given.name, "goes on"))
    return 0


def _changed(names: Sequence[str], text: str) -> list[str]:
    return [f"{name} {text}" for name in names]


# ------------------------------------------------------------------ words
def _status(text: str | None) -> JobStatus | None:
    return None if text is None else JobStatus(text)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if found is None:
        raise UsageError(
            f"--older-than is a time like 30m, 12h or 7d, not {text!r:.80}"
        )
    return int(found[1]) * _UNITS[found[2]]


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _text(value: object) -> str:
    match value:
        case datetime():
            return _time(value)
        case str():
            return value
        case _:
            return msgspec.json.encode(value).decode()
