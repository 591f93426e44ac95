"""One attempt of a job in a worker process: what it has come to.

A run is made in the process's main thread and carried out in another one. The fields
that both touch are set once, or under ``lock``.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from aurora_actors.client.jobs_context import JobContext, JobHooks
from aurora_actors.client.jobs_model import JobInfo, job_info
from aurora_actors.errors import AuroraError
from aurora_actors.jobs.handlers import Handler
from aurora_actors.messages.jobs import ClaimedJob, JobOutcome, OutcomeKind
from aurora_actors.schema.values import decode_document, encode_value

if TYPE_CHECKING:
    from aurora_actors.storage.jobs.document import JobDocument

__all__ = ["Interrupted", "Reason", "Run"]

_FRAMES: Final = 40


class Interrupted(BaseException):
    """Raised in a plain handler whose job is to end; not to be caught."""


class Reason(Enum):
    """Why a run is interrupted."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    SHUTDOWN = "shutdown"


class Run:
    """One attempt.

    Attributes:
        id: The job.
        attempt: Which attempt.
        handler: What runs it.
        payload: The handler's arguments.
        queued_at: When it came; on the monotonic clock, as all times here.
        late_s: How long it was due by then.
        started_at: When the handler was begun; 0 before. Hosts begin runs, each once,
            and the main thread can withdraw those that have not begun.
        deadline: When its time is over.
        limit_s: Its time.
        outcome: What it has come to; set once, by whoever is first.
        reason: Why it is to end early.
        interrupted_at: Since when.
        cancel: Ends the handler; set by the host while it runs.
        context: What the handler gets.
    """

    __slots__ = (
        "_body",
        "attempt",
        "cancel",
        "context",
        "deadline",
        "handler",
        "id",
        "interrupted_at",
        "late_s",
        "limit_s",
        "lock",
        "outcome",
        "payload",
        "queued_at",
        "reason",
        "started_at",
    )

    def __init__(
        self,
        claimed: ClaimedJob,
        job: JobDocument,
        handler: Handler,
        now: float,
        late_s: float = 0.0,
    ) -> None:
        self._body = claimed.document
        self.id = claimed.id
        self.attempt = claimed.attempt
        self.handler = handler
        self.payload = decode_document(bytes(job.payload))
        self.queued_at = now
        self.late_s = late_s
        self.started_at = 0.0
        self.limit_s = job.timeout_s if job.timeout_s > 0 else math.inf
        self.deadline = math.inf
        self.outcome: JobOutcome | None = None
        self.reason: Reason | None = None
        self.interrupted_at = 0.0
        self.cancel: Callable[[], None] | None = None
        self.lock = Lock()
        self.context: JobContext

    def prepare(self, worker: str, hooks: JobHooks) -> None:
        """Make the context."""
        self.context = JobContext(self.id, self.attempt, worker, hooks)

    def info(self) -> JobInfo:
        """The job as it was claimed."""
        return job_info(self.id, decode_document(self._body))

    def begin(self, now: float) -> bool:
        """Begin, unless it is to end already; in the host's thread."""
        with self.lock:
            if self.reason is not None or self.outcome is not None:
                return False
            self.started_at = now
            self.deadline = now + self.limit_s
            return True

    def withdraw(self, reason: Reason) -> bool:
        """End it if it has not begun; in the main thread."""
        with self.lock:
            if self.started_at or self.reason is not None:
                return False
            self.reason = reason
        self.was_interrupted()
        return True

    def call(self) -> Any:  # noqa: ANN401 - whatever the handler returns
        """Call the handler; an async one returns its coroutine."""
        handler = self.handler
        if handler.takes_payload:
            return handler.function(self.context, **self.payload)
        return handler.function(self.context)

    # -------------------------------------------------------------- outcomes
    def returned(self, value: object) -> None:
        """The handler has returned."""
        try:
            result = b"" if value is None else encode_value(value)
        except AuroraError as exc:
            self._end(
                OutcomeKind.DEAD,
                error_type="UnserialisableResult",
                error=f"what the handler returned cannot be stored: {exc.message}",
            )
        else:
            self._end(OutcomeKind.COMPLETED, result=result)

    def raised(self, exc: BaseException) -> None:
        """The handler has raised an exception."""
        if isinstance(exc, SystemExit):
            text = f"the handler called sys.exit({exc.code!r})"
        else:
            text = str(exc) or type(exc).__name__
        retry_after = getattr(exc, "retry_after_s", None)
        self._end(
            OutcomeKind.FAILED,
            error_type=type(exc).__name__,
            error=text,
            traceback=_traceback(exc),
            retry_after_s=retry_after if isinstance(retry_after, int | float) else None,
        )

    def was_interrupted(self) -> None:
        """The handler was ended, or is given up."""
        match self.reason:
            case Reason.TIMEOUT:
                self._end(
                    OutcomeKind.FAILED,
                    error_type="TimeoutError",
                    error=f"the attempt took longer than {self.limit_s:g} s",
                )
            case Reason.CANCELLED:
                self._end(OutcomeKind.CANCELLED)
            case Reason.SHUTDOWN | Reason.LOST:
                self._end(OutcomeKind.RELEASED)
            case None:
                self._end(
                    OutcomeKind.FAILED,
                    error_type="Cancelled",
                    error="the handler was cancelled from within",
                )

    def _end(
        self,
        kind: OutcomeKind,
        *,
        result: bytes = b"",
        error_type: str = "",
        error: str = "",
        traceback: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        outcome = JobOutcome(
            id=self.id,
            attempt=self.attempt,
            kind=kind,
            result=result,
            error_type=error_type,
            error=error,
            traceback=traceback,
            retry_after_s=retry_after_s,
        )
        with self.lock:
            if self.outcome is None:
                self.outcome = outcome


def _traceback(exc: BaseException) -> str:
    """The traceback, without the frames of the worker itself."""
    frames = exc.__traceback__
    if frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return (
        "".join(traceback.format_exception(type(exc), exc, frames, limit=-_FRAMES))
        .encode("utf-8", "backslashreplace")
        .decode()
    )
