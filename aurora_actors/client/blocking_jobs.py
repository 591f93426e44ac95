"""Jobs and worker pools for threads; parts of the facade.

Each method promises what the one of the same name of :class:`aurora_actors.Aurora`
promises.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from aurora_actors.client.database import Aurora
from aurora_actors.client.driving import run_now
from aurora_actors.client.jobs import JobStats
from aurora_actors.client.jobs_model import Job, JobInfo, JobStatus
from aurora_actors.client.jobs_pools import Handlers

__all__ = ["BlockingJobs", "BlockingPools"]


class BlockingJobs:
    """A base of the blocking database class."""

    _db: Aurora

    def enqueue_job(self, job: Job, *, timeout: float | None = None) -> str:
        """Enqueue one job; returns its id, or that of the one with its unique key."""
        return run_now(self._db.enqueue_job(job, timeout=timeout))

    def enqueue_jobs(
        self, jobs: Iterable[Job], *, timeout: float | None = None
    ) -> list[str]:
        """Enqueue many jobs, in this order; returns their ids."""
        return run_now(self._db.enqueue_jobs(jobs, timeout=timeout))

    def enqueue_batch(
        self,
        jobs: Iterable[Job],
        *,
        then: Job | None = None,
        timeout: float | None = None,
    ) -> tuple[list[str], str | None]:
        """Enqueue jobs that belong together, and one for when all of them have ended."""
        return run_now(self._db.enqueue_batch(jobs, then=then, timeout=timeout))

    def get_job(self, job_id: str, *, timeout: float | None = None) -> JobInfo | None:
        """The job with this id, or ``None``; read in this process."""
        return run_now(self._db.get_job(job_id, timeout=timeout))

    def list_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        queue: str | None = None,
        job_type: str | None = None,
        batch: str | None = None,
        limit: int = 100,
        offset: int = 0,
        timeout: float | None = None,
    ) -> list[JobInfo]:
        """Jobs, those enqueued last first."""
        return run_now(
            self._db.list_jobs(
                status=status,
                queue=queue,
                job_type=job_type,
                batch=batch,
                limit=limit,
                offset=offset,
                timeout=timeout,
            )
        )

    def job_stats(self, *, timeout: float | None = None) -> JobStats:
        """How many jobs there are; costs the same at any number."""
        return run_now(self._db.job_stats(timeout=timeout))

    def wait_job(self, job_id: str, *, timeout: float | None = None) -> object:
        """Wait until a job has ended; returns its result."""
        return run_now(self._db.wait_job(job_id, timeout=timeout))

    def cancel_job(self, job_id: str, *, timeout: float | None = None) -> bool:
        """Cancel a job: at once while it waits, by telling its handler when it runs."""
        return run_now(self._db.cancel_job(job_id, timeout=timeout))

    def retry_job(self, job_id: str, *, timeout: float | None = None) -> bool:
        """Let a dead letter or a cancelled job wait again, with all its attempts."""
        return run_now(self._db.retry_job(job_id, timeout=timeout))

    def retry_dead_letters(
        self,
        queue: str | None = None,
        *,
        limit: int = 10000,
        timeout: float | None = None,
    ) -> int:
        """Let the dead letters of a queue, or of all, wait again; returns how many."""
        return run_now(self._db.retry_dead_letters(queue, limit=limit, timeout=timeout))

    def purge_jobs(
        self,
        *,
        status: JobStatus | str | None = None,
        ended_before: datetime | None = None,
        timeout: float | None = None,
    ) -> int:
        """Remove jobs that have ended; returns how many."""
        return run_now(
            self._db.purge_jobs(
                status=status, ended_before=ended_before, timeout=timeout
            )
        )

    def pause_queue(self, queue: str, *, timeout: float | None = None) -> None:
        """Start no more jobs of a queue; those that run go on."""
        run_now(self._db.pause_queue(queue, timeout=timeout))

    def resume_queue(self, queue: str, *, timeout: float | None = None) -> None:
        """Start the jobs of a queue again."""
        run_now(self._db.resume_queue(queue, timeout=timeout))

    def limit_queue(
        self,
        queue: str,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        period_s: float = 1.0,
        timeout: float | None = None,
    ) -> None:
        """Limit a queue; a limit that is not given is lifted."""
        run_now(
            self._db.limit_queue(
                queue,
                concurrency=concurrency,
                rate=rate,
                period_s=period_s,
                timeout=timeout,
            )
        )


class BlockingPools:
    """A base of the blocking database class."""

    _db: Aurora

    def start_pool(
        self,
        name: str,
        *,
        handlers: Handlers,
        processes: int = 1,
        concurrency: int = 8,
        queues: Iterable[str] = (),
        max_processes: int | None = None,
        max_jobs: int | None = None,
        max_memory_mb: int | None = None,
        lease_s: float = 30.0,
        poll_interval_s: float = 5.0,
        drain_s: float | None = None,
        import_path: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> list[str]:
        """Start worker processes that run jobs; returns the types that they can run."""
        return run_now(
            self._db.start_pool(
                name,
                handlers=handlers,
                processes=processes,
                concurrency=concurrency,
                queues=queues,
                max_processes=max_processes,
                max_jobs=max_jobs,
                max_memory_mb=max_memory_mb,
                lease_s=lease_s,
                poll_interval_s=poll_interval_s,
                drain_s=drain_s,
                import_path=import_path,
                timeout=timeout,
            )
        )

    def scale_pool(
        self, name: str, processes: int, *, timeout: float | None = None
    ) -> None:
        """Have so many processes in a pool; returns when it has them."""
        run_now(self._db.scale_pool(name, processes, timeout=timeout))

    def stop_pool(self, name: str, *, timeout: float | None = None) -> None:
        """End a pool: :meth:`scale_pool` to no processes; its jobs wait."""
        run_now(self._db.stop_pool(name, timeout=timeout))
