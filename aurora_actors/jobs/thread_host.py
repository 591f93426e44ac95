"""Plain handlers, in threads.

A handler that has to end gets an exception (:class:`Interrupted`) at its next line of
Python. One that sits in a call of C code does not see it before that returns.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, get_ident

from aurora_actors.jobs.host import FinishAll
from aurora_actors.jobs.run import Interrupted, Run

__all__ = ["ThreadHost"]


class ThreadHost:
    """Runs plain functions, ``concurrency`` at a time.

    Args:
        concurrency: How many threads there are at most, besides those given up.
        finish: Takes runs that have ended.
    """

    def __init__(self, concurrency: int, finish: FinishAll) -> None:
        self._concurrency = concurrency
        self._finish = finish
        self._queue: SimpleQueue[Run] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    def start(self, runs: Sequence[Run]) -> None:
        """Begin runs, in this order."""
        for run in runs:
            self._queue.put(run)
        wanted = min(self._concurrency, self._threads + len(runs))
        while self._threads < wanted:
            self._threads += 1
            # A daemon: a handler that never ends must not keep the process.
            Thread(target=self._work, name="job", daemon=True).start()

    def interrupt(self, run: Run) -> None:
        """Raise :class:`Interrupted` in the thread of a run, if it has begun."""
        with run.lock:
            if run.cancel is not None:
                run.cancel()

    def _work(self) -> None:
        take, finish = self._queue.get, self._finish
        while True:
            run = take()
            with suppress(Interrupted):  # it may come when the handler has ended
                _perform(run)
            if run.started_at:
                if run.outcome is None:
                    run.was_interrupted()
                finish((run,))


def _perform(run: Run) -> None:
    thread = get_ident()
    if not run.begin(time.monotonic()):
        return
    with run.lock:
        run.cancel = lambda: _raise_in(thread)
        if run.reason is not None:  # since it has begun
            return
    try:
        result = run.call()
    except Interrupted:
        with run.lock:
            run.cancel = None
    except BaseException as exc:  # noqa: BLE001 - a handler may raise anything
        with run.lock:
            run.cancel = None
        run.raised(exc)
    else:
        with run.lock:
            run.cancel = None
        run.returned(result)


def _raise_in(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(Interrupted)
    )
