"""When the data file is written anew: asked for, or by itself when it is worth it.

Around ``storage.compaction``, which does one: starts it, keeps its outcome, and every
``compact_interval_mins`` looks whether enough of the file is free pages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from aurora_actors.errors import AuroraError
from aurora_actors.messages.storage import Compacted
from aurora_actors.storage.compaction import Compaction, SwitchFailedError
from aurora_actors.storage.space import Space
from aurora_actors.storage.store import Store
from aurora_actors.storage.upkeep import Upkeep

__all__ = ["Compactor"]

_log = logging.getLogger(__name__)
_WORTH_SHARE: Final = 0.3
_WORTH_BYTES: Final = 16 << 20
_POLL_S: Final = 0.02


class Compactor:
    """Compactions of one open database.

    Attributes:
        done: How many there were.
        failure: Storage has to stop because of one.
    """

    def __init__(
        self, store: Store, upkeep: Upkeep, space: Space, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._upkeep = upkeep
        self._space = space
        self._clock = clock
        self._interval = store.config.compact_interval_mins * 60.0
        self._next = clock() + self._interval
        self._current: Compaction | None = None
        self._is_wanted = False
        self._started = 0.0
        self._outcome: Compacted | AuroraError | None = None
        self.done = 0
        self.failure: AuroraError | None = None

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self._current is not None

    @property
    def is_wanted(self) -> bool:
        """Whether one is under way, or will be as soon as all is reclaimed."""
        return self._current is not None or self._is_wanted

    @property
    def _has_to_wait(self) -> bool:
        catalog = self._store.catalog
        return bool(catalog.dropped or catalog.marks)

    def due(self) -> float | None:
        """Seconds until :meth:`run` has something to do."""
        if self._current is not None:
            return _POLL_S if self._current.is_waiting else 0.0
        if self._is_wanted and not self._has_to_wait:
            return 0.0
        if not self._store.config.auto_compact:
            return None
        return max(0.0, self._next - self._clock())

    def start(self) -> None:
        """Start one, unless one is under way; what is deleted is reclaimed first.

        Raises:
            StorageFullError: there is no room for a second data file.
        """
        if self._current is not None or self._is_wanted:
            return
        self._outcome = None
        self._started = self._clock()
        if self._has_to_wait:
            self._is_wanted = True
        else:
            self._current = Compaction(self._store, self._upkeep)

    def refuse(self, error: AuroraError) -> None:
        """What had to be done before cannot be done."""
        if self._is_wanted:
            self._is_wanted = False
            self._outcome = error

    def take_outcome(self) -> Compacted | AuroraError | None:
        """What the last one came to, once."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def run(self) -> None:
        """Do some of what is to be done; call it between two commits."""
        if self._current is not None:
            self._step(self._current)
        elif self._is_wanted:
            if not self._has_to_wait:
                self._is_wanted = False
                self._start_quietly()
        elif self._store.config.auto_compact and self._clock() >= self._next:
            self._next = self._clock() + self._interval
            if self._is_worth_it():
                self._start_quietly()

    def _is_worth_it(self) -> bool:
        free = self._space.free_bytes
        data = self._store.checkpointer.data_bytes
        return free >= _WORTH_BYTES and free >= _WORTH_SHARE * data

    def _start_quietly(self) -> None:
        try:
            self.start()
        except AuroraError as exc:
            _log.warning("no compaction", extra={"reason": exc.message})
            self._outcome = exc

    def _step(self, current: Compaction) -> None:
        try:
            outcome: Compacted | AuroraError | None = current.step()
        except SwitchFailedError as exc:
            self.failure = outcome = exc
        except AuroraError as exc:
            _log.warning("a compaction failed", extra={"reason": exc.message})
            outcome = exc
        if outcome is None:
            return
        self._current = None
        if isinstance(outcome, Compacted):
            self.done += 1
            seconds = self._clock() - self._started
            outcome = msgspec.structs.replace(outcome, seconds=seconds)
        self._outcome = outcome

    def abandon(self) -> None:
        """Break off the one under way."""
        current, self._current = self._current, None
        if current is not None:
            current.abandon()
