"""Async handlers, as tasks of a trio loop in a thread of its own.

Of its own, so that a handler that forgets to await holds up its neighbours, but not the
process's leases and heartbeats.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from aurora_actors.client.database import Aurora
from aurora_actors.client.opening import open_member
from aurora_actors.config import AuroraConfig
from aurora_actors.errors import AuroraError
from aurora_actors.jobs.host import FinishAll
from aurora_actors.jobs.loop_host import LoopHost
from aurora_actors.jobs.run import Run

__all__ = ["TrioHost"]

logger = logging.getLogger(__name__)

_RETRY_S = 0.2


class TrioHost(LoopHost):
    """Runs coroutine functions under trio."""

    def __init__(
        self, config: AuroraConfig, concurrency: int, finish: FinishAll
    ) -> None:
        super().__init__("trio", concurrency, finish)
        self._config = config
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery
        self._scopes: dict[Run, trio.CancelScope] = {}

    def _run_loop(self) -> None:
        trio.run(self._main)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        while True:
            try:
                async with (
                    Aurora(
                        self._config, compares=False, opener=open_member
                    ) as self._db,
                    trio.open_nursery() as self._nursery,
                ):
                    self._opened()
                    await trio.sleep_forever()
            except AuroraError as exc:
                logger.warning("not attached", extra={"reason": exc.message})
            await trio.sleep(_RETRY_S)

    def _call_soon(self, function: Callable[[], None]) -> None:
        self._token.run_sync_soon(function)

    def _begin(self, run: Run) -> None:
        self._nursery.start_soon(self._perform, run)

    def _end(self, run: Run) -> None:
        scope = self._scopes.get(run)
        if scope is not None:
            scope.cancel()

    async def _perform(self, run: Run) -> None:
        with trio.CancelScope() as scope:
            self._scopes[run] = scope
            if run.reason is not None:
                scope.cancel()
            try:
                result = await run.call()
            except (Exception, SystemExit) as exc:  # noqa: BLE001 - a handler may raise anything
                run.raised(exc)
            else:
                run.returned(result)
        del self._scopes[run]
        if run.outcome is None:
            run.was_interrupted()
        self._done(run)
