"""The hosts of one worker process, and what handlers reach through their contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import Any

from aurora_actors.blocking import Aurora as BlockingAurora
from aurora_actors.client.jobs_context import JobHooks
from aurora_actors.client.jobs_function import Runtime
from aurora_actors.client.opening import open_member_blocking
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import InternalError
from aurora_actors.jobs.host import FinishAll, Host
from aurora_actors.jobs.loop_host import LoopHost
from aurora_actors.jobs.run import Run
from aurora_actors.jobs.thread_host import ThreadHost
from aurora_actors.jobs.worker import Worker

__all__ = ["Hosts"]


class Hosts:
    """Runs handlers of all kinds.

    Args:
        config: The tree's settings, to join it.
        concurrency: How many runs there are at most.
        finish: Takes runs that have ended, in the threads of hosts.
    """

    def __init__(
        self, config: AuroraConfig, concurrency: int, finish: FinishAll
    ) -> None:
        self._config = config
        self._concurrency = concurrency
        self._finish = finish
        self._hosts: dict[Runtime, Host] = {}
        self._databases: dict[Runtime, Callable[[], Any]] = {}
        self._blocking: BlockingAurora | None = None
        self._lock = Lock()

    def open(self, runtimes: Iterable[Runtime]) -> None:
        """Start the hosts that are needed; blocks until they can run handlers."""
        loops: list[LoopHost] = []
        for runtime in runtimes:
            if runtime == "thread":
                self._hosts[runtime] = ThreadHost(self._concurrency, self._finish)
                self._databases[runtime] = self._blocking_database
                continue
            loop = self._loop(runtime)
            loop.open()
            loops.append(loop)
            self._hosts[runtime] = loop
            self._databases[runtime] = partial(getattr, loop, "db")
        for loop in loops:
            loop.wait_open()

    def _loop(self, runtime: Runtime) -> LoopHost:
        # Each imports an event loop, which takes time and memory.
        if runtime == "trio":
            from aurora_actors.jobs.trio_host import TrioHost  # noqa: PLC0415

            return TrioHost(self._config, self._concurrency, self._finish)
        if runtime == "asyncio":
            from aurora_actors.jobs.asyncio_host import AsyncioHost  # noqa: PLC0415

            return AsyncioHost(self._config, self._concurrency, self._finish)
        raise InternalError(f"no handler runs as {runtime!r}")

    def _blocking_database(self) -> BlockingAurora:
        with self._lock:
            if self._blocking is None:
                db = BlockingAurora(
                    self._config, compares=False, opener=open_member_blocking
                )
                self._blocking = db.__enter__()
            return self._blocking

    def start(self, runs: list[Run], worker: Worker, tell: Callable[[], None]) -> None:
        """Begin runs, in this order."""
        by_runtime: dict[Runtime, list[Run]] = {}
        for run in runs:
            runtime = run.handler.runtime
            run.prepare(worker.name, self._hooks(run, runtime, worker, tell))
            by_runtime.setdefault(runtime, []).append(run)
        for runtime, some in by_runtime.items():
            self._hosts[runtime].start(some)

    def _hooks(
        self, run: Run, runtime: Runtime, worker: Worker, tell: Callable[[], None]
    ) -> JobHooks:
        def report(fraction: float | None, note: str) -> None:
            worker.report(run, fraction, note)
            tell()

        def alive() -> None:
            worker.alive(run)
            tell()

        return JobHooks(
            info=run.info,
            database=self._databases[runtime],
            report=report,
            alive=alive,
            is_cancelled=lambda: run.reason is not None,
        )

    def interrupt(self, run: Run) -> None:
        """Try to end a run whose ``reason`` is set."""
        self._hosts[run.handler.runtime].interrupt(run)
