"""Functions that run jobs, and the decorator that marks them.

Imported by applications, which enqueue, and by worker processes, which run.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import Generic, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from aurora_actors.client.jobs_model import Job
from aurora_actors.errors import UsageError
from aurora_actors.messages.jobs import Backoff, JobPriority

__all__ = ["JobFunction", "Runtime", "job", "runtime_of"]

P = ParamSpec("P")
R = TypeVar("R")
Id_co = TypeVar("Id_co", covariant=True)

Runtime: TypeAlias = Literal["trio", "asyncio", "thread"]
"""Where a handler runs: a task of trio's or asyncio's loop, or a thread."""


class Enqueuer(Protocol[Id_co]):
    """A database or transaction, of either kind."""

    def enqueue_job(self, job: Job, /) -> Id_co:
        """Enqueue one job."""
        ...


def runtime_of(function: Callable[..., object]) -> Runtime:
    """Where a function runs unless it is said.

    A plain function runs in a thread. An async one runs under asyncio when it or its
    module uses asyncio and not trio, else under trio.
    """
    if not inspect.iscoroutinefunction(function):
        return "thread"
    code = getattr(function, "__code__", None)
    names: tuple[str, ...] = () if code is None else code.co_names
    if "trio" in names:
        return "trio"
    if "asyncio" in names:
        return "asyncio"
    used = getattr(function, "__globals__", {})
    modules = {value for value in used.values() if inspect.ismodule(value)}
    trio, asyncio = sys.modules.get("trio"), sys.modules.get("asyncio")
    return "asyncio" if asyncio in modules and trio not in modules else "trio"


class JobFunction(Generic[P, R]):
    """A function marked with :func:`job`; calling it calls the function, here and now.

    Attributes:
        job_type: The name under which its jobs are enqueued.
        function: The function itself.
        runtime: Where it runs in a worker process.
    """

    def __init__(
        self, function: Callable[P, R], template: Job, runtime: Runtime
    ) -> None:
        self.function = function
        self.job_type = template.job_type
        self.runtime = runtime
        self._template = template
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<job {self.job_type!r}: {self.function.__module__}>"

    def job(self, **payload: object) -> Job:
        """A job for this function with these arguments, to be enqueued."""
        return self._template.with_payload(payload)

    @overload
    def enqueue(
        self, db: Enqueuer[Awaitable[str]], /, **payload: object
    ) -> Awaitable[str]: ...
    @overload
    def enqueue(self, db: Enqueuer[str], /, **payload: object) -> str: ...
    def enqueue(
        self, db: Enqueuer[Awaitable[str]] | Enqueuer[str], /, **payload: object
    ) -> Awaitable[str] | str:
        """Enqueue a job for this function; returns its id.

        Args:
            db: A database, or a transaction to enqueue it with its commit.
            **payload: The function's arguments, besides the context.
        """
        return db.enqueue_job(self.job(**payload))


def job(
    job_type: str,
    *,
    max_retries: int = 3,
    timeout_s: float = 300.0,
    priority: JobPriority = JobPriority.NORMAL,
    queue: str = "default",
    backoff: Backoff | None = None,
    runtime: Runtime | None = None,
) -> Callable[[Callable[P, R]], JobFunction[P, R]]:
    """Mark a function of an importable module as the handler of a type of jobs.

    It is called as ``function(context, **payload)``, or with the context alone if that is
    all it takes (``context.job.payload`` has the rest). It runs at least once: when its
    process dies, or it takes longer than ``timeout_s``, it is run again. What it returns
    is the job's result and has to be a value that a document can hold.

    Args:
        job_type: The name of the type.
        max_retries: How often a job made with this function is tried again.
        timeout_s: How long an attempt may take. An async function is cancelled then; a
            plain one gets an exception, and if that does not end it, its process is
            replaced.
        priority: What is run first.
        queue: Where its jobs wait.
        backoff: How long to wait between attempts.
        runtime: ``"trio"``, ``"asyncio"`` or ``"thread"``; by itself a plain function
            runs in a thread, and an async one under asyncio if it or its module uses
            asyncio and not trio, else under trio.
    """
    if not isinstance(job_type, str):
        raise UsageError('the decorator needs a name: @job("send_email")')
    template = Job(
        job_type,
        max_retries=max_retries,
        timeout_s=timeout_s,
        priority=priority,
        queue=queue,
        backoff=backoff,
    )

    def mark(function: Callable[P, R]) -> JobFunction[P, R]:
        where = runtime or runtime_of(function)
        if inspect.iscoroutinefunction(function) == (where == "thread"):
            raise UsageError(f"{function.__qualname__} cannot run as {where!r}")
        return JobFunction(function, template, where)

    return mark
