"""Keeps the cycle collector from stopping the gateway while it holds many connections.

An idle connection is some hundred objects that live long. A full collection visits all
of them: with 4,000 WebSockets on a loaded machine it took seconds, in which nobody was
served. So what lives long is taken out of the collector's sight (``gc.freeze``), where
it is still freed by its reference counts; and when half of the connections have gone,
everything is looked at once again, for the cycles they may have left.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["Heap"]

_MANY: Final = 250


class Heap:
    """What the collector is to look at, as connections come and go."""

    def __init__(self) -> None:
        self._frozen_at = 0

    def adjust(self, connections: int) -> None:
        """Say how many connections are open now; to be called every few seconds."""
        if connections - self._frozen_at >= _MANY:
            gc.collect(1)
            gc.freeze()
            self._frozen_at = connections
        elif connections < self._frozen_at // 2:
            gc.unfreeze()
            gc.collect()
            self._frozen_at = 0
