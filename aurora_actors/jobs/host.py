"""What runs handlers: the interface of the three hosts, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from aurora_actors.jobs.run import Run

__all__ = ["FinishAll", "Host"]

FinishAll = Callable[[Sequence[Run]], None]
"""Called in a host's thread with runs that have an outcome, once for each run.

Not for those that were withdrawn before they had begun.
"""


class Host(Protocol):
    """Runs handlers of one kind in threads of its own.

    Called from the process's main thread; nothing here blocks.
    """

    def start(self, runs: Sequence[Run]) -> None:
        """Begin runs, in this order."""
        ...

    def interrupt(self, run: Run) -> None:
        """Try to end a run whose ``reason`` is set; it may take its time, or not end."""
        ...
