"""Running the jobs that are due in the test's own process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import ModuleType
from typing import Final, Protocol, Self, TypeAlias, TypeVar, cast, overload

import anyio
import anyio.to_thread

from aurora_actors import blocking
from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.handle import session_of
from aurora_actors.client.jobs_context import JobHooks
from aurora_actors.client.jobs_function import JobFunction, runtime_of
from aurora_actors.client.jobs_model import JobInfo
from aurora_actors.client.protocol import STORAGE
from aurora_actors.errors import InternalError
from aurora_actors.jobs.handlers import Handler, load_handlers
from aurora_actors.jobs.run import Reason, Run
from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import (
    Claimed,
    ClaimedJob,
    ClaimJobs,
    FinishJobs,
    JobProgress,
    JobsFinished,
    ReportProgress,
    WorkerGone,
)
from aurora_actors.messages.storage import Written
from aurora_actors.storage.jobs.document import decode_job
from aurora_actors.testing.clock import async_of

__all__ = ["drain"]

R = TypeVar("R")
_One: TypeAlias = "str | ModuleType | Callable[..., object] | JobFunction[..., object]"
Handlers: TypeAlias = "_One | Iterable[_One] | Mapping[str, _One]"

_LEASE_S: Final = 86_400.0


@overload
def drain(
    db: Aurora,
    handlers: Handlers,
    *,
    queue: str | None = None,
    limit: int | None = None,
) -> Awaitable[list[JobInfo]]: ...
@overload
def drain(
    db: blocking.Aurora,
    handlers: Handlers,
    *,
    queue: str | None = None,
    limit: int | None = None,
) -> list[JobInfo]: ...
def drain(
    db: Aurora | blocking.Aurora,
    handlers: Handlers,
    *,
    queue: str | None = None,
    limit: int | None = None,
) -> list[JobInfo] | Awaitable[list[JobInfo]]:
    """Run the jobs that are due, one after the other, until there are no more.

    Here, not in a worker process; with all that goes with it: attempts, results,
    failures, time limits of async handlers. What fails waits for its next attempt, and
    is due when its time has come: see :func:`fake_clock`.

    Args:
        db: The database; awaited if it is an ``Aurora``.
        handlers: As for ``start_pool``; also functions that cannot be imported.
        queue: Only of this queue.
        limit: At most so many.

    Returns:
        The jobs that were run, as they are after it, in their order; one that was tried
        twice is there twice.
    """
    known = _load(handlers)
    if isinstance(db, blocking.Aurora):
        return run_now(_drain_blocking(db, known, queue, limit))
    return _drain(db, known, queue, limit)


async def _drain(
    db: Aurora, known: dict[str, Handler], queue: str | None, limit: int | None
) -> list[JobInfo]:
    worker = _Drain(db, known, queue, limit)
    async with _AsyncCaller(db) as caller:
        try:
            return await worker.run(caller)
        finally:
            with anyio.CancelScope(shield=True):
                await worker.leave()


async def _drain_blocking(
    db: blocking.Aurora, known: dict[str, Handler], queue: str | None, limit: int | None
) -> list[JobInfo]:
    worker = _Drain(async_of(db), known, queue, limit)
    try:
        return await worker.run(_BlockingCaller(db))
    finally:
        await worker.leave()


def _load(handlers: Handlers) -> dict[str, Handler]:
    """Handlers by the types of jobs that they run.

    Raises:
        ConfigError: one cannot be imported, or is no handler.
    """
    if isinstance(handlers, Mapping):
        found: dict[str, Handler] = {}
        for job_type, one in handlers.items():
            for handler in _load(one).values():
                found[job_type] = handler._replace(job_type=job_type)
        return found
    if isinstance(handlers, str):
        return load_handlers(handlers)
    if isinstance(handlers, ModuleType):
        return load_handlers(handlers.__name__)
    if isinstance(handlers, JobFunction):
        handler = Handler(handlers.job_type, handlers.function, handlers.runtime)
        return {handler.job_type: handler}
    if callable(handlers):
        name = handlers.__name__
        return {name: Handler(name, handlers, runtime_of(handlers))}
    several = cast("Iterable[_One]", handlers)
    return {name: each for one in several for name, each in _load(one).items()}


# ------------------------------------------------------------------ calling handlers
class _Caller(Protocol):
    """Calls handlers, one at a time."""

    @property
    def database(self) -> object:
        """The database for the handler that runs."""
        ...

    async def call(self, run: Run) -> object:
        """Call a run's handler; returns what it returns."""
        ...


