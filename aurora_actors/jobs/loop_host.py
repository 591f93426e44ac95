"""What the hosts of async handlers share: a loop in a thread, fed in batches."""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Final

from aurora_actors.client.database import Aurora
from aurora_actors.jobs.host import FinishAll
from aurora_actors.jobs.run import Run

__all__ = ["LoopHost"]

logger = logging.getLogger(__name__)

_EXIT_LOOP: Final = 73


class LoopHost(ABC):
    """Runs coroutine functions in one thread's event loop.

    Args:
        name: What the thread is called.
        concurrency: How many run at the same time; the others wait here.
        finish: Takes runs that have ended.
    """

    def __init__(self, name: str, concurrency: int, finish: FinishAll) -> None:
        self._finish = finish
        self._free = concurrency
        self._orders: deque[tuple[Run, bool]] = deque()
        self._queue: deque[Run] = deque()
        self._ended: list[Run] = []
        self._is_called = False
        self._is_open = Event()
        self._db: Aurora
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def db(self) -> Aurora:
        """The database, as handlers use it."""
        return self._db

    # -------------------------------------------------------------- main thread
    def open(self) -> None:
        """Start the loop."""
        self._thread.start()

    def wait_open(self) -> None:
        """Block until handlers can be run."""
        self._is_open.wait()

    def start(self, runs: Sequence[Run]) -> None:
        """Begin runs, in this order."""
        self._orders.extend((run, True) for run in runs)
        self._call()

    def interrupt(self, run: Run) -> None:
        """Cancel a run's task."""
        self._orders.append((run, False))
        self._call()

    def _call(self) -> None:
        # The flag is cleared before the orders are read: none is left behind.
        if not self._is_called:
            self._is_called = True
            self._call_soon(self._turn)

    # -------------------------------------------------------------- the loop's thread
    def _run(self) -> None:
        try:
            self._run_loop()
        except BaseException:
            # Without this loop the process can do nothing; a fresh one may.
            logger.critical("the loop of handlers has ended", exc_info=True)
            os._exit(_EXIT_LOOP)

    def _opened(self) -> None:
        self._is_open.set()

    def _turn(self) -> None:
        self._is_called = False
        orders = self._orders
        while orders:
            run, begins = orders.popleft()
            if begins:
                self._queue.append(run)
            else:
                self._end(run)
        self._begin_some()

    def _begin_some(self) -> None:
        queue, now = self._queue, time.monotonic()
        while queue and self._free > 0:
            run = queue.popleft()
            if run.begin(now):
                self._free -= 1
                self._begin(run)

    def _done(self, run: Run) -> None:
        """A task has ended; what ends in the same turn is handed over together."""
        self._free += 1
        if not self._ended:
            self._call_soon(self._hand_over)
        self._ended.append(run)
        self._begin_some()

    def _hand_over(self) -> None:
        ended, self._ended = self._ended, []
        self._finish(ended)

    @abstractmethod
    def _run_loop(self) -> None:
        """Run the loop; in its thread."""

    @abstractmethod
    def _call_soon(self, function: Callable[[], None]) -> None:
        """Have a function called in the loop; from any thread."""

    @abstractmethod
    def _begin(self, run: Run) -> None:
        """Start a task for a run; it calls :meth:`_done`."""

    @abstractmethod
    def _end(self, run: Run) -> None:
        """Cancel the task of a run, if it has begun."""
