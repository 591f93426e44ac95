"""Async handlers written for asyncio, as tasks of a loop in a thread of its own."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the one that runs handlers written for it
import logging
from collections.abc import Callable

from aurora_actors.client.database import Aurora
from aurora_actors.client.opening import open_member
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError
from aurora_actors.jobs.host import FinishAll
from aurora_actors.jobs.loop_host import LoopHost
from aurora_actors.jobs.run import Run

__all__ = ["AsyncioHost"]

logger = logging.getLogger(__name__)

_RETRY_S = 0.2


class AsyncioHost(LoopHost):
    """Runs coroutine functions under asyncio."""

    def __init__(
        self, config: AuroraConfig, concurrency: int, finish: FinishAll
    ) -> None:
        super().__init__("asyncio", concurrency, finish)
        self._config = config
        self._loop: asyncio.AbstractEventLoop
        self._tasks: dict[Run, asyncio.Task[None]] = {}

    def _run_loop(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                async with Aurora(
                    self._config, compares=False, opener=open_member
                ) as self._db:
                    self._opened()
                    await self._loop.create_future()
            except AuroraError as exc:
                logger.warning("not attached", extra={"reason": exc.message})
            await asyncio.sleep(_RETRY_S)

    def _call_soon(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _begin(self, run: Run) -> None:
        self._tasks[run] = self._loop.create_task(self._perform(run))

    def _end(self, run: Run) -> None:
        task = self._tasks.get(run)
        if task is not None:
            task.cancel()

    async def _perform(self, run: Run) -> None:
        try:
            result = await run.call()
        except asyncio.CancelledError:
            run.was_interrupted()
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - a handler may raise anything
            run.raised(exc)
        else:
            run.returned(result)
        del self._tasks[run]
        self._done(run)