class _AsyncCaller:
    """Calls handlers from an event loop: plain ones in a thread."""

    def __init__(self, db: Aurora) -> None:
        self._db = db
        self._for_threads: blocking.Aurora | None = None
        self._in_thread = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._for_threads is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._for_threads.close)

    @property
    def database(self) -> object:
        if not self._in_thread:
            return self._db
        if self._for_threads is None:
            self._for_threads = blocking.with_config(self._db.config).__enter__()
        return self._for_threads

    async def call(self, run: Run) -> object:
        self._in_thread = run.handler.runtime == "thread"
        if self._in_thread:
            return await anyio.to_thread.run_sync(run.call)
        return await _within(run)


class _BlockingCaller:
    """Calls handlers from a thread: async ones in a loop that is made for each."""

    def __init__(self, db: blocking.Aurora) -> None:
        self._db = db
        self.database: object = db

    async def call(self, run: Run) -> object:
        self.database = self._db
        runtime = run.handler.runtime
        if runtime == "thread":
            return run.call()

        async def main() -> object:
            async with Aurora.with_config(self._db.config) as db:
                self.database = db
                return await _within(run)

        return anyio.run(main, backend=runtime)


async def _within(run: Run) -> object:
    """Await a handler for no longer than its time."""
    with anyio.move_on_after(run.limit_s) as scope:
        return await run.call()
    if scope.cancelled_caught:
        run.reason = Reason.TIMEOUT
        run.was_interrupted()
    return None


# ------------------------------------------------------------------ the worker
class _Drain:
    def __init__(
        self,
        db: Aurora,
        known: dict[str, Handler],
        queue: str | None,
        limit: int | None,
    ) -> None:
        self._db = db
        self._known = known
        self._queues = [] if queue is None else [queue]
        self._limit = limit
        mailbox = session_of(db)().shell.on_core(lambda core: core.name)
        self._worker = f"{mailbox}.{secrets.token_hex(4)}"
        self._reports: dict[str, JobProgress] = {}

    async def run(self, caller: _Caller) -> list[JobInfo]:
        found: list[JobInfo] = []
        while self._limit is None or len(found) < self._limit:
            claimed = await self._claim(len(found) + 1)
            if claimed is None:
                break
            found.append(await self._perform(claimed, caller))
        return found

    async def leave(self) -> None:
        await self._ask(WorkerGone(worker=self._worker), Written)

    async def _claim(self, number: int) -> ClaimedJob | None:
        request = ClaimJobs(
            worker=self._worker,
            number=number,
            queues=self._queues,
            job_types=list(self._known),
            wait_s=0.0,
            lease_s=_LEASE_S,
        )
        jobs = (await self._ask(request, Claimed)).jobs
        return jobs[0] if jobs else None

    async def _perform(self, claimed: ClaimedJob, caller: _Caller) -> JobInfo:
        document = decode_job(claimed.document)
        now = time.monotonic()
        run = Run(claimed, document, self._known[document.job_type], now)
        run.prepare(self._worker, self._hooks(run, caller))
        run.begin(now)
        try:
            result = await caller.call(run)
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a handler may raise anything
            run.raised(exc)
        else:
            run.returned(result)
        if run.id in self._reports:
            reports = [self._reports.pop(run.id)]
            request = ReportProgress(worker=self._worker, reports=reports)
            await self._ask(request, Written)
        if run.outcome is None:
            raise InternalError(f"the job {run.id} has come to nothing")
        finish = FinishJobs(worker=self._worker, outcomes=[run.outcome])
        await self._ask(finish, JobsFinished)
        ended = await self._db.get_job(run.id)
        return run.info() if ended is None else ended

    def _hooks(self, run: Run, caller: _Caller) -> JobHooks:
        def report(fraction: float | None, note: str) -> None:
            self._reports[run.id] = JobProgress(
                id=run.id, attempt=run.attempt, fraction=fraction, note=note
            )

        return JobHooks(
            info=run.info,
            database=lambda: caller.database,
            report=report,
            alive=lambda: None,
            is_cancelled=lambda: False,
        )

    async def _ask(self, request: Message, answer: type[R]) -> R:
        reply = await session_of(self._db)().shell.call(STORAGE, request, None)
        if not isinstance(reply, answer):
            raise InternalError(
                f"{type(request).__name__} was answered by {type(reply).__name__}"
            )
        return reply
