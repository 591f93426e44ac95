"""What can become of a job: pure transitions of its document.

::

    enqueue -> pending -> running -> completed
                 ^  ^        |-----> failed ----(its time)----> running
                 |  +--------|  (worker lost: the attempt counts)
                 |           |-----> dead_letter    no attempt left
                 |           +-----> cancelled
                 +--retry--- failed, dead_letter, cancelled

Each function changes the document in place; who calls it knows that it may. The moment
and the random number come as arguments. Attempts are numbered from 1 and never again
from the beginning, so that (job, attempt, worker) names one run for good; how many are
left is counted from ``uncounted``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from aurora_actors.messages.jobs import Backoff, JobOutcome, OutcomeKind
from aurora_actors.storage.jobs.document import (
    CANCELLED,
    COMPLETED,
    DEAD_LETTER,
    FAILED,
    NO_RESULT,
    PENDING,
    RUNNING,
    WAITING,
    JobDocument,
    JobError,
)

__all__ = [
    "Retention",
    "can_retry",
    "cancel",
    "delay_s",
    "end_attempt",
    "is_suspect",
    "lose_worker",
    "retry",
    "start",
    "time_out",
    "unblock",
]

_DEFAULT: Final = Backoff()
_MAX_ERRORS: Final = 20
_MAX_TEXT: Final = 4_000
_MAX_TRACEBACK: Final = 16_000
_FAR_S: Final = 100 * 365 * 86_400.0


class Retention(NamedTuple):
    """How long jobs are kept when they have ended, in seconds."""

    ended_s: float
    dead_letter_s: float


def start(job: JobDocument, worker: str, claim: int, now: datetime) -> None:
    """A worker begins an attempt."""
    job.status = RUNNING
    job.attempt += 1
    job.worker = worker
    job.claim = claim
    job.started_at = now
    job.progress = job.note = None


def end_attempt(
    job: JobDocument,
    outcome: JobOutcome,
    now: datetime,
    chance: float,
    retention: Retention,
) -> None:
    """The worker says how the attempt has ended; ``chance`` is below 1."""
    if outcome.kind is not OutcomeKind.RELEASED:
        job.lost = 0
    match outcome.kind:
        case OutcomeKind.COMPLETED:
            job.result = msgspec.Raw(outcome.result) if outcome.result else NO_RESULT
            job.progress = None
            _end(job, COMPLETED, now, retention)
        case OutcomeKind.CANCELLED:
            _end(job, CANCELLED, now, retention)
        case OutcomeKind.RELEASED:
            job.uncounted += 1
            _wait_again(job, now, retention)
        case OutcomeKind.FAILED | OutcomeKind.DEAD:
            _note_error(job, outcome, now)
            final = outcome.kind is OutcomeKind.DEAD or not _has_attempts(job)
            if job.cancel_requested:
                _end(job, CANCELLED, now, retention)
            elif final:
                _end(job, DEAD_LETTER, now, retention)
            else:
                wait = outcome.retry_after_s
                if wait is None:
                    failures = job.attempt - job.uncounted
                    wait = delay_s(job.backoff or _DEFAULT, failures, chance)
                job.status = FAILED
                job.run_at = now + timedelta(seconds=min(max(wait, 0.0), _FAR_S))


def delay_s(backoff: Backoff, failures: int, chance: float) -> float:
    """How long to wait after so many failures; ``chance`` is below 1."""
    try:
        wait = min(
            backoff.initial_s * backoff.factor ** max(failures - 1, 0), backoff.max_s
        )
    except OverflowError:
        wait = backoff.max_s
    return wait * (1.0 - backoff.jitter * chance)


def lose_worker(
    job: JobDocument, reason: str, now: datetime, retention: Retention
) -> None:
    """The worker has gone: the job waits again, the attempt counted."""
    outcome = JobOutcome(
        id="",
        attempt=job.attempt,
        kind=OutcomeKind.FAILED,
        error_type="WorkerLost",
        error=reason,
    )
    _note_error(job, outcome, now)
    job.lost += 1
    _wait_again(job, now, retention)


def is_suspect(job: JobDocument) -> bool:
    """Whether a job that waits may be what its workers have died of.

    It is to run alone in its process, so that the others there do not pay for it, or so
    that it does not pay for one of them with its last attempt.
    """
    tried = job.attempt - job.uncounted
    return job.lost > 1 or (job.lost > 0 and tried >= job.max_retries)


def time_out(
    job: JobDocument, now: datetime, chance: float, retention: Retention
) -> None:
    """The attempt has taken too long, and its worker has not said so."""
    outcome = JobOutcome(
        id="",
        attempt=job.attempt,
        kind=OutcomeKind.FAILED,
        error_type="TimeoutError",
        error=f"the attempt took longer than {job.timeout_s:g} s",
    )
    end_attempt(job, outcome, now, chance, retention)


def cancel(job: JobDocument, now: datetime, retention: Retention) -> bool:
    """Cancel a job that waits, or ask for it; returns whether this changes it."""
    if job.status in WAITING:
        _end(job, CANCELLED, now, retention)
        return True
    if job.status == RUNNING and not job.cancel_requested:
        job.cancel_requested = True
        return True
    return False


def can_retry(job: JobDocument) -> bool:
    """Whether :func:`retry` makes sense."""
    return job.status in {DEAD_LETTER, CANCELLED, FAILED}


def retry(job: JobDocument) -> None:
    """Wait again, with all attempts; the history stays."""
    job.status = PENDING
    job.uncounted = job.attempt
    job.run_at = job.finished_at = job.expires_at = None
    job.cancel_requested = False


def unblock(job: JobDocument, ended: int) -> None:
    """So many of the jobs that it waits for have ended."""
    job.waits_for = max(0, job.waits_for - ended)


def _has_attempts(job: JobDocument) -> bool:
    return job.attempt - job.uncounted <= job.max_retries


def _wait_again(job: JobDocument, now: datetime, retention: Retention) -> None:
    if job.cancel_requested:
        _end(job, CANCELLED, now, retention)
    elif _has_attempts(job):
        job.status = PENDING
    else:
        _end(job, DEAD_LETTER, now, retention)


def _end(job: JobDocument, status: str, now: datetime, retention: Retention) -> None:
    job.status = status
    job.finished_at = now
    kept_s = job.retention_s
    if kept_s is None:
        dead = status == DEAD_LETTER
        kept_s = retention.dead_letter_s if dead else retention.ended_s
    job.expires_at = now + timedelta(seconds=min(kept_s, _FAR_S))


def _note_error(job: JobDocument, outcome: JobOutcome, now: datetime) -> None:
    error = JobError(
        attempt=job.attempt,
        at=now,
        message=outcome.error[:_MAX_TEXT],
        error_type=outcome.error_type[:_MAX_TEXT],
        traceback=outcome.traceback[-_MAX_TRACEBACK:],
        worker=job.worker or "",
    )
    job.error = error.message
    job.errors = [*(job.errors or []), error][-_MAX_ERRORS:]
