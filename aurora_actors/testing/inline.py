"""A handler called as a worker would call it, without a database and its processes."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, overload

import msgspec

from aurora_actors.client.jobs_context import JobContext, JobHooks
from aurora_actors.client.jobs_function import JobFunction
from aurora_actors.client.jobs_model import Job, JobInfo, JobStatus, new_job
from aurora_actors.errors import UsageError
from aurora_actors.messages.jobs import JobPriority
from aurora_actors.schema.values import decode_document, decode_value, encode_value

__all__ = ["InlineRun", "run_inline"]

AsyncHandler: TypeAlias = (
    "Callable[..., Awaitable[object]] | JobFunction[..., Awaitable[object]]"
)
Handler: TypeAlias = "Callable[..., object] | JobFunction[..., object]"


class InlineRun(msgspec.Struct, frozen=True):
    """What a handler has done.

    Attributes:
        result: What it has returned, as a reader of the job would get it.
        progress: What it has said of its progress, in order: fraction and note.
        heartbeats: How often it has asked for more time.
    """

    result: object
    progress: list[tuple[float | None, str]]
    heartbeats: int


@overload
def run_inline(  # type: ignore[overload-overlap]  # an awaitable is an object, too
    handler: AsyncHandler,
    payload: Mapping[str, object] | None = None,
    *,
    db: object = None,
    attempt: int = 1,
    is_cancelled: bool = False,
) -> Awaitable[InlineRun]: ...
@overload
def run_inline(
    handler: Handler,
    payload: Mapping[str, object] | None = None,
    *,
    db: object = None,
    attempt: int = 1,
    is_cancelled: bool = False,
) -> InlineRun: ...
def run_inline(
    handler: Handler,
    payload: Mapping[str, object] | None = None,
    *,
    db: object = None,
    attempt: int = 1,
    is_cancelled: bool = False,
) -> InlineRun | Awaitable[InlineRun]:
    """Call a handler, here and now; to be awaited if it is an async one.

    Arguments and result make the way that a job's make, so that what cannot be stored
    fails here as well. What the handler raises is raised.

    Args:
        handler: A function marked with ``@job``, or any other.
        payload: Its arguments.
        db: What ``ctx.db`` is; a handler that asks for it fails without.
        attempt: Which attempt it is to believe.
        is_cancelled: What ``ctx.is_cancelled`` says.

    Raises:
        ValidationError: an argument or the result cannot be stored; has ``path``.
    """
    run = _Inline(handler, payload or {}, db, attempt, is_cancelled=is_cancelled)
    found = run.call()
    return run.awaited(found) if inspect.isawaitable(found) else run.done(found)


class _Inline:
    def __init__(
        self,
        handler: Handler,
        payload: Mapping[str, object],
        db: object,
        attempt: int,
        *,
        is_cancelled: bool,
    ) -> None:
        self._progress: list[tuple[float | None, str]] = []
        self._heartbeats = 0
        self._db = db
        job = handler.job(**payload) if isinstance(handler, JobFunction) else None
        self._function = (
            handler.function if isinstance(handler, JobFunction) else handler
        )
        new = new_job(job or Job(getattr(handler, "__name__", "job"), payload))
        self._payload = decode_document(new.payload) if new.payload else {}
        info = JobInfo(
            id=new.id,
            job_type=new.job_type,
            status=JobStatus.RUNNING,
            queue=new.queue,
            payload=self._payload,
            priority=JobPriority(new.priority),
            attempt=attempt,
            created_at=datetime.now(UTC),
            max_retries=new.max_retries,
            timeout_s=new.timeout_s,
        )
        hooks = JobHooks(
            info=lambda: info,
            database=self._database,
            report=lambda fraction, note: self._progress.append((fraction, note)),
            alive=self._alive,
            is_cancelled=lambda: is_cancelled,
        )
        self._context = JobContext(new.id, attempt, "inline", hooks)

    def _database(self) -> Any:  # noqa: ANN401 - whatever the test has given
        if self._db is None:
            raise UsageError("this handler needs a database: run_inline(..., db=db)")
        return self._db

    def _alive(self) -> None:
        self._heartbeats += 1

    def call(self) -> object:
        return self._function(self._context, **self._payload)

    async def awaited(self, found: Awaitable[object]) -> InlineRun:
        return self.done(await found)

    def done(self, value: object) -> InlineRun:
        result = None if value is None else decode_value(encode_value(value))
        return InlineRun(result, self._progress, self._heartbeats)
