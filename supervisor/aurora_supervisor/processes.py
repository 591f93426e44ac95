"""The operating system's side of a tree: zygote, actors' pipes, signals, reaping.

The lifeline is a pipe of which every actor has the reading end and only this process
the writing end: when this process ends, however it does, all of them see the end.

As long as the zygote lives, actors are its children and it reaps them. When it dies
they become children of this process, a subreaper, so that their ends are still seen
and none is started again beside a predecessor.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import trio

from aurora_actors.messages.supervision import ActorSpec, ZygoteNotice
from aurora_supervisor.journal import Journal
from aurora_supervisor.logs import ActorLog
from aurora_supervisor.spawn import ZygoteProcess, start_zygote
from aurora_supervisor.zygote_link import ZygoteLink

__all__ = ["Processes", "Reaped", "is_child"]

logger = logging.getLogger(__name__)


class Reaped(NamedTuple):
    """What :meth:`Processes.reap` found, in the order in which to look at it.

    Attributes:
        notices: What a zygote that has ended had said before.
        zygote_ended: Whether it has.
        exits: Process ids and exit statuses of others.
    """

    notices: Sequence[ZygoteNotice]
    zygote_ended: bool
    exits: Sequence[tuple[int, int]]


class Processes:
    """All processes of one tree but the supervisor."""

    def __init__(
        self,
        zygote: ZygoteProcess,
        runtime_dir: str,
        tree_module: str,
        journal: Journal,
    ) -> None:
        self.zygote = ZygoteLink(zygote)
        self._runtime_dir = runtime_dir
        self._tree_module = tree_module
        self._journal = journal
        self._halted_at: float | None = None
        self._logs: dict[str, ActorLog] = {}
        self._lifeline, self._lifeline_writer = os.pipe2(os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the lifeline."""
        os.close(self._lifeline_writer)
        os.close(self._lifeline)

    # -------------------------------------------------------------- actors
    def fork(self, spec: ActorSpec) -> ActorLog:
        """Have an actor forked; its output is to be forwarded by the returned log."""
        log = self._logs[spec.name] = ActorLog(spec.name, self._journal)
        self.zygote.fork(spec, log.writing_end, self._lifeline)
        log.sent()
        return log

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to an actor that has not been reaped yet."""
        if not self.zygote.reaped.is_set():
            self.zygote.signal(pid, number)
        elif is_child(pid):
            os.kill(pid, number)

    def last_words(self, actor: str) -> str:
        """The last line an actor wrote, even if nobody has read it yet."""
        log = self._logs.get(actor)
        if log is None:
            return ""
        log.drain()
        return log.last_words

    # -------------------------------------------------------------- the zygote
    def start_zygote(self) -> None:
        """Start another zygote in the place of one that has ended.

        Raises:
            OSError: no process could be had.
        """
        self._halted_at = None
        self.zygote = ZygoteLink(start_zygote(self._runtime_dir, self._tree_module))

    def kill_halted_zygote(self, now: float, grace_s: float) -> None:
        """Kill the zygote if a signal has stopped it and nobody continued it."""
        if self._halted_at is not None and now - self._halted_at >= grace_s:
            logger.error("the zygote was stopped by a signal and is killed")
            self._halted_at = None
            self.zygote.kill()

    def reap(self) -> Reaped:
        """Reap our own children that have ended."""
        exits, notices = [], []
        zygote_ended = False
        for pid, status in _wait_for_all():
            if os.WIFSTOPPED(status) or os.WIFCONTINUED(status):
                if pid == self.zygote.pid:
                    self._halted_at = (
                        trio.current_time() if os.WIFSTOPPED(status) else None
                    )
            elif pid == self.zygote.pid:
                notices = self.zygote.waiting()
                self.zygote.reaped.set()
                zygote_ended = True
            else:
                # What an orphaned actor had started itself ends with it.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                exits.append((pid, os.waitstatus_to_exitcode(status)))
        return Reaped(notices, zygote_ended, exits)


def is_child(pid: int) -> bool:
    """Whether ``pid`` is a child of this process that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _wait_for_all() -> list[tuple[int, int]]:
    found = []
    with suppress(ChildProcessError):
        options = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
        while (item := os.waitpid(-1, options))[0]:
            found.append(item)
    return found
