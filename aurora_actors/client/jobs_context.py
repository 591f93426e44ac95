"""What a handler is given besides its arguments."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from aurora_actors.client.jobs_model import JobInfo
from aurora_actors.errors import ValidationError

__all__ = ["Done", "JobContext", "JobHooks"]


class Done:
    """Something that has been done already; may be awaited, and need not be."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = Done()


class JobHooks(NamedTuple):
    """What the worker process does for a handler."""

    info: Callable[[], JobInfo]
    database: Callable[[], Any]
    report: Callable[[float | None, str], None]
    alive: Callable[[], None]
    is_cancelled: Callable[[], bool]


class JobContext:
    """The first argument of every handler.

    Attributes:
        job_id: The job's id.
        attempt: Which attempt this is, from 1.
        worker: The name of the worker that runs it.
    """

    __slots__ = ("_hooks", "_info", "attempt", "job_id", "worker")

    def __init__(self, job_id: str, attempt: int, worker: str, hooks: JobHooks) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.worker = worker
        self._hooks = hooks
        self._info: JobInfo | None = None

    @property
    def job(self) -> JobInfo:
        """The job, as it was when this attempt began."""
        if self._info is None:
            self._info = self._hooks.info()
        return self._info

    @property
    def db(self) -> Any:  # noqa: ANN401 - one of two classes, by the kind of the handler
        """The database: an ``Aurora`` in async handlers, a blocking one in plain ones."""
        return self._hooks.database()

    @property
    def is_cancelled(self) -> bool:
        """Whether the job is to be cancelled, or has been taken from this worker."""
        return self._hooks.is_cancelled()

    def progress(self, fraction: float | None, note: str = "") -> Done:
        """Say how far the job is; shown in its document soon after.

        Need not be awaited. Costs little: what is said in quick succession is written
        once.

        Args:
            fraction: From 0 to 1, or ``None`` if that is not known.
            note: Any short text.
        """
        if fraction is not None and not 0 <= fraction <= 1:
            raise ValidationError(
                f"progress must be from 0 to 1, not {fraction}", path="fraction"
            )
        self._hooks.report(fraction, note)
        return _DONE

    def heartbeat(self) -> Done:
        """Say that the job goes on: its time limit begins anew.

        Not needed to keep the job: its worker's process does that by itself, however
        busy the handler is. Need not be awaited.
        """
        self._hooks.alive()
        return _DONE
