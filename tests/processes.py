"""Finding and killing the processes of a tree from a test.

A process that has just been killed has no number until it is started again: its status
shows 0, and a signal to 0 goes to the whole process group of the caller.  So a number
is waited for, and ``refuse_groups`` makes a mistake in this an error of the test
instead of the end of the whole run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import anyio
from support import wait_until

from aurora_actors import Aurora, TreeStatus, blocking

__all__ = ["kill_actor", "kill_async", "pid_of", "pid_of_actor", "refuse_groups"]

DEADLINE_S = 60.0


def refuse_groups(send: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """An ``os.kill`` that sends to single processes only."""

    def kill_one(pid: int, number: int) -> None:
        if pid <= 0:
            raise AssertionError(f"a signal to {pid} would go to many processes")
        send(pid, number)

    return kill_one


def pid_of_actor(db: blocking.Aurora, name: str) -> int:
    """The process of an actor, waited for while it is restarted."""
    return wait_until(lambda: _find(db.status(), name), f"{name} runs", DEADLINE_S)


def kill_actor(db: blocking.Aurora, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to an actor, as soon as it has a process; gives its number."""
    return wait_until(
        lambda: _sent(pid_of_actor(db, name), number), f"{name} gets the signal"
    )


async def pid_of(db: Aurora, name: str) -> int:
    """The process of an actor, waited for while it is restarted."""
    with anyio.fail_after(DEADLINE_S):
        while not (pid := _find(await db.status(), name)):
            await anyio.sleep(0.005)
    return pid


async def kill_async(db: Aurora, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to an actor, as soon as it has a process; gives its number."""
    while not (pid := _sent(await pid_of(db, name), number)):
        pass  # it was on its way out, and its successor is waited for
    return pid


def _sent(pid: int, number: int) -> int:
    """Send a signal; 0 if the process has ended since it was seen."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return 0
    return pid


def _find(status: TreeStatus, name: str) -> int:
    return next((each.pid for each in status.actors if each.name == name), 0)
