"""Worker pools, as a part of the public database class."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Final, TypeAlias

from aurora_actors.client.handle import Handle
from aurora_actors.config import WorkerPoolConfig, check_pool_name
from aurora_actors.errors import ConfigError, InternalError, TimeoutError_, UsageError
from aurora_actors.messages.pools import POOL, PoolState, ReadPool, pool_group
from aurora_actors.messages.supervision import (
    ActorGroup,
    ActorStatus,
    ReadStatus,
    ScaleGroup,
    TreeStatus,
)

__all__ = ["Handlers", "PoolsHandle", "handler_paths"]

_Handler: TypeAlias = "str | ModuleType | Callable[..., object]"
Handlers: TypeAlias = "_Handler | Sequence[_Handler] | Mapping[str, _Handler]"
"""What :meth:`PoolsHandle.start_pool` takes as handlers."""

_LOOK_EVERY_S: Final = 0.01
_START_S: Final = 60.0


def _path(handler: object) -> str:
    if isinstance(handler, str):
        return handler
    if isinstance(handler, ModuleType):
        return handler.__name__
    module = getattr(handler, "__module__", None)
    name = getattr(handler, "__qualname__", "<")
    if not callable(handler) or module is None or "<" in name:
        raise UsageError(
            f"{handler!r} is no handler: give the name of a module, module:function, "
            "or a function that has such a name"
        )
    return f"{module}:{name}"


def handler_paths(handlers: Handlers) -> str | list[str] | dict[str, str]:
    """The import paths of handlers, as worker processes need them."""
    if isinstance(handlers, Mapping):
        return {str(name): _path(path) for name, path in handlers.items()}
    if isinstance(handlers, list | tuple):
        return [_path(each) for each in handlers]
    return _path(handlers)


def _import_path(given: Iterable[str] | None) -> list[str]:
    folders = sys.path if given is None else given
    return [os.path.abspath(folder or os.curdir) for folder in folders]  # noqa: PTH100 - a string stays one


class PoolsHandle(Handle):
    """What can be done with worker pools; see :class:`aurora_actors.Aurora`."""

    async def start_pool(
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
        """Start worker processes that run jobs; returns the types that they can run.

        Returns when all of them are ready and have imported their handlers. They run as
        long as the tree does, whoever has started them. A pool that runs with the same
        settings already is only scaled.

        Args:
            name: The pool: up to 32 of ``a-z``, ``0-9``, ``-`` and ``_``.
            handlers: A module with functions marked by ``@job``, by name or itself;
                ``"module:function"``; several of these; or a mapping of types of jobs
                to ``"module:function"``. Worker processes import nothing else.
            processes: How many worker processes.
            concurrency: How many jobs each of them runs at the same time.
            queues: From which queues; none given, from all.
            max_processes: The pool scales itself, by what waits, between ``processes``
                and this.
            max_jobs: After so many jobs a process gives way to a fresh one.
            max_memory_mb: Above so much memory, too.
            lease_s: After how long without a sign of life a worker is given up; of a
                process that has ended storage knows at once.
            poll_interval_s: How often a worker asks again although nothing is new.
            drain_s: How long running jobs may take when a process is told to stop;
                ``shutdown_grace_s`` if not given. What takes longer is given back.
            import_path: Directories to import handlers from; if not given, those of
                this process.
            timeout: How long to wait for them, in seconds; 60 if not given.

        Raises:
            ConfigError: the settings make no sense, or handlers cannot be imported;
                then the pool is not there.
            UsageError: a pool of this name runs with other settings.
            TimeoutError_: they were not ready in time.
        """
        config = WorkerPoolConfig(
            handlers=handler_paths(handlers),
            processes=processes,
            concurrency=concurrency,
            queues=list(queues),
            max_processes=max_processes,
            max_jobs=max_jobs,
            max_memory_mb=max_memory_mb,
            lease_s=lease_s,
            poll_interval_s=poll_interval_s,
            drain_s=drain_s,
            import_path=_import_path(import_path),
        )
        group = pool_group(check_pool_name(name), config, self.config)
        was_there = bool(await self._actors_of(name))
        end = time.monotonic() + (_START_S if timeout is None else timeout)
        await self._scale(name, processes, group)
        if not processes:
            return []
        await self._settled(name, processes, end, exactly=False)
        state = await self._pool_state(name, end)
        if state.failure is not None:
            if not was_there:
                await self._scale(name, 0)
                await self._settled(name, 0, end, exactly=True)
            error = state.failure.error()
            raise ConfigError(f"pool {name}: {error.message}", pool=name)
        return state.job_types

    async def scale_pool(
        self, name: str, processes: int, *, timeout: float | None = None
    ) -> None:
        """Have so many processes in a pool; returns when it has them.

        Those that are too many finish what they run, within ``drain_s``, and take
        nothing new meanwhile. What they cannot finish others run again.

        Raises:
            UsageError: there is no such pool.
            TimeoutError_: it has not got there in time; it goes on.
        """
        if not isinstance(processes, int) or processes < 0:
            raise UsageError(f"a pool has a number of processes, not {processes!r}")
        end = time.monotonic() + (_START_S if timeout is None else timeout)
        await self._scale(name, processes)
        await self._settled(name, processes, end, exactly=True)

    async def stop_pool(self, name: str, *, timeout: float | None = None) -> None:
        """End a pool: :meth:`scale_pool` to no processes; its jobs wait."""
        await self.scale_pool(name, 0, timeout=timeout)

    # -------------------------------------------------------------- inside
    async def _scale(
        self, name: str, processes: int, group: ActorGroup | None = None
    ) -> None:
        request = ScaleGroup(
            name=f"{POOL}{check_pool_name(name)}", count=processes, group=group
        )
        await self._open().shell.ask_tree(request, None)

    async def _actors_of(self, name: str) -> list[ActorStatus]:
        reply = await self._open().shell.ask_tree(ReadStatus(), None)
        if not isinstance(reply, TreeStatus):
            raise InternalError(f"status was answered by {type(reply).__name__}")
        prefix = f"{POOL}{name}-"
        return [
            actor
            for actor in reply.actors
            if actor.name.startswith(prefix) and actor.name[len(prefix) :].isdigit()
        ]

    async def _settled(
        self, name: str, processes: int, end: float, *, exactly: bool
    ) -> None:
        while True:
            actors = await self._actors_of(name)
            ready = sum(actor.state == "ready" for actor in actors)
            enough = ready >= processes
            if enough and (len(actors) == processes or not exactly):
                return
            if time.monotonic() >= end:
                raise TimeoutError_(
                    f"the pool {name} has {ready} of {processes} processes by now"
                )
            await self._open().shell.pause(_LOOK_EVERY_S)

    async def _pool_state(self, name: str, end: float) -> PoolState:
        left_s = max(0.1, end - time.monotonic())
        reply = await self._open().shell.call(f"{POOL}{name}-0", ReadPool(), left_s)
        if not isinstance(reply, PoolState):
            raise InternalError(f"a pool was answered by {type(reply).__name__}")
        return reply
