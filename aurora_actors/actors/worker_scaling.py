"""How many processes a pool should have, judged by its first one.

Only when the pool was given room to scale itself. It grows while jobs wait and this
process is fully busy, by half each time, and shrinks by one when nothing has waited for
a while. The first process is never one too many, so there is always one to judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aurora_actors.messages.base import Message
from aurora_actors.messages.jobs import JobStatistics, ReadJobStatistics
from aurora_actors.messages.pools import POOL, PoolArguments
from aurora_actors.messages.supervision import ActorSpec, ScaleGroup

__all__ = ["Scaling"]

_SUPERVISOR: Final = "supervisor"
_STORAGE: Final = "storage"
_EVERY_S: Final = 1.0
_CALM_ROUNDS: Final = 5


class Scaling:
    """Watches the queues of a pool, in its first process.

    Args:
        told: The pool.
        spec: Which of its processes this is.
    """

    def __init__(self, told: PoolArguments, spec: ActorSpec) -> None:
        self._pool = told.config
        self._group = f"{POOL}{told.pool}"
        self._runtime_dir = Path(spec.runtime_dir)
        self._is_judge = (
            self._pool.max_processes is not None and spec.name == f"{self._group}-0"
        )
        self._next = 0.0
        self._calm = 0
        self._wanted: int | None = None

    def turn(self, now: float) -> Sequence[tuple[str, Message]]:
        """What is to be asked and ordered now, and of whom."""
        if not self._is_judge or now < self._next:
            return ()
        self._next = now + _EVERY_S
        messages: list[tuple[str, Message]] = [(_STORAGE, ReadJobStatistics())]
        if self._wanted is not None:
            order = ScaleGroup(name=self._group, count=self._wanted)
            messages.append((_SUPERVISOR, order))
            self._wanted = None
        return messages

    def learn(self, statistics: JobStatistics, running: int) -> None:
        """Judge by the numbers of jobs."""
        queues = self._pool.queues or list(statistics.queues)
        found = [statistics.queues[q] for q in queues if q in statistics.queues]
        waiting = sum(each.pending + each.failed for each in found)
        present = self._present()
        least, most = self._pool.processes, self._pool.max_processes or 1
        if waiting and running >= self._pool.concurrency:
            self._calm = 0
            if present < most:
                self._wanted = min(most, present + max(1, present // 2))
        elif waiting == 0 and present > least:
            self._calm += 1
            if self._calm >= _CALM_ROUNDS:
                self._calm = 0
                self._wanted = present - 1
        else:
            self._calm = 0

    def _present(self) -> int:
        """How many processes of the pool there are: each has its mailbox."""
        start = len(self._group) + 1
        names = (path.stem for path in self._runtime_dir.glob(f"{self._group}-*.ipc"))
        return max(1, sum(name[start:].isdigit() for name in names))
