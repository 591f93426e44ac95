"""A job queue without a database of one's own.

:class:`WorkerSystem` is a database whose only content is jobs, and one worker pool in
it, behind a small interface.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

import msgspec

from aurora_actors.client.database import Aurora
from aurora_actors.client.jobs import JobStats
from aurora_actors.client.jobs_model import Job, JobInfo
from aurora_actors.client.jobs_pools import handler_paths
from aurora_actors.config import AuroraConfig, JobsConfig
from aurora_actors.errors import ConfigError, UsageError

__all__ = ["WorkerConfig", "WorkerSystem"]

_POOL: Final = "workers"


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a :class:`WorkerSystem`.

    Attributes:
        storage_path: The directory of its files; made if it does not exist.
        concurrency: How many jobs each process runs at the same time.
        processes: How many worker processes there are.
        max_processes: Up to how many there may be, by what waits.
        poll_interval_ms: How often a worker asks again although nothing is new.
        cleanup_interval_seconds: How often jobs whose time is over are removed.
        retention_s: How long ended jobs are kept.
        import_path: Directories to import handlers from; those of this process if not
            given.
    """

    storage_path: str
    concurrency: int = 4
    processes: int = 1
    max_processes: int | None = None
    poll_interval_ms: int = 5_000
    cleanup_interval_seconds: float = 60.0
    retention_s: float = 86_400.0
    import_path: list[str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.storage_path, os.PathLike):
            path = os.fspath(self.storage_path)
            msgspec.structs.force_setattr(self, "storage_path", path)
        for name in ("concurrency", "processes", "poll_interval_ms"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value!r}", key=name)


class WorkerSystem:
    """A queue of jobs and the workers that run them: ``async with WorkerSystem.open(…)``.

    Jobs outlive it: those that wait when it is closed are run by the next one that is
    opened on the same path and started.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._handlers: dict[str, str] = {}
        self._is_running = False
        self._db = Aurora.with_config(
            AuroraConfig(
                db_path=config.storage_path,
                query_executors=1,
                jobs=JobsConfig(
                    cleanup_interval_seconds=config.cleanup_interval_seconds,
                    retention_s=config.retention_s,
                ),
            )
        )

    @classmethod
    def open(cls, config: WorkerConfig) -> Self:
        """The job queue that ``config`` describes, to be entered with ``async with``."""
        return cls(config)

    async def __aenter__(self) -> Self:
        await self._db.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._db.__aexit__(exc_type, exc, traceback)

    @property
    def db(self) -> Aurora:
        """The database that the jobs are in, with all that can be done with them."""
        return self._db

    # -------------------------------------------------------------- workers
    def register_handler(
        self, job_type: str, handler: str | Callable[..., object]
    ) -> None:
        """Say what runs the jobs of a type; before :meth:`start`.

        Args:
            job_type: The type.
            handler: ``"module:function"``, or a function that has such a name.

        Raises:
            UsageError: the workers run already, or the handler has no such name.
        """
        if self._is_running:
            raise UsageError("register handlers before the workers are started")
        paths = handler_paths({job_type: handler})
        assert isinstance(paths, dict)  # noqa: S101 - as asked for
        self._handlers.update(paths)

    async def start(self, *, timeout: float | None = None) -> None:
        """Start the workers; returns when they are ready.

        Raises:
            UsageError: no handler is registered.
            ConfigError: a handler cannot be imported.
        """
        if not self._handlers:
            raise UsageError("register a handler before starting the workers")
        config = self._config
        await self._db.start_pool(
            _POOL,
            handlers=self._handlers,
            processes=config.processes,
            concurrency=config.concurrency,
            max_processes=config.max_processes,
            poll_interval_s=config.poll_interval_ms / 1000,
            import_path=config.import_path,
            timeout=timeout,
        )
        self._is_running = True

    async def stop(self, *, timeout: float | None = None) -> None:
        """Stop the workers: they finish what they run; jobs that wait stay."""
        if self._is_running:
            await self._db.stop_pool(_POOL, timeout=timeout)
            self._is_running = False

    # -------------------------------------------------------------- jobs
    async def enqueue(self, job: Job, *, timeout: float | None = None) -> str:
        """Enqueue a job; returns its id."""
        return await self._db.enqueue_job(job, timeout=timeout)

    async def enqueue_many(
        self, jobs: Iterable[Job], *, timeout: float | None = None
    ) -> list[str]:
        """Enqueue many jobs; returns their ids."""
        return await self._db.enqueue_jobs(jobs, timeout=timeout)

    async def wait(self, job_id: str, timeout: float | None = None) -> object:
        """Wait until a job has ended; as :meth:`Aurora.wait_job`."""
        return await self._db.wait_job(job_id, timeout=timeout)

    async def get_job(self, job_id: str) -> JobInfo | None:
        """The job with this id, or ``None``."""
        return await self._db.get_job(job_id)

    async def stats(self) -> JobStats:
        """How many jobs there are."""
        return await self._db.job_stats()
